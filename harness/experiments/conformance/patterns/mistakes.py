"""Known mistakes: what results would be if one were made, held against what came."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from harness.experiments.conformance.expected import axes_of, rows_of, softmax_of, step_rows
from harness.experiments.conformance.patterns.view import View, alike
from harness.numerics.formats import Float64Array, to_float64
from harness.registry.contract import CHANGED

EXPLAINED = 0.03
"""The part of the error that a sentence may leave unexplained."""


def unexplained(view: View, hypothesis: Float64Array) -> float:
    """The part of the results' error that a hypothesis leaves; infinite where it is no such."""
    if hypothesis.shape != view.got.shape:
        return np.inf
    size = np.maximum(np.abs(view.exact), np.abs(hypothesis)) + view.fmt.smallest_normal
    of_exact = np.where(alike(view.got, view.exact), 0.0, np.abs(view.got - view.exact) / size)
    left = np.where(alike(view.got, hypothesis), 0.0, np.abs(view.got - hypothesis) / size)
    of_exact, left = np.nan_to_num(of_exact, nan=1.0), np.nan_to_num(left, nan=np.inf)
    if of_exact.max() <= 256 * view.fmt.unit_roundoff:
        return np.inf
    return float(left.max()) / float(of_exact.max())


def known_mistake(view: View) -> str | None:
    """The mistake that explains the results best, and nearly whole."""
    if view.part == 0 and max(len(np.unique(row)) for row in view.x) < 3:
        return None  # too few numbers to tell mistakes apart
    left, text = min(
        ((unexplained(view, value), text) for text, value in _formulas(view)), default=(1.0, "")
    )
    return text if left <= EXPLAINED else None


def _formulas(view: View) -> Iterator[tuple[str, Float64Array]]:
    """Results that known mistakes give, and the mistakes."""
    x, exact, step = view.x, view.exact, view.step
    rows, n = x.shape
    yield "every result is 0", np.zeros_like(view.got)
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
        for by, where in ((1, "right"), (-1, "left")):
            yield f"each result stands one place too far {where}", np.roll(exact, by, axis=1)
        yield "the results stand in reverse order", exact[:, ::-1]
    yield from _of_operation(view)
    if step.operation in CHANGED:
        yield from _of_change(view)
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
        yield "powers of 2 instead of e", softmax_of(x * np.log(2.0))
        yield "softmax is applied twice", softmax_of(p)
        yield "the logits' sign is wrong", softmax_of(-x)
        e = np.exp(x - top)
        total = e.sum(axis=1, keepdims=True)
        yield "1 is added to the sum of exp(x - max)", e / (total + 1.0)
        sink = e / (total + np.exp(-top))
        yield "1 is added to the sum of exp(x), as for an attention sink", sink
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
                yield f"-inf (a masked logit) is taken for {which}", softmax_of(finite)
        if len(x) > 1:
            every = np.exp(x - x.max())
            yield "the sum is over the whole array, not a row", every / every.sum()
            shared = every / every.sum(axis=1, keepdims=True)
            yield "one maximum, of the whole batch, is subtracted from every row", shared
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
        again = softmax_of(y)
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
            for by, where in ((1, "after"), (-1, "before")):
                moved = p - np.roll(one, by, axis=1)
                yield f"1 is subtracted at the class {where} the target", moved


def _of_change(view: View) -> Iterator[tuple[str, Float64Array]]:
    given = softmax_of(to_float64(step_rows(view.step)[0]))
    parameter = next(iter(view.step.numbers), "mask")
    yield f"the {parameter} is ignored: the result is softmax's", given
    if view.step.operation == "masked_softmax":
        whole = np.where(np.isneginf(view.x), 0.0, given)
        yield "the sum is over all classes, the masked ones too", whole


def _of_memory(view: View) -> Iterator[tuple[str, Float64Array]]:
    """The elements read in the order of memory, as if they were contiguous."""
    step = view.step
    x = to_float64(step.arrays[0])
    axes = axes_of(step, x.ndim)
    if len(axes) > 1 or step.operation != "softmax":
        return
    read = np.ravel(x, order="F") if step.layout == "F" else np.ravel(x)[::-1]
    p = rows_of(softmax_of(read.reshape(x.shape), axes[0]), axes)
    yield "strides are ignored: elements are taken in the order of memory", p


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
        if step.operation == "softmax_backward":
            g, y = arrays
            value = y * (g - (g * y).sum(axis=axis, keepdims=True))
        else:
            value = softmax_of(arrays[0], axis)
            value = np.log(value) if step.operation == "log_softmax" else value
        what = "the sum is" if step.operation == "softmax_backward" else "the operation is done"
        yield f"{what} along axis {axis}", rows_of(value, own)


def temperature(view: View) -> str | None:
    """Logits multiplied by a number, from the ratios of results."""
    if view.step.operation not in ("softmax", "log_softmax"):
        return None
    logs, right = view.got, view.exact
    if view.step.operation == "softmax":
        logs, right = np.log(logs), np.log(right)
    usable = np.isfinite(logs) & np.isfinite(right) & np.isfinite(view.x) & view.normal
    if len(np.unique(view.x[usable])) < 4:
        return None
    told = usable.any(axis=1)
    x, off = (np.where(usable, v, np.nan)[told] for v in (view.x, logs - right))
    a, off = (v - np.nanmean(v, axis=1, keepdims=True) for v in (x, off))
    weight = float(np.nansum(a * a))
    if not weight > 0:
        return None
    slope = float(np.nansum(a * off)) / weight
    left = float(np.nanmax(np.abs(off - slope * a)))
    if abs(slope) < 1e-6 or left > 0.1 * float(np.nanmax(np.abs(off))):
        return None
    return f"the logits are multiplied by {1 + slope:.6g} first (a temperature, or another base)"


def digits(view: View) -> str | None:
    """Results, or logits, that have the digits of a narrower format alone."""
    usual = view.got[np.isfinite(view.got) & (np.abs(view.got) > 2.0**-13)]
    if len(np.unique(usual)) < 4:
        return None
    names: tuple[tuple[str, Any, int], ...] = (
        ("bfloat16", ml_dtypes.bfloat16, 8),
        ("float16", np.float16, 11),
        ("float32", np.float32, 24),
    )  # fmt: skip
    narrower = [(name, dtype) for name, dtype, bits in names if bits < view.fmt.precision]
    for name, dtype in narrower:
        if np.all(usual.astype(dtype) == usual):
            return f"the results have the digits of {name} only"
    for name, dtype in narrower if view.step.operation in ("softmax", "log_softmax") else ():
        p = softmax_of(view.x.astype(dtype).astype(np.float64))
        hypothesis = np.log(p) if view.step.operation == "log_softmax" else p
        if unexplained(view, hypothesis) <= EXPLAINED:
            return f"the logits are rounded to {name} first"
    return None
