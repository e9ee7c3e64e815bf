"""Lengths: stalled sums, every class count, many rows, long rows (cases 23 to 31)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.conformance.call import Array, Step
from harness.experiments.conformance.case import NATIVE, OPERATIONS, PYTORCH, Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.expected import largest_at
from harness.experiments.conformance.observation import Broken, Grade, Observation, Skip
from harness.numerics.formats import FloatFormat, float_format, to_float64

LONGEST = 4096
_BEYOND = 1 << 31
_ALWAYS = 200
_FEW = 8
"""Counts that are asked along each axis where each of them is compiled."""
_CHUNK = 64
_STALL_BYTES = 4 << 30
_LOST = 8.0
"""A result that is so many times too large or too small is wrong, and not merely inaccurate."""
_EDGES = sorted(
    {n for k in range(1, 13) for n in (2**k - 1, 2**k, 2**k + 1) if n <= LONGEST}
    | {1, 6, 10, 11, 12, 13, 100, 513, 777, 1000, 1001, 1023, 1025, 3000, 4095}
)


def is_lost(got: float, right: float, fmt: FloatFormat) -> bool:
    """Whether the result of equal logits has no right digit: NaN, 0, or another order of magnitude.

    A sum of ones that stalls where the format ends is inaccuracy still: 2**25 of them in float32
    are off by a factor of two.
    """
    return not right / _LOST < got <= max(right * _LOST, 2.0**-fmt.precision)


def _stalled(trial: Trial, step: Step) -> list[Observation]:
    """Values of zeros, and whether they are 1/n at all: a linear bound excuses a lost sum."""
    result, observed = trial.observed(step)
    if observed.grade != "pass" or trial.operation != "softmax":
        return [observed]
    classes = step.arrays[0].shape[0 if step.axis == 0 else -1]
    got = float(to_float64(result.arrays[0]).reshape(-1)[0])
    if abs(got * classes - 1.0) <= 0.25:
        return [observed]
    told = trial.unlike(
        step, "out[0, 0]", trial.given(step), got, 1 / classes, "inaccurate",
        ": the sum has stalled or overflowed", grade="failure",
    )  # fmt: skip
    return [told]


def constant_rows(trial: Trial) -> Iterator[Observation]:
    """Zeros: each exactly 1/n. A stalled sum shows here."""
    counts = [2, 3, 10, 100, 256, 512, 1000, 2048, 4096, 4097]
    if trial.dtype in ("float16", "bfloat16"):
        counts += [8192, 65504, 65536, 70000]
    for n in trial.chosen(counts, 4):
        for value in (0.0, -3.5):
            yield from _stalled(trial, trial.step(trial.array(np.full((2, n), value))))
        if trial.operation != "cross_entropy":
            yield from _stalled(trial, trial.step(trial.array(np.zeros((n, 2))), 0))


def very_long_constant(trial: Trial) -> Sequence[Observation]:
    """float16, n = 2**25: 2**-25 is a tie and rounds to 0."""
    step = Step(trial.operation, (trial.array([0.0]),), tiled=(0, 1 << 25))
    got = to_float64(trial.sound(step).arrays[0])
    if np.all(got <= 2.0**-24):
        return [Observation("pass", "accurate")]
    return [trial.broken(step, f"out[0]={got.max():.9g}, but should be 0", "inaccurate")]


def strided_sum(trial: Trial) -> Iterator[Observation]:
    """Sums along a strided axis: within the linear bound, a finding where far above pairwise."""
    rng = trial.rng(27)
    x = trial.array(np.stack([np.full(50_000, -0.1), rng.normal(size=50_000)], axis=1))
    x[0, 0] = 0.0
    step = trial.step(x, 0)
    result, observed = trial.observed(step)
    yield observed
    if observed.grade != "pass" or trial.operation != "softmax" or trial.dtype not in NATIVE:
        return
    off = max((float(np.sum(to_float64(c))) - 1.0 for c in result.arrays[0].T), key=abs)
    residual = abs(off) / trial.fmt.unit_roundoff
    if residual > 100.0:
        text = f"columns sum to 1 within {residual:.4g} u (a pairwise sum: about 5)"
        made = (
            f"x = [-0.1] * 50000 beside numpy.random.default_rng({[trial.seed, 27, 27]})"
            f".normal(size=50000), x[0, 0] = 0, in {trial.dtype}; axis 0",
        )
        told = f"a column sums to {1.0 + off!r}"
        yield trial.shown(step, text, "inaccurate", made, told, "1")


def stalled_float32(trial: Trial) -> Sequence[Observation]:
    """float32 zeros (2**25, 2), axis 0: a sum one by one stalls at 2**24, columns sum to 2.

    A look at many takes 5/8 of the rows, which is enough to stall: columns sum to 1.25.
    """
    rows = 1 << 25 if trial.thorough else 5 << 22
    right = 1.0 / rows
    step = Step(trial.operation, (trial.array([[0.0, 0.0]]),), 0, tiled=(0, rows))
    trial.refuse_what_is_too_large(step, _STALL_BYTES, 0.5 * trial.timeout_s, rows >> 16)
    patient = replace(trial, timeout_s=4 * trial.timeout_s)  # the machine may become busy
    values = to_float64(patient.sound(step).arrays[0])
    got = float(values.flat[np.argmax(np.abs(values * rows - 1.0))])
    if abs(got * rows - 1.0) < 1e-3:
        return [Observation("pass", "accurate")]
    grade: Grade = "failure" if is_lost(got, right, trial.fmt) else "finding"
    more = f"; columns sum to {got * rows:.4g}"
    given = trial.given(step)
    return [trial.unlike(step, "out[0, 0]", given, got, right, "inaccurate", more, grade=grade)]


def beyond_int32(trial: Trial) -> Iterator[Observation]:
    """More than 2**31 equal elements: in rows of 2048; and in a single row, where the format has
    2**-31."""
    # What is compiled needs its input and its result; array libraries, wider temporaries too.
    item, compiled = trial.fmt.dtype.itemsize, trial.subject.metadata.threads == "many"
    needed = 1.25 * _BEYOND * (2 * item + 1 + (0 if compiled else 2 * max(item, 4)))
    asked = [(1, 2048, 0, _BEYOND // 2048 + 8)]
    if trial.fmt.smallest_subnormal < 1.0 / (2 * _BEYOND):
        asked.append((1, 1, 1, _BEYOND + 16))
    for *given, axis, length in asked:
        step = Step(trial.operation, (trial.array(np.full(given, 1.5)),), tiled=(axis, length))
        shape = step.full_shape()
        try:
            trial.refuse_what_is_too_large(step, needed, 0.5 * trial.timeout_s, 256)
        except Skip:
            if axis == 0:
                raise
            return  # the other one was judged
        (result,) = trial.perform([step])
        if result.error is not None and "memory" in result.error.lower():
            raise Skip(f"ran out of memory: {result.error}")
        broken = trial.contract(step, result)
        if broken is not None:
            raise Broken(broken)
        got = to_float64(result.arrays[0]).reshape(-1)
        off = np.abs(got * shape[1] - 1.0)
        # A long row may be summed as one likes: its bound is linear in n.
        if not np.all(off <= (0.01 if shape[0] == 1 else 8 * trial.fmt.unit_roundoff)):
            i = int(np.argmax(np.nan_to_num(off, nan=np.inf)))
            text = f"a result is {got[i]:.9g}, but should be {1 / shape[1]:.9g}"
            inaccurate = shape[0] == 1 and not is_lost(float(got[i]), 1 / shape[1], trial.fmt)
            grade: Grade = "finding" if inaccurate else "failure"
            yield trial.broken(step, text, "inaccurate", grade)
        else:
            yield Observation("pass", "accurate")


@lru_cache(maxsize=8)
def _prefixes(dtype: str, seed: int) -> tuple[Array, NDArray[Any], NDArray[Any]]:
    """Logits z, exp(z) and the sums of its first n: what the row of every n must give.

    For float64 in long double: with its 64 bits the longest sum is off by less than 0.1 u.
    """
    rng = np.random.default_rng([seed, 28])
    z = np.clip(rng.normal(size=LONGEST), -3.0, 3.0).astype(float_format(dtype).dtype)
    e = np.exp(z.astype(np.longdouble if dtype == "float64" else np.float64))
    return z, e, np.cumsum(e)


def _sweep_tolerance(trial: Trial, n: int) -> float:
    """In u: as the bound where n is small, six times the root of n where it is large."""
    a = trial.arithmetic
    grown = min(float(n), 6.0 * np.sqrt(n) + 8.0)
    return float(grown + 2 * a.exp_error + 2 * np.log(n) + 14.0)


def _sweep_steps(trial: Trial, counts: Sequence[int], axis: int) -> list[Step]:
    z = _prefixes(trial.dtype, trial.seed)[0]
    rows = [np.repeat(z[None, :n], 2 if axis == -1 else 3, axis=0) for n in counts]
    return [trial.step(x) if axis == -1 else trial.columns(x)[0] for x in rows]


def _at_counts(trial: Trial, counts: Sequence[int], axis: int) -> Iterator[Observation]:
    _, e, sums = _prefixes(trial.dtype, trial.seed)
    steps = _sweep_steps(trial, counts, axis)
    for n, step, result in zip(counts, steps, trial.perform(steps), strict=True):
        broken = trial.contract(step, result)
        if broken is not None:
            yield broken
            continue
        y = to_float64(result.arrays[0])
        y = y.T if axis == 0 else y
        off = np.abs(y * (sums[n - 1] / e[:n]) - 1.0).astype(np.float64)
        error = np.nan_to_num(off / trial.fmt.unit_roundoff, nan=np.inf)
        if error.max() <= _sweep_tolerance(trial, n):
            yield Observation("pass", "accurate")
            continue
        i, j = largest_at(error)
        text = (
            f"out[{i}, {j}]={float(y[i, j]):.9g}, but should be {float(e[j] / sums[n - 1]):.9g} "
            f"({error[i, j]:.4g} u, {_sweep_tolerance(trial, n):.4g} allowed)"
        )
        yield trial.broken(step, text, "wrong", note=f"n={n}")


def every_count(trial: Trial) -> Iterator[Observation]:
    """Every n up to 4096, along the last axis and along the first, each in a call of its own.

    A slow implementation is asked as many as its calls leave time for, drawn at random.
    """
    for axis in (-1, 0):
        counts = list(range(1, LONGEST + 1))
        started = trial.clock()
        # Different counts: where each is compiled anew, that is what it takes.
        warm = counts[508:512] if trial.sparing else counts[504:512]
        trial.perform(_sweep_steps(trial, warm, axis))
        each = (trial.clock() - started) / len(warm) * 4
        thinned = each * LONGEST > trial.budget_s
        if thinned and trial.sparing:
            counts = trial.chosen(_EDGES, _FEW)
        elif thinned:
            kept = min(max(8, int(trial.budget_s / each)), LONGEST)
            drawn = trial.rng(axis + 5).choice(LONGEST, kept, replace=False) + 1
            least = range(1, _ALWAYS + 1) if trial.budget_s > 64 * each else ()
            counts = sorted({*least, *_EDGES, *map(int, drawn)})
        for start in range(0, len(counts), _CHUNK):
            yield from _at_counts(trial, counts[start : start + _CHUNK], axis)
        if thinned:
            text = f"judged at {len(counts)} of {LONGEST} class counts: it is slow"
            yield Observation("pass", "accurate", text)


def many_counts(trial: Trial) -> Sequence[Observation]:
    """Class counts around powers of two and odd ones, of the other operations."""
    counts = [*_EDGES, *(int(n) for n in trial.rng(28).integers(2, LONGEST, 30))]
    if not trial.thorough:
        counts = [n for n in _EDGES if n < 300] + [511, 513, 777, 1001, 4095]
    if trial.operation != "softmax" or trial.dtype not in NATIVE:
        counts += [n for n in range(2, 72) if n not in counts]
    steps = []
    for n in trial.chosen(counts, 12):
        rows = 3 if n < 600 else 1
        x = trial.array(np.clip(trial.rng(n).normal(size=(rows, n)), -3, 3))
        steps.append(trial.step(x))
    return trial.values(steps)


def _repeated(trial: Trial, rows: int, classes: int) -> Array:
    base = trial.array(trial.rng(classes).normal(size=(61, classes)))
    return np.ascontiguousarray(np.resize(base, (rows, classes)))


def _targeted(trial: Trial, x: Array, axis: int = -1) -> Step:
    rows = len(x) if axis == -1 else x.shape[1]
    if trial.operation == "cross_entropy":
        return trial.step(x, targets=np.resize(np.arange(61) % x.shape[1], rows))
    if trial.operation == "softmax_backward":
        base = trial.array(trial.rng(7).normal(size=(61, x.shape[-1 if axis == -1 else 0])))
        grad = np.resize(base, (rows, base.shape[1]))
        return trial.step(x, axis, grad=np.ascontiguousarray(grad if axis == -1 else grad.T))
    return trial.step(x, axis)


def many_rows(trial: Trial) -> Iterator[Observation]:
    """Row counts around tiles and beyond 2**16, short rows."""
    sizes = [(r, 5) for r in (1, 2, 3, 7, 8, 9, 31, 33, 64, 127, 129, 255, 257, 1000, 1025, 4097)]
    sizes += [(32_769, 3), (65_535, 2), (65_536, 3), (65_537, 2), (70_001, 3)]
    sizes += [(140_003, 2), (300, 257), (70, 1025), (2000, 31), (2100, 40)]
    if not trial.thorough:
        sizes = [(r, 5) for r in (1, 2, 3, 8, 9, 33, 129, 1025)] + [(70_001, 2), (300, 257)]
        sizes += [(70, 1025), (2100, 40)]
    for rows, classes in sizes:
        x = _repeated(trial, rows, classes)
        yield from trial.values([_targeted(trial, x)])
        if trial.operation != "cross_entropy" and rows * classes < 500_000:
            yield from trial.values([_targeted(trial, np.ascontiguousarray(x.T), 0)])
    if trial.operation != "cross_entropy":
        # Two columns within each of more than 2**16 slices: rows that are no axis of their own.
        step = _targeted(trial, _repeated(trial, 2 * 66_000, 3))
        slices = (a.reshape(66_000, 2, 3).transpose(0, 2, 1) for a in step.arrays)
        step = replace(step, arrays=tuple(map(np.ascontiguousarray, slices)), axis=1)
        yield from trial.values([step])


def long_rows(trial: Trial) -> Iterator[Observation]:
    """Rows beyond 2**16 classes: tails, thread shares, 16-bit indices."""
    counts = (8191, 16_385, 65_537, 131_075) if trial.operation == "softmax" else (16_385, 65_537)
    for n in counts:
        z = np.clip(trial.rng(n).normal(size=(1, n)), -3, 3)
        z[0, -1] = z[0, 0] = 3.5
        yield from trial.values([trial.step(trial.array(z))])
        if trial.operation == "softmax":
            peak = np.full((1, n), -3.0)
            peak[0, -1] = 12.0
            yield from trial.values([trial.step(trial.array(peak))])


def large(trial: Trial) -> Iterator[Observation]:
    """More than 2**20 elements in rows of many and in a single one: what threads divide."""
    yield from trial.values([_targeted(trial, _repeated(trial, 1049, 1001))], every=True)
    if trial.thorough:
        z = np.clip(trial.rng(20).normal(size=(1, (1 << 20) + 7)), -3, 3)
        yield from trial.values([trial.step(trial.array(z))])


CASES = (
    Case("23-constant", 23, "zeros: 1/n each, up to 2**16 in float16 (24, 25 too)", constant_rows,
         deviations=("float16-sum", "stalled-sum", "strided-sum", "saturation", "overflow")),
    Case("26-stalled-float32", 26, "float32 zeros (2**25, 2), axis 0: columns sum to 1",
         stalled_float32, ("softmax",), ("float32",), kind="finding", heavy=True,
         deviations=("strided-sum",)),
    Case("27-strided-sum", 27, "a sum along a strided axis, n = 50,000", strided_sum,
         ("softmax", "log_softmax", "logsumexp"), kind="finding",
         deviations=("strided-sum", "stalled-sum", "float16-sum", "saturation")),
    Case("28-every-count", 28, "every n up to 4096, both axes", every_count, ("softmax",), NATIVE,
         upstream=(PYTORCH + "147284",)),
    Case("28-counts", 28, "class counts around tiles, and odd ones", many_counts, OPERATIONS,
         deviations=("stalled-sum", "float16-sum", "saturation")),
    Case("29-beyond-int32", 29, "more than 2**31 elements, in many rows and in one", beyond_int32,
         ("softmax",), heavy=True, upstream=(PYTORCH + "84144",),
         deviations=("float16-sum", "stalled-sum")),
    Case("30-tie-to-zero", 30, "float16, n = 2**25: 2**-25 rounds to 0", very_long_constant,
         ("softmax",), ("float16",), heavy=True, deviations=("stalled-sum", "float16-sum")),
    Case("31-many-rows", 31, "row counts around tiles and beyond 2**16", many_rows),
    Case("31-large", 31, "more than 2**20 elements", large, OPERATIONS, NATIVE),
    Case("31-long-rows", 31, "rows of more than 2**16 classes", long_rows, OPERATIONS, NATIVE),
)  # fmt: skip
