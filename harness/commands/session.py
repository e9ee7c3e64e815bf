"""What commands that write a run have in common: measure, say where it is, render its report."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from harness.discovery import Implementation
    from harness.experiments.context import Context, Unit
    from harness.profiles import Filters
    from harness.results import Run
    from harness.runner import Progress, Request

Plan = Callable[["Context"], Iterable["Unit"]]


@contextmanager
def one_line_errors(hint: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Errors that users can mend become one line and the exit code of `harness.cli`.

    Args:
        hint: what to say of an interrupted run.
    """
    from harness.exhaustive import CheckpointError
    from harness.implementation import ImplementationError
    from harness.results import ResultsError
    from harness.runner import NothingToRun
    from harness.worst_case import CorpusError

    def stop(code: int, text: str) -> typer.Exit:
        from harness.plain_text import one_line

        typer.echo(f"softmax-bench: {one_line(text, 4000)}", err=True)
        return typer.Exit(code)

    try:
        yield
    except NothingToRun as e:
        raise stop(3, str(e)) from None
    except (ImplementationError, ResultsError, CheckpointError, CorpusError, OSError) as e:
        raise stop(2, str(e)) from None
    except KeyboardInterrupt:
        raise stop(130, f"interrupted{hint()}") from None


def select(names: Sequence[str]) -> list[Implementation]:
    """The implementations named, each once.

    Raises:
        ImplementationError: there is none of a name, or two files of one.
    """
    from harness.discovery import load
    from harness.implementation import ImplementationError

    chosen = {one.metadata.path.resolve(): one for one in map(load, names)}
    by_name: dict[str, Implementation] = {}
    for one in chosen.values():
        other = by_name.setdefault(one.name, one)
        if other is not one:
            paths = f"{other.metadata.path} and {one.metadata.path}"
            raise ImplementationError(f"two implementations are named {one.name!r}: {paths}")
    return list(by_name.values())


def request_for(
    kind: str, implementations: Sequence[Implementation], filters: Filters, plan: Plan,
    *, seed: int, results: Path, machine: str | None, resume: Path | None = None,
) -> Request:  # fmt: skip
    """A run of `plan` alone, its profile named after the command."""
    from harness.profiles import PROFILES
    from harness.runner import Request

    return Request(
        implementations=implementations,
        profile=replace(PROFILES["full"], name=kind, experiments=()),
        filters=filters,
        seed=seed,
        results=results,
        machine=machine,
        command=["softmax-bench", *sys.argv[1:]],
        resume=resume,
        plan=plan,
    )


def measure(request: Request, progress: Progress, *, keep: bool, reports: Path | None) -> Run:
    """The finished run; kept in the results, or thrown away once it was read.

    Args:
        reports: where the report goes; None for no report.
    """
    from harness.results import read_run
    from harness.runner import run

    if not keep:
        with tempfile.TemporaryDirectory(prefix="softmax-bench-") as folder:
            return read_run(run(replace(request, results=Path(folder)), progress))
    finished = read_run(run(request, progress))
    typer.echo(f"results: {finished.path}")
    if reports is not None:
        from harness.report import build

        index = build([finished.path], reports / finished.machine / finished.info.id)
        typer.echo(f"report: {index}")
    return finished


def exit_code(run: Run) -> int:
    """0 where something was judged, and without a fault; 1 with one; 3 for nothing."""
    states = {r.status for r in run.records}
    if states - {"ok", "unsupported", "unavailable", "skipped"}:
        return 1
    return 0 if "ok" in states else 3
