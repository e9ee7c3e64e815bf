"""What is wrong with an implementation, in a sentence: from where its results are off, and how.

Nothing here decides whether a result is right: that was decided. A sentence is said only where the
results fit it, most of their error being explained by the fault that it names; else nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import Array, Result, Step
from harness.experiments.conformance.case_run import vanishing
from harness.experiments.conformance.expected import axes_of, expected_of, result_rows, rows_of
from harness.experiments.conformance.observation import Evidence
from harness.experiments.conformance.shrink import Failing, Prober, Spent, classes_axis
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, FloatFormat, scale_by_power, to_float64, ulp

_LANES = (64, 32, 16, 8, 4, 2)
_TILES = (8, 16, 32, 64, 100, 128, 256, 512, 1000, 1024, 2048, 4096)
_USUAL = ((48, 127), (24, 3))
"""Rows and classes of ordinary numbers: what is left over is another number for every loop; and
few, whose sum is small."""
_EXPLAINED = 0.03
"""The part of the error that a sentence may leave unexplained."""

_CONTRACT = {
    "modified": "the argument is written to: it must stay as it was",
    "overrun": "memory beyond the end of the argument or of out= is written to",
    "shared": "the result is a view of the argument, and changes when that does",
    "changed": "the result lies in memory that the next call uses again: it changes afterwards",
}
_LAYOUTS = {
    "F": "arrays in Fortran order",
    "reversed": "arrays with negative strides",
    "strided": "arrays with gaps between the elements",
    "offset": "rows cut out of wider ones",
    "broadcast": "broadcast arrays, whose strides are 0",
    "misaligned": "arrays at an odd address",
    "readonly": "read-only arrays",
}


@dataclass(frozen=True, eq=False)
class View:
    """One result of a call beside what it should be, in rows.

    Attributes:
        step: the call. part: which of its results. fmt: of the results.
        x: the first argument in rows. second: another one of that shape, or None.
        got, exact: (rows, classes), or (rows, 1).
        error: signed; relative for probabilities and gradients, absolute for logarithms.
        bad: where it is beyond what the operation's bound allows.
        row: the one in question.
    """

    step: Step
    part: int
    fmt: FloatFormat
    x: Float64Array
    second: Float64Array | None
    got: Float64Array
    exact: Float64Array
    error: Float64Array
    bad: Any
    row: int

    @property
    def logarithmic(self) -> bool:
        return self.step.operation in ("log_softmax", "logsumexp") or (
            self.step.operation == "cross_entropy" and self.part == 0
        )


def view_of(failing: Failing, fmt: FloatFormat, arithmetic: Arithmetic) -> View | None:
    """The result in question in rows; None where there is none of the right shape."""
    step, result, evidence = failing.step, failing.result, failing.observation.evidence
    part = 0 if evidence is None else evidence.part
    expected = expected_of(step, fmt, arithmetic)
    if step.shape is not None or len(result.arrays) != len(expected):
        return None
    array, due = result.arrays[part], expected[part]
    got = to_float64(result_rows(array, step)) if array.size == due.exact.size else None
    if got is None or got.size == 0 or got.shape != due.exact.shape:
        return None
    columns = got.reshape(len(got), -1)
    exact = due.exact.reshape(*columns.shape)
    value = exact.to_float64()
    difference = _difference(columns, exact)
    first = failing.step.operation in ("log_softmax", "logsumexp")
    logarithmic = first or (step.operation == "cross_entropy" and part == 0)
    with np.errstate(all="ignore"):
        size = np.abs(value)
        if step.operation == "softmax_backward":
            grad, y = (to_float64(rows_of(a, axes_of(step, a.ndim))) for a in step.arrays)
            size = np.abs(y) * (np.abs(grad) + np.abs(grad * y).sum(axis=1, keepdims=True))
        relative = np.where(np.abs(value) >= fmt.smallest_normal, difference / size, 0.0)
        ulps = np.abs(difference) > due.allowed.reshape(columns.shape) * _ulp(value, fmt)
    ulps |= np.isnan(columns) != np.isnan(value)
    if step.operation == "softmax":
        ulps |= (columns != 0) & vanishing(exact, fmt)
    axes = axes_of(step, step.arrays[0].ndim)
    rows = [to_float64(rows_of(a, axes)) for a in step.arrays if a.shape == step.arrays[0].shape]
    place = (evidence.place if evidence is not None else ()) or (0,)
    return View(
        step, part, fmt, rows[0], rows[1] if len(rows) > 1 else None, columns, value,
        difference if logarithmic else relative, ulps & ~due.free.reshape(columns.shape),
        min(place[0], len(columns) - 1),
    )  # fmt: skip


def _ulp(value: Float64Array, fmt: FloatFormat) -> Float64Array:
    return ulp(np.nan_to_num(value), fmt)


def _difference(got: Float64Array, exact: Exact) -> Float64Array:
    hi, lo = (scale_by_power(part, exact.exponent) for part in (exact.hi, exact.lo))
    with np.errstate(invalid="ignore"):
        return np.asarray((got - hi) - lo)


def _softmax(x: Float64Array) -> Float64Array:
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _alike(a: Float64Array, b: Float64Array) -> Any:
    return (a == b) | (np.isnan(a) & np.isnan(b))


def _unexplained(view: View, hypothesis: Float64Array) -> float:
    """The part of the results' error that a hypothesis leaves; infinite where it is no such."""
    if hypothesis.shape != view.got.shape:
        return np.inf
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(view.exact), np.abs(hypothesis)) + view.fmt.smallest_normal
        of_exact = np.where(_alike(view.got, view.exact), 0.0, np.abs(view.got - view.exact) / size)
        left = np.where(_alike(view.got, hypothesis), 0.0, np.abs(view.got - hypothesis) / size)
    of_exact, left = np.nan_to_num(of_exact, nan=1.0), np.nan_to_num(left, nan=np.inf)
    if of_exact.max() <= 256 * view.fmt.unit_roundoff:
        return np.inf
    return float(left.max()) / float(of_exact.max())


def _known_mistake(view: View) -> str | None:
    """The mistake that explains the results best, and nearly whole."""
    if view.part == 0 and max(len(np.unique(row)) for row in view.x) < 3:
        return None  # too few numbers to tell mistakes apart
    left, text = min(
        ((_unexplained(view, value), text) for text, value in _formulas(view)), default=(1.0, "")
    )
    return text if left <= _EXPLAINED else None


# ---------------------------------------------------------------- what the numbers are


def _formulas(view: View) -> Iterator[tuple[str, Float64Array]]:
    """Results that known mistakes give, and the mistakes."""
    x, exact, step = view.x, view.exact, view.step
    rows, n = x.shape
    zero = np.zeros_like(view.got)
    with np.errstate(all="ignore"):
        yield "every result is 0", zero
        yield "the sign is wrong", -exact
        if rows > 1:
            yield "each row holds the result of the next one", np.roll(exact, -1, axis=0)
            yield "each row holds the result of the one before", np.roll(exact, 1, axis=0)
            for divisor, name in ((rows, "rows"), (rows * n, "elements")):
                yield f"results are divided by the number of {name}", exact / divisor
                yield f"results are multiplied by the number of {name}", exact * divisor
        if exact.shape[1] > 1:
            yield "the results are in descending order", -np.sort(-exact, axis=1)
            yield "the results are in ascending order", np.sort(exact, axis=1)
            for by in (1, -1):
                moved = np.roll(exact, by, axis=1)
                yield f"each result stands one place too far {'right' if by > 0 else 'left'}", moved
            yield "the results stand in reverse order", exact[:, ::-1]
        yield from _of_operation(view)
        if step.layout != "C" and len(step.arrays) == 1:
            yield from _of_memory(view)
        if view.got.shape == x.shape and step.arrays[0].ndim > 1:
            yield from _other_axes(view)


def _of_operation(view: View) -> Iterator[tuple[str, Float64Array]]:
    x, exact, n = view.x, view.exact, view.x.shape[1]
    top = x.max(axis=1, keepdims=True)
    name = view.step.operation
    if name == "softmax":
        p = exact
        yield "every class gets 1/n, whatever its logit", np.full_like(p, 1.0 / n)
        hot = (np.arange(n) == x.argmax(axis=1)[:, None]).astype(float)
        yield "the result is 1 at the largest logit and 0 elsewhere: an argmax", hot
        yield "powers of 2 instead of e", _softmax(x * np.log(2.0))
        yield "softmax is applied twice", _softmax(p)
        yield "the logits' sign is wrong", _softmax(-x)
        e = np.exp(x - top)
        total = e.sum(axis=1, keepdims=True)
        yield "1 is added to the sum of exp(x - max)", e / (total + 1.0)
        yield (
            "1 is added to the sum of exp(x), as for an attention sink",
            e / (total + np.exp(-top)),
        )
        running = np.exp(x - np.maximum.accumulate(x, axis=1)).sum(axis=1, keepdims=True)
        yield "the sum is not rescaled when a larger logit is met", e / running
        for narrow, name in ((ml_dtypes.bfloat16, "bfloat16"), (np.float16, "float16")):
            rounded = e.astype(narrow).astype(np.float64)
            yield f"the exponentials are rounded to {name}", rounded / total
            total_too = rounded.sum(axis=1, keepdims=True)
            yield f"the exponentials are rounded to {name} and then added", rounded / total_too
        yield "the exponentials are not divided by their sum", e
        yield "the exponentials are not divided by their sum, nor shifted", np.exp(x)
        yield "the result is log_softmax", np.log(p)
        for low, which in ((0.0, "0"), (-80.0, "-80")):
            if np.isneginf(x).any():
                finite = np.where(np.isneginf(x), low, x)
                yield f"-inf (a masked logit) is taken for {which}", _softmax(finite)
        if len(x) > 1:
            every = np.exp(x - x.max())
            yield "the sum is over the whole array, not a row", every / every.sum()
            shared = np.exp(x - x.max())
            yield (
                "one maximum, of the whole batch, is subtracted from every row",
                shared / shared.sum(axis=1, keepdims=True),
            )
    elif name == "log_softmax":
        yield "the logarithm is to base 2", exact / np.log(2.0)
        yield "the logarithm of the sum is forgotten: x - max", x - top
        yield "the logarithm of the sum is to base 2", x - top + (exact - x + top) / np.log(2.0)
        for epsilon in (1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5):
            yield f"{epsilon:g} is added before the logarithm", np.log(np.exp(exact) + epsilon)
        yield "the result is softmax, not its logarithm", np.exp(exact)
    elif name == "logsumexp":
        yield "the result is the maximum of the row", top
        yield "the mean of the exponentials is taken, not their sum", exact - np.log(n)
        yield "the result is the logarithm to base 2", exact / np.log(2.0)
    elif name == "softmax_backward" and view.second is not None:
        g, y = x, view.second
        yield "the cross term, the sum of grad * y, is missing", y * g
        yield "the mean of grad stands for the sum of grad * y", y * (g - g.mean(1, keepdims=True))
        yield "only the diagonal of the Jacobian is used: y * grad * (1 - y)", y * g * (1.0 - y)
        yield "the sum of grad stands for the sum of grad * y", y * (g - g.sum(1, keepdims=True))
        again = _softmax(y)
        cross = (g * again).sum(axis=1, keepdims=True)
        yield "y is put through softmax once more", again * (g - cross)
        yield "the sum is over the whole array, not a row", y * (g - (g * y).sum())
        yield "the factor y is missing", g - (g * y).sum(axis=1, keepdims=True)
    elif name == "cross_entropy":
        targets = view.step.arrays[1].reshape(-1)
        one = np.arange(n) == targets[:, None]
        if view.part == 0:
            yield "the loss is the mean over the rows", np.full_like(exact, exact.mean())
            yield "the loss is the sum over the rows", np.full_like(exact, exact.sum())
            yield "the loss lacks the logit of the target", exact + x[one][:, None]
        else:
            p = exact + one
            yield "the gradient is p: 1 is not subtracted at the target", p
            for by in (1, -1):
                where = "after" if by > 0 else "before"
                yield (
                    f"1 is subtracted at the class {where} the target",
                    p - np.roll(one, by, axis=1),
                )


def _of_memory(view: View) -> Iterator[tuple[str, Float64Array]]:
    """The elements read in the order of memory, as if they were contiguous."""
    step = view.step
    x = to_float64(step.arrays[0])
    axes = axes_of(step, x.ndim)
    if len(axes) > 1 or step.operation != "softmax":
        return
    read = np.ravel(x, order="F") if step.layout == "F" else np.ravel(x)[::-1]
    p = _softmax(np.moveaxis(read.reshape(x.shape), axes[0], -1))
    yield (
        "strides are ignored: elements are taken in the order of memory",
        rows_of(np.moveaxis(p, -1, axes[0]), axes),
    )


def _other_axes(view: View) -> Iterator[tuple[str, Float64Array]]:
    """The operation along another axis than the one asked for, or along all."""
    step = view.step
    if step.operation not in ("softmax", "log_softmax", "softmax_backward"):
        return
    arrays = [to_float64(a) for a in step.arrays]
    own = axes_of(step, arrays[0].ndim)
    for axis in range(arrays[0].ndim):
        if (axis,) == own:
            continue
        moved = [np.moveaxis(a, axis, -1) for a in arrays]
        if step.operation == "softmax_backward":
            g, y = moved
            value = y * (g - (g * y).sum(axis=-1, keepdims=True))
            mixed = arrays[1] * (arrays[0] - (arrays[0] * arrays[1]).sum(axis=axis, keepdims=True))
            yield f"the sum is along axis {axis}", rows_of(mixed, own)
        else:
            value = _softmax(moved[0])
            value = np.log(value) if step.operation == "log_softmax" else value
        yield (
            f"the operation is done along axis {axis}",
            rows_of(np.moveaxis(value, -1, axis), own),
        )


def _special(view: View) -> str | None:
    """NaN, infinities, zeros and signs, where the exact result has none."""
    row = view.row
    x, got, exact = view.x[row], view.got[row], view.exact[row]
    finite_row = bool(np.isfinite(x).all())
    if np.isnan(x).any():
        lost = ~np.isnan(got) & np.isnan(exact)
        if lost.any():
            places = np.flatnonzero(np.isnan(x))
            where = f", at class {places[0]}" if len(places) == 1 and len(x) > 1 else ""
            return f"a NaN among the logits{where} is lost: the whole row must be NaN"
        return None
    others = np.delete(view.x, row, axis=0)
    if np.isnan(got).any() and not np.isnan(exact).any():
        if np.isnan(others).any() and finite_row:
            return "a NaN in one row spoils other rows"
        if np.isposinf(others).any() and finite_row:
            return "+inf in one row spoils other rows"
        if np.isneginf(x).any():
            masked = np.isneginf(view.x) & ~np.isnan(view.exact).any(axis=1, keepdims=True)
            inside = masked.any(axis=1) & ~masked[:, 0]
            led = inside.any() and not np.isnan(view.got[inside]).any()
            first = "at the start of a row " if led else ""
            return f"-inf (a masked logit) {first}gives NaN, as -inf - (-inf) does"
        if np.isposinf(x).any():
            return None
        return _range_lost(view, "NaN") or "the result is NaN though every logit is finite"
    if np.isinf(got).any() and np.isfinite(exact[np.isinf(got)]).all():
        return _range_lost(view, "infinite") or "a result is infinite though it has a number"
    if view.step.operation == "softmax" and (got < 0).any():
        return f"a probability is negative: {got.min():.3g}"
    if np.isposinf(x).any() and np.isnan(exact).any() and np.isfinite(got).all():
        return "+inf is taken for a finite number"
    return None


def _range_lost(view: View, what: str) -> str | None:
    """Exponentials that leave the range of the format, for want of a shift."""
    if view.step.operation == "softmax_backward":
        return None
    x = view.x[view.row]
    x = x[np.isfinite(x)]
    if not x.size:
        return None
    if x.max() > 0.98 * np.log(view.fmt.max) - np.log(x.size):
        return (
            f"exponentials overflow at logits of {x.max():.4g} (the result is {what}): the maximum "
            f"of the row is not subtracted first"
        )
    if x.max() < 0.98 * np.log(view.fmt.smallest_normal):
        return (
            f"all exponentials underflow at logits of {x.max():.4g} (the result is {what}): the "
            f"maximum of the row is not subtracted first"
        )
    if np.ptp(x) > 0.98 * np.log(view.fmt.max):
        return (
            f"exponentials overflow where logits are {np.ptp(x):.4g} apart (the result is {what}): "
            f"something else than the maximum of the row is subtracted first"
        )
    return None


def _flushed(view: View) -> str | None:
    """Small results that are 0, and results that are not 0 where they must be."""
    row = view.row
    bad = view.bad[row]
    got, exact = view.got[row][bad], np.abs(view.exact[row][bad])
    if not bad.any() or view.logarithmic or view.step.operation == "softmax_backward":
        return None
    x = view.x[row]
    right = np.abs(view.exact[row][~bad])
    least = right[right > 0].min() if (right > 0).any() else np.inf
    if np.all(got == 0) and (exact < min(1e-4, least)).all() and (exact > 0).all():
        if (exact < view.fmt.smallest_normal).all():
            return "results below the normal range are flushed to 0"
        return f"small results become 0: here one of {exact.max():.2g}"
    if view.step.operation == "softmax" and np.isneginf(x[bad]).any() and (got > 0).all():
        return f"-inf (a masked logit) is taken for a finite number: its result is {got.max():.2g}"
    vanish = (exact < view.fmt.smallest_normal).all() and (got > 4 * exact).all()
    if view.step.operation == "softmax" and vanish and (got > 0).all():
        return (
            f"what should vanish is {got.max():.2g}: exponentials far below the maximum are "
            f"cut off at a least number"
        )
    return None


def _cut_off(view: View) -> str | None:
    """Results that never get beyond some number."""
    bad = view.bad & np.isfinite(view.exact)
    if bad.sum() < 1 or not view.logarithmic:
        return None
    end = view.got[bad]
    beyond = np.abs(view.exact[bad])
    within = np.abs(view.exact[~view.bad & np.isfinite(view.exact)])
    if np.ptp(end) == 0 and (beyond > abs(end[0])).all() and (within <= abs(end[0]) * 1.01).all():
        return f"no result gets beyond {end[0]:.6g}: something is cut off there"
    return None


def _temperature(view: View) -> str | None:
    """Logits multiplied by a number, from the ratios of results."""
    if view.step.operation not in ("softmax", "log_softmax"):
        return None
    with np.errstate(all="ignore"):
        logs = np.log(view.got) if view.step.operation == "softmax" else view.got
        right = np.log(view.exact) if view.step.operation == "softmax" else view.exact
    usable = np.isfinite(logs) & np.isfinite(right) & np.isfinite(view.x)
    if view.step.operation == "softmax":
        usable &= view.exact >= view.fmt.smallest_normal
    told = usable.any(axis=1)
    usable, logs, right = usable[told], logs[told], right[told]
    if usable.sum() < 4:
        return None
    if len(np.unique(view.x[told][usable])) < 4:
        return None
    x = np.where(usable, view.x[told], np.nan)
    a = x - np.nanmean(x, axis=1, keepdims=True)
    off = np.where(usable, logs - right, np.nan)
    off = off - np.nanmean(off, axis=1, keepdims=True)
    weight = float(np.nansum(a * a))
    if not weight > 0:
        return None
    slope = float(np.nansum(a * off)) / weight
    left = float(np.nanmax(np.abs(off - slope * a)))
    if abs(slope) < 1e-6 or left > 0.1 * float(np.nanmax(np.abs(off))):
        return None
    return f"the logits are multiplied by {1 + slope:.6g} first (a temperature, or another base)"


def _digits(view: View) -> str | None:
    """Results, or logits, that have the digits of a narrower format alone."""
    usual = view.got[np.isfinite(view.got) & (np.abs(view.got) > 2.0**-13)]
    if len(np.unique(usual)) < 4:
        return None
    names: tuple[tuple[str, Any, int], ...] = (
        ("bfloat16", ml_dtypes.bfloat16, 8),
        ("float16", np.float16, 11),
        ("float32", np.float32, 24),
    )  # fmt: skip
    for name, dtype, precision in names:
        if precision < view.fmt.precision and np.all(usual.astype(dtype) == usual):
            return f"the results have the digits of {name} only"
    for name, dtype, precision in names:
        if precision >= view.fmt.precision or view.step.operation not in ("softmax", "log_softmax"):
            continue
        p = _softmax(view.x.astype(dtype).astype(np.float64))
        with np.errstate(all="ignore"):
            hypothesis = np.log(p) if view.step.operation == "log_softmax" else p
        if _unexplained(view, hypothesis) <= _EXPLAINED:
            return f"the logits are rounded to {name} first"
    return None


def _of_exponentials(view: View) -> str | None:
    """Errors that belong to each element by itself: those of its exponential."""
    if view.step.operation not in ("softmax", "log_softmax"):
        return None
    gap = view.x.max(axis=1, keepdims=True) - view.x
    usable = np.isfinite(view.error) & np.isfinite(gap)
    if not view.logarithmic:
        usable &= view.exact >= view.fmt.smallest_normal
    own = np.where(usable, view.error, np.nan)
    told = usable.sum(axis=1) > 2
    if not told.any():
        return None
    own, gap = own[told], gap[told]
    own = np.abs(own - np.nanmedian(own, axis=1, keepdims=True))
    middle, largest = float(np.nanmedian(own)), float(np.nanmax(own))
    u = view.fmt.unit_roundoff
    if largest > 0.5 or not several_gaps(gap):
        return None
    off = own > 0.25 * largest
    low, high = float(gap[off].min()), float(gap[off].max())
    between = (gap >= low) & (gap <= high)
    others = own[~between & np.isfinite(own)]
    if (
        off.sum() >= 3
        and off.sum() >= 0.6 * between.sum()
        and others.size > 0.5 * own.size
        and others.max() < 0.1 * largest
        and largest > 24.0 * u
    ):
        return (
            f"exponentials of {-high:.4g} to {-low:.4g} are wrong, by up to {largest:.2g}; "
            f"others are right"
        )
    if largest > 6.0 * u and middle > 1.5 * u:
        return (
            f"the elements of a row are off unlike each other, by up to {largest:.2g} relative: "
            f"the exponential is inaccurate"
        )
    return None


def several_gaps(gap: Float64Array) -> bool:
    """Whether logits lie at many distances from their maximum."""
    return len(np.unique(gap[np.isfinite(gap)])) > 16


# ---------------------------------------------------------------- where they are off


@dataclass(frozen=True, eq=False)
class _Sums:
    """The sums of exp(x - max) of rows, and what the results say of them.

    Attributes:
        terms: (rows, classes). off: the sum that was used, less the true one.
        slack: what the estimate of `off` may be wrong by.
    """

    terms: Float64Array
    off: Float64Array
    slack: Float64Array

    def lack(self, missing: Float64Array) -> bool:
        """Whether just these terms are missing in the sums."""
        return bool(np.all(np.abs(self.off + missing) <= self.slack))


def _sums(view: View) -> _Sums | None:
    """None where the elements of a row are not off alike, or by too little to be told."""
    if view.step.operation not in ("softmax", "log_softmax", "logsumexp"):
        return None
    usable = np.isfinite(view.got).all(axis=1) & np.isfinite(view.x.max(axis=1))
    rows = np.flatnonzero(usable)
    if not len(rows):
        return None
    terms = np.exp(view.x[rows] - view.x[rows].max(axis=1, keepdims=True))
    total = terms.sum(axis=1)
    off, noise = np.zeros(len(rows)), np.zeros(len(rows))
    for k, i in enumerate(rows):
        told = np.isfinite(view.error[i])
        if not view.logarithmic:
            told &= view.exact[i] >= view.fmt.smallest_normal
        r = view.error[i][told]
        c = float(np.median(r)) if r.size else np.nan
        if view.step.operation == "logsumexp":
            factor = float(np.exp(-c))
            noise[k] = 8 * view.fmt.unit_roundoff * (1 + abs(view.exact[i, 0]))
        else:
            factor = float(np.exp(c)) if view.logarithmic else 1.0 + c
            noise[k] = _noise(view, r - c)
            if not r.size or np.max(np.abs(r - c)) > 0.5 * abs(c) + noise[k]:
                return None
        if not factor > 0:
            return None
        off[k] = total[k] * (1.0 / factor - 1.0)
    found = _Sums(terms, off, noise * total + 0.02 * np.abs(off))
    return found if (np.abs(off) > 4 * found.slack).any() else None


def _summed(view: View) -> str | None:
    """Which terms are missing in the sum of a row, or what is added to it."""
    sums = _sums(view)
    if sums is None:
        return None
    e, n = sums.terms, view.x.shape[1]
    total = e.sum(axis=1)
    for j, which in ((n - 1, "last"), (0, "first")):
        if n > 1 and sums.lack(e[:, j]):
            return f"the sum leaves out the {which} entry of the row"
    for lanes in (4, 8, 16, 32, 64, 128):
        rest = n % lanes
        if n > lanes and rest and sums.lack(e[:, n - rest :].sum(axis=1)):
            which = f"the last {rest} of {n} entries, the rest of a loop over {lanes}"
            return f"the sum leaves out {which}"
    if len(np.unique(total)) > 2:  # of a single row much can be explained by chance
        return _missing(sums) or _added(sums, total)
    return None


def _missing(sums: _Sums) -> str | None:
    """A class, or a tile of them, that is missing in the sums."""
    e, n = sums.terms, sums.terms.shape[1]
    for j in range(1, n - 1) if n <= 4096 else ():
        if sums.lack(e[:, j]):
            return f"the sum leaves out the entry of class {j} of {n}"
    for tile in (t for t in _TILES if t < n):
        parts = np.add.reduceat(e, np.arange(0, n, tile), axis=1)
        for k in range(parts.shape[1]):
            if sums.lack(parts[:, k]):
                return f"the sum leaves out the entries {k * tile} to {min((k + 1) * tile, n) - 1}"
        if sums.lack(e[:, tile::tile].sum(axis=1)):
            return f"the sum leaves out the first entry of each tile of {tile} but the first"
    return None


def _added(sums: _Sums, total: Float64Array) -> str | None:
    off, slack = sums.off, float(sums.slack.max())
    same = np.ptp(off) <= 0.1 * abs(off.mean()) + slack
    if same and np.ptp(total) > 0.2 * total.mean() and abs(off.mean()) > 2 * slack:
        return f"{off.mean():.2g} is added to the sum of exp(x - max)"
    return None


def _noise(view: View, off: Float64Array) -> float:
    """The error that each element of a row has of its own; `off` is what the row does not share."""
    if not off.size:
        return np.inf
    return max(4.0 * float(np.median(np.abs(off))), 2.0 * view.fmt.unit_roundoff)


def _one_factor(view: View) -> str | None:
    """Every element of the row by the same factor, or by the same difference."""
    r = view.error[view.row]
    usable = np.abs(view.exact[view.row]) >= view.fmt.smallest_normal
    if view.step.operation == "softmax_backward" or (
        view.step.operation == "cross_entropy" and view.part == 1
    ):
        r = r * np.sign(view.exact[view.row])
    r = r[usable | view.logarithmic]
    if view.got.shape[1] == 1 and view.logarithmic:
        r = view.error[np.isfinite(view.error[:, 0]), 0]
        c = float(np.median(r)) if r.size else 0.0
        near = 16 * view.fmt.unit_roundoff * (1 + float(np.abs(view.exact[view.row, 0])))
        if abs(c) > 4 * near and np.all(np.abs(r - c) <= near):
            return f"every result is off by {c:.2g}"
        return None
    if r.size < 2 or not np.isfinite(r).all():
        return None
    if view.step.operation in ("softmax_backward", "cross_entropy"):
        r = np.abs(r) * np.sign(np.median(r)) if np.allclose(np.abs(r), np.abs(r[0])) else r
    c = float(np.median(r))
    u = view.fmt.unit_roundoff
    noise = _noise(view, r - c)
    if c == -1.0 and np.all(view.got[view.row] == 0):
        return "every result of a row is 0: it is not computed"
    if abs(c) < 4 * noise or float(np.max(np.abs(r - c))) > max(noise, 0.05 * abs(c)) + 8 * u:
        return None
    if view.logarithmic:
        return f"every element of a row is off by {c:.2g}: the logarithm of the row's sum is wrong"
    name = "the row's sum is" if view.step.operation == "softmax" else "its factor is"
    return f"every element of a row is off by the factor {1 + c:.7g}: {name} wrong"


def _columns(view: View) -> Float64Array | None:
    """How far the errors of each class are off those of the others, in u, over many rows.

    None where that cannot be told, or nothing stands out.
    """
    rows, n = view.error.shape
    if rows < 16 or n < 3 or not np.isfinite(view.error).all():
        return None
    residual = view.error / view.fmt.unit_roundoff
    residual = residual - np.median(residual, axis=1, keepdims=True)
    for values in (residual, np.abs(residual)):
        mean, spread = values.mean(axis=0), values.std(axis=0) / np.sqrt(rows)
        off = np.abs(mean - np.median(mean))
        if off.max() > 1.0 + 6.0 * np.median(spread):
            return off
    return None


def _cross_term(view: View) -> str | None:
    """softmax_backward whose sum over the row is off: the error of each element is its y times."""
    if view.step.operation != "softmax_backward" or view.second is None:
        return None
    y, terms = view.second[view.row], view.x[view.row] * view.second[view.row]
    usable = (y >= view.fmt.smallest_normal) & (np.abs(view.exact[view.row]) > 0)
    if usable.sum() < 3:
        return None
    off = (view.got[view.row] - view.exact[view.row])[usable] / y[usable]
    size = float(np.abs(terms).sum())
    c = float(np.median(off))
    noise = max(4.0 * float(np.median(np.abs(off - c))), 4.0 * view.fmt.unit_roundoff * size)
    spread = float(np.quantile(np.abs(off - c), 0.9))
    if not abs(c) > 4.0 * noise or spread > 0.3 * abs(c):
        return None
    return f"the sum of grad * y of a row is off by {abs(c) / size:.2g} of that of abs(grad * y)"


def _beside(view: View) -> str | None:
    """Along an axis that is not last, the places of the last one, which are lanes there."""
    step = view.step
    shape = step.arrays[0].shape
    axes = axes_of(step, len(shape))
    if len(axes) != 1 or axes[0] == len(shape) - 1 or view.error.shape != view.x.shape:
        return None
    moved = (*shape[: axes[0]], *shape[axes[0] + 1 :], shape[axes[0]])
    columns = np.moveaxis(view.error.reshape(moved), -2, -1).reshape(-1, shape[-1])
    off = _columns(replace(view, error=columns))
    text = None if off is None else _pattern(off, "column", "columns", 0.6)
    return (
        None if text is None else f"calls along axis {axes[0]} of {len(shape)}: only {text} wrong"
    )


def _outliers(view: View) -> tuple[set[int], int]:
    """The classes that are off beside what a row shares, over the rows in question."""
    found: set[int] = set()
    rows = np.flatnonzero(view.bad.any(axis=1))
    rows = rows[:64] if len(rows) else np.array([view.row])
    for i in rows:
        usable = np.isfinite(view.exact[i])
        if not view.logarithmic:
            usable &= np.abs(view.exact[i]) >= view.fmt.smallest_normal
        if not usable.any():
            continue
        r = np.nan_to_num(view.error[i], nan=np.inf, posinf=np.inf, neginf=-np.inf)
        c = float(np.median(r[usable]))
        c = c if np.isfinite(c) else 0.0
        with np.errstate(invalid="ignore"):
            off = np.abs(r - c)
        noise = _noise(view, off[usable])
        found |= set(np.flatnonzero(usable & ~(off <= noise + 0.5 * view.fmt.unit_roundoff)))
    return {int(j) for j in found}, len(rows)


def _positions(view: View) -> str | None:
    """Which classes of a row are off: one, a lane, a tail, a tile."""
    n = view.got.shape[1]
    if n < 2:
        return None
    off, _ = _outliers(view)
    strong = np.flatnonzero(view.bad.any(axis=0))
    columns = _columns(view)
    measures = [] if columns is None else [columns]
    measures += [np.isin(np.arange(n), list(places)).astype(float) for places in (off, strong)]
    for measure in measures:
        largest = float(measure.max(initial=0.0))
        swapped = _swapped(view, np.flatnonzero(measure > 0.02 * largest))
        if swapped is not None:
            return swapped
        text = _pattern(measure, "class", "classes", 0.6 if measure is columns else 0.8)
        if text is not None:
            return f"only {text} wrong"
    return None


def _swapped(view: View, places: Any) -> str | None:
    if len(places) != 2:
        return None
    a, b = (int(j) for j in places)
    row = view.row
    if np.allclose(view.got[row, [b, a]], view.exact[row, [a, b]], rtol=1e-3):
        last = view.got.shape[1] - 1
        which = "the last two classes" if (a, b) == (last - 1, last) else f"classes {a} and {b}"
        return f"{which} hold each other's result"
    return None


def _groups(n: int, one: str, many: str) -> Iterator[tuple[str, slice]]:
    """Places that stand out together where code is wrong, in words, of n."""
    yield f"the last {one} is", slice(n - 1, n)
    for width in (4, 8, 16, 32, 64):
        if n > width and n % width > 1:
            text = f"the last {n % width} of {n} {many}, the rest of a loop over {width}, are"
            yield text, slice(n - n % width, n)
    for lanes in _LANES:
        for lane in range(lanes) if n >= 2 * lanes else ():
            places = f"the {many} {lane}, {lane + lanes}, ..."
            yield f"lane {lane} of {lanes} ({places}) is", slice(lane, n, lanes)
    for j in range(n - 1) if n <= 4096 else ():
        yield f"{one} {j} of {n} is", slice(j, j + 1)
    for k in (k for k in _TILES if k < n):
        yield f"the {many} from {k} on are", slice(k, n)
        yield f"the first {k} of {n} {many} are", slice(0, k)


def _pattern(measure: Float64Array, one: str, many: str, part: float = 0.8) -> str | None:
    """The places whose measure is unlike that of the others, and explains most of it."""
    n = len(measure)
    total = float(np.sum((measure - measure.mean()) ** 2))
    if not total > 0.0:
        return None
    best, found = part, None
    for text, places in _groups(n, one, many):
        inside = measure[places]
        if inside.size == n:
            continue
        rest = (measure.sum() - inside.sum()) / (n - inside.size)
        between = inside.size * (n - inside.size) / n * (inside.mean() - rest) ** 2
        if inside.mean() > rest and between / total > best * 1.001:
            best, found = between / total, text
    return found or _run(measure, one, many)


def _run(measure: Float64Array, one: str, many: str) -> str | None:
    """A run of places, or a single one."""
    n = len(measure)
    places = np.flatnonzero(measure > 0.5 * measure.max())
    if not 0 < len(places) <= 0.75 * n:
        return None
    low, high = int(places[0]), int(places[-1])
    if len(places) == 1:
        return f"the last {one} is" if low == n - 1 else f"{one} {low} of {n} is"
    if len(places) < 0.7 * (high - low + 1) or high - low == n - 1:
        return None
    if high == n - 1:
        return f"the {many} from {low} on are"
    return f"the {many} {low} to {high} are" if low else f"the first {high + 1} of {n} {many} are"


def _rows_off(view: View) -> str | None:
    """Which rows of a batch are off."""
    rows = len(view.x)
    if rows < 4 or not np.isfinite(view.x).all() or np.ptp(np.ptp(view.x, axis=1)) > 100:
        return None  # rows of different kinds: which are off says nothing of their place
    measure = view.bad.any(axis=1).astype(float)
    if not measure.any():
        measure = np.abs(view.error).mean(axis=1) / view.fmt.unit_roundoff
        if not measure.max() > 3.0 * np.median(measure) + 3.0:
            return None
    if np.mean(measure > 0.5 * measure.max()) > 0.5:
        return None
    text = _pattern(measure, "row", "rows", 0.6)
    return None if text is None else f"only {text} wrong"


def _what(view: View) -> str | None:
    """What is wrong with the numbers of a result."""
    return (
        _known_mistake(view)
        or _summed(view)
        or _one_factor(view)
        or _cross_term(view)
        or _temperature(view)
        or _digits(view)
        or _cut_off(view)
        or _rows_off(view)
        or _positions(view)
        or _of_exponentials(view)
    )


# ---------------------------------------------------------------- which calls


def _where(small: Failing, prober: Prober) -> str | None:
    """Which calls are wrong, from what could not be taken out of the smallest one."""
    step = small.step
    shape = step.arrays[0].shape if step.shape is None else step.shape
    ndim = len(shape)

    def passes(changed: Step) -> bool:
        try:
            return prober.tried(changed, small.before) is None
        except Spent:
            return False

    if step.layout != "C":
        return _LAYOUTS[step.layout]
    if step.second is not None and step.second != step.layout:
        return f"arguments of unlike layout ({step.second} beside {step.layout})"
    if step.out != "none":
        return {
            "fresh": "calls with out=",
            "strided": "calls whose out= has gaps between its rows",
            "alias": "calls whose out= is the input",
        }[step.out]
    if step.keywords:
        return "calls with " + ", ".join(f"{k}=" for k in step.keywords)
    if step.operation == "cross_entropy":
        return _where_wide(small, passes)
    if step.axis == "default" and ndim > 1 and passes(replace(step, axis=-1)):
        return "calls without axis="
    axis = classes_axis(step) if ndim else 0
    if isinstance(step.axis, int) and step.axis < -1 and passes(replace(step, axis=axis)):
        return f"negative axes (axis={step.axis}; axis={axis} is right)"
    if ndim > 2:
        return f"arrays of {ndim} dimensions along axis {axis} (here of shape {shape})"
    if isinstance(step.axis, int) and axis != ndim - 1:
        return "calls along the first axis"
    if ndim == 1 and shape[0] > 1 and step.shape is None:
        two = replace(step, arrays=tuple(a.reshape(1, -1) for a in step.arrays))
        if passes(two):
            return "one-dimensional arrays"
    return _where_wide(small, passes)


def _where_wide(small: Failing, passes: Any) -> str | None:
    step = small.step
    shape = step.arrays[0].shape if step.shape is None else step.shape
    rows = int(np.prod(shape[:-1]))
    n = shape[-1] if shape else 1
    if rows > 2:
        return f"arrays of {rows:,} rows of {n:,} classes (none smaller was seen to be wrong)"
    if n == 1 and rows == 1 and step.shape is None and step.operation != "softmax_backward":
        two = np.repeat(step.arrays[0], 2, axis=-1)
        if passes(replace(step, arrays=(two, *step.arrays[1:]))):
            return "rows of one class"
    if small.narrower is None or n < 8:
        return None
    if n != small.narrower + 1:
        return f"rows of {n:,} classes, not of {small.narrower:,}"
    wider = [_wider(step, k) for k in (1, 2)]
    if not passes(wider[0]):
        return f"rows of more than {small.narrower:,} classes"
    if passes(wider[1]):
        return f"rows of {n:,} classes"
    return f"rows of an {'odd' if n % 2 else 'even'} number of classes, from {n:,} on"


def _wider(step: Step, by: int) -> Step:
    """The call with more classes, of numbers as there are."""
    x, *second = step.arrays
    arrays = [
        np.concatenate([x, np.resize(x[..., : x.shape[-1] // 2 or 1], (*x.shape[:-1], by))], -1)
    ]
    if step.operation == "softmax_backward":
        wide = to_float64(second[0])
        more = np.concatenate([wide, np.full((*wide.shape[:-1], by), wide.mean())], -1)
        second = [(more / more.sum(axis=-1, keepdims=True)).astype(second[0].dtype)]
    return replace(step, arrays=(*arrays, *second))


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What is wrong, in a sentence; None where that cannot be told.

    Attributes:
        kind: of a fault in what is kept from call to call (``"changed"``, ``"unsteady"``,
            ``"kept"``); else None.
        calls: those that show such a fault, where there are some.
    """

    text: str | None
    kind: str | None = None
    calls: Failing | None = None


def diagnose(
    found: Failing, small: Failing | None, prober: Prober, fmt: FloatFormat, arithmetic: Arithmetic
) -> Diagnosis:
    """What is wrong.

    Args:
        found: the call as it was found. small: the smallest one like it, None if there is none.
        prober: asks whether further calls fail.
    """
    where, text = None, None
    if small is not None:
        where, text = _where(small, prober), _broken_contract(small.result, small)
        if text is None and unsteady(found.step, prober):
            return Diagnosis(UNSTEADY, "unsteady")
    seen = [found] if small is None else [found, small]
    views = [v for f in seen if text is None and (v := view_of(f, fmt, arithmetic)) is not None]
    if text is None and (where is None or found.step.layout == "C"):
        text = _generic(found, small is None, prober, fmt, arithmetic)
        where = where if text is None else None
    text = text or _first(views, _special) or _first(views, _flushed)
    text = text or _first(views[:1], _known_mistake)
    if text is None and small is not None:
        calls = _remembered(small, prober)
        if calls is not None:
            return Diagnosis(_REMEMBERED, "kept", calls)
        text = _of_zero(small, prober)
    if text is None and small is None:
        text = _first(views, _beside)
    elif text is None:
        text = _first(views, _what)
    if text is None and small is None and (what := _first(views, _what)) is not None:
        text = f"rows of {views[0].x.shape[1]} classes, not of {_USUAL[0][1]}: {what}"
    if text is None:
        return Diagnosis(None if where is None else f"only {where} were seen to be wrong")
    return Diagnosis(text if where is None else f"{where}: {text}")


def _generic(
    found: Failing, always: bool, prober: Prober, fmt: FloatFormat, arithmetic: Arithmetic
) -> str | None:
    """What is wrong with ordinary calls, if they are; `always`: even where each is in its bound."""
    for shape in _USUAL:
        probe = _usual(found, prober, shape)
        usual = None if probe is None else view_of(probe, fmt, arithmetic)
        if usual is not None and (always or usual.bad.any()):
            text = _what(usual)
            if text is not None:
                return text
    return None


def _first(views: Sequence[View], patterns: Callable[[View], str | None]) -> str | None:
    return next((text for v in views if (text := patterns(v)) is not None), None)


def _usual(found: Failing, prober: Prober, shape: tuple[int, int]) -> Failing | None:
    """The operation on ordinary numbers, many enough to tell how they are off."""
    step, rng = found.step, np.random.default_rng(0)
    x = (2.0 * rng.normal(size=shape)).astype(step.arrays[0].dtype)
    second: tuple[Array, ...] = ()
    if step.operation == "softmax_backward":
        second = (_softmax(to_float64(x)).astype(x.dtype),)
        x = rng.normal(size=x.shape).astype(x.dtype)
    if step.operation == "cross_entropy":
        second = (rng.integers(0, x.shape[1], len(x)),)
    usual = Step(step.operation, (x, *second))
    (result,) = prober.perform([usual])
    if result.error is not None:
        return None
    at = Evidence(usual, part=0 if found.observation.evidence is None else
                  found.observation.evidence.part)  # fmt: skip
    return Failing(usual, result, replace(found.observation, evidence=at), (None,) * 2)


def _broken_contract(result: Result, small: Failing) -> str | None:
    if result.error is not None:
        x = to_float64(small.step.arrays[0]) if small.step.arrays[0].dtype.kind != "V" else None
        why = ""
        if x is not None and np.isnan(x).any():
            why = " at a NaN"
        elif x is not None and np.isinf(x).any():
            why = " at an infinite logit"
        return f"it raises{why}: {result.error}"
    if result.out_ignored:
        return "out= is given and does not hold the result: it is never written, or not with it"
    for name, text in _CONTRACT.items():
        if getattr(result, name):
            return text
    message = small.observation.message.split(" [")[0]
    return message if message.startswith(("shape ", "dtype ")) else None


UNSTEADY = "the same call gave another result before: it depends on more than its arguments"


STEADY = "np.random.default_rng(3).normal(size=(3, 59))"
"""An input of a shape that is asked for nowhere else."""


def unsteady(step: Step, prober: Prober) -> bool:
    """Whether calls on the same numbers, of a shape that is asked for the first time, differ."""
    x = np.random.default_rng(3).normal(size=(3, 59)).astype(step.arrays[0].dtype)
    second: tuple[Array, ...] = ()
    if step.operation == "softmax_backward":
        second = (_softmax(to_float64(x)).astype(x.dtype),)
    if step.operation == "cross_entropy":
        second = (np.zeros(3, np.int64),)
    return _differ(prober.perform([Step(step.operation, (x, *second))] * 12))


def _differ(results: Sequence[Result]) -> bool:
    """Whether some results are not those of the first call, bit by bit."""
    first = results[0]
    return any(
        later.error != first.error
        or any(a.tobytes() != b.tobytes() for a, b in zip(first.arrays, later.arrays, strict=False))
        for later in results[1:]
    )


def _of_zero(small: Failing, prober: Prober) -> str | None:
    """A negative zero that is no zero, and a sum that grows no more."""
    step = small.step
    x = to_float64(step.arrays[0])
    if step.shape is not None:
        return None
    if np.any(np.signbit(x) & (x == 0)):
        positive = np.where(x == 0, 0.0, x).astype(step.arrays[0].dtype)
        changed = replace(step, arrays=(positive, *step.arrays[1:]))
        if prober.tried(changed, small.before) is None:
            return "-0 among the logits is not taken for 0"
    if step.operation == "softmax" and x.ndim == 1 and x.size > 64 and np.ptp(x) == 0:
        twice = np.full(2 * x.size, x[0]).astype(step.arrays[0].dtype)
        (longer,) = prober.perform([replace(step, arrays=(twice,))])
        if longer.error is None and longer.arrays[0].shape == twice.shape:
            a, b = (float(to_float64(v.arrays[0])[0]) for v in (small.result, longer))
            if a == b and a > 0:
                return f"the sum stalls: it does not grow beyond {1.0 / a:.6g}"
    return None


_REMEMBERED = (
    "another input of the same shape, with other numbers between its ends, gives the same result "
    "bit by bit: results are remembered, or some logits are not read"
)


def _remembered(small: Failing, prober: Prober) -> Failing | None:
    """Two calls whose results are the same bits, though numbers in the middle are not."""
    step = small.step
    x = to_float64(step.arrays[0])
    if step.layout != "C" or len(step.arrays) > 1 or x.ndim != 1 or not np.isfinite(x).all():
        return None
    for n in (5, 7, 11, 13):  # a shape of which nothing may be known yet
        first, second = np.zeros(n), np.zeros(n)
        first[1:-1], second[1:-1] = 2.0, 1.0
        a, b = (replace(step, arrays=(v.astype(step.arrays[0].dtype),)) for v in (first, second))
        if not _differ(prober.perform([a, b])):
            return prober.tried(b, (a,))
    return None


def state(found: Failing, prober: Prober) -> Diagnosis | None:
    """What else than its arguments decides what a call gives; None where nothing was seen to."""
    step, before = found.step, found.before
    alone = replace(step, same=None)
    if step.shape is None:
        other = (to_float64(step.arrays[0]) * 0.5 + 1.0).astype(step.arrays[0].dtype)
        later = replace(alone, arrays=(other, *step.arrays[1:]))
        if prober.perform([alone, later])[0].changed:
            return Diagnosis(_CONTRACT["changed"], "changed")
    if unsteady(step, prober) or _differ(prober.perform([alone] * 6)):
        return Diagnosis(UNSTEADY, "unsteady")
    for count in range(1, min(len(before), 8) + 1):
        last = tuple(replace(s, same=None) for s in before[-count:])
        again = prober.tried(alone, last)
        if again is not None:
            shape = last[0].arrays[0].shape
            what = "call" if count == 1 else f"{count} calls"
            text = (
                f"right when called alone, wrong after another {what} (of shape {shape}): "
                f"something is kept from call to call"
            )
            return Diagnosis(text, "kept", again)
    if step.same is not None and 0 <= step.same < len(before):
        pairs = [(before[step.same], step)]
        if len(step.arrays) == 1:
            tiny = [np.array(v).astype(step.arrays[0].dtype) for v in ([0, 0, 1], [1, 0, 0])]
            pairs.insert(0, tuple(Step(step.operation, (x,), "default") for x in tiny))
        for first, second in pairs:
            again = prober.tried(replace(second, same=0), (replace(first, same=None),))
            if again is not None:
                text = "new numbers in the same array give the old result: it is remembered"
                return Diagnosis(text, "kept", again)
    return None
