"""Special values, by position: NaN, infinities, masks, signed zeros, one class (cases 1 to 10)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harness.experiments.conformance.call import Array, Step
from harness.experiments.conformance.case import ELEMENTWISE, OF_LOGITS, PYTORCH, SCIPY, Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.observation import Observation

SMALL = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33)
MIDDLE = (47, 63, 64, 65, 71, 100, 127, 128, 129, 255, 256, 257)
LARGE = (513, 1000, 1025, 2049, 4097)
TILES = (4, 8, 16, 32, 64, 100, 128, 256, 512, 1000, 1024, 2048, 4096)


def positions(classes: int) -> list[int]:
    """First, middle, last, and both sides of every tile edge; all of them in a short row."""
    if classes <= 33:
        return list(range(classes))
    found = {0, 1, 2, classes // 2, classes - 1, classes - 2, classes - 3}
    for tile in TILES:
        if tile < classes:
            tail = classes - classes % tile
            found |= {tile - 1, tile, tail - 1, tail, classes - tile, classes - tile - 1}
    places = sorted(p for p in found if 0 <= p < classes)
    # Long rows are dear to certify: a part of the edges, another part at each length.
    return places if classes <= 257 else places[classes % 2 :: 2]


def spans(classes: int) -> Iterator[slice]:
    """Runs of places as long as a tile or a thread's share: leading, trailing, in the middle."""
    if classes > 257:
        for length in (4, 16, 64, 256, 512, 1000, 1024, 2048, 4096):
            if length < classes:
                yield slice(0, length)
                yield slice(length, min(2 * length, classes))
        yield slice(classes - classes % 256 - 1, classes)
        return
    for length in sorted({*TILES, 1, 2, 3, classes // 4, classes // 2, classes - 1}):
        if 0 < length < classes:
            yield slice(0, length)
            yield slice(classes - length, classes)
            middle = (classes - length) // 2 // 4 * 4
            if middle:
                yield slice(middle, middle + length)


def widths(trial: Trial) -> tuple[int, ...]:
    if not trial.thorough:
        return (1, 2, 3, 4, 8, 9, 17, 33, 71, 129, 1025)
    if trial.operation in ("softmax", "log_softmax"):
        return (*SMALL, *MIDDLE, *LARGE)
    return (*SMALL[:11], 33, 64, 71, 129, 257, 1025, 4097)


def _base(trial: Trial, rows: int, classes: int) -> Array:
    return trial.array(trial.rng(classes).normal(scale=2.0, size=(rows, classes)))


def _at_positions(trial: Trial, classes: int, value: float) -> Array:
    """A row for each position with the value there; every second row is clean."""
    places = positions(classes)
    one = _base(trial, 2, classes)
    x = np.repeat(one[:1], 2 * len(places) + 1, axis=0)
    x[1::2][np.arange(len(places)), places] = value
    return x


def _steps(trial: Trial, x: Array) -> list[Step]:
    """The batch along the last axis and along the first, and some of its rows on their own."""
    chosen = x[1::2] if len(x) > 2 else x
    alone = [trial.step(row) for row in chosen[:: max(1, len(chosen) // 6)]]
    return [trial.step(x), *(trial.columns(x) if x.shape[1] <= 257 else []), *alone]


def _nan_steps(trial: Trial, x: Array) -> list[Step]:
    """For the backward pass the NaN stands in the gradient, then in y."""
    if trial.operation != "softmax_backward":
        return _steps(trial, x)
    clean = np.repeat(_base(trial, 1, x.shape[1]), len(x), axis=0)
    grad_is_nan = trial.step(clean, grad=x)
    y = grad_is_nan.arrays[1].copy()
    y[np.isnan(x)] = np.nan
    grad = np.broadcast_to(trial.array(trial.rng(3).normal(size=x.shape[1])), x.shape).copy()
    return [grad_is_nan, Step("softmax_backward", (grad, y))]


def nan_anywhere(trial: Trial) -> Iterator[Observation]:
    for classes in widths(trial):
        x = _at_positions(trial, classes, np.nan)
        yield from trial.values(_nan_steps(trial, x))


def some_masked(trial: Trial) -> Iterator[Observation]:
    for classes in widths(trial):
        if classes > 1:
            yield from trial.values(_steps(trial, _at_positions(trial, classes, -np.inf)))


def masked_spans(trial: Trial) -> Iterator[Observation]:
    for classes in widths(trial):
        runs = list(spans(classes))
        if not runs:
            continue
        x = np.repeat(_base(trial, 1, classes), len(runs), axis=0)
        for row, run in zip(x, runs, strict=True):
            row[run] = -np.inf
        yield from trial.values(_steps(trial, x))


def all_but_one_masked(trial: Trial) -> Iterator[Observation]:
    for classes in widths(trial)[1:]:
        places = positions(classes)
        x = trial.array(np.full((len(places), classes), -np.inf))
        x[np.arange(len(places)), places] = trial.array(_base(trial, 1, len(places))[0])
        yield from trial.values(_steps(trial, x))


def all_masked(trial: Trial) -> Iterator[Observation]:
    for classes in (*SMALL, 71, 128, 1000, 4097):
        x = _base(trial, 5, classes)
        x[1:4] = -np.inf
        yield from trial.values(_steps(trial, x))


def one_infinity(trial: Trial) -> Iterator[Observation]:
    for classes in widths(trial):
        yield from trial.values(_steps(trial, _at_positions(trial, classes, np.inf)))
    largest = trial.fmt.max
    x = trial.array([[np.inf, largest], [largest, np.inf], [np.inf, 0.0], [np.inf, -largest]])
    yield from trial.values([trial.step(x), *(trial.step(row) for row in x)], every=True)


def several_infinities(trial: Trial) -> Iterator[Observation]:
    for classes in (2, 3, 8, 17, 64, 71, 128, 257):
        x = _base(trial, 6, classes)
        x[1, :2] = x[3, -2:] = x[5] = np.inf
        yield from trial.values(_steps(trial, x))


def mixed_infinities(trial: Trial) -> Iterator[Observation]:
    for classes in (2, 3, 8, 17, 64, 71, 128, 257):
        x = _base(trial, 4, classes)
        x[1, 0], x[1, -1] = np.inf, -np.inf
        x[2] = -np.inf
        x[2, classes // 2] = np.inf
        x[3, 0], x[3, -1] = -np.inf, np.inf
        yield from trial.values(_steps(trial, x))


def nan_beside_infinity(trial: Trial) -> Sequence[Observation]:
    rows = [
        [np.nan, np.inf, 0.0], [np.inf, np.nan, 0.0], [0.0, np.inf, np.nan], [np.nan, -np.inf, 0.0],
        [-np.inf, -np.inf, np.nan], [np.nan, -np.inf, -np.inf], [np.nan] * 3, [-np.nan, 1.0, 2.0],
    ]  # fmt: skip
    x = trial.array(rows)
    return trial.values([trial.step(x), *(trial.step(row) for row in x)])


def signed_zeros(trial: Trial) -> Iterator[Observation]:
    for classes in trial.chosen((1, 2, 3, 8, 16, 17, 64, 71), 3):
        x = trial.array(np.zeros((5, classes)))
        x[1] = x[2, ::2] = x[3, 1::2] = x[4, 0] = -0.0
        yield from trial.values(_steps(trial, x))
        if trial.operation in ELEMENTWISE:
            yield from _tied_bits(trial, x)
    tiny = trial.fmt.smallest_subnormal
    x = trial.array([[tiny, -tiny, 0.0, -0.0], [tiny, 0.0, 0.0, 0.0], [-tiny, -tiny, 0.0, tiny]])
    yield from trial.values([trial.step(x)], every=True)


def _tied_bits(trial: Trial, x: Array) -> list[Observation]:
    """Equal logits must have equal results, bit by bit: whichever their lane."""
    step = trial.step(x)
    (result,) = trial.perform([step])
    if result.error is not None or result.arrays[0].shape != x.shape:
        return []
    y = result.arrays[0]
    for row, values in zip(y, x, strict=True):
        for value in np.unique(values[~np.isnan(values)]):
            same = row[values == value]
            if not np.all((same == same[0]) | np.isnan(same)):
                text = f"equal logits {float(value):.9g} have unequal results"
                return [trial.broken(step, text, "inaccurate", "finding")]
    return []


def tied_maxima(trial: Trial) -> Iterator[Observation]:
    for classes in trial.chosen((2, 3, 4, 7, 8, 16, 17, 33, 64, 71, 129, 1000), 3):
        x = _base(trial, 6, classes)
        top = float(np.max(x.astype(np.float64))) + 1.0
        x[0, :2] = x[1, -2:] = x[2] = x[3, ::2] = x[4, ::3] = top
        x[5, 0] = x[5, -1] = top
        yield from trial.values([trial.step(x)])
        if trial.operation in ELEMENTWISE:
            yield from _tied_bits(trial, x)


def single_class(trial: Trial) -> Sequence[Observation]:
    largest = trial.fmt.max
    values = [0.0, -0.0, 1.0, -1.0, 1000.0, -1000.0, largest, -largest, 0.1]
    x = trial.array(np.array(values)[:, None])
    return trial.values([trial.step(x), *(trial.step(row) for row in x), *trial.columns(x)])


CASES = (
    Case("1-all-masked", 1, "all -inf: NaN by convention, 0 in fused attention", all_masked,
         ELEMENTWISE, kind="convention", upstream=(PYTORCH + "41508",)),
    Case("1-log-of-zero", 1, "log-sum-exp of all -inf: log 0 = -inf", all_masked, ("logsumexp",)),
    Case("2-some-masked", 2, "some -inf, at every position: exactly 0 there", some_masked,
         OF_LOGITS),
    Case("3-leading-masked", 3, "runs of -inf, leading ones too: 0 there, the rest unharmed",
         masked_spans, OF_LOGITS, deviations=("masked-tile", "log-of-p")),
    Case("4-only-one-unmasked", 4, "all -inf but one, at odd widths: exactly 1 there",
         all_but_one_masked, OF_LOGITS),
    Case("5-one-infinity", 5, "one +inf: NaN by convention, one-hot in the limit", one_infinity,
         OF_LOGITS, kind="convention", deviations=("log-inf",)),
    Case("6-several-infinities", 6, "k times +inf: NaN by convention, 1/k in the limit",
         several_infinities, OF_LOGITS, kind="convention", deviations=("log-inf",)),
    Case("7-mixed-infinities", 7, "+inf and -inf: NaN by convention", mixed_infinities, OF_LOGITS,
         kind="convention", deviations=("log-inf",), upstream=(PYTORCH + "161150",)),
    Case("8-nan", 8, "a NaN at every position: its whole row NaN, other rows untouched",
         nan_anywhere, deviations=("nan",)),
    Case("8-nan-beside-infinity", 8, "NaN beside infinities: NaN", nan_beside_infinity, OF_LOGITS,
         deviations=("log-inf", "nan")),
    Case("9-signed-zeros", 9, "+0 and -0 are a tie; so are they beside the least number",
         signed_zeros, ("softmax", "log_softmax", "logsumexp", "cross_entropy")),
    Case("10-one-class", 10, "one class: exactly 1, log 0", single_class,
         deviations=("overflow", "underflow"), upstream=(SCIPY + "19521",)),
    Case("21-tied-maxima", 21, "k tied maxima have bitwise equal results", tied_maxima,
         ("softmax", "log_softmax", "logsumexp", "cross_entropy"),
         deviations=("overflow", "underflow")),
)  # fmt: skip
