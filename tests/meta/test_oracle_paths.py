"""The oracle's two paths, the double-double filter and Ziv's loop on Arb balls, must agree."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import reference_audit

from harness import reference
from harness.numerics.exact import Exact
from harness.reference.balls import BallRow

_EDGES = [0, -1e-320, 1e-320, -37.5, -74, -800, -(2.0**18), -3e5, -1e6, 2.0**53, -1, 1e300, -1e300]


def _rows(family: str, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng([ord(c) for c in family])
    rows = []
    while len(rows) < count:
        n = int(rng.integers(2, 10))
        x = rng.normal(size=n) * 10.0 ** rng.uniform(-20, 6)
        if family == "near ties":
            x = 1.5 + rng.integers(-3, 4, size=n) * 2.0**-52
        elif family == "dominant":
            x[0] = x.max() + rng.choice([40, 80, 200, 1000, 1e5, 4e5])
        elif family == "edges":
            x = rng.choice(_EDGES, size=n)
        elif family == "tied maxima":
            x[: (n + 1) // 2] = x.max()
        elif family == "logsumexp near zero":
            x = -np.log(n) + rng.integers(-2, 3, size=n) * 2.0**-54
        if (x != x[0]).any():
            rows.append(x)
    return rows


def _agree(fast: Exact, settled: tuple[float, float, int]) -> bool:
    a = reference_audit.pair_value(fast, 0)
    b = (Fraction(settled[0]) + Fraction(settled[1])) * Fraction(2) ** settled[2]
    same_side = float(fast.hi) == settled[0] and (fast.lo > 0) == (settled[1] > 0)
    return abs(a / b - 1) < Fraction(1, 2**90) and (same_side or settled[2] != 0)


@pytest.mark.parametrize(
    "family", ["normal", "near ties", "dominant", "edges", "tied maxima", "logsumexp near zero"]
)
def test_filter_and_balls_agree(family: str) -> None:
    for x in _rows(family, 60):
        row = BallRow(x)
        target = int(np.argmin(np.abs(x)))
        softmax, log_softmax = reference.softmax_exact(x), reference.log_softmax_exact(x)
        loss, gradient = reference.cross_entropy_exact(x, target)
        pairs = [(reference.logsumexp_exact(x), row.logsumexp())]
        for i in range(len(x)):
            pairs.append((softmax[i], row.softmax(i)))
            pairs.append((log_softmax[i], row.log_softmax(i)))
        negated = Exact(-loss.hi, -loss.lo, loss.exponent)
        pairs.append((negated, row.log_softmax(target)))
        pairs.append((gradient[target], row.softmax_minus_one(target)))
        for fast, settled in pairs:
            assert _agree(fast, settled), f"{fast} against {settled} [{x.tolist()}]"
