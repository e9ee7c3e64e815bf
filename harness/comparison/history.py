"""Numbers over many runs of one machine, and where they change for good.

Errors are deterministic: every change is a step. Times scatter from run to run: a step must be
larger than the practical threshold and than what their scatter gives by chance (`find_steps`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from harness.comparison.operands import changed_settings, changed_versions, short
from harness.numerics.formats import Float64Array
from harness.records.reader import ResultsError, Run

LEAST_RUNS = 5
"""Runs below which scatter cannot be told from steps."""

FALSE_ALARM = 0.01
"""Chance that a series of times without a step is given one, at most."""

_SIMULATIONS = 4000
_SEED = 20210812
_BEFORE = 1  # relative to the first run after a step


@dataclass(frozen=True)
class StepChange:
    """A lasting change.

    Attributes:
        index: of the first run after it.
        before, after: median of the number over the runs since the step before, and until the
            next.
        cause: what else changed with that run.
    """

    index: int
    before: float
    after: float
    cause: str

    @property
    def ratio(self) -> float:
        """After / before; infinite from zero."""
        return self.after / self.before if self.before else math.inf


@dataclass(frozen=True)
class Series:
    """One number over the runs.

    Attributes:
        implementation: its name; that of a copy for the machine's own limits.
        figure: what is shown, such as ``"time, streaming float32, 4 threads"``.
        unit: ``"ns"`` (geometric mean over the cells that all runs share) or ``"ulp"`` (largest).
        values: one a run; None where a run has not measured it.
        steps: lasting changes, in order.
        note: why no steps were looked for, where that is so.
    """

    implementation: str
    figure: str
    unit: str
    values: Sequence[float | None]
    steps: Sequence[StepChange] = ()
    note: str = ""


@dataclass(frozen=True)
class History:
    """All series of one machine's runs, oldest run first."""

    machine: str
    runs: Sequence[Run]
    series: Sequence[Series]
    threshold: float


@lru_cache(maxsize=128)
def critical_value(n: int) -> float:
    """The value that `_largest_jump` exceeds with probability `FALSE_ALARM` if there is no step.

    By simulation of normal scatter, seeded; the statistic is free of location and scale.
    """
    rng = np.random.default_rng([_SEED, n])
    draws = rng.standard_normal((_SIMULATIONS, n))
    found = [_largest_jump(row)[1] for row in draws]
    return float(np.quantile(found, 1.0 - FALSE_ALARM))


def _largest_jump(y: Float64Array) -> tuple[int, float]:
    """Where the two sides differ most, and by how many standard errors.

    The standard error is estimated from the median of the differences of neighbours: a step
    changes only one of them, and one outlying run only two.
    """
    n = y.size
    scale = 1.4826 * float(np.median(np.abs(np.diff(y)))) / math.sqrt(2.0)
    splits = np.arange(1, n)
    sums = np.cumsum(y)[:-1]
    jumps = np.abs((y.sum() - sums) / (n - splits) - sums / splits)
    score = jumps * np.sqrt(splits * (n - splits) / n)
    score[[0, -1]] = 0.0  # one run is no lasting change
    best = int(np.argmax(score))
    if scale == 0.0:
        return best + 1, math.inf if score[best] > 0.0 else 0.0
    return best + 1, float(score[best]) / scale


def _change(before: Float64Array, after: Float64Array) -> float:
    """The distance of the medians; of an even number of runs, from the nearer of the middle two.

    So a single outlying run, which is half of a segment of two, makes no step.
    """
    sides = ("higher", "lower") if after.mean() > before.mean() else ("lower", "higher")
    a, b = (
        float(np.quantile(part, 0.5, method=side))  # type: ignore[call-overload]
        for part, side in zip((before, after), sides, strict=True)
    )
    return max(0.0, b - a) if sides[0] == "higher" else max(0.0, a - b)


def find_steps(values: Sequence[float], threshold: float = 0.05) -> list[int]:
    """Indices at which a series of times changes for good, in order.

    Binary segmentation: the largest jump of the logarithms, if it exceeds both what scatter gives
    by chance and `threshold`; then the same on either side. A change must last two runs, and a
    segment of fewer than `LEAST_RUNS` is not divided.

    Args:
        values: positive, one a run.
        threshold: smallest relative change that counts.
    """
    y = np.log(np.asarray(values, dtype=np.float64))
    found: list[int] = []
    pending = [(0, y.size)]
    while pending:
        start, end = pending.pop()
        if end - start < LEAST_RUNS:
            continue
        part = y[start:end]
        at, score = _largest_jump(part)
        change = _change(part[:at], part[at:])
        if score > critical_value(end - start) and change > math.log1p(threshold):
            found.append(start + at)
            pending += [(start, start + at), (start + at, end)]
    return sorted(found)


def _changes(values: Sequence[float]) -> list[int]:
    """Indices at which a deterministic number differs from the run before."""
    return [i for i in range(1, len(values)) if values[i] != values[i - 1]]


def _cause(before: Run, after: Run, implementation: str) -> str:
    """What is known to have changed from one run to the next."""
    a, b = before.info, after.info
    digests = [
        next((i.sha256 for i in info.implementations if i.name == implementation), None)
        for info in (a, b)
    ]
    found = ["its source changed"] if digests[0] != digests[1] else []
    found += changed_versions(a, b)
    found += [f"{name} {change}" for name, change in changed_settings(a, b).items()]
    if a.git_commit != b.git_commit:
        found.append(f"commit {short(a.git_commit)} -> {short(b.git_commit)}")
    return ", ".join(found) or "nothing that the runs record changed"


def _series(
    runs: Sequence[Run],
    implementation: str,
    figure: str,
    unit: str,
    values: Sequence[float | None],
    threshold: float,
) -> Series:
    """The series with its steps, looked for over the runs that have the number."""
    present = [i for i, v in enumerate(values) if v is not None]
    kept = [v for v in values if v is not None]
    note = ""
    if unit == "ulp":
        indices = _changes(kept)
    elif len(kept) < LEAST_RUNS:
        indices, note = [], f"{len(kept)} runs; steps of times need {LEAST_RUNS}"
    else:
        indices = find_steps(kept, threshold)
    edges = [0, *indices, len(kept)]
    steps = [
        StepChange(
            present[at],
            float(np.median(kept[edges[k] : at])),
            float(np.median(kept[at : edges[k + 2]])),
            _cause(runs[present[at - _BEFORE]], runs[present[at]], implementation),
        )
        for k, at in enumerate(indices)
    ]
    return Series(implementation, figure, unit, tuple(values), tuple(steps), note)


Key = tuple[str, str, str]
Cells = dict[Any, float]


def _numbers(run: Run) -> dict[Key, Cells]:
    """Series of a run: (implementation, what is shown, unit) to its cells and their numbers."""
    found: dict[Key, Cells] = {}
    for record in run.records:
        r: Any = record
        if r.experiment == "accuracy" and r.max_ulp is not None:
            key = (r.implementation, f"largest error, {r.dtype}", "ulp")
            cell = (r.workload, r.classes, r.rows, r.seed, r.input_sha256)
            found.setdefault(key, {})[cell] = float(r.max_ulp)
        elif r.experiment == "throughput" and r.median_ns and r.role != "control":
            if r.role == "implementation" and (r.status != "ok" or r.ranked is False):
                continue
            form = ", allocating" if r.allocating else ""
            form += ", cold cache" if r.cache == "cold" else ""
            figure = f"time, {r.regime} {r.dtype}, {r.threads} threads{form}"
            cell = (r.workload, r.classes, r.rows, r.seed, None)
            found.setdefault((r.implementation, figure, "ns"), {})[cell] = float(
                min(r.samples_ns or [r.median_ns])
            )
    return found


def _value(cells: Iterable[float], unit: str) -> float:
    values = list(cells)
    return (
        max(values) if unit == "ulp" else math.exp(math.fsum(map(math.log, values)) / len(values))
    )


def history(runs: Sequence[Run], *, threshold: float = 0.05) -> History:
    """The history of runs of one machine, given oldest first.

    A series is of the cells that all its runs have in common, so that runs of different profiles
    can stand in one line.

    Raises:
        ResultsError: no run, or runs of several machines.
    """
    machines = sorted({r.machine for r in runs})
    if len(machines) != 1:
        raise ResultsError(
            f"history: expected runs of one machine, got {len(machines)} "
            f"({', '.join(machines)}); give the folder of one of them"
        )
    numbers = [_numbers(r) for r in runs]
    series = []
    for key in sorted({k for n in numbers for k in n}):
        having = [n[key] for n in numbers if key in n]
        common = set.intersection(*(set(cells) for cells in having))
        if not common:
            values: list[float | None] = [None] * len(runs)
            series.append(Series(*key, values, note="no cell is common to the runs"))
            continue
        values = [
            _value((n[key][c] for c in common), key[2]) if key in n else None for n in numbers
        ]
        series.append(_series(runs, *key, values, threshold))
    return History(machines[0], list(runs), series, threshold)
