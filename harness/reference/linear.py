"""Cross-entropy of a linear layer: loss and gradients of logits that are exact dot products.

Logits z = h · w are pairs with an error (`tails.Fine`); those within it of the largest are taken
exactly, as fractions, since equal ones have to be seen as equal. Gradients are sums of certified
probabilities times weights or inputs, in double-double. What that leaves undecided goes to Ziv's
loop, after a look whether the sum is rational: by Lindemann and Weierstrass sum_k p_k a_k is, and
only is, where the mean of a over the classes of each logit is one and the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from functools import cache, cached_property
from typing import Any

import numpy as np

from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array
from harness.reference.balls import BallRow
from harness.reference.certificate import certify_triple
from harness.reference.cross_entropy import cross_entropy_rows
from harness.reference.double_double import U2, Pair, add, multiply_double, two_prod
from harness.reference.elementary import EXP_RANGE
from harness.reference.engines import Engine
from harness.reference.operations import ball_row, empty_exact
from harness.reference.tails import Fine, IntArray, tail_bound
from harness.reference.ziv import Enclosure, settle

LARGEST = 2.0**480
"""Magnitudes of inputs and weights below which products and sums are floats."""
_UNDERFLOW = 2.0**-1070
_SUBNORMAL = 2.0**-1073  # what a pair loses at most where it is brought to exponent 0
_LEAST, _NOTHING = -1080, -(10**6)  # exponents


def _sum(hi: Float64Array, lo: Float64Array) -> Pair:
    """Sums along the last axis of pairs of any sign, pairwise; off by 3 u^2 a level of abs."""
    n = hi.shape[-1]
    while n > 1:
        half = (n + 1) // 2
        first, second = slice(0, n - half), slice(half, n)
        pair = add((hi[..., first], lo[..., first]), (hi[..., second], lo[..., second]))
        hi = np.concatenate([pair[0], hi[..., n - half : half]], axis=-1)
        lo = np.concatenate([pair[1], lo[..., n - half : half]], axis=-1)
        n = half
    return hi[..., 0], lo[..., 0]


def _levels(count: int) -> float:
    """What a pairwise sum of so many pairs is off, of the sum of their magnitudes."""
    return float(3.0 * (np.ceil(np.log2(max(count, 2))) + 1.0) * U2)


class Layer:
    """The logits of some rows.

    Args:
        hidden: float64 (rows, features), finite, below `LARGEST`.
        weight: float64 (classes, features), likewise.
    """

    def __init__(self, hidden: Float64Array, weight: Float64Array) -> None:
        self.hidden, self.weight = hidden, weight
        self.exact, self.balls = cache(self._exact), cache(self._balls)
        shape = (len(hidden), len(weight))
        dh, dl, slack = np.empty(shape), np.empty(shape), 0.0
        self.rough, self.error = np.empty(shape), np.empty(len(hidden))
        for r, row in enumerate(hidden):
            hi, lo = _sum(*two_prod(row[None, :], weight))
            size = float((np.abs(row) * np.abs(weight)).sum(axis=1).max())
            error = _levels(len(row)) * size + len(row) * _UNDERFLOW
            self.rough[r], self.error[r] = hi, 4 * error
            dh[r], dl[r] = self._differences(r, hi, lo, error)
            near = dh[r][dh[r] >= -EXP_RANGE]
            slack = max(slack, 2 * error + 3 * U2 * float(-near.min(initial=0.0)))
        self.rows, self.fine = dh, Fine(dl, slack, self.logit)

    def _exact(self, row: int, column: int) -> Fraction:
        """The logit itself."""
        pairs = zip(self.hidden[row].tolist(), self.weight[column].tolist(), strict=True)
        return sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))

    def _differences(self, r: int, hi: Float64Array, lo: Float64Array, error: float) -> Pair:
        """To the largest logit; exact, and 0 where equal, of those that may be the largest."""
        at = int(np.lexsort((lo, hi))[-1])
        dh, dl = add((hi, lo), (np.full_like(hi, -hi[at]), np.full_like(lo, -lo[at])))
        near = np.flatnonzero(np.abs(dh) <= self.error[r])
        if len(near) > 1:
            exact = {k: self.exact(r, k) for k in near.tolist()}
            top = max(exact.values())
            best = max(exact, key=lambda k: exact[k])
            dh, dl = add((hi, lo), (np.full_like(hi, -hi[best]), np.full_like(lo, -lo[best])))
            for k, z in exact.items():
                dh[k] = float(z - top) or (-5e-324 if z < top else 0.0)
                dl[k] = float(z - top - Fraction(float(dh[k])))
        else:
            dh[at] = dl[at] = 0.0
        # none but those are at the top: what is nearer than a float tells is below it
        dh = np.minimum(dh, np.where(np.isin(np.arange(len(dh)), near), 0.0, -5e-324))
        return dh, dl

    def logit(self, engine: Engine, row: int, column: int) -> Any:
        pairs = zip(self.hidden[row].tolist(), self.weight[column].tolist(), strict=True)
        return sum((engine.number(a) * engine.number(b) for a, b in pairs), engine.number(0))

    def rational(self, row: int, values: list[Fraction]) -> Fraction | None:
        """sum_k p_k values_k of a row, if that is rational."""
        if len(set(values)) == 1:
            return values[0]
        if (np.diff(np.sort(self.rough[row])) > self.error[row]).all():
            return None  # all logits differ
        groups: dict[Fraction, list[Fraction]] = defaultdict(list)
        for column, value in enumerate(values):
            groups[self.exact(row, column)].append(value)
        means = {sum(g, Fraction(0)) / len(g) for g in groups.values()}
        return means.pop() if len(means) == 1 else None

    def parts(
        self, targets: IntArray, feature: int, column: int
    ) -> tuple[Fraction, dict[int, Fraction]]:
        """sum_r (p_rk - [k = t_r]) h_r as what is rational, and factors of p of other rows.

        Rows with the same logits have one p between them, which may cancel; of equal logits it is
        one over their number.
        """
        classes = len(self.weight)
        known, shares = Fraction(0), dict[tuple[Any, ...], list[Any]]()
        for r, h in enumerate(self.hidden[:, feature].tolist()):
            known -= Fraction(h) * int(targets[r] == column)
            logits: tuple[Any, ...] = (r,)  # unlike those of any other row
            if self.alike[r]:
                logits = tuple(self.exact(r, k) for k in range(classes))
            if self.alike[r] and len(set(logits)) == 1:
                known += Fraction(h) / classes
            else:
                shares.setdefault(logits, [r, Fraction(0)])[1] += Fraction(h)
        return known, {r: h for r, h in shares.values() if h}

    @cached_property
    def alike(self) -> list[bool]:
        """Rows whose logits may be all equal, or those of another row."""
        reach = self.error[:, None]
        constant = (np.ptp(self.rough, axis=1, keepdims=True) <= reach)[:, 0]
        found = []
        for r, row in enumerate(self.rough):
            same = (np.abs(self.rough - row) <= reach + self.error[r]).all(axis=1)
            found.append(bool(constant[r] or same.sum() > 1))
        return found

    def _balls(self, row: int) -> BallRow:
        return ball_row(self.rows, row, self.fine)


@np.errstate(all="ignore")
def linear_cross_entropy(
    hidden: Float64Array, weight: Float64Array, targets: IntArray
) -> tuple[Exact, Exact, Exact]:
    """Losses (rows,), and the gradients of their sum in `hidden` and in `weight`."""
    layer = Layer(hidden, weight)
    loss, gradient = cross_entropy_rows(layer.rows, targets, layer.fine)
    # of p, and of p - 1 for the target, as `softmax_rows` and `cross_entropy_rows` give them
    off = 4.0 * (tail_bound(len(weight)) + 40.0 * U2 + layer.fine.slack)
    return (
        loss,
        _in_hidden(layer, gradient, off, targets),
        _in_weight(layer, gradient, off, targets),
    )


def _weighted(
    p: Exact, off: float, by: Float64Array, settled: Callable[[int], tuple[float, float, int]]
) -> Exact:
    """sum_k p_k by_kj for every j: p (terms,), by (terms, count); undecided ones are `settled`.

    Sums below 2**-1080, which every format rounds to 0, are given as 0.

    Args:
        off: relative error of p.
    """
    plain = (np.ldexp(part, p.exponent)[:, None] for part in (p.hi, p.lo))
    hi, lo = multiply_double(tuple(plain), by)  # type: ignore[arg-type]
    size = np.abs(hi).sum(axis=0)
    lost = (np.abs(by) * _SUBNORMAL).sum(axis=0)  # of p, where it has left the normal range
    error = size * (off + _levels(len(hi))) + lost + len(hi) * _UNDERFLOW
    head, rest = _sum(hi.T.copy(), lo.T.copy())
    out_hi, out_lo, sure = certify_triple((head, rest, np.zeros_like(head)), error)
    powers = (np.frexp(p.hi)[1] + p.exponent)[:, None] + np.frexp(by)[1]
    powers = np.where((p.hi[:, None] == 0) | (by == 0), _NOTHING, powers)
    nothing = powers.max(axis=0) + np.ceil(np.log2(len(hi))) < _LEAST
    out = Exact(
        np.where(nothing, 0.0, out_hi), np.where(nothing, 0.0, out_lo),
        np.zeros(len(head), np.int32),
    )  # fmt: skip
    for j in np.flatnonzero(~sure & ~nothing).tolist():
        out.hi[j], out.lo[j], out.exponent[j] = settled(j)
    return out


def _pair(value: Fraction) -> tuple[float, float, int]:
    hi = float(value)
    return hi, float(value - Fraction(hi)), 0


def _in_hidden(layer: Layer, p: Exact, off: float, targets: IntArray) -> Exact:
    """sum_k (p_k - [k = t]) w_k of each row."""
    out = empty_exact(layer.hidden.shape)
    for r in range(len(layer.hidden)):
        target = int(targets[r])

        def settled(j: int, r: int = r, target: int = target) -> tuple[float, float, int]:
            own = [Fraction(w) for w in layer.weight[:, j].tolist()]
            mean = layer.rational(r, own)
            if mean is not None:
                return _pair(mean - own[target])
            column = layer.weight[:, j].tolist()

            def evaluate(engine: Engine, bits: int) -> Enclosure:
                row, total = layer.balls(r), engine.number(0)
                for k, w in enumerate(column):
                    if w != column[target]:
                        step = engine.number(w) - engine.number(column[target])
                        total += row.probability(engine, bits, k) * step
                return Enclosure(total)

            return settle(evaluate, f"gradient in hidden[{r}, {j}]")

        found = _weighted(p[r], off, layer.weight, settled)
        out.hi[r], out.lo[r], out.exponent[r] = found.hi, found.lo, found.exponent
    return out


def _in_weight(layer: Layer, p: Exact, off: float, targets: IntArray) -> Exact:
    """sum_r (p_rk - [k = t_r]) h_r of each class."""
    out = empty_exact(layer.weight.shape)
    for k in range(len(layer.weight)):

        def settled(j: int, k: int = k) -> tuple[float, float, int]:
            known, shares = layer.parts(targets, j, k)
            if not shares:
                return _pair(known)

            def evaluate(engine: Engine, bits: int) -> Enclosure:
                total = engine.number(known.numerator) / engine.number(known.denominator)
                for r, h in shares.items():
                    by = engine.number(h.numerator) / engine.number(h.denominator)
                    total += layer.balls(r).probability(engine, bits, k) * by
                return Enclosure(total)

            return settle(evaluate, f"gradient in weight[{k}, {j}]")

        found = _weighted(p[:, k], off, layer.hidden, settled)
        out.hi[k], out.lo[k], out.exponent[k] = found.hi, found.lo, found.exponent
    return out
