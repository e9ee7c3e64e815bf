"""Exit codes of all commands, and one line for each error that the user can mend."""

from __future__ import annotations

import io
import resource
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import TOO_MANY_FILES, UserError

if TYPE_CHECKING:
    from harness.comparison import Comparison
    from harness.records.reader import Run


class Exit(IntEnum):
    """Exit codes, the same for every command (README.md)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOTHING = 3
    INCONCLUSIVE = 4
    INTERRUPTED = 130


OF_CHECK = {"pass": Exit.DONE, "fail": Exit.FAILED, "nothing": Exit.NOTHING}


def of_comparison(found: Comparison, *, strict: bool) -> Exit:
    """Failed if anything is worse; if `strict`, inconclusive if a cell is, or a side lacks one."""
    if found.verdict == "nothing":
        return Exit.NOTHING
    if found.verdict == "worse":
        return Exit.FAILED
    unclear = found.counts["inconclusive"] or found.missing
    return Exit.INCONCLUSIVE if strict and unclear else Exit.DONE


def of_run(run: Run) -> Exit:
    """Done where something was judged, and without a fault; failed with one; else nothing."""
    states = {r.status for r in run.records}
    if states - {"ok", "unsupported", "unavailable", "skipped"}:
        return Exit.FAILED
    return Exit.DONE if "ok" in states else Exit.NOTHING


@contextmanager
def one_line_errors(
    debug: bool = False, *, command: str = "", begun: Sequence[Path] = ()
) -> Iterator[None]:
    """Turn the errors that users can mend into one line and an exit code.

    Args:
        debug: let them pass, with their traceback.
        command: the name of the one that goes on with a run after an interrupt.
        begun: folders of runs, put there when one begins that is kept.
    """
    import typer  # which the GPU command does without

    try:
        yield
    except (UserError, OSError) as e:
        if debug:
            raise
        say(_told(e) if isinstance(e, OSError) else str(e))
        raise typer.Exit(_code(e)) from None
    except KeyboardInterrupt:
        told = "interrupted"
        if begun:
            again = f"softmax-bench {command} --resume {shlex.quote(str(begun[-1]))}"
            told += f"; what was measured is kept, go on with: {again}"
        say(told)
        raise typer.Exit(Exit.INTERRUPTED) from None


def say(text: str) -> None:
    """One line on standard error."""
    from harness.text import one_line

    print(f"softmax-bench: {one_line(text, 4000)}", file=sys.stderr)


def _told(error: OSError) -> str:
    """What the system says, without its number, and what to do about it."""
    what = error.strerror or str(error)
    if error.errno in TOO_MANY_FILES:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return (
            f"{what}, with a limit of {limit}; raise it with ulimit -n {max(1024, 2 * limit)}, in "
            f"a new shell if this one refuses"
        )
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{what}; mend that, or give another path"


def _code(error: Exception) -> Exit:
    from harness.experiments.runner import NothingToRun

    return Exit.NOTHING if isinstance(error, NothingToRun) else Exit.USAGE


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
    """From now on, nothing that is printed raises an error.

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
    """The exit code of a program that ends now: `USAGE` for `DONE` if its output was not written.

    The reason is printed; output that a reader like ``head`` did not want is no such case.
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
    return code or Exit.USAGE
