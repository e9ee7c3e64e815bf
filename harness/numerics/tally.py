"""What must be counted of errors so that the blocks of an array add up to the whole of it.

A maximum is the largest of the blocks' maxima, and a count their sum; a mean and a quantile are
not made of those of blocks. The sum is kept exactly. For the quantiles errors are counted in bins,
2**12 to a binade: what is told is an error that occurs, at most 2**-12 of itself too large.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from harness.numerics.formats import Float64Array, FloatFormat
from harness.numerics.metrics import same_sum
from harness.numerics.ulps import wrong_threshold

_DROPPED = 52 - 12  # bits of a float64 that tell errors of one bin apart


@dataclass(frozen=True)
class Tally:
    """Errors, counted.

    Attributes:
        counts: errors in each bin, by its number; the numbers have the order of the errors.
        largest: the largest error in each bin, in ulps.
        total: the sum of the signed errors that are not wrong, in ulps, exactly.
        summed: how many those are.
    """

    counts: Counter[int]
    largest: dict[int, float]
    total: Fraction
    summed: int

    @property
    def bias(self) -> float | None:
        """The mean of the signed errors that are not wrong; None where all are."""
        return float(self.total) / self.summed if self.summed else None

    def quantile(self, share: float) -> float:
        """An error that at least that share of all does not exceed, the least by its bin."""
        wanted = max(1, math.ceil(share * self.counts.total()))
        for number in sorted(self.counts):
            wanted -= self.counts[number]
            if wanted <= 0:
                return self.largest[number]
        raise ValueError("quantile: expected at least one error; got none")


def tally(signed: Float64Array, fmt: FloatFormat) -> Tally:
    """The errors of one block, in ulps of `fmt` (`ulps.signed_ulp_error`)."""
    error = np.sort(np.abs(signed), axis=None)
    numbers = error.view(np.int64) >> _DROPPED
    last = np.append(np.flatnonzero(np.diff(numbers)), numbers.size - 1)
    bins = numbers[last].tolist()
    counts = Counter(dict(zip(bins, np.diff(last, prepend=-1).tolist(), strict=True)))
    largest = dict(zip(bins, error[last].tolist(), strict=True))
    right = signed[np.abs(signed) < wrong_threshold(fmt)]
    total = sum(map(Fraction, same_sum(right).tolist()), Fraction(0))
    return Tally(counts, largest, total, right.size)


def together(tallies: Iterable[Tally]) -> Tally:
    """The tally of all blocks."""
    counts: Counter[int] = Counter()
    largest: dict[int, float] = {}
    total, summed = Fraction(0), 0
    for one in tallies:
        counts.update(one.counts)
        for number, error in one.largest.items():
            largest[number] = max(error, largest.get(number, 0.0))
        total, summed = total + one.total, summed + one.summed
    return Tally(counts, largest, total, summed)
