"""The verdict on one implementation: conformance, accuracy, overflow and speed beside baselines.

A check is a run like any other, on a grid of its own, and a verdict computed from its records:
what is a failure and what a finding was decided where it was measured.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from harness.experiments.conformance.call import plain_step
from harness.experiments.conformance.catalogue import CASES
from harness.experiments.context import Unit, worker_for
from harness.experiments.profiles import QUICK, Profile, Timing
from harness.experiments.runner import NothingToRun, Progress, Request, run
from harness.experiments.verdict import Report, describe, failing, reached
from harness.numerics.formats import float_format
from harness.records import Record, ThroughputRecord
from harness.records.reader import temporary_results
from harness.registry.contract import ImplementationError
from harness.registry.discovery import Implementation, implementations, load
from harness.registry.module_path import find_module
from harness.worker.client import WorkerFault
from harness.worker.compiling import may_compile
from harness.worker.isolation.subprocesses import allow_open_files

BASELINES = ("max_shift", "numba_cpu", "torch")

JUDGED = replace(
    QUICK,
    name="check",
    dtypes=("float64", "float32"),
    experiments=("accuracy", "overflow", "conformance"),  # the last runs beside the others
    sweep_workloads=("normal(scale=1)", "normal(scale=10)"),
    sweep_classes=(2, 3, 10, 17, 100, 1000, 10_000, 100_000),
    sweep_elements=1 << 14,
    families=tuple(f for f in QUICK.families if f != "digits"),
    family_classes=(100,),
    map_classes=(2, 1000),
    scan_points=512,
    timing={},
    timeout_s=10.0,
    patience_s=20.0,
)

TIMED = replace(
    QUICK,
    name="check",
    experiments=("throughput",),
    timing={
        "latency": Timing((1000,), 0, ("one",), seconds=0.2),
        "cached": Timing((1000,), 1 << 17, seconds=0.3),
        "streaming": Timing((1000,), 1 << 23, warm_up_ns=0, warm=False, seconds=0.8),
    },
    timeout_s=20.0,
    patience_s=20.0,
    again_s=0.0,
)

TOLD = 3
"""Failures that are told when they are found, before the verdict."""
FIRST_S = 15.0
"""A first call that takes longer, as one that compiles may, is judged with all the others."""


class _Enough(Exception):
    """A failure was found, and the first is all that was asked for."""


def resolve(target: str, scratch: Path) -> Implementation:
    """The implementation meant by a path, a name, or ``package.module:function``.

    A function is wrapped as the softmax of a module of its own, written into `scratch`.

    Raises:
        ImplementationError: there is no such thing.
    """
    if ":" not in target or target.endswith(".py"):
        return load(target)
    module, _, function = target.partition(":")
    if find_module(module) is None or not function.isidentifier():
        raise ImplementationError(
            f"{target}: no module {module!r} can be imported; give package.module:function, the "
            f"path of a Python file, or a name that `softmax-bench list` shows"
        )
    shim = scratch / f"{function}.py"
    shim.write_text(
        f'"""{target}, called as a softmax."""\n\n'
        f"from {module} import {function} as _function\n\n\n"
        f"def softmax(x, axis=-1):\n    return _function(x, axis=axis)\n",
        encoding="utf-8",
    )
    return load(shim)


def check(
    target: str,
    *,
    timing: bool = True,
    dtypes: Sequence[str] = (),
    baselines: Sequence[str] = BASELINES,
    strict: bool = False,
    fail_fast: bool = False,
    results: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Judge one implementation.

    Args:
        target: path of a file, name, or ``package.module:function``.
        timing: measure the throughput beside `baselines`.
        dtypes: formats; by default those declared, and float64 and float32 where none are.
        strict: findings fail as well.
        fail_fast: stop after the first unit that shows a failure.
        results: folder in which the runs are kept; by default they are not.

    Raises:
        ImplementationError: `target` is no implementation.
        NothingToRun: it cannot run here.
        TooFewFiles: the system allows fewer open files than the workers take.
    """
    allow_open_files(1 + len(baselines))
    with temporary_results() as folder:
        subject = resolve(target, folder)
        declared = tuple(dtypes) or subject.metadata.dtypes or JUDGED.dtypes
        stillborn = _first_calls(subject, declared)
        if stillborn is not None:
            return reached(subject.metadata, [stillborn], dtypes=declared, strict=strict)
        kept = folder / "results" if results is None else results
        command = ["softmax-bench", "check", target]
        judged = Request([subject], replace(JUDGED, dtypes=declared), results=kept, command=command)
        records: list[Record] = []
        notes: list[str] = []
        with contextlib.suppress(_Enough):
            found = run(judged, _keeping(records, progress or Progress(), fail_fast))
            notes += [w for w in found.info.warnings if w.startswith(f"{subject.name} keeps ")]
        timings: list[Record] = []
        if fail_fast and any(map(failing, records)):
            notes.append("stopped at the first failure (--fail-fast): the rest was not judged")
        elif timing and subject.metadata.device != "cpu":
            notes.append(
                f"not timed: it runs on a device; `softmax-bench run --experiment "
                f"device_throughput --implementation {shlex.quote(target)}` times it there"
            )
        elif timing:
            rivals = _rivals(subject, baselines, notes)
            timed = Request(
                [subject, *rivals], _timed(subject), results=kept, command=command,
                baseline=rivals[0].name if rivals else subject.name,
            )  # fmt: skip
            timings = run(timed, progress).records
    return reached(
        subject.metadata, records, [t for t in timings if isinstance(t, ThroughputRecord)], notes,
        dtypes=declared, strict=strict,
    )  # fmt: skip


def _keeping(records: list[Record], progress: Progress, fail_fast: bool) -> Progress:
    """`progress` that keeps what was found, tells the first failures, and ends at one if asked."""
    told: list[Record] = []

    def finished(unit: Unit, found: Sequence[Record]) -> None:
        records.extend(found)
        progress.finished(unit, found)
        failed = [r for r in found if failing(r)]
        for record in failed[: max(0, TOLD - len(told))]:
            progress.note(f"fails: {describe(record)}")
        told.extend(failed)
        if fail_fast and failed:
            raise _Enough

    return replace(progress, finished=finished)


def _first_calls(subject: Implementation, dtypes: Sequence[str]) -> Record | None:
    """What became of a subject that can be asked nothing: one failure, not one a cell.

    It cannot be imported, hangs, or goes on working after its first call. Plain
    calls are made until one gives anything but an exception that may be the environment's.

    Raises:
        NothingToRun: it offers nothing of which there are cases; or an import, or every call of
            every operation and format on two inputs, says that something is absent here, in the
            same words.
    """
    if not subject.available:
        return None
    if not any(case.applies(o, d) for case in CASES for o in subject.operations for d in dtypes):
        raise NothingToRun(
            f"{subject.name}: the catalogue has no case of {', '.join(subject.operations)}; "
            f"softmax-bench run --experiment attention -i {subject.name} judges that"
        )
    worker = worker_for(subject, f"{subject.name} (first calls)")
    said: set[str] = set()
    step = "import"
    try:
        worker.request("release", timeout=120.0)
        for shape, step, dtype in product(((2, 3), (3, 4)), subject.operations, dtypes):
            plain = plain_step(step, shape, float_format(dtype).dtype)
            options = plain.numbers | ({} if step == "cross_entropy" else {"axis": -1})
            request = {"operation": step, "options": options}
            try:
                worker.request("run", request, plain.arrays, FIRST_S)
                return None
            except WorkerFault as fault:
                hung = fault.status == "timeout" and not may_compile(subject.metadata)
                if fault.lasting or hung:
                    raise
                if not fault.absent:
                    return None
                said.add(fault.reason)
            if len(said) > 1:
                return None
    except WorkerFault as fault:
        if not fault.absent:
            record = Record(
                experiment="conformance", implementation=subject.name, operation=step,
                status="error",
            )  # fmt: skip
            return record.ended(fault.status, fault.reason)
        said.add(fault.reason)
    finally:
        worker.stop()
    for reason in said:
        raise NothingToRun(f"{subject.name}: cannot run here: {reason.removeprefix('run: ')}")
    return None


def _rivals(
    subject: Implementation, baselines: Sequence[str], notes: list[str]
) -> list[Implementation]:
    known = implementations()
    rivals = [known[name] for name in baselines if name in known and name != subject.name]
    notes += [f"baseline {r.name}: {r.unavailable_reason}" for r in rivals if not r.available]
    return [r for r in rivals if r.available]


def _timed(subject: Implementation) -> Profile:
    """The grid of the timings, in a format that the subject has."""
    declared = subject.metadata.dtypes
    dtype = "float32" if declared is None or "float32" in declared else declared[0]
    grids = {r: replace(g, dtypes=(dtype,)) for r, g in TIMED.timing.items()}
    return replace(TIMED, timing=grids)
