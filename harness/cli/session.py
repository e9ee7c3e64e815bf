"""Shared by commands that write a run: select, resume, measure, report."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.experiments.context import Context, Unit
    from harness.experiments.profiles import Filters
    from harness.experiments.runner import Progress, Request
    from harness.experiments.scheduled.campaign import Scheduling
    from harness.records import RunInfo
    from harness.records.reader import Run
    from harness.registry.discovery import Implementation

Plan = Callable[["Context"], Iterable["Unit"]]


def select(
    names: Sequence[str], experiments: Sequence[str] = (), operations: Sequence[str] = ()
) -> list[Implementation]:
    """The implementations named, each once; all that are built in or installed for none.

    Of all, those that offer but optional operations take part where these are asked for, and
    those that say so only where they are named.

    Raises:
        ImplementationError: there is none of a name, or two files of one.
    """
    from harness.registry.contract import OPERATIONS, OPTIONAL, ImplementationError
    from harness.registry.discovery import implementations, load

    if not names:
        asked = {*operations} or {*OPERATIONS}.difference(
            () if "attention" in experiments else OPTIONAL
        )
        return [
            i for i in implementations().values()
            if not i.metadata.by_name
            and (not i.operations or asked.intersection(i.operations))
        ]  # fmt: skip
    chosen = {one.metadata.path.resolve(): one for one in map(load, names)}
    by_name: dict[str, Implementation] = {}
    for one in chosen.values():
        other = by_name.setdefault(one.name, one)
        if other is not one:
            paths = f"{other.metadata.path} and {one.metadata.path}"
            raise ImplementationError(
                f"two implementations are named {one.name!r}: {paths}; rename one file"
            )
    return list(by_name.values())


def interrupted(folder: Path, kind: str) -> tuple[Run, list[Implementation]]:
    """An interrupted run, and its implementations, unchanged since.

    Args:
        folder: of the run.
        kind: the command that goes on with it.

    Raises:
        ResultsError: finished, of another command, or an implementation is gone or has changed.
    """
    from harness.records.reader import ResultsError, read_run, resume_command
    from harness.registry.contract import ImplementationError

    run = read_run(folder)
    info = run.info
    if info.finished is not None:
        raise ResultsError(f"{folder}: the run is finished, and finished runs are never changed")
    how = resume_command(info, folder)
    if how is None:
        raise ResultsError(
            f"{folder}: a run of this kind is not gone on with; begin it anew with: "
            f"{shlex.join(info.command)}"
        )
    if how.split()[1] != kind:
        raise ResultsError(f"{folder}: not a run of this command; use {how}")
    try:
        chosen = select(
            [
                i.name if i.file is None else given(i.file, info, folder)
                for i in info.implementations
            ]
        )
    except ImplementationError as e:
        raise ResultsError(
            f"{folder}: an implementation that the run began with cannot be read, put it back as "
            f"it was, or start a new run: {e}"
        ) from None
    before = {i.name: i.sha256 for i in info.implementations}
    for one in chosen:
        if one.metadata.sha256() != before.get(one.name):
            raise ResultsError(
                f"{folder}: {one.name} has changed since the run began; start a new run"
            )
    return run, chosen


def given(path: str, info: RunInfo, folder: Path) -> str:
    """Where a path that was given to a run's command is now, whatever the current folder.

    Args:
        path: as it was given; of captured logits with the name of an array behind ``::``.
        info: of the run.
        folder: of the run. If that has been moved, the path is tried from the current folder.
    """
    if info.working_directory is None:
        return path
    began = os.path.normpath(os.path.join(os.path.realpath(folder), info.working_directory))
    there = os.path.join(began, path)
    exists = [os.path.exists(p) or os.path.exists(p.partition("::")[0]) for p in (there, path)]
    return path if exists == [False, True] else there


def asked(info: RunInfo) -> dict[str, Any]:
    """What the command line of a run asked for; lists, as JSON has them, become tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in info.filters.items()}


def request_for(
    kind: str, implementations: Sequence[Implementation], filters: Filters, plan: Plan,
    *, seed: int, results: Path, machine: str | None, resume: Run | None = None,
    scheduling: Scheduling | None = None,
) -> Request:  # fmt: skip
    """A run of `plan` alone, its profile named after the command."""
    from harness.experiments.profiles import PROFILES
    from harness.experiments.runner import Request

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
        scheduling=scheduling,
    )


def measure(request: Request, progress: Progress, *, keep: bool = True) -> Run:
    """The finished run; kept in the results, or in a folder that is thrown away."""
    from harness.experiments.runner import run
    from harness.records.reader import temporary_results

    if keep:
        return run(request, progress)
    with temporary_results() as folder:
        return run(replace(request, results=folder), progress)


def say_where(run: Run, reports: Path | None) -> None:
    """Say where a run is kept and how to see its table again, and render its report.

    Args:
        run: finished.
        reports: where the report goes; None for no report.
    """
    print(f"results: {run.path}")
    print(f"table: softmax-bench show {shlex.quote(str(run.path))}")
    if reports is not None:
        from harness.report import build_site

        index = build_site([run], reports / run.machine / run.info.id)
        print(f"report: {index}")
