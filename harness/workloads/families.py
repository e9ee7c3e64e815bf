"""Families of logits: how each is drawn, its parameters and why it is in the suite.

A draw fills ``(rows, classes)`` in float32 or float64 and knows
the target format, so that ranges follow it; rounding to the format, identity, seeds and checks
are `harness.workloads.workload`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.numerics.formats import FloatFormat, from_ordinal, to_float64, to_ordinal

Array = NDArray[Any]
Values = Mapping[str, float]
Draw = Callable[[np.random.Generator, int, int, FloatFormat, Values], Array]


@dataclass(frozen=True)
class Parameter:
    """A number that a family takes: its default and the closed range that it may lie in."""

    default: float
    low: float
    high: float
    integral: bool = False


@dataclass(frozen=True)
class Family:
    """One kind of logits.

    Attributes:
        name: as in a workload's id.
        description: one sentence for the report: what it is and what it provokes.
        parameters: by name, in the order in which the id spells them.
        draw: fills the array; None where the values are not drawn (digits, file).
        presets: parameter sets that the standard experiments use.
        masks: True where -inf occurs.
        fixed_classes: the only class count the family has, or None.
    """

    name: str
    description: str
    parameters: Mapping[str, Parameter]
    draw: Draw | None
    presets: tuple[Mapping[str, float], ...] = ({},)
    masks: bool = False
    fixed_classes: int | None = None


def _work_dtype(fmt: FloatFormat) -> type[np.float32] | type[np.float64]:
    return np.float64 if fmt.name == "float64" else np.float32


def _standard_normal(rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat) -> Array:
    return rng.standard_normal((rows, classes), dtype=_work_dtype(fmt))


def _normal(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat, p: Values
) -> Array:
    x = _standard_normal(rng, rows, classes, fmt)
    x *= x.dtype.type(p["scale"])
    return x


def _uniform(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat, p: Values
) -> Array:
    low, high = p["low"], p["high"]
    if not low <= high:
        raise ValueError(f"uniform: expected low <= high; got low={low:g}, high={high:g}")
    x = rng.random((rows, classes), dtype=_work_dtype(fmt))
    x *= x.dtype.type(high - low)
    x += x.dtype.type(low)
    return x


def _offset(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat, p: Values
) -> Array:
    x = _normal(rng, rows, classes, fmt, p)
    x += x.dtype.type(p["offset"])
    return x


def underflow_gap(fmt: FloatFormat, classes: int) -> float:
    """How far below the maximum a logit gives twice the smallest subnormal of `fmt`.

    For logits uniform over that gap: the sum of the exponentials takes its share, so the gap
    shrinks as the classes grow; it is at least ln 2, below which (float16 from 2**24 classes)
    every result underflows anyway.
    """
    deepest = -math.log(2 * fmt.smallest_subnormal)
    gap = deepest
    for _ in range(100):  # a contraction, damped for the widest rows
        total = 1 + (classes - 1) * -math.expm1(-gap) / gap
        gap = max(math.log(2), 0.5 * gap + 0.5 * (deepest - math.log(total)))
    return gap


def _wide_range(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat, p: Values
) -> Array:
    gap = underflow_gap(fmt, classes)
    x = rng.random((rows, classes), dtype=_work_dtype(fmt))
    x *= x.dtype.type(-gap)
    # The maximum and the deepest logit occur in every row, at random places.
    row = np.arange(rows)
    top = rng.integers(classes, size=rows)
    if classes > 1:
        x[row, (top + rng.integers(1, classes, size=rows)) % classes] = -gap
    x[row, top] = 0
    return x


def _constant(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat, p: Values
) -> Array:
    return np.full((rows, classes), p["value"], dtype=np.float64)


def _one_dominant(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat, p: Values
) -> Array:
    x = _standard_normal(rng, rows, classes, fmt)
    top = rng.integers(classes, size=rows)
    row = np.arange(rows)
    if classes > 1:
        x[row, top] = -np.inf  # the lead is over the others
        x[row, top] = x.max(axis=1) + x.dtype.type(p["gap"])
    return x


def _near_ties(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat, p: Values
) -> Array:
    ulps = int(p["ulps"])
    steps = rng.integers(-ulps, ulps, endpoint=True, size=(rows, classes), dtype=np.int32)
    # Every step of the few once in the format, then looked up: ordinals of whole arrays are slow.
    with np.errstate(over="ignore", invalid="ignore"):  # beyond the format: refused after rounding
        base = np.array([p["base"]]).astype(fmt.dtype)
        ladder = from_ordinal(to_ordinal(base) + np.arange(-ulps, ulps + 1), fmt)
        values = to_float64(ladder)
        if not np.isfinite(values).all():
            values = np.full(len(ladder), np.inf)
        found: Array = values.astype(_work_dtype(fmt))[steps + ulps]
    return found


def _ramp(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat, span: float
) -> Array:
    ramp = np.linspace(-span, 0, classes) if classes > 1 else np.zeros(1)
    # A shift of its own, so that no two rows are alike; rounding keeps the order.
    shift: Array = rng.random((rows, 1), dtype=_work_dtype(fmt))
    x: Array = ramp.astype(shift.dtype) + shift
    return x


def _ascending(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat, p: Values
) -> Array:
    return _ramp(rng, rows, classes, fmt, p["span"])


def _descending(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat, p: Values
) -> Array:
    return _ramp(rng, rows, classes, fmt, p["span"])[:, ::-1]


def _masked(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat, p: Values
) -> Array:
    x = _normal(rng, rows, classes, fmt, p)
    if classes == 1:
        return x
    kept = rng.integers(classes, size=rows)
    dropped = (kept + rng.integers(1, classes, size=rows)) % classes
    row = np.arange(rows)
    survivor = x[row, kept]
    x[rng.random((rows, classes), dtype=np.float32) < p["fraction"]] = -np.inf
    x[row, kept] = survivor
    x[row, dropped] = -np.inf
    return x


def _heavy_tailed(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat, p: Values
) -> Array:
    df = p["df"]
    size = (rows, classes)
    x = rng.standard_cauchy(size) if df == 1 else rng.standard_t(df, size)
    # Half of the largest finite value, so that no difference of two logits overflows either.
    limit = fmt.max / 2
    clipped: Array = np.clip(x, -limit, limit)
    return clipped


_SCALE = Parameter(1.0, 0.0, 1e30)
_SPAN = Parameter(20.0, 0.0, 1e30)
_ANY = 1.7e38  # even the width of [-_ANY, _ANY] is a finite float32

FAMILIES: Mapping[str, Family] = {
    f.name: f
    for f in (
        Family(
            "normal",
            "Independent normal logits of a given scale: an untrained model (0.1), a trained one "
            "(1 to 10), a saturated one (30, 100).",
            {"scale": _SCALE},
            _normal,
            presets=tuple({"scale": s} for s in (0.1, 1.0, 10.0, 30.0, 100.0)),
        ),
        Family(
            "uniform",
            "Independent uniform logits on [low, high].",
            {"low": Parameter(-10.0, -_ANY, _ANY), "high": Parameter(10.0, -_ANY, _ANY)},
            _uniform,
        ),
        Family(
            "offset",
            "Normal logits plus a large common offset: softmax ignores it, an unshifted formula "
            "loses digits or overflows.",
            {"offset": Parameter(1000.0, -_ANY, _ANY), "scale": _SCALE},
            _offset,
            presets=({"offset": 1000.0}, {"offset": 10_000.0}),
        ),
        Family(
            "wide_range",
            "Uniform logits over a gap so wide that the smallest results are subnormal in the "
            "format; the maximum and the deepest logit occur in every row.",
            {},
            _wide_range,
        ),
        Family(
            "constant",
            "All logits equal: every result is 1/n, and stalled accumulators show.",
            {"value": Parameter(0.0, -1e308, 1e308)},
            _constant,
        ),
        Family(
            "one_dominant",
            "Normal logits and, at a random place of each row, one that leads by `gap`.",
            {"gap": Parameter(20.0, 0.0, 1e30)},
            _one_dominant,
        ),
        Family(
            "near_ties",
            "Logits within a few units in the last place of one value: order must survive.",
            {
                "base": Parameter(10.0, -1e30, 1e30),
                "ulps": Parameter(4.0, 1.0, 1000.0, integral=True),
            },
            _near_ties,
        ),
        Family(
            "ascending",
            "A rising ramp: every logit is a new maximum, the worst order for online formulas.",
            {"span": _SPAN},
            _ascending,
        ),
        Family(
            "descending",
            "A falling ramp: the first logit is the maximum, small terms are added to a large sum.",
            {"span": _SPAN},
            _descending,
        ),
        Family(
            "masked",
            "Normal logits of which a fraction is -inf, at least one and never a whole row "
            "(with one class: none).",
            {"fraction": Parameter(0.3, 0.0, 1.0), "scale": _SCALE},
            _masked,
            masks=True,
        ),
        Family(
            "heavy_tailed",
            "Student's t with `df` degrees of freedom (1: Cauchy), clipped to half of the "
            "format's largest finite value.",
            {"df": Parameter(1.0, 0.5, 1e6)},
            _heavy_tailed,
        ),
        Family(
            "digits",
            "Real logits: a multinomial logistic regression on scikit-learn's digits, held-out "
            "rows first; beyond 1797 rows they repeat.",
            {},
            None,
            fixed_classes=10,
        ),
        Family(
            "file",
            "Logits that the user captured from a model; beyond the rows of the file they repeat.",
            {},
            None,
            masks=True,
        ),
    )
}
