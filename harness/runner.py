"""One invocation: plan the cells, measure them in order, journal each, go on after a fault."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness
from harness import workloads
from harness.discovery import Implementation
from harness.experiments import EXPERIMENTS
from harness.experiments.context import Context, Unit, worker_for
from harness.implementation import Metadata
from harness.machine import Machine, describe, stability_warnings
from harness.profiles import Filters, Profile, narrow
from harness.records import ImplementationInfo, Record, RunInfo
from harness.remote import Pool
from harness.results import RunWriter, cell_key, new_run_id, read_run

_VARIABLES = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "CUDA_VISIBLE_DEVICES",
    "MALLOC_ARENA_MAX", "LD_PRELOAD", "TORCH_NUM_THREADS",
)  # fmt: skip


class NothingToRun(ValueError):
    """The selection leaves no cell that could be measured; the message says why."""


@dataclass
class Progress:
    """What the runner tells its caller; the defaults say nothing."""

    folder: Callable[[Path], None] = lambda folder: None
    started: Callable[[Sequence[Unit], int], None] = lambda units, done: None
    unit: Callable[[Unit], None] = lambda unit: None
    finished: Callable[[Unit, Sequence[Record]], None] = lambda unit, records: None
    note: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Request:
    """What to run.

    Attributes:
        implementations: those selected, available or not.
        profile: the grid, before filters.
        filters: what the command line asked for.
        seed: of every workload.
        results: folder under which ``<machine>/<run>`` is made.
        machine: name of the machine's folder; by default derived from its processor.
        baseline: implementation that speeds are ratios to.
        command: the command line, for the record.
        resume: a run's folder to go on with.
    """

    implementations: Sequence[Implementation]
    profile: Profile
    filters: Filters = field(default_factory=Filters)
    seed: int = 0
    results: Path = Path("results")
    machine: str | None = None
    baseline: str = "max_shift"
    command: Sequence[str] = ()
    resume: Path | None = None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(harness.__file__).parent), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def git_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout that the harness runs from, and whether it has changes."""
    commit = _git("rev-parse", "HEAD")
    status = _git(
        "status", "--porcelain", "--untracked-files=no", "--", "harness", "implementations"
    )
    return commit, None if commit is None or status is None else bool(status)


def _compiled(metadata: Metadata) -> list[dict[str, Any]]:
    """What compiling the device code for each target comes to, where no device can run it."""
    from harness.nvrtc import ARCHITECTURES, NvrtcUnavailable, compile_for

    sources = [f.read_text(encoding="utf-8") for f in metadata.files if f.suffix == ".cu"]

    def one(arch: str) -> dict[str, Any]:
        results = [compile_for(source, arch) for source in sources]
        return {
            "arch": arch,
            "ok": all(r.ok for r in results),
            "nvrtc_version": results[0].nvrtc_version,
            "kernels": sum(len(r.kernels) for r in results),
            "registers": max((k.registers for r in results for k in r.kernels), default=0),
            "spill_bytes": max((k.spill_bytes for r in results for k in r.kernels), default=0),
            "log": "" if all(r.ok for r in results) else results[0].log[:2000],
        }

    if not sources:
        return []
    try:
        with ThreadPoolExecutor() as threads:
            return list(threads.map(one, ARCHITECTURES))
    except NvrtcUnavailable as e:
        return [{"arch": ", ".join(ARCHITECTURES), "ok": False, "log": f"not compiled: {e}"}]


def describe_implementation(implementation: Implementation) -> ImplementationInfo:
    """What a run stores of an implementation, before anything is measured."""
    meta = implementation.metadata
    reason = implementation.unavailable_reason
    compiled = _compiled(meta) if reason is not None and meta.device == "cuda" else []
    return ImplementationInfo(
        name=meta.name,
        description=meta.description,
        documentation=meta.documentation,
        backend=meta.backend,
        device=meta.device,
        dtypes=list(meta.dtypes or ()),
        operations=list(meta.operations),
        operations_with_out=list(meta.operations_with_out),
        requires=list(meta.requires),
        source=meta.source,
        formula=meta.formula,
        bound=meta.bound,
        passes=meta.passes,
        threads=meta.threads,
        deviations=[{"id": d.id, "reason": d.reason} for d in meta.deviations],
        available=reason is None,
        unavailable_reason=reason,
        compiled=compiled,
        sha256=meta.sha256(),
    )


def _described(used: set[str]) -> dict[str, str]:
    """What each workload is; cases and claims describe themselves."""
    families = {w: workloads.FAMILIES.get(w.partition("(")[0]) for w in sorted(used)}
    return {w: family.description for w, family in families.items() if family is not None}


def _new_run(request: Request, machine: Machine, planned: int, used: set[str]) -> RunInfo:
    commit, dirty = git_state()
    return RunInfo(
        id=new_run_id(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(request.command),
        profile=request.profile.name,
        filters={k: v for k, v in vars(request.filters).items() if v},
        seed=request.seed,
        baseline=request.baseline,
        workload_version=workloads.VERSION,
        harness_version=harness.__version__,
        git_commit=commit,
        git_dirty=dirty,
        machine=machine.model_dump(),
        versions=machine.versions,
        environment={v: os.environ[v] for v in _VARIABLES if v in os.environ},
        implementations=[describe_implementation(i) for i in request.implementations],
        planned_cells=planned,
        warnings=list(stability_warnings(machine)),
        workloads=_described(used),
    )


def plan(context: Context) -> list[Unit]:
    """All units of a run, in the order in which they will be measured."""
    units: list[Unit] = []
    for name in context.profile.experiments:
        units.extend(EXPERIMENTS[name](context))
    return units


def run(request: Request, progress: Progress | None = None) -> Path:
    """Measure everything that was asked for; the run's folder.

    What cannot be measured becomes a record with its reason. An interrupt leaves a run that
    `resume` continues.

    Raises:
        NothingToRun: no cell could be measured.
        ResultsError: the folder cannot be written.
        KeyboardInterrupt: passed on, after the records so far have been kept.
    """
    progress = progress or Progress()
    machine = describe(request.machine)
    profile = narrow(request.profile, request.filters)
    with Pool() as pool:
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
                pool.add(worker_for(implementation))
        units = plan(context)
        _refuse_empty(context, units)
        done: set[str] = set()
        if request.resume is not None:
            before = read_run(request.resume)
            folder, info = request.resume, before.info
            done = {cell_key(r) for r in before.records}
        else:
            used = {c.workload for u in units for c in u.coordinates if c.workload}
            info = _new_run(request, machine, sum(len(u.coordinates) for u in units), used)
            folder = request.results / machine.slug / info.id
        with RunWriter(folder, info, resume=request.resume is not None) as writer:
            progress.folder(folder)
            pool.start()
            _measure(units, done, writer, progress)
            errors = {i.name: context.exp_errors_of(i) for i in request.implementations}
            writer.update(
                implementations=[
                    info.model_copy(
                        update={
                            "exp_error_u": {f: e.error_u for f, e in errors[info.name].items()},
                            "exp_error_points": {f: e.points for f, e in errors[info.name].items()},
                        }
                    )
                    for info in writer.info.implementations
                ]
            )
            writer.finish()
    return folder


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


def _measure(units: list[Unit], done: set[str], writer: RunWriter, progress: Progress) -> None:
    left = [u for u in units if not done.issuperset(u.keys)]
    progress.started(left, len(units) - len(left))
    for unit in left:
        progress.unit(unit)
        records: list[Record] = []
        started = time.perf_counter()
        try:
            for record in unit.measure():
                records.append(record)
                writer.append(record)
        except workloads.WorkloadUnavailable as e:
            _give_up(unit, records, writer, "unavailable", str(e))
        except MemoryError:
            _give_up(unit, records, writer, "out_of_memory", "the harness ran out of memory")
        except OSError:
            raise
        except Exception as e:  # a defect of the harness loses this unit, never the run
            if "--debug" in sys.argv:
                raise
            elapsed = time.perf_counter() - started
            reason = f"harness: {type(e).__name__}: {e} (after {elapsed:.1f} s; see --debug)"
            progress.note(f"{unit.label}: {reason}")
            _give_up(unit, records, writer, "error", reason[:500])
        progress.finished(unit, records)


def _give_up(
    unit: Unit, records: list[Record], writer: RunWriter, status: Any, reason: str
) -> None:
    """Write a row with the reason for every cell of the unit that has none yet."""
    written = {cell_key(r) for r in records}
    for record in unit.coordinates:
        if cell_key(record) not in written:
            failed = record.ended(status, reason)
            records.append(failed)
            writer.append(failed)
