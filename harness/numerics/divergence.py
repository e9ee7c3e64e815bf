"""Distances between a computed distribution and the exact one, row by row.

Both are summed from the elementwise differences, which are known to full precision, so that a
divergence of 1e-30 is a number and not rounding noise.
"""

from __future__ import annotations

import numpy as np

from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, scale_by_power

_SERIES = tuple(1.0 / (k * (k - 1)) * (-1) ** k for k in range(2, 10))
_LN2 = float(np.log(2.0))


def _comparable(exact: Exact) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(np.isfinite(exact.hi).all(axis=1))


def kl_divergence(computed: Float64Array, exact: Exact) -> Float64Array:
    """sum(q ln(q/p) - q + p) in nats of each row, q computed and p exact, both (rows, classes).

    The generalised Kullback-Leibler (I-) divergence of Csiszár (1975): never negative, zero only
    where q = p, and the ordinary one where q sums to one. A zero q adds p; a positive q where
    p = 0, a negative or a non-finite q adds infinity. Rows whose exact result is not finite are
    left out.

    With r = (q - p)/p a term is p ((1 + r) ln(1 + r) - r), for small r the series
    p (r**2/2 - r**3/6 + ...): no cancellation anywhere.
    """
    rows = _comparable(exact)
    q, p = (computed, exact) if rows.all() else (computed[rows], exact[rows])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        # Relative to hi, so that the exponent of a result far below float64 does not matter.
        scaled = scale_by_power(q, -p.exponent.astype(np.int64))
        r = ((scaled - p.hi) - p.lo) / p.hi
        value = p.to_float64()
        small = np.abs(r) < 1e-2
        series = np.zeros_like(r)
        for coefficient in reversed(_SERIES):
            series = series * r + coefficient
        terms = value * (series * r * r)
        far = ~small
        if far.any():
            terms[far] = _far_terms(q[far], p[far], value[far])
        return np.asarray(terms.sum(axis=1), dtype=np.float64)


def _far_terms(q: Float64Array, p: Exact, value: Float64Array) -> Float64Array:
    """The terms where q and p differ by more than 1%: logarithms do not cancel there."""
    log_p = np.log(p.hi) + p.exponent * _LN2
    terms = q * (np.log(q) - log_p) - q + value
    terms = np.where(q == 0, value, terms)
    terms = np.where((p.hi == 0) & (q > 0), np.inf, terms)
    return np.where((q < 0) | ~np.isfinite(q), np.inf, terms)


def total_variation(computed: Float64Array, exact: Exact, absolute: Float64Array) -> Float64Array:
    """sum(abs(q - p)) / 2 of each row, from the absolute errors, all (rows, classes).

    Infinite for a row with a non-finite q; rows whose exact result is not finite are left out.
    """
    rows = _comparable(exact)
    q = computed[rows]
    with np.errstate(over="ignore"):
        distance = np.where(np.isfinite(q), 0.5 * absolute[rows], np.inf).sum(axis=1)
    return np.asarray(distance, dtype=np.float64)
