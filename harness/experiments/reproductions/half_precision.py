"""Blanchard, Higham and Higham (2021): six formulas in simulated arithmetic, against their bounds.

The arithmetic is float64, rounded to the format after every operation, exponentials and logarithms
included; 53 bits are more than twice those of a format and two, so that a basic operation comes
out as if it were rounded once. The paper does so, too (`chop`). Where the paper compares with
single precision, this compares with certified results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.bounds import error_over_bound, evaluate_bound
from harness.numerics.formats import (
    Float64Array,
    FloatFormat,
    float_format,
    from_hex,
    round_pair,
)
from harness.reference import logsumexp_exact, softmax_exact
from harness.workloads.digits import digits_logits

_SEED = 20210812
HALVES = ("float16", "bfloat16")
WITNESS = ("0x1.f491de0000000p+9", "0x1.f48fe80000000p+9")
"""Two float32 logits whose softmax, by exp(x − lse), is beyond Theorem 4.4 as it is printed: of the
rows of `FAR` the one with the largest error over its bound."""

Formulas = Mapping[str, Float64Array]


def formulas(x: Float64Array, fmt: FloatFormat) -> Formulas:
    """What each theorem is about, computed in `fmt` from logits (rows, classes) of it.

    Returns:
        By the number of the theorem: log-sum-exps (rows, 1), softmax (rows, classes), in float64.
    """

    def rounded(value: Float64Array) -> Float64Array:
        return round_pair(value, 0.0, 0, fmt).astype(np.float64)

    def summed(terms: Float64Array) -> Float64Array:
        total = np.zeros((len(terms), 1))
        for column in terms.T:
            total = rounded(total + column[:, None])
        return total

    with np.errstate(all="ignore"):
        w = rounded(np.exp(x))
        s = summed(w)
        y = rounded(np.log(s))
        largest = x.argmax(axis=1)[:, None]
        top = np.take_along_axis(x, largest, axis=1)
        v = rounded(np.exp(rounded(x - top)))
        others = v.copy()
        np.put_along_axis(others, largest, 0.0, axis=1)
        t = summed(others)
        z = rounded(top + rounded(np.log1p(t)))
        return {
            "3.2": y,
            "3.3": rounded(w / s),
            "3.4": rounded(np.exp(rounded(x - y))),
            "4.2": z,
            "4.3": rounded(v / rounded(1.0 + t)),
            "4.4": rounded(np.exp(rounded(x - z))),
        }


DERIVED = {"3.3": "naive", "3.4": "log_sum_exp_unshifted", "4.3": "shift_divide",
           "4.4": "log_sum_exp_shifted"}  # fmt: skip
"""Our own bound of the formula of a theorem, where there is one (docs/bounds.md)."""


@dataclass(frozen=True)
class Trial:
    """The six formulas on some rows in one format.

    Attributes:
        what: the rows, in a few words.
        x: (rows, classes), numbers of the format.
    """

    what: str
    fmt: FloatFormat
    x: Float64Array
    compute: Callable[[Float64Array, FloatFormat], Formulas] = lambda x, fmt: formulas(x, fmt)

    @cached_property
    def computed(self) -> Formulas:
        """By theorem."""
        return self.compute(self.x, self.fmt)

    @cached_property
    def exact(self) -> tuple[Float64Array, Float64Array]:
        """Certified log-sum-exp (rows, 1) and softmax (rows, classes), rounded to float64."""
        y = logsumexp_exact(self.x).to_float64().reshape(-1, 1)
        return y, softmax_exact(self.x).to_float64()

    @cached_property
    def finite(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """(rows,): where the unshifted formula does not overflow."""
        return np.asarray(np.isfinite(self.computed["3.2"]).all(axis=1))

    @cached_property
    def errors(self) -> Mapping[str, Float64Array]:
        """(rows,) by theorem: relative to y, or to the largest of g, in units of u."""
        y, g = self.exact
        u = self.fmt.unit_roundoff
        with np.errstate(invalid="ignore"):
            return {
                number: np.abs(c - (y if c.shape[1] == 1 else g)).max(axis=1)
                / (np.abs(y)[:, 0] if c.shape[1] == 1 else g.max(axis=1)) / u
                for number, c in self.computed.items()
            }  # fmt: skip

    @cached_property
    def printed(self) -> Mapping[str, Float64Array]:
        """(rows,) by theorem: the first-order bound, in units of u."""
        y = self.exact[0][:, 0]
        n = self.x.shape[1]
        least, most = self.x.min(axis=1), self.x.max(axis=1)
        far = np.abs(self.x - y[:, None]).max(axis=1)
        return {
            "3.2": 1.0 + (n + 1.0) / np.abs(y),
            "3.3": np.full(len(y), n + 3.0),
            "3.4": np.abs(y) + far + n + 2.0,
            "4.2": np.abs((y + n - least) / y),
            "4.3": n + 2.0 + 2.0 * (most - least),
            "4.4": 1.0 + far + np.abs(y + n - least),
        }

    def judged(self, number: str) -> tuple[Float64Array, Float64Array]:
        """Errors and printed bounds of the rows that a theorem speaks of, in units of u."""
        rows = self.finite if number.startswith("3") else slice(None)
        return self.errors[number][rows], self.printed[number][rows]

    def beyond(self, number: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Of those rows, which are beyond their bound, O(u²) included."""
        error, bound = self.judged(number)
        share = bound * self.fmt.unit_roundoff
        with np.errstate(divide="ignore"):
            allowed = np.where(share < 1.0, bound / (1.0 - share), np.inf)
        return np.asarray(~(error <= allowed))

    def over_derived(self, number: str) -> Float64Array:
        """Error / our own bound of the formula, elementwise (rows, classes)."""
        rows = self.finite if number.startswith("3") else slice(None)
        x, y = self.x[rows], self.computed[number][rows].astype(self.fmt.dtype)
        if not len(x):
            return np.zeros(x.shape)
        exact = softmax_exact(x)
        bound = evaluate_bound(
            DERIVED[number], x, exact, self.fmt, exp_error=EXP_ERROR, log_error=EXP_ERROR
        )
        return error_over_bound(y, exact, bound)


EXP_ERROR = 1.0 + 2.0**-20
"""Of exponentials and logarithms in u: those of float64, rounded."""


def trial(what: str, name: str, x: Float64Array) -> Trial:
    """Of logits that are rounded to the format first."""
    fmt = float_format(name)
    return Trial(what, fmt, round_pair(x, 0.0, 0, fmt).astype(np.float64))


def _normal(rows: int, classes: int, scale: float, offset: float = 0.0) -> Float64Array:
    rng = np.random.default_rng(_SEED)
    return np.asarray(offset + scale * rng.standard_normal((rows, classes)))


DIGITS = "logits of digits"
USUAL = (DIGITS, "3·N(0,1), n = 10")
"""The kind of rows that the paper looks at: logits of a trained network, and like them."""


def trials(own: Float64Array | None = None) -> list[Trial]:
    """The rows on which everything is examined.

    Args:
        own: (rows, classes), logits that the user gave.
    """
    rows = {
        DIGITS: digits_logits().logits,
        USUAL[1]: _normal(2500, 10, 3.0),
        "100 + 10·N(0,1), n = 2": _normal(2500, 2, 10.0, 100.0),
    }
    given = {} if own is None else {GIVEN: own}
    found = [trial(what, name, x) for name in HALVES for what, x in {**given, **rows}.items()]
    return [
        *found,
        trial(FAR, "float32", _normal(10_000, 2, 10.0, 1000.0)),
        trial("−1000 + 10·N(0,1), n = 10", "float32", _normal(2500, 10, 10.0, -1000.0)),
    ]


GIVEN = "logits given"
FAR = "1000 + 10·N(0,1), n = 2"


def witness() -> Trial:
    """The row that Theorem 4.4 as printed does not hold for, float32."""
    row = [[float(from_hex(text)) for text in WITNESS]]
    return trial("the stored row", "float32", np.array(row))
