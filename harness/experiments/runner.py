"""Runs one invocation: plans cells, measures them in order, stores each, goes on after a fault."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.experiments.context import Context, Unit, ended_by, worker_for
from harness.experiments.plans import plan
from harness.experiments.profiles import narrow
from harness.experiments.run_info import Request, describe_run, refuse_other_conditions
from harness.experiments.side_by_side import SideBySide, measured
from harness.experiments.signals import interruptible
from harness.experiments.throughput.interference import summarise
from harness.machine.description import describe
from harness.records import Record, RunInfo, Status
from harness.records.reader import (
    ResultsError,
    Run,
    RunWriter,
    cell_key,
    read_run,
    resume_command,
)
from harness.worker.client import Pool, WorkerFault
from harness.worker.isolation.subprocesses import allow_open_files

if TYPE_CHECKING:
    from harness.experiments.scheduled.crew import Crew

__all__ = ["NothingToRun", "Progress", "Request", "plan", "run"]


SCHEDULED = ("accuracy", "overflow", "conformance", "exhaustive", "worst_case")
"""Experiments that a scheduler's workers can measure: they judge, and time nothing."""


class NothingToRun(UserError):
    """The selection leaves no cell that could be measured; the message says why."""


@dataclass
class Progress:
    """What the runner tells its caller; the defaults say nothing."""

    folder: Callable[[Path], None] = lambda folder: None
    started: Callable[[Sequence[Unit], int], None] = lambda units, done: None
    unit: Callable[[Unit], None] = lambda unit: None
    finished: Callable[[Unit, Sequence[Record]], None] = lambda unit, records: None
    note: Callable[[str], None] = lambda text: None


def run(request: Request, progress: Progress | None = None) -> Run:
    """Measure everything that was asked for; the finished run, as it was written.

    What cannot be measured becomes a record with its reason. An interrupt leaves a run that
    `resume` continues.

    Raises:
        NothingToRun: no cell could be measured.
        TooFewFiles: the system allows fewer open files than the workers take.
        ResultsError: the folder cannot be written.
        KeyboardInterrupt: passed on, after the records so far have been kept.
    """
    progress = progress or Progress()
    allow_open_files(len(request.implementations))
    machine = describe(request.machine)
    profile = narrow(request.profile, request.filters)
    with Pool() as pool, interruptible(pool.kill):
        context = Context(
            implementations=request.implementations,
            pool=pool,
            profile=profile,
            seed=request.seed,
            cores=machine.logical_cores,
            last_level_cache=machine.last_level_cache_bytes,
            l2_cache=machine.l2.bytes if machine.l2 is not None else None,
            logits=request.filters.logits,
            baseline=request.baseline,
            on_note=progress.note,
        )
        for implementation in request.implementations:
            if context.unavailable(implementation) is None:
                worker = worker_for(implementation)
                worker.patience_s = profile.patience_s
                pool.add(worker)
        units = plan(context) if request.plan is None else list(request.plan(context))
        _refuse_empty(context, units)
        _refuse_timed(request, units)
        before = request.resume
        if isinstance(before, Path):
            before = read_run(before)
        if before is not None:
            refuse_other_conditions(before.info, machine, before.path)
            folder, info = before.path, before.info
        else:
            info = describe_run(machine, request, units)
            folder = request.results / machine.slug / info.id
        kept = None if before is None else before.records
        with (
            _crew(request, info, context, units) as crew,
            RunWriter(folder, info, resume=kept, records=context.records) as writer,
        ):
            progress.folder(folder)
            if request.ready and crew is None:
                with context.spending("start of the processes"):
                    pool.start()
            _measure(units, set(writer.records), writer, progress, context, crew)
            _once_more(context, writer, progress)
            _note_conditions(context, writer, progress)
            writer.update(seconds={k: round(s, 2) for k, s in context.seconds.items()})
            writer.finish([key for unit in units for key in unit.keys])
            problems = [] if before is None else before.problems
            if writer.torn:
                problems = problems[:-1]  # that of the line that is gone
            return Run(folder, writer.info, list(writer.records.values()), problems)


def _note_exp_errors(context: Context, writer: RunWriter) -> None:
    """Keep what is known of exponentials in run.json, as soon as it is: a kill must not lose it."""
    errors = {i.name: context.exp_errors_of(i) for i in context.implementations}
    infos = []
    for info in writer.info.implementations:
        found = errors.get(info.name, {})
        largest = info.exp_error_u | {f: e.error_u for f, e in found.items()}
        points = info.exp_error_points | {f: e.points for f, e in found.items()}
        infos.append(info.model_copy(update={"exp_error_u": largest, "exp_error_points": points}))
    if infos != writer.info.implementations:
        writer.update(implementations=infos)


def _note_conditions(context: Context, writer: RunWriter, progress: Progress) -> None:
    """Say at the end what made timings doubtful: cause, in how many groups, next action.

    And what implementations keep between calls, which is no fault.
    """
    known = set(writer.info.warnings)
    workers = [context.pool[i.name] for i in context.implementations if i.name in context.pool]
    lines = [f"{w.name} keeps {w.keeps} between calls" for w in workers if w.keeps]
    lines += summarise(list(writer.records.values()))
    _warn([line for line in lines if line not in known], writer, progress)


def _warn(lines: Sequence[str], writer: RunWriter, progress: Progress) -> None:
    """Tell of what makes numbers doubtful, now and in run.json."""
    if lines:
        writer.update(warnings=[*writer.info.warnings, *lines])
    for line in lines:
        progress.note(line)


def _note_cores(before: int, writer: RunWriter, progress: Progress) -> None:
    """A machine that has other processors than when the run began is said to, once."""
    cores = len(os.sched_getaffinity(0))
    if cores == before:
        return
    text = (
        f"usable processors changed during the run, from {before} to {cores}: timings are "
        f"not comparable with each other; run again on a machine that stays as it is"
    )
    if not any(w.startswith("usable processors changed") for w in writer.info.warnings):
        _warn([text], writer, progress)


def _refuse_timed(request: Request, units: Sequence[Unit]) -> None:
    """Times of several machines, or of one that others use, cannot be set beside each other."""
    timed = {u.experiment for u in units if u.experiment not in SCHEDULED}
    if request.scheduling is not None and timed:
        raise NothingToRun(
            f"--scheduler: {', '.join(sorted(timed))} would be timed beside other work, and on "
            f"other machines; give --experiment {','.join(SCHEDULED)}, or leave --scheduler out"
        )


def _refuse_empty(context: Context, units: list[Unit]) -> None:
    if not units:
        raise NothingToRun(
            "the selection leaves nothing to measure; widen --experiment, --dtype, --operation "
            "or --implementation"
        )
    reasons = {i.name: context.unavailable(i) for i in context.implementations}
    if all(reasons.values()):
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise NothingToRun(f"none of the implementations selected is available here ({why})")


def _start(units: Iterable[Unit]) -> None:
    """Let begin what runs beside others, up to the first unit that times something."""
    for unit in takewhile(lambda u: not u.timed, units):
        with contextlib.suppress(Exception):  # told where it is measured
            unit.start()


def _crew(
    request: Request, info: RunInfo, context: Context, units: Sequence[Unit]
) -> AbstractContextManager[Crew | None]:
    """The workers of the scheduler that was asked for, if one was."""
    if request.scheduling is None:
        return contextlib.nullcontext()
    from harness.experiments.scheduled.crew import Crew
    from harness.experiments.scheduled.units import campaign_of

    campaign = campaign_of(info.id, context, request.filters, units)
    packages = [p for p in info.versions if p != "softmax-bench"]
    return Crew(request.scheduling, campaign, packages, context.on_note, dict(info.hosts))


@contextlib.contextmanager
def _source(
    crew: Crew | None, context: Context, writer: RunWriter, units: list[Unit], left: list[Unit]
) -> Iterator[Iterator[tuple[Unit, Iterator[Record]]]]:
    """Each unit that is left with its records, measured here or by the workers of a scheduler."""
    if crew is None:
        _start(left)
        with SideBySide() as side_by_side:
            yield measured(side_by_side, left)
        return
    from harness.experiments.scheduled.crew import SchedulerError
    from harness.experiments.scheduled.units import scheduled

    try:
        with contextlib.closing(scheduled(crew, context, units, left)) as found:
            yield _hosts_kept(found, crew.hosts, writer)
    except SchedulerError as e:
        command = resume_command(writer.info, writer.folder)
        then = "" if command is None else f", go on with: {command}"
        raise SchedulerError(f"{e}; what was measured is kept{then}") from None


def _hosts_kept(
    source: Iterator[tuple[Unit, Iterator[Record]]], hosts: dict[str, Any], writer: RunWriter
) -> Iterator[tuple[Unit, Iterator[Record]]]:
    """The same, once run.json knows the machines that records will name."""
    for unit, records in source:
        if hosts != writer.info.hosts:
            writer.update(hosts=dict(hosts))
        yield unit, records


def _measure(
    units: list[Unit], done: set[str], writer: RunWriter, progress: Progress, context: Context,
    crew: Crew | None,
) -> None:  # fmt: skip
    left = [u for u in units if u.concluding or u.coordinates]
    left = [u for u in left if not u.coordinates or not done or not done.issuperset(u.keys)]
    cores = len(os.sched_getaffinity(0))
    progress.started(left, len(units) - len(left))
    with _source(crew, context, writer, units, left) as source:
        for unit, found in source:
            progress.unit(unit)
            records: list[Record] = []
            started = time.perf_counter()
            status: Status = "error"
            reason = "harness: the experiment gave no record of it"
            try:
                with context.spending(unit.experiment):
                    for record in found:
                        records.append(record)
                        writer.append(record)
            except ResultsError:  # there is no place for records any more
                raise
            except Exception as e:  # a defect of the harness loses this unit, never the run
                if "--debug" in sys.argv:
                    raise
                status, reason = ended_by(e)
                if status == "error":
                    elapsed = time.perf_counter() - started
                    reason += f" (after {elapsed:.1f} s; see --debug)"
                    progress.note(f"{unit.label}: {reason}")
            _give_up(unit, records, writer, status, reason)
            _note_exp_errors(context, writer)
            _note_cores(cores, writer, progress)
            progress.finished(unit, records)


def _once_more(context: Context, writer: RunWriter, progress: Progress) -> None:
    """Take up what stayed open, in another moment, for as long as the profile has time for it.

    A record that knows more takes the place of the one before; whatever goes wrong leaves that.
    """
    ends = time.monotonic() + context.profile.again_s
    with context.spending("timings once more"), contextlib.suppress(WorkerFault, MemoryError):
        for seconds, measure in reversed(context.open):  # the last have the processes they need
            if time.monotonic() + seconds < ends:
                for record in measure():
                    writer.append(record)


def _give_up(
    unit: Unit, records: list[Record], writer: RunWriter, status: Status, reason: str
) -> None:
    """Write a row with the reason for every cell of the unit that has none yet."""
    written = {cell_key(r) for r in records}
    for record in unit.coordinates:
        if cell_key(record) not in written:
            failed = record.ended(status, reason)
            records.append(failed)
            writer.append(failed)
