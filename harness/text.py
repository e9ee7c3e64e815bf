"""Text that everything can take: a stranger's in a record or a warning, ours on any terminal."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.table import Table

LONGEST = 600


def one_line(text: str, longest: int = LONGEST) -> str:
    """One line of printable characters, cut to a length."""
    line = " ".join(text[: 4 * longest].split())
    line = "".join(c if c.isprintable() else "\ufffd" for c in line)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def plain(text: str) -> str:
    """`text` without control characters, so that it cannot steer a terminal."""
    return "".join(c if c.isprintable() else "�" for c in text.replace("\n", " "))


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    caption: str | None = None,
    right: int | None = None,
) -> Table:
    """A table for the terminal; what strangers wrote in it is shown, never interpreted.

    Args:
        right: index of the first column that is aligned to the right, as all after it are.
    """
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, title_justify="left", caption_justify="left")
    made.title = None if title is None else Text(plain(title))
    made.caption = None if caption is None else Text(plain(caption))
    for i, name in enumerate(header):
        side: Literal["right", "left"] = "left" if right is None or i < right else "right"
        made.add_column(Text(plain(name)), no_wrap=i == 0, overflow="fold", justify=side)
    for row in rows:
        made.add_row(*(Text(plain(cell)) for cell in row))
    return made


def strict_json(value: Any) -> str:
    """Plain data, dataclasses and models as JSON; numbers that are not finite are strings."""
    from pydantic_core import to_json

    plain = json.loads(to_json(value, inf_nan_mode="strings"))
    return json.dumps(plain, ensure_ascii=False, indent=1) + "\n"


class _Stream(io.FileIO):
    """A standard stream that drops what cannot be written, and keeps the reason."""

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        if self.lost is None:
            try:
                return super().write(data)
            except OSError as e:
                self.lost = e
        return memoryview(data).nbytes


def forgiving_streams() -> None:
    """From now on, printing raises nothing.

    A character that the encoding lacks is replaced. What nobody reads any more (``| head``) is
    dropped, so that a command does its work and ends with the exit code that says how that went.
    """
    for name, errors in (("stdout", "replace"), ("stderr", "backslashreplace")):
        old = getattr(sys, name)
        if not isinstance(old, io.TextIOWrapper):  # none at all, or that of a test
            continue
        old.flush()
        buffer = io.BufferedWriter(_Stream(old.fileno(), "w", closefd=False))
        # Python's own stream is unbuffered with -u, which a line's end must stand in for
        at_newline = old.line_buffering or old.write_through
        stream = io.TextIOWrapper(buffer, old.encoding, errors, line_buffering=at_newline)
        setattr(sys, name, stream)


def exit_code(code: int, program: str) -> int:
    """The exit code of a program that ends now: 2 in place of 0 if its output was not written.

    That is said, too; a reader who left is no such case.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    lost = raw.lost if isinstance(raw, _Stream) else None
    if lost is None or isinstance(lost, BrokenPipeError):
        return code
    print(
        f"{program}: standard output cannot be written ({lost.strerror}); give it another place",
        file=sys.stderr,
    )
    return code or 2
