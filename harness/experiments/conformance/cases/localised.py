"""Small faults in one place: lanes, positions, rows, and errors above those of a control.

The bound of a long row is weak. Where there are few classes the error of each place is known to
a fraction of u, and the places of a correct implementation do not differ by more than their
exponentials do: the mean error of one of them, over many random rows, must be that of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harness.experiments.conformance.call import Array, Step
from harness.experiments.conformance.case import NATIVE, Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.expected import expected_of, result_rows, step_rows
from harness.experiments.conformance.observation import Observation
from harness.numerics.exact import Exact
from harness.numerics.formats import (
    Float64Array,
    from_ordinal,
    scale_by_power,
    to_float64,
    to_hex,
    to_ordinal,
)
from harness.numerics.ulps import signed_ulp_error

_NARROW = ((2, 200), (3, 200), (4, 200), (5, 150), (7, 150), (8, 150), (9, 150), (12, 120))
_WIDE = ((15, 120), (16, 120), (17, 120), (24, 96), (31, 96), (32, 96), (33, 96), (48, 80),
         (64, 80), (65, 80), (100, 64), (128, 64), (200, 48), (257, 48),
         (1000, 24), (1025, 24))  # fmt: skip
_PLACE = 1.6
_LANE = 1.0
_LANES = (4, 8, 16, 32, 64)
_MEAN_FACTOR, _MEAN_EXTRA = 2.0, 1.5


def _in_u(trial: Trial, step: Step, got: Array, exact: Exact) -> Float64Array:
    """The signed error of each element, over what rounding it once may cost, u times its size.

    NaN where an element is not judged: the gradient of cross-entropy at the target, whose
    p - 1 cancels.
    """
    rows = result_rows(got, step)
    error = signed_ulp_error(rows, exact, trial.fmt)
    q, hi, _ = exact.in_ulps(trial.fmt)
    size = np.abs(hi)
    if step.operation == "softmax_backward":
        grad, y = (to_float64(a) for a in step.arrays)
        total = np.abs(grad * y).sum(axis=-1, keepdims=True)
        size = scale_by_power(np.abs(y) * (np.abs(grad) + total), -q)
    elif step.operation == "log_softmax":
        size = size + scale_by_power(1.0, -q)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = error / (size * trial.fmt.unit_roundoff)
    scaled = np.nan_to_num(scaled, nan=0.0, posinf=1e9, neginf=-1e9)
    if step.operation == "cross_entropy" and rows.ndim == 2:
        scaled[np.arange(len(scaled)), step.arrays[1].reshape(-1)] = np.nan
    return scaled


def _of_controls(trial: Trial, step: Step, x: Array, exact: Exact) -> float:
    """The larger mean error, in u, of max-shift and exp(x - lse), by NumPy in the same format."""
    with np.errstate(all="ignore"):
        m = x.max(axis=-1, keepdims=True)
        d = x - m
        e = np.exp(d)
        s = e.sum(axis=-1, keepdims=True)
        if trial.operation == "log_softmax":
            controls = [d - np.log(s), x - (m + np.log(s))]
        else:
            controls = [e / s, np.exp(x - (m + np.log(s)))]
    return max(float(np.abs(_in_u(trial, step, c, exact)).mean()) for c in controls)


def _suspect(values: Float64Array, limit: float) -> tuple[int, float] | None:
    """The place whose value is off the median of the others by more than `limit`, and by how much.

    The distance has the sign of the error.
    """
    if values.size < 2:
        return None
    ordered = np.sort(values)
    rank = np.argsort(np.argsort(values))
    low, high = (values.size - 2) // 2, (values.size - 1) // 2  # the middle of all but one
    others = (ordered[low + (rank <= low)] + ordered[high + (rank <= high)]) / 2
    distance = values - others
    place = int(np.argmax(np.abs(distance)))
    off = float(distance[place])
    return (place, off) if abs(off) > limit else None


def _places(trial: Trial, step: Step, scaled: Float64Array) -> list[Observation]:
    """Each position, each lane of every width, each row, against the rest of its kind.

    `scaled` has a row for each row of the result, in u; elements that are NaN are not judged.
    """
    rows, classes = scaled.shape
    # One element is its own median, and two are equally far from theirs: few are looked at with
    # and without the error that they share.
    for fewest in (2, 3) if classes <= 3 else (2,):
        shared = np.nanmedian(scaled, axis=1, keepdims=True)
        judged = np.count_nonzero(~np.isnan(scaled), axis=1, keepdims=True)
        residual = np.where(judged < fewest, scaled, scaled - shared)
        noise = 6.0 * float(np.nanstd(np.clip(residual, -20, 20)))
        for name, values in (("mean", residual), ("mean absolute", np.abs(residual))):
            for width in (classes, *(w for w in _LANES if classes >= 2 * w)):
                used = values[:, : classes // width * width].reshape(rows, -1, width)
                limit = _PLACE if width == classes else _LANE
                limit += noise / np.sqrt(used.shape[0] * used.shape[1])
                found = _suspect(np.nanmean(used, axis=(0, 1)), limit)
                if found is not None:
                    place, off = found
                    text = f"errors at out[..., {place}] are off those elsewhere"
                    if width < classes:
                        text = f"errors in lane {place} of {width} are off those of the other lanes"
                    text += f": {name} {off:.3g} u"
                    return [trial.broken(step, text, "inaccurate", place=(0, place))]
    if classes <= 128:
        by_row = np.nanmean(np.abs(scaled), axis=1)
        row = int(np.argmax(by_row))
        others = np.delete(by_row, row)
        if others.size and by_row[row] > 3.0 * float(others.max()) + 3.0:
            text = f"errors in row {row} are far above those of the others: {by_row[row]:.3g} u"
            return [trial.broken(step, text, "inaccurate")]
    return []


def localised(trial: Trial) -> Iterator[Observation]:
    """Mean errors of positions, lanes and rows; and of the whole, against a control."""
    largest = 0.0
    for classes, rows in trial.chosen((*_NARROW, *_WIDE), 6):
        x = trial.array(trial.rng(classes, 9).normal(scale=1.5, size=(rows, classes)))
        step = trial.step(x)
        result = trial.sound(step)
        part = 1 if trial.operation == "cross_entropy" else 0
        exact = expected_of(step, trial.fmt, trial.arithmetic)[part].exact
        scaled = _in_u(trial, step, result.arrays[part], exact)
        yield from _places(trial, step, scaled)
        if trial.operation in ("softmax", "log_softmax") and classes <= 257:
            own = float(np.abs(scaled).mean())
            control = _of_controls(trial, step, x, exact)
            largest = max(largest, own)
            if own > _MEAN_FACTOR * control + _MEAN_EXTRA:
                text = f"mean error {own:.3g} u, of NumPy by the same formulas {control:.3g} u"
                yield trial.broken(step, text, "inaccurate")
    yield Observation("pass", "accurate", error=largest)


def equal_logits(trial: Trial) -> Sequence[Observation]:
    """Rows of one value: whatever the exponential does, it does to all of them alike.

    Only where the logarithm of the sum is taken does an exponential's own error remain, once.
    """
    largest = 0.0
    for classes in trial.chosen((2, 3, 5, 6, 7, 9, 10, 17, 33, 65, 100, 257, 1000), 4):
        values = trial.rng(classes, 21).uniform(-4.0, 4.0, size=(12, 1))
        x = np.ascontiguousarray(np.broadcast_to(trial.array(values), (12, classes)))
        step = trial.step(x)
        result = trial.sound(step)
        exact = expected_of(step, trial.fmt, trial.arithmetic)[0].exact
        own = float(np.abs(_in_u(trial, step, result.arrays[0], exact)).mean())
        control = _of_controls(trial, step, x, exact)
        # Added one by one, equal terms may all round the same way: n/2 more.
        limit = _MEAN_FACTOR * control + _MEAN_EXTRA + trial.arithmetic.exp_error + classes / 2.0
        if own > limit:
            text = (
                f"equal logits: mean error {own:.3g} u, {limit:.3g} allowed; of NumPy by the same "
                f"formulas {control:.3g} u"
            )
            return [trial.broken(step, text, "inaccurate")]
        largest = max(largest, own)
    return [Observation("pass", "accurate", error=largest)]


def strided_lanes(trial: Trial) -> Iterator[Observation]:
    """The same along an axis that is not last: lanes are columns there."""
    for outer, classes, inner in ((24, 5, 19), (24, 9, 67), (12, 17, 130)):
        x = trial.array(trial.rng(inner).normal(scale=1.5, size=(outer, classes, inner)))
        step = trial.step(x, 1)
        result = trial.sound(step)
        exact = expected_of(step, trial.fmt, trial.arithmetic)[0].exact
        flat = Step(step.operation, tuple(step_rows(step)))
        scaled = _in_u(trial, flat, result_rows(result.arrays[0], step), exact)
        by_column = scaled.reshape(outer, inner, classes).transpose(0, 2, 1)
        yield from _places(trial, step, by_column.reshape(-1, inner))
        yield from _places(trial, step, scaled)
        yield Observation("pass", "accurate")


def order(trial: Trial) -> Sequence[Observation]:
    """A larger logit never gets a smaller result: neighbours in the format, over the range."""
    # Where the reduction of an exponential changes its power of two, and in between.
    lowest = -float(np.log(trial.fmt.smallest_normal))
    seams = (np.arange(int(lowest / np.log(2.0))) + 0.5) * np.log(2.0)
    centres = np.concatenate([seams, trial.rng(58).uniform(0.01, lowest, 20)])
    ordinals = to_ordinal(trial.array(-centres))
    ladder = from_ordinal(ordinals[:, None] + np.arange(-100, 101), trial.fmt)
    top = np.zeros((len(ladder), 1), ladder.dtype)
    values = np.ascontiguousarray(np.concatenate([top, ladder], axis=1))
    step = trial.step(values)
    result, observed = trial.observed(step)
    if observed.grade != "pass":
        return [observed]
    y = to_float64(result.arrays[0])[:, 1:]
    wrong = np.argwhere((y[:, 1:] < y[:, :-1]) & (ladder[:, 1:] > ladder[:, :-1]))
    if not len(wrong):
        return [observed]
    i, j = (int(v) for v in wrong[0])
    text = f"{len(wrong)} neighbours inverted; logits {float(ladder[i, j]).hex()} and the next"
    text += f" give {y[i, j].hex()} and {y[i, j + 1].hex()}"
    three = np.concatenate([top[0], ladder[i, j : j + 2]])  # it may show in a short row, too
    (result,) = trial.perform([trial.step(three)])
    if result.error is None and result.arrays[0].shape == (3,):
        low, high = result.arrays[0][1:]
        if to_float64(high) < to_float64(low):
            least = f"at least {to_hex(low)}"
            return [trial.shown(step, text, "inaccurate", three, high, least)]
    return [trial.shown(step, text, "inaccurate", trial.given(trial.step(values[i])), None, None)]


CASES = (
    Case("localised", None, "errors in no position, lane or row stand out; none above a control",
         localised, ("softmax", "log_softmax", "softmax_backward", "cross_entropy"), NATIVE),
    Case("localised-strided", None, "the same along an axis that is not last", strided_lanes,
         ("softmax", "log_softmax", "softmax_backward"), NATIVE),
    Case("equal-logits", None, "rows of one value are no worse than a control's", equal_logits,
         ("softmax",), NATIVE),
    Case("58-order", 58, "a larger logit never gets a smaller result", order,
         ("softmax", "log_softmax"), ("float64", "float32", "float16"), kind="finding",
         deviations=("order", "flushes")),
)  # fmt: skip
