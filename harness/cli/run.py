"""``softmax-bench run``: measure what is available; write a run and its report."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options, session
from harness.cli.exits import Exit, one_line_errors, say

if TYPE_CHECKING:
    from harness.experiments.profiles import Filters
    from harness.experiments.runner import Request
    from harness.records import RunInfo


_LARGE = 1 << 30
"""Bytes of logits from which it is said that they are read."""


class ProfileName(StrEnum):
    smoke = "smoke"
    quick = "quick"
    full = "full"


class ThreadsName(StrEnum):
    one = "one"
    all = "all"


def run(
    profile: Annotated[
        ProfileName, typer.Option(help="How much: smoke, quick (minutes) or full.")
    ] = ProfileName.quick,
    implementation: options.Implementations = None,
    operation: Annotated[list[str] | None, typer.Option(help="Repeat for several.")] = None,
    dtype: options.Dtypes = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(help="Class count, as a number or a name (see list classes)."),
    ] = None,
    workload: Annotated[
        list[str] | None, typer.Option(help="Such as 'normal(scale=10)' (see list workloads).")
    ] = None,
    experiment: Annotated[
        list[str] | None,
        typer.Option(help="Such as accuracy,overflow,throughput,conformance; or repeat."),
    ] = None,
    threads: Annotated[
        list[ThreadsName] | None, typer.Option(help="Thread counts of the timings.")
    ] = None,
    regime: Annotated[
        list[str] | None,
        typer.Option(help="Of the timings: latency, cached, streaming, launches, graph; repeat."),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes of each implementation that share its timings: 1, or 4 and more to "
            "tell differences of a few percent.",
        ),
    ] = 1,
    precision: Annotated[
        float | None,
        typer.Option(help="Percent to which ratios are to be known (quick 5, full 2)."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=600.0, help="That the visits to an implementation may take, on average."
        ),
    ] = None,
    logits: Annotated[
        list[str] | None,
        typer.Option(
            help="Logits of your model, last axis classes: FILE[::NAME], .npy, .npz, .safetensors, "
            "Parquet or Arrow, of any size; repeat for several."
        ),
    ] = None,
    baseline: Annotated[str, typer.Option(help="Speeds are ratios to it.")] = "max_shift",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the workloads.")] = 0,
    scheduler: options.Scheduler = None,
    other_workers: options.OtherWorkers = options.Others.refuse,
    results: options.Results = options.RESULTS,
    reports: options.Reports = options.REPORTS,
    machine: options.Machine = None,
    resume: options.Resume = None,
    report: options.Render = True,
    timings: Annotated[
        bool, typer.Option("--timings", help="Say at the end where the time of the run went.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Measure what is available; write a run and its report. Exit 3 if nothing was measured."""
    from harness.cli import progress as terminal
    from harness.cli.summary import summary, where_the_time_went
    from harness.experiments.profiles import PROFILES, Filters
    from harness.experiments.runner import Request

    begun: list[Path] = []
    experiment = [name for given in experiment or () for name in given.split(",")]

    with one_line_errors(debug, command="run", begun=begun):
        where = options.scheduling(scheduler, other_workers)
        if resume is not None:
            request = replace(_resumed(resume), scheduling=where)
        else:
            request = Request(
                implementations=session.select(
                    implementation or (), experiment or (), operation or ()
                ),
                profile=PROFILES[profile.value],
                filters=_filters(
                    classes or (), workload or (), precision,
                    Filters(
                        operations=tuple(operation or ()), dtypes=tuple(dtype or ()),
                        experiments=tuple(experiment or ()), logits=tuple(logits or ()),
                        processes=processes,
                        threads=tuple(t.value for t in threads or ()), seconds=seconds,
                        regimes=tuple(regime or ()),
                    ),
                ),
                seed=seed,
                results=results,
                machine=machine,
                baseline=baseline,
                command=["softmax-bench", *sys.argv[1:]],
                scheduling=where,
            )  # fmt: skip
        with terminal.progress() as progress:
            progress.folder = begun.append
            finished = session.measure(request, progress)
        summary(finished)
        began = time.perf_counter()
        session.say_where(finished, reports if report else None)
        if timings:
            where_the_time_went(finished, time.perf_counter() - began)
    if finished.nothing_measured is not None:
        say(finished.nothing_measured)
        raise typer.Exit(Exit.NOTHING)


def _filters(
    classes: Sequence[str], workload_ids: Sequence[str], precision: float | None, asked: Filters
) -> Filters:
    """What a run is narrowed to; what an option cannot be is a usage error."""
    from harness import workloads
    from harness.experiments.profiles import FULL
    from harness.numerics.formats import FORMATS
    from harness.numerics.statistics import LEAST_PROCESSES
    from harness.records import EXPERIMENTS
    from harness.registry.contract import OPERATIONS

    if 1 < asked.processes < LEAST_PROCESSES:
        raise typer.BadParameter(
            f"--processes: expected 1, or at least {LEAST_PROCESSES}, since fewer say too little "
            f"of how processes differ; got {asked.processes}"
        )
    if precision is not None and not 0.1 <= precision <= 100.0:
        raise typer.BadParameter(f"--precision: expected 0.1 to 100 (percent); got {precision:g}")
    if asked.logits and asked.experiments and "accuracy" not in asked.experiments:
        raise typer.BadParameter(
            "--logits: captured logits are judged by the experiment accuracy alone; add "
            "--experiment accuracy, or drop --logits"
        )
    options.refuse_unknown("--operation", asked.operations, OPERATIONS)
    options.refuse_unknown("--dtype", asked.dtypes, FORMATS)
    options.refuse_unknown("--experiment", asked.experiments, EXPERIMENTS)
    options.refuse_unknown(
        "--regime",
        asked.regimes,
        {**dict.fromkeys(FULL.timing), **dict.fromkeys(FULL.device_timing)},
    )
    try:
        counts = tuple(workloads.parse_class_count(c) for c in classes)
        ids = tuple(workloads.parse(w).id for w in workload_ids)
        sources = tuple(dict.fromkeys(s for given in asked.logits for s in _sources(given)))
        for source in sources:
            workloads.make("file", params={"path": source})
    except workloads.LogitsError:
        raise
    except ValueError as e:
        raise typer.BadParameter(str(e)) from None
    fraction = None if precision is None else precision / 100.0
    return replace(asked, classes=counts, workloads=ids, precision=fraction, logits=sources)


def _sources(given: str) -> list[str]:
    """The arrays of a file of logits; what is left out of it, and what takes a while, is said."""
    from harness import workloads

    found, left_out = workloads.sources_in(given)
    for reason in left_out:
        say(f"not judged: {reason}")
    for source in found:
        with workloads.open_logits(source) as logits:
            size = logits.nbytes
        if size > _LARGE:
            say(f"{source}: {size / 1e9:.1f} GB are read once to see that all values are logits")
    return found


def _same_logits(path: str, info: RunInfo, folder: Path) -> str:
    """Where the captured logits of a run are now, unchanged since it began."""
    from harness import workloads
    from harness.records.reader import ResultsError

    there = session.given(path, info, folder)
    try:
        now = workloads.make("file", params={"path": there}).id
    except workloads.LogitsError as e:
        raise ResultsError(
            f"{folder}: the logits that the run began with cannot be read, put them back as they "
            f"were, or start a new run: {e}"
        ) from None
    before = [w for w in info.workloads if w.startswith("file(")]
    if before and now not in before:
        raise ResultsError(f"{folder}: {there} has changed since the run began; start a new run")
    return there


def _resumed(folder: Path) -> Request:
    """The request that a run was started with, from its own description."""
    from harness.experiments.profiles import PROFILES, Filters
    from harness.experiments.run_info import machine_name
    from harness.experiments.runner import Request
    from harness.records.reader import ResultsError

    before, chosen = session.interrupted(folder, "run")
    info = before.info
    if info.profile not in PROFILES:
        raise ResultsError(
            f"{folder}: expected a profile among {', '.join(PROFILES)}; got {info.profile!r}"
        )
    names = {f.name for f in fields(Filters)}
    asked = {k: v for k, v in session.asked(info).items() if k in names}
    given = asked.get("logits") or ()
    given = (given,) if isinstance(given, str) else given  # of a run before there could be several
    asked["logits"] = tuple(_same_logits(path, info, folder) for path in given)
    return Request(
        implementations=chosen,
        profile=PROFILES[info.profile],
        filters=Filters(**asked),
        seed=info.seed,
        machine=machine_name(info, folder),
        baseline=info.baseline or "max_shift",
        command=info.command,
        resume=before,
    )
