"""Claims about speed: small interleaved measurements, judged by ratios round by round."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from timeit import Timer
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from harness.experiments.claims.claim import Evidence, counted
from harness.experiments.claims.computing import naive
from harness.experiments.claims.growth import exponential_growth, growth_slope, is_faster
from harness.experiments.context import worker_for
from harness.numerics.metrics import ulp_error
from harness.numerics.statistics import Visits, ratio
from harness.records.claims import EvidenceTable, Finding
from harness.reference import softmax_exact
from harness.registry.discovery import Implementation, implementations, load
from harness.worker.client import RemoteImplementation, WorkerFault
from harness.worker.local import load as load_local

Array = NDArray[Any]
Sample = Callable[[], float]
Compared = tuple[Finding, tuple[str, str]]
"""What was found, and its line of the table: what was compared, and the result."""
_SEED = 20210812
_MIN_SAMPLE_S = 0.001
_BUSY_PERCENT = 25.0
ROUNDS = 15


def _call(function: Callable[[], object]) -> Sample:
    """A sample of a function of this process: seconds per call, over at least a millisecond.

    Without the garbage collector, as in the samples of workers.
    """
    function()
    timer = Timer(function)
    calls = max(1, math.ceil(_MIN_SAMPLE_S / max(timer.timeit(1), 1e-7)))
    return lambda: timer.timeit(calls) / calls


def _remote(worker: RemoteImplementation, threads: int) -> Sample:
    """A sample of an implementation in its worker, on the input in place, with so many threads."""

    def sample() -> float:
        worker.set_threads(threads)
        order = {"handle": "timed", "calls": 3, "count": 1, "warm": True, "cold": False}
        elapsed = worker.request("visit", order, timeout=60.0)[0]["samples"][0][0]
        return float(elapsed) * 1e-9 / 3

    return sample


def interleave(contenders: Mapping[str, Sample], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """One sample of each contender a round, in a seeded random order within the round."""
    rng = np.random.default_rng(_SEED)
    names = list(contenders)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for i in rng.permutation(len(names)):
            samples[names[i]].append(contenders[names[i]]())
    return samples


def against(
    statement: str, changed: Sample, baseline: Sample, rounds: int, role: str = "claim"
) -> Finding:
    """Is `changed` faster than `baseline`? If by less than twofold, the control must hold 1.0."""
    samples = interleave({"changed": changed, "baseline": baseline, "control": baseline}, rounds)
    visits = {name: Visits.in_rounds(times) for name, times in samples.items()}
    control = ratio(visits["control"], visits["baseline"])
    found = ratio(visits["changed"], visits["baseline"])
    finding = is_faster(statement, found, rounds, role)
    # A noisy control spoils a ratio near 1, and says little against one far from it
    near = 0.5 < found.value < 2.0
    if control.low <= 1.0 <= control.high or not near:
        return finding
    reason = (
        f"the baseline against itself gave {control.value:.4f} [{control.low:.4f}, "
        f"{control.high:.4f}]; close other programs"
    )
    return replace(finding, cases=0, held=0, measured=f"{finding.measured}: not decided, {reason}")


def _normal(*shape: int) -> Array:
    return np.random.default_rng(_SEED).normal(0.0, 1.0, shape).astype(np.float32)


def _softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def _plain(x: Array) -> Array:
    e = np.exp(x)
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _python_loop(row: Sequence[float]) -> list[float]:
    top = max(row)
    e = [math.exp(v - top) for v in row]
    total = sum(e)
    return [v / total for v in e]


def cost_by_classes(rounds: int = ROUNDS) -> Evidence:
    """D3: one row in NumPy, class counts in steps of four."""
    sizes = [1 << k for k in range(14, 22, 2)]
    rows = {n: _normal(1, n) for n in sizes}
    softmax = load_local("max_shift").softmax
    samples = interleave(
        {str(n): _call(lambda x=x: softmax(x)) for n, x in rows.items()},  # type: ignore[misc]
        rounds,
    )
    slope = growth_slope(sizes, [samples[str(n)] for n in sizes])
    table = tuple(
        (str(n), f"{np.median(samples[str(n)]) * 1e6:.4g}",
         f"{np.median(samples[str(n)]) * 1e9 / n:.3g}")
        for n in sizes
    )  # fmt: skip
    return Evidence(
        f"linear: measured slope {slope.value:.3f} [{slope.low:.3f}, {slope.high:.3f}] of log time "
        "against log classes",
        "n exponentials, n−1 comparisons, n−1 additions, n divisions; one float32 row, max_shift "
        f"in NumPy, {rounds} interleaved rounds; fixed costs of a call and caches bend the line",
        findings=(exponential_growth(slope),),
        tables=(EvidenceTable("Time of one row", ("classes", "µs", "ns per class"), table),),
    )


def _vectorised(rounds: int) -> Compared:
    x = _normal(1, 4096)
    row = x[0].tolist()
    finding = against(
        "array operations are faster than a loop over the entries",
        _call(lambda: _softmax(x)),
        _call(lambda: _python_loop(row)),
        rounds,
    )
    return finding, ("NumPy against a Python loop, 4096 classes", finding.measured)


def _threads(rounds: int) -> Compared:
    statement = "all cores are faster than one"
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        return Finding(statement, 0, 0, "one core here: not measured"), ("threads", "one core")
    busy = psutil.cpu_percent(interval=0.3)
    if busy > _BUSY_PERCENT:
        reason = f"not measured: other programs use {busy:.0f}% of the processor"
        return Finding(statement, 0, 0, reason), ("threads", reason)
    one = load("numba_cpu")
    label = f"numba_cpu, {cores} threads against 1, 4096 × 1000"
    return _in_workers(statement, ("threads", label), (one, cores), (one, 1), rounds)


def _device(rounds: int) -> Compared:
    statement = "a GPU is faster than all cores of the processor"
    ours = [i for i in implementations().values() if i.metadata.device == "cuda"]
    usable = [i for i in ours if i.available]
    if not usable:
        reason = ours[0].unavailable_reason if ours else "no implementation for one"
        return Finding(statement, 0, 0, f"not measured here: {reason}"), ("GPU", str(reason))
    cores = len(os.sched_getaffinity(0))
    label = f"{usable[0].name} against numba_cpu, arrays in place"
    pair = (usable[0], cores), (load("numba_cpu"), cores)
    return _in_workers(statement, ("GPU", label), *pair, rounds)


_PREPARE = {
    "operation": "softmax",
    "handle": "timed",
    "allocating": True,
    "warm_up_ns": 20_000_000,
    "min_sample_ns": 1_000_000,
}


def _in_workers(
    statement: str, labels: tuple[str, str], changed: tuple[Implementation, int],
    baseline: tuple[Implementation, int], rounds: int,
) -> Compared:  # fmt: skip
    """A finding from two (implementation, threads), in workers, on 4096 rows of 1000 classes.

    Args:
        labels: of the line of the table, where nothing is measured and where it is.
    """
    workers = {one.name: worker_for(one) for one, _ in (changed, baseline)}
    try:
        for worker in workers.values():
            worker.request("place", {}, (_normal(4096, 1000),), timeout=120.0)
            worker.request("prepare", _PREPARE, timeout=300.0)
        new, old = (_remote(workers[one.name], count) for one, count in (changed, baseline))
        finding = against(statement, new, old, rounds)
    except WorkerFault as fault:
        finding = Finding(statement, 0, 0, f"not measured: {fault.reason}")
        return finding, (labels[0], fault.reason)
    finally:
        for worker in workers.values():
            worker.stop()
    return finding, (labels[1], finding.measured)


DENSITIES = (0.5, 0.1, 0.01, 0.001)
"""Shares of the entries of a matrix that are stored."""
_SPARSE = 0.1
"""Up to which a matrix is called sparse."""


def sparse_rows(rows: int, classes: int, density: float) -> tuple[Array, Array, Array]:
    """Float32 rows filled with -inf, the entries that are left, and the offsets of their rows.

    Entries are kept by chance, one in every row at least.
    """
    rng = np.random.default_rng(_SEED)
    kept = rng.random((rows, classes), np.float32) < density
    kept[np.arange(rows), rng.integers(classes, size=rows)] = True
    dense = np.where(kept, _normal(rows, classes), np.float32(-np.inf))
    return dense, dense[kept], np.concatenate([[0], np.cumsum(kept.sum(axis=1))])


def _sparse(rounds: int) -> list[Compared]:
    """The stored entries alone against the same rows filled with -inf, at each density.

    By the compiled implementation, which decides, and in NumPy; results go to arrays that exist.
    """
    found = []
    for density in DENSITIES:
        dense, values, offsets = sparse_rows(256, 4096, density)
        kept, whole, own = dense != -np.inf, np.empty_like(dense), np.empty_like(values)
        for name in ("numba_cpu", "max_shift"):
            module: Any = load_local(name).module()
            contenders = (
                partial(module.ragged_softmax, values, offsets, out=own),
                partial(module.softmax, dense, out=whole),
            )
            if not np.allclose(contenders[0](), contenders[1]()[kept], rtol=1e-5, atol=0.0):
                raise ArithmeticError(f"{name}: expected equal results of sparse and dense rows")
            finding = against(
                f"rows without what is masked are faster than rows filled with -inf: {name}, "
                f"{density:.1%} stored",
                _call(contenders[0]),
                _call(contenders[1]),
                rounds,
                "claim" if name == "numba_cpu" and density <= _SPARSE else "remark",
            )
            line = f"{name}, {density:.1%} of 256 × 4096 stored, ragged against -inf"
            found.append((finding, (line, finding.measured)))
    return found


def _evidence(parts: Sequence[Compared], rounds: int) -> Evidence:
    """Findings with a line of a table each."""
    return Evidence(
        "; ".join(f"{f.statement}: {f.measured}" for f, _ in parts if f.role == "claim"),
        f"ratios of times in {rounds} interleaved rounds, float32, 95% intervals of the median, "
        f"beside a control",
        findings=tuple(f for f, _ in parts),
        tables=(EvidenceTable("Measured", ("comparison", "result"), tuple(r for _, r in parts)),),
    )


def ways_to_speed(rounds: int = ROUNDS) -> Evidence:
    """B4: threads, a device, vectorised code and sparse rows, each by its time."""
    parts = [_threads(rounds), _device(rounds), _vectorised(rounds), *_sparse(rounds)]
    return _evidence(parts, rounds)


def _stable() -> Finding:
    offsets = (100.0, 1000.0, 1e4)
    better = []
    for offset in offsets:
        x = (_normal(1, 8) + np.float32(offset)).astype(np.float32)
        exact = softmax_exact(x)
        own = float(ulp_error(_softmax(x), exact).max())
        better.append(own < float(ulp_error(naive(x[0]).reshape(1, -1), exact).max()))
    return counted(
        "the shift gives better results where the plain formula overflows",
        better,
        "offsets of 100, 1000 and 10000 in float32, finite against NaN",
    )


def ways_to_improve(rounds: int = ROUNDS) -> Evidence:
    """C3: the stable algorithm by its results, vectorisation and layout by their times."""
    stable = _stable()
    x = _normal(1024, 1024)
    columns = np.ascontiguousarray(x.T)
    apart = np.zeros((64, 4096, 16), np.float32)
    apart[:, :, 0] = _normal(64, 4096)
    spread = apart[:, :, 0]
    together = np.ascontiguousarray(spread)
    layout = against(
        "entries of a row side by side are faster than the same entries a cache line apart",
        _call(lambda: _softmax(together)),
        _call(lambda: _softmax(spread)),
        rounds,
    )
    axis = against(
        "rows of contiguous classes are faster than columns",
        _call(lambda: _softmax(x, 1)),
        _call(lambda: _softmax(columns, 0)),
        rounds,
        "remark",
    )
    price = against(
        "the shift costs nothing",
        _call(lambda: _softmax(x, 1)),
        _call(lambda: _plain(x)),
        rounds,
        "remark",
    )
    return _evidence(
        [
            (stable, ("max-shift against the plain formula, results", stable.measured)),
            _vectorised(rounds),
            (layout, ("NumPy, 64 × 4096, contiguous against strides of 64 bytes", layout.measured)),
            (axis, ("NumPy, 1024 × 1024, axis 1 against axis 0", axis.measured)),
            (price, ("NumPy, max-shift against the plain formula, times", price.measured)),
        ],
        rounds,
    )
