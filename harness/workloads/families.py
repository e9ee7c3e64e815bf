"""Families of logits: how each is drawn, its parameters and why it is in the suite.

A draw fills ``(rows, classes)`` in float32 or float64 and knows the target format, so that ranges
follow it; rounding to the format, ids, seeds and checks are in `harness.workloads.workload`.
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
    draw: Callable[[Draw], Array] | None
    presets: tuple[Mapping[str, float], ...] = ({},)
    masks: bool = False
    fixed_classes: int | None = None


@dataclass(frozen=True)
class Draw:
    """What a family draws from: random numbers, a shape, a format and its parameters."""

    rng: np.random.Generator
    rows: int
    classes: int
    fmt: FloatFormat
    values: Values

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.classes

    @property
    def dtype(self) -> type[np.float32] | type[np.float64]:
        """Type of the drawn numbers: float64 for float64, float32 for every narrower format."""
        return np.float64 if self.fmt.name == "float64" else np.float32

    def standard_normal(self) -> Array:
        return self.rng.standard_normal(self.shape, dtype=self.dtype)

    def uniform(self) -> Array:
        """Uniform on [0, 1), (rows, classes)."""
        return self.rng.random(self.shape, dtype=self.dtype)

    def places(self) -> NDArray[np.int64]:
        """A random class for each row, (rows,)."""
        return self.rng.integers(self.classes, size=self.rows)

    def others(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """A random class other than `places` for each row; needs at least two classes."""
        return (places + self.rng.integers(1, self.classes, size=self.rows)) % self.classes


_SCALE = Parameter(1.0, 0.0, 1e30)
_SPAN = Parameter(20.0, 0.0, 1e30)
_ANY = 1.7e38  # even the width of [-_ANY, _ANY] is a finite float32

_drawn: dict[str, Family] = {}


def _family(
    description: str, presets: tuple[Mapping[str, float], ...] = ({},), *, masks: bool = False,
    **parameters: Parameter,
) -> Callable[[Callable[[Draw], Array]], Callable[[Draw], Array]]:  # fmt: skip
    """Mark a function as what draws the family of its name; parameters as in `Family`."""

    def enter(draw: Callable[[Draw], Array]) -> Callable[[Draw], Array]:
        name = draw.__name__.removeprefix("_")
        _drawn[name] = Family(name, description, parameters, draw, presets, masks)
        return draw

    return enter


@_family(
    "Independent normal logits of a given scale: an untrained model (0.1), a trained one "
    "(1 to 10), a saturated one (30, 100).",
    tuple({"scale": s} for s in (0.1, 1.0, 10.0, 30.0, 100.0)), scale=_SCALE,
)  # fmt: skip
def _normal(d: Draw) -> Array:
    x = d.standard_normal()
    x *= d.dtype(d.values["scale"])
    return x


@_family(
    "Independent uniform logits on [low, high].",
    low=Parameter(-10.0, -_ANY, _ANY), high=Parameter(10.0, -_ANY, _ANY),
)  # fmt: skip
def _uniform(d: Draw) -> Array:
    low, high = d.values["low"], d.values["high"]
    if not low <= high:
        raise ValueError(f"uniform: expected low <= high; got low={low:g}, high={high:g}")
    x = d.uniform()
    x *= d.dtype(high - low)
    x += d.dtype(low)
    return x


@_family(
    "Normal logits plus a large common offset: softmax ignores it, an unshifted formula "
    "loses digits or overflows.",
    ({"offset": 1000.0}, {"offset": 10_000.0}),
    offset=Parameter(1000.0, -_ANY, _ANY), scale=_SCALE,
)  # fmt: skip
def _offset(d: Draw) -> Array:
    x = _normal(d)
    x += d.dtype(d.values["offset"])
    return x


def underflow_gap(fmt: FloatFormat, classes: int) -> float:
    """How far below the maximum a logit gives twice the smallest subnormal of `fmt`.

    For logits uniform over that gap. The sum of the exponentials grows with the classes, so the
    gap shrinks with them; it is kept at ln 2 or more: where less is left (float16 from 2**24
    classes) every result underflows anyway.
    """
    deepest = -math.log(2 * fmt.smallest_subnormal)
    gap = deepest
    for _ in range(100):  # a contraction, damped for the widest rows
        total = 1 + (classes - 1) * -math.expm1(-gap) / gap
        gap = max(math.log(2), 0.5 * gap + 0.5 * (deepest - math.log(total)))
    return gap


@_family(
    "Uniform logits over a gap so wide that the smallest results are subnormal in the "
    "format; the maximum and the deepest logit occur in every row."
)
def _wide_range(d: Draw) -> Array:
    gap = underflow_gap(d.fmt, d.classes)
    x = d.uniform()
    x *= d.dtype(-gap)
    # The maximum and the deepest logit occur in every row, at random places.
    row, top = np.arange(d.rows), d.places()
    if d.classes > 1:
        x[row, d.others(top)] = -gap
    x[row, top] = 0
    return x


@_family(
    "All logits equal: every result is 1/n, and stalled accumulators show.",
    value=Parameter(0.0, -1e308, 1e308),
)
def _constant(d: Draw) -> Array:
    return np.full(d.shape, d.values["value"], dtype=np.float64)


@_family(
    "Normal logits and, at a random place of each row, one that leads by `gap`.",
    gap=Parameter(20.0, 0.0, 1e30),
)
def _one_dominant(d: Draw) -> Array:
    x = d.standard_normal()
    row, top = np.arange(d.rows), d.places()
    if d.classes > 1:
        x[row, top] = -np.inf  # the lead is over the others
        x[row, top] = x.max(axis=1) + d.dtype(d.values["gap"])
    return x


@_family(
    "Logits within a few units in the last place of one value: order must survive.",
    base=Parameter(10.0, -1e30, 1e30), ulps=Parameter(4.0, 1.0, 1000.0, integral=True),
)  # fmt: skip
def _near_ties(d: Draw) -> Array:
    ulps = int(d.values["ulps"])
    steps = d.rng.integers(-ulps, ulps, endpoint=True, size=d.shape, dtype=np.int32)
    # Every step of the few once in the format, then looked up: ordinals of whole arrays are slow.
    with np.errstate(over="ignore", invalid="ignore"):  # beyond the format: refused after rounding
        base = np.array([d.values["base"]]).astype(d.fmt.dtype)
        ladder = from_ordinal(to_ordinal(base) + np.arange(-ulps, ulps + 1), d.fmt)
        values = to_float64(ladder)
        if not np.isfinite(values).all():
            values = np.full(len(ladder), np.inf)
        found: Array = values.astype(d.dtype)[steps + ulps]
    return found


@_family(
    "A rising ramp: every logit is a new maximum, the worst order for online formulas.", span=_SPAN
)
def _ascending(d: Draw) -> Array:
    ramp = np.linspace(-d.values["span"], 0, d.classes) if d.classes > 1 else np.zeros(1)
    # A shift of its own, so that no two rows are alike; rounding keeps the order.
    shift: Array = d.rng.random((d.rows, 1), dtype=d.dtype)
    x: Array = ramp.astype(d.dtype) + shift
    return x


@_family(
    "A falling ramp: the first logit is the maximum, small terms are added to a large sum.",
    span=_SPAN,
)
def _descending(d: Draw) -> Array:
    return _ascending(d)[:, ::-1]


@_family(
    "Normal logits of which a fraction is -inf, at least one and never a whole row "
    "(with one class: none).",
    masks=True, fraction=Parameter(0.3, 0.0, 1.0), scale=_SCALE,
)  # fmt: skip
def _masked(d: Draw) -> Array:
    x = _normal(d)
    if d.classes == 1:
        return x
    kept = d.places()
    dropped = d.others(kept)
    row = np.arange(d.rows)
    survivor = x[row, kept]
    x[d.rng.random(d.shape, dtype=np.float32) < d.values["fraction"]] = -np.inf
    x[row, kept] = survivor
    x[row, dropped] = -np.inf
    return x


@_family(
    "Student's t with `df` degrees of freedom (1: Cauchy), clipped to half of the "
    "format's largest finite value.",
    df=Parameter(1.0, 0.5, 1e6),
)
def _heavy_tailed(d: Draw) -> Array:
    df = d.values["df"]
    x = d.rng.standard_cauchy(d.shape) if df == 1 else d.rng.standard_t(df, d.shape)
    # Half of the largest finite value, so that no difference of two logits overflows either.
    limit = d.fmt.max / 2
    clipped: Array = np.clip(x, -limit, limit)
    return clipped


FAMILIES: Mapping[str, Family] = {
    **_drawn,
    "digits": Family(
        "digits",
        "Real logits: a multinomial logistic regression on scikit-learn's digits, held-out "
        "rows first; beyond 1797 rows they repeat.",
        {}, None, fixed_classes=10,
    ),
    "file": Family(
        "file",
        "Logits that the user captured from a model; beyond the rows of the file they repeat.",
        {}, None, masks=True,
    ),
}  # fmt: skip
