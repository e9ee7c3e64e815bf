"""The verdict on one implementation: conformance, accuracy, overflow and speed beside baselines.

A check is a run like any other, on a grid of its own, and a verdict computed from its records:
what is a failure and what a finding was decided where it was measured.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.experiments.context import worker_for
from harness.experiments.profiles import QUICK, Profile, Timing
from harness.experiments.runner import Progress, Request, run
from harness.records import Record
from harness.records.reader import temporary_results
from harness.registry.contract import ImplementationError
from harness.registry.discovery import Implementation, implementations, load
from harness.registry.module_path import find_module
from harness.worker.client import WorkerFault
from harness.worker.isolation.subprocesses import allow_open_files

BASELINES = ("max_shift", "numba_cpu", "torch")

JUDGED = replace(
    QUICK,
    name="check",
    dtypes=("float64", "float32"),
    experiments=("conformance", "accuracy", "overflow"),
    sweep_workloads=("normal(scale=1)", "normal(scale=10)"),
    sweep_classes=(2, 3, 10, 17, 100, 1000, 10_000, 100_000),
    sweep_elements=1 << 14,
    families=tuple(f for f in QUICK.families if f != "digits"),
    family_classes=(100,),
    map_classes=(2, 1000),
    scan_points=512,
    timing={},
    timeout_s=20.0,
)

TIMED = replace(
    QUICK,
    name="check",
    experiments=("throughput",),
    timing={
        "latency": Timing((10, 1000), 0, 15, ("one",)),
        "cached": Timing((10, 128, 1000, 32_000), 1 << 17, 11),
        "streaming": Timing((1000,), 1 << 23, 5, warm_up_ns=0, warm=False),
    },
    timeout_s=20.0,
)


class Verdict(StrEnum):
    """The verdict of a check."""

    PASS = "pass"
    FAIL = "fail"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Item:
    """One thing that a reader should know, from one record.

    Attributes:
        where: operation, format and case or workload.
        message: what was expected and what came.
        input: the row in hexadecimal, or how it was made.
        expected, got: hexadecimal, where there is one value to show.
    """

    where: str
    message: str
    input: tuple[str, ...] = ()
    expected: str | None = None
    got: str | None = None


@dataclass(frozen=True)
class Report:
    """The verdict on one implementation.

    Attributes:
        name: of the implementation.
        verdict: pass, fail, or nothing could be judged.
        failures: contradictions of mathematics, of the contract or of a bound.
        findings: true statements that its author may want to know; they fail only a strict check.
        expected: departures that its metadata declares.
        judged: how many records stand behind the verdict.
        max_ulp: worst error by format.
        speeds: lines about throughput beside the baselines.
        notes: what could not be measured, and why.
    """

    name: str
    verdict: Verdict
    failures: tuple[Item, ...]
    findings: tuple[Item, ...]
    expected: tuple[Item, ...]
    judged: int
    max_ulp: dict[str, float]
    speeds: tuple[str, ...]
    notes: tuple[str, ...]


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
    results: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Judge one implementation.

    Args:
        target: path of a file, name, or ``package.module:function``.
        timing: measure the throughput beside `baselines`.
        dtypes: formats; by default those declared, and float64 and float32 where none are.
        strict: findings fail as well.
        results: folder in which the runs are kept; by default they are not.

    Raises:
        ImplementationError: `target` is no implementation.
        NothingToRun: it cannot run here.
        TooFewFiles: the system allows fewer open files than the workers take.
    """
    allow_open_files(1 + len(baselines))
    with temporary_results() as folder:
        subject = resolve(target, folder)
        stillborn = _import_fault(subject)
        if stillborn is not None:
            return _report(subject, [stillborn], [], [], strict=strict)
        kept = folder / "results" if results is None else results
        declared = tuple(dtypes) or subject.metadata.dtypes or JUDGED.dtypes
        command = ["softmax-bench", "check", target]
        judged = Request([subject], replace(JUDGED, dtypes=declared), results=kept, command=command)
        records = run(judged, progress).records
        notes: list[str] = []
        timings: list[Record] = []
        if timing and subject.metadata.device != "cpu":
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
    return _report(subject, records, timings, notes, strict=strict)


def _import_fault(subject: Implementation) -> Record | None:
    """What became of a subject that cannot be imported: one failure, not one a cell."""
    if not subject.available:
        return None
    worker = worker_for(subject, f"{subject.name} (import)")
    try:
        worker.request("release", timeout=120.0)
    except WorkerFault as fault:
        record = Record(
            experiment="conformance", implementation=subject.name, operation="import",
            status="error",
        )  # fmt: skip
        return record.ended(fault.status, fault.reason)
    finally:
        worker.stop()
    return None


def _rivals(
    subject: Implementation, baselines: Sequence[str], notes: list[str]
) -> list[Implementation]:
    found = []
    for name in baselines:
        rival = implementations().get(name)
        if rival is None or name == subject.name:
            continue
        if rival.available:
            found.append(rival)
        else:
            notes.append(f"baseline {name}: {rival.unavailable_reason}")
    return found


def _timed(subject: Implementation) -> Profile:
    """The grid of the timings, in a format that the subject has."""
    declared = subject.metadata.dtypes
    dtype = "float32" if declared is None or "float32" in declared else declared[0]
    grids = {r: replace(g, dtypes=(dtype,)) for r, g in TIMED.timing.items()}
    return replace(TIMED, timing=grids)


def _item(record: Any) -> Item:
    place = [record.operation, record.dtype, record.workload]
    if record.experiment != "conformance" and record.classes is not None:
        place.append(f"{record.rows} x {record.classes}")
    if record.experiment == "overflow" and record.kind == "threshold":
        place.append(f"{record.probe} {'+' if record.sign == 1 else '-'} {record.event}")
    row = getattr(record, "case_input", None) or getattr(record, "worst_logits", None) or ()
    return Item(
        where=", ".join(str(p) for p in place if p),
        message=record.reason or getattr(record, "message", None) or record.status,
        input=tuple(row),
        expected=getattr(record, "expected", None) or getattr(record, "worst_expected", None),
        got=getattr(record, "got", None) or getattr(record, "worst_got", None),
    )


_BROKEN = ("failed", "error", "crashed", "timeout", "out_of_memory")


def _report(
    subject: Implementation,
    records: Sequence[Any],
    timings: Sequence[Any],
    notes: list[str],
    *,
    strict: bool,
) -> Report:
    failures: list[Item] = []
    findings: list[Item] = []
    expected: list[Item] = []
    judged = 0
    ulps: dict[str, float] = {}
    for record in records:
        judged += record.status in ("ok", *_BROKEN)
        verdict = getattr(record, "verdict", None)
        if verdict == "expected":
            expected.append(_item(record))
        elif verdict == "finding":
            findings.append(_item(record))
        elif record.status in _BROKEN:
            excused = getattr(record, "deviation", None) is not None
            (expected if excused else failures).append(_item(record))
        if record.experiment == "accuracy" and record.max_ulp is not None:
            ulps[record.dtype] = max(record.max_ulp, ulps.get(record.dtype, 0.0))
    for record in timings:
        if record.implementation == subject.name and record.status in _BROKEN:
            failures.append(_item(record))
    verdict = Verdict.FAIL if failures or (strict and findings) else Verdict.PASS
    if not judged:
        verdict = Verdict.NOTHING
    return Report(
        subject.name,
        verdict,
        tuple(failures),
        tuple(findings),
        tuple(expected),
        judged,
        ulps,
        tuple(_speeds(subject.name, timings)),
        tuple(notes),
    )


def _speeds(name: str, timings: Sequence[Any]) -> list[str]:
    """One line a timing of the subject: its bandwidth, and the time of each rival over its own."""
    lines = []
    for mine in timings:
        if mine.implementation != name or mine.role != "implementation" or mine.gbps is None:
            continue
        same = [
            t
            for t in timings
            if (t.regime, t.classes, t.threads) == (mine.regime, mine.classes, mine.threads)
            and t.implementation != name and t.role == "implementation" and t.median_ns
        ]  # fmt: skip
        rivals = ", ".join(
            f"{t.median_ns / mine.median_ns:.3g} x {t.implementation}"
            for t in same
            if bool(t.allocating) == bool(mine.allocating) or not t.allocating
        )
        limit = "" if mine.percent_of_limit is None else f", {mine.percent_of_limit:.3g}% of a copy"
        noisy = " (noisy)" if mine.noisy else ""
        struck = "" if mine.ranked else " (not ranked: the result is wrong)"
        alloc = ", allocating" if mine.allocating else ""
        lines.append(
            f"{mine.regime}, {mine.classes} classes, {mine.threads} threads{alloc}: "
            f"{mine.median_ns / 1000:.4g} µs, {mine.gbps:.3g} GB/s{limit}; speed {rivals}"
            f"{noisy}{struck}"
        )
    return lines
