"""What attention does to logits: scales, masks, sinks and caps (docs/attention.md).

Every result is held against the certified softmax of the changed logits. Most rows have 17
classes, and stand 64 in a call, so that what compiles for every shape compiles few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from harness.experiments.conformance.call import Array, Layout, Out, Step
from harness.experiments.conformance.case import JAX, PYTORCH, Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.observation import Observation
from harness.numerics.formats import to_float64
from harness.registry.contract import CHANGED

_CLASSES, _ROWS = 17, 64
_ALONE = 6
"""Rows that are asked on their own, too."""


def _steps(
    trial: Trial, x: Array, mask: Array | None = None, number: float | None = None
) -> list[Step]:
    """Rows over and over in one call, the same along the first axis, and some on their own."""
    shape = (_ROWS, x.shape[1])
    many, kept = np.resize(x, shape), None if mask is None else np.resize(mask, shape)
    steps = [
        trial.step(many, mask=kept, number=number),
        trial.step(
            np.ascontiguousarray(many.T), 0, number=number,
            mask=None if kept is None else np.ascontiguousarray(kept.T),
        ),
    ]  # fmt: skip
    for i in range(min(len(x), _ALONE)):
        steps.append(trial.step(x[i], mask=None if mask is None else mask[i], number=number))
    return steps


def _values(
    trial: Trial, x: Array, mask: Array | None = None, number: float | None = None
) -> list[Observation]:
    return trial.values(_steps(trial, x, mask, number), every=True)


def _logits(trial: Trial, salt: int, scale: float = 3.0, offset: float = 0.0) -> Array:
    return trial.array(offset + trial.rng(salt).normal(scale=scale, size=(_ROWS, _CLASSES)))


def _mask(trial: Trial, salt: int) -> Array:
    """Half of the classes by chance, one at least."""
    mask = trial.rng(salt).random((_ROWS, _CLASSES)) < 0.5
    mask[np.arange(_ROWS), np.arange(_ROWS) % _CLASSES] = True
    return mask


# Scaled logits.


def exact_scales(trial: Trial) -> Iterator[Observation]:
    """The product is exact: 1 gives what softmax gives, 0 gives 1/n, -1 turns the order round."""
    for k, scale in enumerate((1.0, 0.0, -1.0, 0.125, 4.0)):
        yield from _values(trial, _logits(trial, k), number=scale)


def rounded_scales(trial: Trial) -> Iterator[Observation]:
    """Heads of 128, and temperatures of 10 and 0.1; a product of a narrower format shows."""
    for k, scale in enumerate((1 / np.sqrt(128.0), 0.1, 10.0, -0.3)):
        yield from _values(trial, _logits(trial, k, 10.0), number=scale)


def scaled_offset(trial: Trial) -> Iterator[Observation]:
    """A maximum that is not subtracted, or not scaled, overflows or takes all to 0."""
    for offset, scale in product((1000.0, -1000.0), (10.0, 8.0)):
        yield from _values(trial, _logits(trial, 1, 1.0, offset), number=scale)


def contracted(trial: Trial) -> Iterator[Observation]:
    """c*x - max in one fused step, of a maximum that was rounded, is not 0 at the maximum.

    What is left, half an ulp of the product, overflows the exponential where the product is this
    large. The digits are by chance, as the product must not be exact. Each row is also alone,
    since a compiler may fuse one row and not many.
    """
    fmt = trial.fmt
    least = np.log(fmt.max) / fmt.unit_roundoff
    for scale in (0.1, 0.7):
        rng = trial.rng(round(10 * scale))
        top = rng.uniform(1.5, 4.0, _ROWS) * least / scale
        top = np.minimum(top, fmt.max * rng.uniform(0.8, 0.95, _ROWS))
        x = trial.array(top[:, None] * np.array([1.0, 0.75, 0.5, 0.0]))
        alone = [trial.step(row[None], number=scale) for row in x]
        yield from trial.values([trial.step(x, number=scale), *alone], every=True)


def only_the_product_matters(trial: Trial) -> Iterator[Observation]:
    """Tiny logits under a huge scale, and the other way round: the product is ordinary."""
    power = 2.0 ** -(trial.fmt.emin + 4)
    rng = trial.rng(5)
    z = rng.uniform(0.5, 4.0, (_ROWS, _CLASSES)) * rng.choice([-1.0, 1.0], (_ROWS, _CLASSES))
    for small, factor in product((True, False), (1.0, 1.7)):
        size = 1.0 / power if small else power
        yield from _values(trial, trial.array(z * size), number=factor / size)


# Masked logits.


def garbage(trial: Trial) -> Iterator[Observation]:
    """What is masked may be anything: the kept ones are as if it were not there."""
    mask, big = _mask(trial, 1), trial.fmt.max
    for odd in ([np.nan], [np.inf], [-np.inf], [big, -big], [np.nan, np.inf, big, -np.inf, -big]):
        x = _logits(trial, 2)
        x[~mask] = trial.array(np.resize(odd, np.count_nonzero(~mask)))
        yield from _values(trial, x, mask)


def far_below(trial: Trial) -> Sequence[Observation]:
    """Kept logits far below the masked ones: -1e9 added to these is not enough."""
    mask = _mask(trial, 3)
    x = np.where(mask, -min(2.0**40, trial.fmt.max / 4.0), np.arange(_CLASSES) * 10.0)
    return _values(trial, trial.array(x), mask)


def one_kept(trial: Trial) -> Sequence[Observation]:
    """At each place in turn, whatever its logit is."""
    x = _logits(trial, 4, 30.0)[:_CLASSES]
    return _values(trial, x, np.eye(_CLASSES, dtype=np.bool_))


def ends(trial: Trial) -> Sequence[Observation]:
    """Nothing masked; the first or the last class, or some; every second class."""
    mask = np.ones((8, _CLASSES), np.bool_)
    mask[1, 0] = mask[2, -1] = mask[3, :4] = mask[4, -4:] = mask[5, :9] = mask[6, ::2] = False
    mask[7, 1::2] = False
    return _values(trial, _logits(trial, 5)[:8], mask)


def causal(trial: Trial) -> Sequence[Observation]:
    """Each row keeps one class more than the row before."""
    mask = np.tril(np.ones((_CLASSES, _CLASSES), np.bool_))
    return _values(trial, _logits(trial, 6, 10.0)[:_CLASSES], mask)


def no_class(trial: Trial) -> Iterator[Observation]:
    """Rows of which nothing is kept, among ordinary ones: all zeros, or all NaN."""
    x, mask = _logits(trial, 7), _mask(trial, 7)
    mask[[1, 3, 4]] = False
    x[3, :5], x[4] = [np.nan, np.inf, -np.inf, trial.fmt.max, 0.0], -np.inf
    steps = _steps(trial, x, mask)
    results, observed = trial.all_observed(steps)
    yield from observed
    whole, result = steps[0], results[0]
    if result.error is None and result.arrays[0].shape == x.shape:
        lost = np.isnan(to_float64(result.arrays[0]))[[1, 3, 4]]
        if (lost.any(axis=1) & ~lost.all(axis=1)).any():
            yield trial.broken(whole, "a row without a class is NaN in part", place=(1,))


def smaller_masks(trial: Trial) -> list[Observation]:
    """One mask for all rows, in fewer elements than there are logits, or a refusal."""
    x, mask = _logits(trial, 8), _mask(trial, 8)[:1]
    steps = [trial.step(x, mask=mask), trial.step(x, mask=mask[0])]
    steps.append(trial.step(np.ascontiguousarray(x.T), 0, mask=np.ascontiguousarray(mask.T)))
    found = trial.values(steps, every=True)
    return [Observation("pass", "raises", o.message) if o.outcome == "raises" else o for o in found]


# A sink.


def no_sink(trial: Trial) -> Iterator[Observation]:
    """A sink of -inf has no share, however low the logits are: what softmax gives."""
    for offset in (0.0, -1000.0):
        yield from _values(trial, _logits(trial, 9, 3.0, offset), number=-np.inf)


def off_by_one(trial: Trial) -> Iterator[Observation]:
    """A sink of 0: exp(x) where all logits are far below, and 0 in the end; never 1/n, nor NaN."""
    least = float(np.log(trial.fmt.smallest_normal))
    for offset in (0.0, 5.0, 0.5 * least, 0.75 * least, -1000.0):
        yield from _values(trial, _logits(trial, 10, 0.5, offset), number=0.0)


def large_sink(trial: Trial) -> Iterator[Observation]:
    """A sink far above the logits: their probabilities get small, then subnormal, then 0."""
    fmt = trial.fmt
    sink = float(np.ceil(np.log(fmt.max))) + 5.0
    low, high = np.log(fmt.smallest_subnormal) + 1.0, np.log(fmt.smallest_normal) + 2.0
    gap = trial.rng(11).uniform(low, high, (_ROWS, _CLASSES))
    yield from _values(trial, trial.array(sink + gap), number=sink)
    yield from _values(trial, _logits(trial, 11), number=20.0 * sink)


def sink_at_an_offset(trial: Trial) -> Iterator[Observation]:
    """Sink and logits 1000 up, 1000 down; and a sink that is far below them."""
    for offset, sink in ((1000.0, 1000.0), (-1000.0, -1000.0), (0.0, -1000.0)):
        yield from _values(trial, _logits(trial, 12, 1.0, offset), number=sink)


def sigmoid(trial: Trial) -> Iterator[Observation]:
    """One class beside a sink: 1 / (1 + exp(sink - x))."""
    x = trial.array(np.linspace(-8.0, 8.0, 33)[:, None])
    for sink in (0.0, 1.0):
        yield from _values(trial, x, number=sink)


# Capped logits.


def capped(trial: Trial) -> Iterator[Observation]:
    """Caps of 50 and 30, as Gemma 2 has, and of 1, on logits on both sides of them."""
    for cap in (50.0, 30.0, 1.0):
        yield from _values(trial, _logits(trial, 13, 30.0), number=cap)


def capped_infinities(trial: Trial) -> Iterator[Observation]:
    """Infinite logits, and the largest ones, count as the cap: every result is a number."""
    x = _logits(trial, 14, 10.0)[:6]
    x[0, 3], x[1, 0], x[2], x[3, -1] = np.inf, -np.inf, np.inf, np.inf
    x[3, 0], x[4, :2], x[5] = -np.inf, trial.array([trial.fmt.max, -trial.fmt.max]), -np.inf
    for cap in (30.0, 2.0):
        yield from _values(trial, x, number=cap)


def small_cap(trial: Trial) -> Sequence[Observation]:
    """All logits beyond a small cap are as good as equal, but for their signs."""
    x = _logits(trial, 15, 1.0)
    return _values(trial, trial.array(np.sign(to_float64(x)) * 1000.0 + x), number=2.0**-6)


def large_cap(trial: Trial) -> Sequence[Observation]:
    """A cap far above the logits changes next to nothing."""
    return _values(trial, _logits(trial, 16, 2.0), number=2.0 ** (trial.fmt.precision // 2))


# All of them.


def nan_kept(trial: Trial) -> Sequence[Observation]:
    """At every place, every second row: what is kept there is NaN, other rows are untouched.

    Classes that are masked in such a row may be NaN or 0.
    """
    x = _logits(trial, 17)[: 2 * _CLASSES]
    x[1::2][np.arange(_CLASSES), np.arange(_CLASSES)] = np.nan
    mask = None
    if trial.operation == "masked_softmax":
        mask = _mask(trial, 17)[: len(x)] | np.isnan(x)
    found = _values(trial, x, mask)
    return [replace(o, grade="pass", message="") if o.grade == "finding" else o for o in found]


def minus_infinity(trial: Trial) -> Iterator[Observation]:
    """-inf among the logits is exactly 0; beside a sink even where every logit is -inf."""
    x = _logits(trial, 18)[:8]
    x[:4, 0] = x[2:6, 3:9] = x[4:7, -2:] = -np.inf
    if trial.operation == "softmax_with_sink":
        x[7] = -np.inf
    mask = None
    if trial.operation == "masked_softmax":
        mask = _mask(trial, 18)[:8]
        mask[:, 1] = True
    yield from _values(trial, x, mask)


def layouts(trial: Trial) -> Sequence[Observation]:
    """Every axis, with logits in every layout; masks that lie unlike the logits."""
    orders: tuple[Layout, ...] = ("C", "F", "reversed", "strided", "offset", "readonly")
    steps = []
    for shape in ((9,), (6, 6), (7, _CLASSES), (3, 4, 5)):
        for axis, order in product(range(-1, len(shape)), orders):
            step = trial.step(trial.normal(shape, 19), axis, layout=order)
            steps.append(step)
            if len(step.arrays) > 1:
                steps.append(replace(step, second="F" if order == "C" else "C"))
    return trial.values(steps)


def output(trial: Trial) -> Sequence[Observation]:
    """out=, with gaps, and the input itself."""
    trial.need_out()
    outs: tuple[Out, ...] = ("fresh", "strided", "alias")
    steps = []
    for shape in ((5,), (4, 9), (3, 4, 5)):
        for axis, out in product(range(len(shape)), outs):
            steps.append(trial.step(trial.normal(shape, 20), axis, out=out))
    return trial.values(steps)


_SCALED, _MASKED = ("scaled_softmax",), ("masked_softmax",)
_SINK, _CAPPED = ("softmax_with_sink",), ("softcap_softmax",)
_NO_SHIFT = ("overflow", "underflow", "flushes")

CASES = (
    Case("scale-exact", None, "scales of 1, 0, -1 and powers of two: the product is exact",
         exact_scales, _SCALED),
    Case("scale-rounded", None, "scales of 0.1, 10, 1/sqrt(128): no more is lost than a rounding",
         rounded_scales, _SCALED, deviations=_NO_SHIFT),
    Case("scale-offset", None, "logits of 1000 and -1000, scaled by 10", scaled_offset, _SCALED,
         deviations=_NO_SHIFT),
    Case("scale-contraction", None, "large products of finite logits: never NaN", contracted,
         _SCALED, deviations=("contraction", "overflow"), upstream=(JAX + "37234",)),
    Case("scale-range", None, "tiny logits under a huge scale, and the other way round",
         only_the_product_matters, _SCALED, deviations=_NO_SHIFT),
    Case("mask-garbage", None, "NaN, infinities and the largest numbers masked: exactly 0 there",
         garbage, _MASKED),
    Case("mask-far-below", None, "kept logits far below the masked ones", far_below, _MASKED,
         deviations=_NO_SHIFT),
    Case("mask-one-kept", None, "one class kept, at every place: 1 there", one_kept, _MASKED,
         deviations=_NO_SHIFT),
    Case("mask-ends", None, "nothing, the first, the last and every second class masked", ends,
         _MASKED),
    Case("mask-causal", None, "a causal mask", causal, _MASKED, deviations=_NO_SHIFT),
    Case("mask-no-class", None, "nothing kept in a row: zeros there, or NaN by convention",
         no_class, _MASKED, kind="convention", upstream=(PYTORCH + "41508",)),
    Case("mask-broadcast", None, "a mask that broadcasts to the logits, or a refusal",
         smaller_masks, _MASKED),
    Case("sink-none", None, "a sink of -inf: what softmax gives", no_sink, _SINK),
    Case("sink-zero", None, "a sink of 0 above the logits: exp(x), not 1/n", off_by_one, _SINK,
         deviations=_NO_SHIFT),
    Case("sink-large", None, "a sink far above the logits: gradual underflow", large_sink, _SINK,
         deviations=_NO_SHIFT),
    Case("sink-offset", None, "sink and logits at 1000 and at -1000", sink_at_an_offset, _SINK,
         deviations=_NO_SHIFT),
    Case("sink-one-class", None, "one class beside a sink: the sigmoid", sigmoid, _SINK),
    Case("cap", None, "caps of 50, 30 and 1", capped, _CAPPED, deviations=_NO_SHIFT),
    Case("cap-infinity", None, "infinite logits count as the cap", capped_infinities, _CAPPED),
    Case("cap-small", None, "logits beyond a small cap: equal, but for their signs", small_cap,
         _CAPPED),
    Case("cap-large", None, "a cap far above the logits", large_cap, _CAPPED),
    Case("changed-nan", None, "a NaN that is kept: its row NaN, other rows untouched", nan_kept,
         CHANGED, deviations=("nan",)),
    Case("changed-minus-infinity", None, "-inf among the logits: exactly 0 there", minus_infinity,
         ("scaled_softmax", "masked_softmax", "softmax_with_sink")),
    Case("changed-layouts", None, "every axis, strides, masks that lie unlike the logits", layouts,
         CHANGED),
    Case("changed-out", None, "out=, contiguous or not, or the input", output, CHANGED),
)  # fmt: skip
