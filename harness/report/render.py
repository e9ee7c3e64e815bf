"""All pages of a site, made by several processes at once.

This process and helpers beside it go through the same list of parts, each making those that no
other has begun: who creates the part's file in a folder that they share makes the part, and
writes into that file what came of it. A part that a helper began and did not finish is made here
once more, so that whatever goes wrong is told here.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.report.drawing.figure import drawing
from harness.report.site import Download, Site, SitePart

MOST_PROCESSES = 4
PARTS_EACH = 10
"""With fewer parts for each, most are made before another process has started."""

_OBJECTS = 100_000  # that the collector of garbage waits for: about those of a figure
_SITE = "site"
_HELP = "import sys; from harness.report.render import help_with; help_with(sys.argv[1])"


def render(site: Site, processes: int | None = None) -> None:
    """Write all pages.

    Args:
        processes: this one and helpers; None for as many as the parts and the usable cores are
            enough for. The files are the same with any number.
    """
    parts = site.parts()
    if processes is None:
        usable = len(os.sched_getaffinity(0))
        processes = max(1, min(MOST_PROCESSES, usable, len(parts) // PARTS_EACH))
    with (
        _undisturbed(),
        TemporaryDirectory(prefix=f"{site.folder.name}-", dir=site.folder.parent) as folder,
    ):
        shared = Path(folder)
        with _helpers(site, shared, processes - 1) as helpers:
            mine = list(_make(site, shared))
            for helper in helpers if len(mine) < len(parts) else ():
                helper.wait()
        made: dict[SitePart, list[Download]] = {}
        for k, part in enumerate(parts):
            result = _result(shared / str(k))
            made[part] = site.make(part) if result is None else result
        site.finish(made)


def help_with(folder: str) -> None:
    """What a helper does: make parts until all are begun, or until its parent has ended."""
    shared = Path(folder)
    parent, *given = pickle.loads((shared / _SITE).read_bytes())
    with _undisturbed(), contextlib.suppress(Exception):  # the parent meets it too, and tells it
        for _ in _make(Site(*given), shared):
            if os.getppid() != parent:
                break


def _make(site: Site, shared: Path) -> Iterator[SitePart]:
    """Make the parts that no process has begun, one after the other."""
    for k, part in enumerate(site.parts()):
        result = shared / str(k)
        try:
            result.touch(exist_ok=False)
        except FileExistsError:
            continue
        result.write_bytes(pickle.dumps(site.make(part)))
        yield part


def _result(path: Path) -> list[Download] | None:
    """What came of a part, if it was finished."""
    try:
        return list(pickle.loads(path.read_bytes()))
    except (EOFError, pickle.UnpicklingError):
        return None


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """For drawing: its settings, and few collections of garbage, which leave out the records."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_OBJECTS, *thresholds[1:])
    try:
        with drawing():
            yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@contextlib.contextmanager
def _helpers(site: Site, shared: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Helpers, ended with the context; fewer where the system gives no more processes."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        if count > 0:
            given = (os.getpid(), site.folder, site.runs, site.styles, site.across)
            (shared / _SITE).write_bytes(pickle.dumps(given))
        with contextlib.suppress(OSError):
            for _ in range(count):
                started.append(_helper(shared))
        yield started
    finally:
        for helper in started:
            helper.kill()
            helper.wait()


def _helper(shared: Path) -> subprocess.Popen[bytes]:
    """A process with the same modules, which an interrupt from the terminal does not reach."""
    return subprocess.Popen(
        # -P: a file of the current folder must not stand in for a package
        [sys.executable, "-P", "-c", _HELP, str(shared)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, process_group=0,
    )  # fmt: skip
