"""Text that everything can take: one line, a table on a terminal, strict JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console
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


def say(console: Console, text: str) -> None:
    """A line on a console, which wraps nothing; what strangers wrote in it is never interpreted."""
    console.print(plain(text), soft_wrap=True, markup=False, highlight=False)


def paragraph(console: Console, text: str) -> None:
    """Prose on a console, as wide as that; what pip is told stays on one line, to be copied."""
    glued = plain(text).replace("pip install ", "pip␣install␣")
    for line in textwrap.wrap(glued, console.width, break_long_words=False, break_on_hyphens=False):
        say(console, line.replace("␣", " "))


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    caption: str | None = None,
    right: int | None = None,
    bold: str = "",
    cut: bool = False,
) -> Table:
    """A table for the terminal; what strangers wrote in it is shown, never interpreted.

    Args:
        right: index of the first column that is aligned to the right, as all after it are.
        bold: a mark; cells that begin with it are bold.
        cut: every row takes one line; what has no room there ends with an ellipsis.
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
        cells = [
            Text(plain(c), style="bold" if bold and c.startswith(bold) else "", no_wrap=cut or None)
            for c in row
        ]
        if cut:
            cells[-1].overflow = "ellipsis"
        made.add_row(*cells)
    return made


def strict_json(value: Any) -> str:
    """Plain data, dataclasses and models as JSON; numbers that are not finite are strings."""
    from pydantic_core import to_json

    data = json.loads(to_json(value, inf_nan_mode="strings"))
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"
