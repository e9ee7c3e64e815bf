"""Softmax of logits that are scaled, capped, masked, and share their sum with a sink.

What attention does to logits before softmax: z = s x, then c tanh(z / c), then a mask, then one
more class that is dropped again. Products and what a tanh gives are no floats; they are pairs with
an error (`tails.Fine`) for the fast filter, and balls for Ziv's loop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array
from harness.reference.double_double import (
    U2,
    Pair,
    add,
    add_double,
    divide,
    multiply_double,
    power_of_two,
    two_prod,
)
from harness.reference.elementary import EXP_BOUND, EXP_RANGE, exp
from harness.reference.operations import softmax_rows
from harness.reference.tails import BoolArray, Fine

SATURATED = 17
"""tanh of 2**15 and more counts as 1: it differs by less than 2**-90000."""

_LARGEST = 2.0**960  # of a product whose error is a float
_ROOM = 600  # by which the exponents of larger ones are lowered, beside that of the scale
_UNDERFLOW = 2.0**-1000  # more than a product loses by underflow
_LOWEST = -(2.0**1000)  # a difference that is far beyond what counts, and finite


@dataclass(frozen=True)
class Change:
    """What is done to logits before softmax.

    Attributes:
        scale: they are multiplied by it; finite.
        cap: c of c tanh(z / c), positive; None for none.
    """

    scale: float = 1.0
    cap: float | None = None

    def approximate(self, x: Float64Array, mask: BoolArray | None = None) -> Float64Array:
        """The logits that become of `x`, in float64; -inf where the mask keeps none."""
        with np.errstate(all="ignore"):
            z = x * self.scale
            if self.cap is not None:
                z = self.cap * np.tanh(z / self.cap)
        return z if mask is None else np.where(mask, z, -np.inf)

    def ball(self, engine: Any, x: float) -> Any:
        """The logit that becomes of x."""
        if self.cap is None or x == 0 or self.scale == 0:
            return engine.number(x) * engine.number(self.scale)
        size = _exponent(x) + _exponent(self.scale) - _exponent(self.cap)
        if size > SATURATED:
            return engine.number(math.copysign(self.cap, math.copysign(1, x) * self.scale))
        with engine.precision(engine.bits + max(0, 8 - size)):  # which 1 - t loses
            cap = engine.number(self.cap)
            z = engine.number(x) * engine.number(self.scale)
            t = engine.exp(engine.number(-2) * z / cap)
            return cap * (engine.number(1) - t) / (engine.number(1) + t)


@np.errstate(all="ignore")
def changed_rows(
    x: Float64Array, change: Change, mask: BoolArray | None = None,
    sink: Float64Array | None = None,
) -> Exact:  # fmt: skip
    """Softmax of rows of float64 (rows, classes), after a change, under a mask, beside a sink.

    Args:
        mask: of the shape of `x`, True keeps; what it does not keep may be anything.
        sink: (rows,) logits of one more class; neither scaled nor capped nor masked.

    Returns:
        (rows, classes): without the sink's class.
    """
    classes = x.shape[1]
    kept = x if mask is None else np.where(mask, x, 0.0)
    if change == Change():
        whole = _with(x if mask is None else np.where(mask, x, -np.inf), sink)
        return softmax_rows(whole)[:, :classes]
    return softmax_rows(*_Rows(kept, change, mask, sink).differences())[:, :classes]


def _with(x: Float64Array, sink: Float64Array | None) -> Float64Array:
    return x if sink is None else np.concatenate([x, sink[:, None]], axis=1)


@dataclass(frozen=True)
class _Rows:
    """Rows that are changed, masked, and beside a sink."""

    x: Float64Array
    change: Change
    mask: BoolArray | None
    sink: Float64Array | None

    def logit(self, engine: Any, row: int, column: int) -> Any:
        if column == self.x.shape[1]:
            assert self.sink is not None
            return engine.number(float(self.sink[row]))
        return self.change.ball(engine, float(self.x[row, column]))

    def logits(self) -> tuple[Pair, NDArray[np.int64], float]:
        """As pairs times a power of two of each row, so that no product overflows; their error.

        The scale's own power of two is the logits', so that no factor is near the end of the range.
        """
        finite = np.isfinite(self.x)
        product = self.x * self.change.scale
        large = finite & ~(np.abs(product) < _LARGEST)
        large = np.asarray(large.any(axis=1, keepdims=True)) & (self.change.cap is None)
        part = int(np.frexp(self.change.scale)[1])
        power = np.where(large, part + _ROOM, 0)
        down = _ROOM if self.change.cap is not None and self.change.cap >= 2.0**900 else 0
        moved = np.ldexp(np.where(finite, self.x, product), np.where(large, -_ROOM, part - down))
        hi, lo = two_prod(moved, np.full(1, np.ldexp(self.change.scale, -part)))
        error = 0.0 if self.change.scale == 1.0 else _UNDERFLOW
        if self.change.cap is not None:
            rough = moved * np.ldexp(self.change.scale, -part)
            pair, error = _capped((hi, lo), math.ldexp(self.change.cap, -down), rough)
            hi, lo = np.ldexp(pair[0], down), np.ldexp(pair[1], down)
            error = error * 2.0**down + 2.0 ** (down - 1070)
            finite = ~np.isnan(product)
        hi, lo = np.where(finite, hi, product), np.where(finite, lo, 0.0)
        if self.mask is not None:
            hi, lo = np.where(self.mask, hi, -np.inf), np.where(self.mask, lo, 0.0)
        if self.sink is not None:
            hi = _with(hi, np.ldexp(self.sink, -power[:, 0]))
            lo = _with(lo, np.zeros(len(lo)))
        return (hi, lo), power, error

    def differences(self) -> tuple[Float64Array, Fine]:
        """Differences to the largest logit, and what floats do not hold of them."""
        (hi, lo), power, error = self.logits()
        largest = hi.max(axis=1)
        ordinary = np.isfinite(largest)[:, None]
        at = np.where(hi == largest[:, None], lo, -np.inf).argmax(axis=1)[:, None]
        top_hi, top_lo = (np.take_along_axis(part, at, axis=1) for part in (hi, lo))
        usable = np.isfinite(hi) & ordinary
        dh, dl = add(
            (np.where(usable, hi, 0.0), np.where(usable, lo, 0.0)),
            (np.where(usable, -top_hi, 0.0), np.where(usable, -top_lo, 0.0)),
        )
        dh, dl = np.ldexp(dh, power), np.ldexp(dl, power)
        far = ~(dh >= _LOWEST)
        dh, dl = np.where(far, _LOWEST, dh), np.where(far, 0.0, dl)
        reach = float(np.abs(dh[dh >= -EXP_RANGE]).max(initial=0.0))
        # of a row without a softmax only its maximum matters: NaN, infinite, or -inf
        dh = np.where(usable, dh, np.where(ordinary, -np.inf, largest[:, None]))
        return dh, Fine(dl, 2 * error + 3 * U2 * reach, self.logit)


def _exponent(x: float) -> int:
    return math.frexp(x)[1]


def _capped(z: Pair, cap: float, rough: Float64Array) -> tuple[Pair, float]:
    """c tanh(z / c) = c (1 - t) / (1 + t), t = exp(-2 abs(z) / c); and its absolute error.

    t is off by exp's bound and by what its argument is (15 u^2 of at most 2**8, beyond which t
    does not count), 1 - t and 1 + t by 2 u^2, the quotient by 15 u^2, the product by 3, all of c.
    Below 2**-54 c it is z, of which it differs by a third of (z / c)^2.
    """
    sign = np.where(rough < 0, -1.0, 1.0)
    saturated, straight = ~(np.abs(rough) < 2.0**7 * cap), np.abs(rough) < 2.0**-54 * cap
    apart = saturated | straight
    zh, zl = (np.where(apart, 0.0, sign * part) for part in z)
    eh, el, k = exp(*divide((-2.0 * zh, -2.0 * zl), (np.full_like(zh, cap), np.zeros_like(zh))))
    scale = power_of_two(np.maximum(k, -1000))
    t = (eh * scale, el * scale)
    ratio = divide(add_double((-t[0], -t[1]), 1.0), add_double(t, 1.0))
    hi, lo = (sign * part for part in multiply_double(ratio, np.full(1, cap)))
    hi, lo = np.where(saturated, sign * cap, hi), np.where(saturated, 0.0, lo)
    error = float(np.abs(np.where(straight, rough, 0.0)).max(initial=0.0)) * 2.0**-108
    if not apart.all():
        error += cap * (2 * EXP_BOUND + (2 * 15 * 2.0**8 + 40) * U2)
    return (np.where(straight, z[0], hi), np.where(straight, z[1], lo)), error
