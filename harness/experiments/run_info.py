"""Describes a run: what was asked for, and its provenance for `run.json`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import workloads
from harness.experiments.context import Context, Unit
from harness.experiments.profiles import Filters, Profile
from harness.experiments.scheduled.campaign import Scheduling
from harness.machine.description import SAFE_NAME, Machine, stability_warnings
from harness.records import ImplementationInfo, RunInfo
from harness.records.files import ResultsError, new_run_id
from harness.records.reader import Run
from harness.registry.contract import Metadata
from harness.registry.discovery import Implementation, implementations
from harness.version import VERSION
from harness.worker.client import ENVIRONMENT, INHERITED

PACKAGE = Path(__file__).parents[1]
"""The folder of `harness`."""


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
        resume: a run to go on with, or its folder.
        plan: what to measure in place of the profile's experiments.
        ready: start a worker for each implementation before anything is measured.
        scheduling: measure what does not time on the workers of a scheduler.
    """

    implementations: Sequence[Implementation]
    profile: Profile
    filters: Filters = field(default_factory=Filters)
    seed: int = 0
    results: Path = Path("results")
    machine: str | None = None
    baseline: str = "max_shift"
    command: Sequence[str] = ()
    resume: Run | Path | None = None
    plan: Callable[[Context], Iterable[Unit]] | None = None
    ready: bool = True
    scheduling: Scheduling | None = None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE), *arguments],
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
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None  # no checkout, or installed within that of somebody else
    commit = _git("rev-parse", "HEAD")
    # From the root, since git runs within harness/; a module that is not added yet counts too.
    status = _git("status", "--porcelain", "--", ":/harness", ":/implementations")
    return commit, None if commit is None or status is None else bool(status)


def _compiled(metadata: Metadata) -> list[dict[str, Any]]:
    """What compiling the device code for each target comes to, where no device can run it."""
    from harness.machine.nvrtc import ARCHITECTURES, NvrtcUnavailable, compile_for

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
    said = {**asdict(meta), "dtypes": meta.dtypes or ()}
    known = implementations().get(meta.name) is implementation
    return ImplementationInfo.model_validate(
        {
            **{f: said[f] for f in ImplementationInfo.model_fields if f in said},
            "description": meta.description,
            "available": reason is None,
            "unavailable_reason": reason,
            "compiled": compiled,
            "sha256": meta.sha256(),
            "file": None if known else str(meta.path),
        }
    )


def _described(used: set[str]) -> dict[str, str]:
    """What each workload is; cases and claims describe themselves."""
    families = {w: workloads.FAMILIES.get(w.partition("(")[0]) for w in sorted(used)}
    return {w: family.description for w, family in families.items() if family is not None}


def describe_run(machine: Machine, request: Request, units: Sequence[Unit]) -> RunInfo:
    """run.json of a run that begins now, and has these units."""
    commit, dirty = git_state()
    run_id = new_run_id()
    folder = os.path.realpath(request.results / machine.slug / run_id)
    planned = [cell for unit in units for cell in unit.coordinates]
    return RunInfo(
        id=run_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(request.command),
        working_directory=os.path.relpath(os.path.realpath("."), folder),
        profile=request.profile.name,
        filters={k: v for k, v in vars(request.filters).items() if v},
        seed=request.seed,
        baseline=request.baseline,
        workload_version=workloads.VERSION,
        harness_version=VERSION,
        git_commit=commit,
        git_dirty=dirty,
        machine=machine.model_dump(),
        versions=machine.versions,
        environment={v: os.environ[v] for v in INHERITED if v in os.environ},
        worker_environment=ENVIRONMENT,
        implementations=[describe_implementation(i) for i in request.implementations],
        planned_cells=len(planned),
        warnings=list(stability_warnings(machine)),
        workloads=_described({cell.workload for cell in planned if cell.workload}),
    )


def machine_name(info: RunInfo, folder: Path) -> str:
    """The machine's folder name of a run that is to go on; what it names stays below ours.

    Raises:
        ResultsError: a name in run.json is none that we give.
    """
    slug = str(info.machine.get("slug"))
    for what, name in (("machine", slug), ("run", info.id)):
        if not SAFE_NAME.fullmatch(name):
            raise ResultsError(
                f"{folder}: {name!r:.80} is no name of a {what}; it was not written by us, "
                f"start a new run"
            )
    return slug


def refuse_other_conditions(before: RunInfo, machine: Machine, folder: Path) -> None:
    """A run goes on only where it began: numbers of two machines must not stand in one run.

    Raises:
        ResultsError: it is finished, or processors or versions are not those that it began with.
    """
    machine_name(before, folder)
    if before.finished is not None:
        raise ResultsError(f"{folder}: the run is finished, and finished runs are never changed")
    now = machine.model_dump()
    pairs = [
        ("processor", before.machine.get("cpu"), now["cpu"]),
        ("usable processors", before.machine.get("logical_cores"), now["logical_cores"]),
        ("Python", before.machine.get("python"), now["python"]),
        ("harness version", before.harness_version, VERSION),
        ("workload version", before.workload_version, workloads.VERSION),
    ]
    pairs += [(name, v, machine.versions.get(name)) for name, v in before.versions.items()]
    changed = [f"{what} {old!s:.80} is now {new!s:.80}" for what, old, new in pairs if old != new]
    if changed:
        raise ResultsError(
            f"{folder}: the run began under other conditions ({'; '.join(changed[:4])}); restore "
            f"them, or start a new run"
        )
