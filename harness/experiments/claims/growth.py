"""Tells from ratios of times whether a time grows exponentially or linearly with a size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.numerics.statistics import Ratio, Visits, ratio
from harness.records.claims import Finding


@dataclass(frozen=True)
class Slope:
    """The exponent s of time ∝ n^s between the smallest and the largest size.

    Attributes:
        value, low, high: with its 95% interval; 1 is linear.
        steps: the ratio of the times of each size to those of the size before.
        factor: sizes grow by this factor from one to the next.
    """

    value: float
    low: float
    high: float
    steps: tuple[Ratio, ...]
    factor: float


def growth_slope(sizes: Sequence[int], samples: Sequence[Sequence[float]]) -> Slope:
    """The slope of time against size, from times taken in interleaved rounds.

    Args:
        sizes: at least three, growing by a constant factor.
        samples: for each size, one time a round.

    Raises:
        ValueError: for sizes that don't grow by a constant factor.
    """
    factors = [b / a for a, b in pairwise(sizes)]
    if len(factors) < 2 or min(factors) <= 1 or not np.allclose(factors, factors[0]):
        raise ValueError(f"sizes: expected three or more in a constant ratio; got {list(sizes)}")
    rounds = [Visits.in_rounds(times) for times in samples]
    steps = tuple(ratio(b, a) for a, b in pairwise(rounds))
    whole = ratio(rounds[-1], rounds[0])
    span = math.log(sizes[-1] / sizes[0])
    value, low, high = (math.log(v) / span for v in (whole.value, whole.low, whole.high))
    return Slope(value, low, high, steps, factors[0])


def exponential_growth(slope: Slope) -> Finding:
    """Does every step grow as an exponential would, from the step before?

    If t = c·bⁿ, then a step by the factor f from n has the ratio b^((f−1)n), and the next step
    the f-th power of that ratio. Under linear growth every step has the ratio f. Steps that grow
    by less than the root of f are mostly fixed cost, and decide nothing.
    """
    held = cases = 0
    for before, after in pairwise(slope.steps):
        if before.low < math.sqrt(slope.factor):
            continue
        cases += 1
        held += after.high >= before.low**slope.factor
    ratios = ", ".join(f"{s.value:.3g}" for s in slope.steps)
    return Finding(
        f"the time of {slope.factor:g} times as many classes grows as an exponential's would",
        cases,
        held,
        f"slope of log time against log classes {slope.value:.3f} "
        f"[{slope.low:.3f}, {slope.high:.3f}], 1 being linear; ratios from step to step {ratios}",
        "claim",
        {"slope": slope.value, "slope_low": slope.low, "slope_high": slope.high},
    )


def is_faster(statement: str, found: Ratio, rounds: int, role: str = "claim") -> Finding:
    """A finding from a ratio of times (changed / unchanged); undecided if its interval holds 1."""
    decided = not found.low <= 1.0 <= found.high
    text = f"{found.value:.3g} times the time [{found.low:.3g}, {found.high:.3g}], {rounds} rounds"
    return Finding(
        statement,
        int(decided),
        int(decided and found.high < 1.0),
        text if decided else text + ": not decided",
        "remark" if role == "remark" else "claim",
        {"time_ratio": found.value, "low": found.low, "high": found.high},
    )
