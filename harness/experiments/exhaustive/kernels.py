"""The judge's inner loops, compiled: millions of outputs a second, no implementation's code.

Classes of error are those of `numerics.metrics.HISTOGRAM_KEYS`. Where the thresholds don't decide
(a misrounded result's error, wider formats), the smaller of p and 1 − p is computed in float64 to a
relative error of a few 2**-53, and what lies nearer to the edge of a class than `MARGIN` allows is
left to the certified reference.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

MARGIN = 2.0**-46
UNDECIDED = 7
CLASSES = 7
CAPACITY = 4096

_EDGES = (0.5, 1.0, 2.0, 4.0)


class Counts(NamedTuple):
    """What a kernel counts in one block, by output, and what it leaves to the reference.

    Attributes:
        counts: int64 (outputs, 7), by class. Misrounded are the classes from 2 on.
        worst: (outputs, 2), the largest error counted, and the value computed there.
        place: int64 (outputs,), where that is.
        undecided: int64 (CAPACITY,), places left to the reference.
        left: int64 (1,), how many; more than the capacity if they did not all fit.
    """

    counts: NDArray[np.int64]
    worst: NDArray[np.float64]
    place: NDArray[np.int64]
    undecided: NDArray[np.int64]
    left: NDArray[np.int64]

    @classmethod
    def empty(cls, outputs: int) -> Counts:
        """Nothing counted, of so many outputs of a row that are counted apart."""
        return cls(
            np.zeros((outputs, CLASSES), np.int64), np.full((outputs, 2), -1.0),
            np.full(outputs, -1, np.int64), np.empty(CAPACITY, np.int64), np.zeros(1, np.int64),
        )  # fmt: skip


_compiled = njit(cache=True, error_model="numpy", nogil=True)


@_compiled  # type: ignore[untyped-decorator]
def _within(s: float, tau: float, add: bool, edge: float) -> int:
    """Is |s − τ| (or s + τ) at most `edge`? 1, 0, or -1 where τ is too near to say."""
    low = -math.inf if add else s - edge
    high = edge - s if add else s + edge
    slack = MARGIN * tau
    if abs(low - tau) <= slack or abs(high - tau) <= slack:
        return -1
    return 1 if low <= tau <= high else 0


@_compiled  # type: ignore[untyped-decorator]
def _class_for(s: float, tau: float, add: bool, wrong: float) -> int:
    """The class of the error |s − τ| or s + τ, in ulps."""
    for k in range(4):
        inside = _within(s, tau, add, _EDGES[k])
        if inside < 0:
            return UNDECIDED
        if inside:
            return k + 1
    below_wrong = _within(s, tau, add, wrong)
    if below_wrong < 0:
        return UNDECIDED
    return 5 if below_wrong else 6


@_compiled  # type: ignore[untyped-decorator]
def classify(y: float, small: float, upper: bool, precision: int, emin: int) -> tuple[int, float]:
    """Class and ulp error of `y` against p = small (or 1 − small where `upper`), p not dyadic.

    `small` is at most 1/2, with a relative error far below `MARGIN`.
    """
    if not math.isfinite(y):
        return 6, math.inf
    small = max(small, 5e-324)  # never 0: p is not
    mantissa, exponent = math.frexp(small)
    near = False
    binade = exponent - 1
    if upper:
        binade = -1
    else:
        near = (mantissa - 0.5 <= MARGIN) or (1.0 - mantissa <= MARGIN)
    quantum = max(binade, emin) - precision + 1
    s = math.ldexp(abs(y - 1.0 if upper else y), -quantum)
    tau = math.ldexp(small, -quantum)
    tau = max(tau, 5e-324)
    add = (y >= 1.0) if upper else (y < 0.0)
    wrong = math.ldexp(1.0, precision - 1)
    found = _class_for(s, tau, add, wrong)
    error = s + tau if add else abs(s - tau)
    if near and found != UNDECIDED:
        # p may lie in the neighbouring binade, whose ulp is half or twice as large
        above = mantissa > 0.75
        factor = 0.5 if above else 2.0
        if binade > emin or (above and binade == emin):
            other = _class_for(s * factor, tau * factor, add, wrong)
            if other != found:
                return UNDECIDED, error
    return found, error


@_compiled  # type: ignore[untyped-decorator]
def smaller_of_two(d: float) -> float:
    """min(p, 1 − p) of p = 1/(1 + e^−d)."""
    e = math.exp(-abs(d))
    return e / (1.0 + e)


@_compiled  # type: ignore[untyped-decorator]
def _count(found: int, error: float, value: float, k: int, place: int, into: Any) -> None:
    """Count a result of output k in `Counts`, or leave it to the reference."""
    if found == UNDECIDED:
        if into.left[0] < into.undecided.size:
            into.undecided[into.left[0]] = place
        into.left[0] += 1
        return
    into.counts[k, found] += 1
    if error > into.worst[k, 0]:
        into.worst[k, 0], into.worst[k, 1], into.place[k] = error, value, place


@_compiled  # type: ignore[untyped-decorator]
def judge_pairs(
    a: Any, b: Any, first: int, bits: Any, values: Any, table: Any, places: Any, into: Any,
    precision: int, emin: int,
) -> None:  # fmt: skip
    """Judge all pairs (a[i], b[j]) of a block against certified thresholds.

    Args:
        a, b: float64, the logits. first: index of a[0] among all numbers.
        bits: uint16 (a, b, 2), the computed results.
        values: (65536,) by bits.
        table: (65536, 4): above, upto, and the least and largest d for which these bits were
            right so far (updated).
        places: int64 (65536, 2), where these were: 2*(i*len(b) + j) + output (updated).
        into: `Counts`; the errors there are those of misrounded outputs.
    """
    n = b.size
    for i in range(a.size):
        row = (first + i) * n
        for j in range(n):
            difference = a[i] - b[j]
            for k in range(2):
                d = difference if k == 0 else -difference
                y = bits[i, j, k]
                if table[y, 0] < d <= table[y, 1]:
                    if d == 0.0:
                        into.counts[k, 0] += 1
                    else:
                        into.counts[k, 1] += 1
                    if d < table[y, 2]:
                        table[y, 2] = d
                        places[y, 0] = 2 * (row + j) + k
                    if d > table[y, 3]:
                        table[y, 3] = d
                        places[y, 1] = 2 * (row + j) + k
                    continue
                found, error = classify(values[y], smaller_of_two(d), d > 0.0, precision, emin)
                if found <= 1:
                    found = UNDECIDED  # the thresholds say misrounded; what is open is the class
                _count(found, error, values[y], k, 2 * (row + j) + k, into)


@_compiled  # type: ignore[untyped-decorator]
def judge_line(x: Any, y: Any, first: int, into: Any, precision: int, emin: int) -> None:
    """Judge rows (t, 0) in a format of up to 24 bits.

    x, y float64 (n, 2), places in `Counts` first + 2*i + output.
    """
    for i in range(x.shape[0]):
        t = x[i, 0]
        small = smaller_of_two(t)
        for k in range(2):
            d = t if k == 0 else -t
            if d == 0.0 and y[i, k] == 0.5:
                into.counts[k, 0] += 1
                continue
            found, error = classify(y[i, k], small, d > 0.0, precision, emin)
            _count(found, error, y[i, k], k, first + 2 * i + k, into)


@_compiled  # type: ignore[untyped-decorator]
def judge_triples(x: Any, y: Any, first: int, into: Any, precision: int, emin: int) -> None:
    """Judge rows of three classes; x, y float64 (n, 3), places first + 3*i + output."""
    for i in range(x.shape[0]):
        for k in range(3):
            others = 0.0
            for j in range(3):
                if j != k:
                    others += math.exp(x[i, j] - x[i, k])
            upper = others < 1.0
            # Infinite where the class has no chance: 1/(1 + inf) is 0, and 0 stands for tiny
            small = others / (1.0 + others) if upper else 1.0 / (1.0 + others)
            found, error = classify(y[i, k], small, upper, precision, emin)
            _count(found, error, y[i, k], 0, first + 3 * i + k, into)


@_compiled  # type: ignore[untyped-decorator]
def inversions(y: Any) -> tuple[int, int, int]:
    """(count, index of the first, NaN count): places i where y[i + 1] < y[i]."""
    count, first, nan = 0, -1, 0
    for i in range(y.size):
        if np.isnan(y[i]):
            nan += 1
        if i + 1 < y.size and y[i + 1] < y[i]:
            if count == 0:
                first = i
            count += 1
    return count, first, nan
