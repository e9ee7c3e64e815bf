"""One row of each operation, and its logarithm: the logic between the loops of `numba_exact`.

A row is taken in blocks of BLOCK entries, whose sums are added with their errors kept, so that the
sum's error does not grow with the row and does not depend on threads. The exponentials
are kept between the passes where there is scratch for them; else they are computed again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload

from implementations._exact.exponential import BIAS
from implementations._exact.result_passes import direct, pulled_back, scaled, shifted
from implementations._exact.scalars import exp_of, fused, product, put, value_at
from implementations._exact.sum_passes import dot, exponentials, largest, others, others_wide, total
from implementations._exact.vectors import compiled

BLOCK = 4096
_BIAS = 2.0**BIAS
_UNBIAS = 2.0**-BIAS
_FAINT = 2.0**-900


def unit(x):  # type: ignore[no-untyped-def]
    """What the exponential of 0 is in a row's sums: 1, or 2**BIAS for float64."""
    raise NotImplementedError("only within Numba")


@overload(unit)
def _unit(x):  # type: ignore[no-untyped-def]
    one = _BIAS if x.dtype.name == "float64" else 1.0
    return lambda x: one


def share(x, s, rest, factor, factor_rest):  # type: ignore[no-untyped-def]
    """(s + rest) * (factor + factor_rest)."""
    raise NotImplementedError("only within Numba")


@overload(share)
def _share(x, s, rest, factor, factor_rest):  # type: ignore[no-untyped-def]
    if x.dtype.name == "float64":
        return lambda x, s, rest, factor, factor_rest: product(s, rest, factor, factor_rest)
    return lambda x, s, rest, factor, factor_rest: (s + rest) * factor


@compiled
def two_sum(a, b):  # type: ignore[no-untyped-def]
    """a + b as rounded sum and its error (Knuth); no error beside an infinity."""
    s = a + b
    back = s - a
    lost = (a - (s - back)) + (b - back)
    return s, (lost if lost == lost else 0.0)


@compiled
def add_pair(high, low, s, rest):  # type: ignore[no-untyped-def]
    """(high + low) + (s + rest), renormalised."""
    high, lost = two_sum(high, s)
    return two_sum(high, low + (rest + lost))


@compiled
def reciprocal(s, rest):  # type: ignore[no-untyped-def]
    """1 / (s + rest) as a pair."""
    high = 1.0 / s
    return high, -high * (fused(s, high, -1.0) + rest * high)


@compiled
def row_sum(x, m):  # type: ignore[no-untyped-def]
    """The sum of exp(x - m)."""
    s, rest = 0.0, 0.0
    for b in range(0, x.size, BLOCK):
        high, low = total(x[b : b + BLOCK], m)
        s, rest = add_pair(s, rest, high, low)
    return s, rest


@compiled
def row_exponentials(x, m, ahead, high, low):  # type: ignore[no-untyped-def]
    """As `row_sum`, with the exponentials kept."""
    if x.size <= BLOCK:
        return exponentials(x, m, ahead, high, low)
    s, rest = 0.0, 0.0
    for b in range(0, x.size, BLOCK):
        p, q = exponentials(x[b : b + BLOCK], m, ahead, high[b:], low[b:])
        s, rest = add_pair(s, rest, p, q)
    return s, rest


@compiled
def softmax_row(x, out, ahead, high, low, stream):  # type: ignore[no-untyped-def]
    m = largest(x)
    if high.size:
        s, rest = row_exponentials(x, m, ahead, high, low)
        factor, factor_rest = reciprocal(s, rest)
        scaled(high, low, factor, factor_rest, out, stream)
    else:
        s, rest = row_sum(x, m)
        factor, factor_rest = reciprocal(s, rest)
        direct(x, m, factor, factor_rest, out, stream)


def _sum_of_others(one_pass: Callable[..., Any]) -> Any:
    """The sum over all blocks but for one maximum's share, by `others` or `others_wide`.

    As (high, rest, further entries that are the maximum), which the sum is without.
    """

    @compiled
    def sum_of_others(x, m):  # type: ignore[no-untyped-def]
        s, rest, ties = 0.0, 0.0, -1.0
        for b in range(0, x.size, BLOCK):
            high, low, count = one_pass(x[b : b + BLOCK], m)
            s, rest = add_pair(s, rest, high, low)
            ties += count
        return s, rest, ties

    return sum_of_others


_others = _sum_of_others(others)
_others_wide = _sum_of_others(others_wide)


@compiled
def row_others(x, m):  # type: ignore[no-untyped-def]
    """The sum of exp(x - m) but for one maximum's share; 2**BIAS is taken off."""
    s, rest, ties = _others(x, m)
    one = unit(x)
    if ties > 0:
        s, rest = add_pair(s, rest, ties * one, 0.0)
    elif s < _FAINT * one:  # too small for two parts
        return product(s, rest, 1.0 / one, 0.0), 0.0
    return s / one, rest / one


@compiled
def row_others_wide(x, m):  # type: ignore[no-untyped-def]
    """As `row_others` in pairs, for every format."""
    s, rest, ties = _others_wide(x, m)
    if ties > 0:
        s, rest = add_pair(s, rest, ties * _BIAS, 0.0)
    return s * _UNBIAS, rest * _UNBIAS


@compiled
def log1p_pair(t, t_rest):  # type: ignore[no-untyped-def]
    """log(1 + t + t_rest) for t >= 0 as a pair, relative error below 2**-60.

    Below 1/4 twice atanh(z), z = t/(2 + t), by its series; else a step of Newton's from the
    rounded logarithm: log s = y + log(s exp(-y)), whose argument differs from 1 by 2**-50.
    """
    if t < _FAINT:
        return t, t_rest
    if t < 0.25:
        below, below_rest = two_sum(2.0, t)
        below_rest += t_rest
        z = t / below
        z_rest = (fused(-z, below, t) + (t_rest - z * below_rest)) / below
        w = z * z
        p = 1.0 / 19
        p = fused(p, w, 1.0 / 17)
        p = fused(p, w, 1.0 / 15)
        p = fused(p, w, 1.0 / 13)
        p = fused(p, w, 1.0 / 11)
        p = fused(p, w, 1.0 / 9)
        p = fused(p, w, 1.0 / 7)
        p = fused(p, w, 1.0 / 5)
        p = fused(p, w, 1.0 / 3)
        return two_sum(2.0 * z, 2.0 * (z_rest + z * (w * p)))
    s, s_rest = two_sum(1.0, t)
    s_rest += t_rest
    y = math.log(s)
    e, e_rest = exp_of(-y, 0.0)
    e, e_rest = e * _UNBIAS, e_rest * _UNBIAS
    product = s * e
    lost = fused(s, e, -product)
    z = (product - 1.0) + (lost + (s * e_rest + s_rest * e))
    return two_sum(y, z - 0.5 * z * z)


def log_of(x, t, t_rest):  # type: ignore[no-untyped-def]
    """log(1 + t + t_rest): a pair for float64 rows, else float64 and 0."""
    raise NotImplementedError("only within Numba")


@overload(log_of)
def _log_of(x, t, t_rest):  # type: ignore[no-untyped-def]
    if x.dtype.name == "float64":
        return lambda x, t, t_rest: log1p_pair(t, t_rest)
    return lambda x, t, t_rest: (math.log1p(t + t_rest), 0.0)


@compiled
def log_softmax_row(x, out, stream):  # type: ignore[no-untyped-def]
    m = largest(x)
    t, t_rest = row_others(x, m)
    log_sum, rest = log_of(x, t, t_rest)
    shifted(x, m, log_sum, rest, out, stream)


@compiled
def has_nan(x):  # type: ignore[no-untyped-def]
    found = False
    for i in range(x.size):
        v = value_at(x, i)
        found |= v != v
    return found


@compiled
def logsumexp_row(x, out, r):  # type: ignore[no-untyped-def]
    """m + log(...) into out[r]. Where it cancels, log in pairs whatever the format."""
    m = largest(x)
    if abs(m) == np.inf:
        put(out, r, np.nan if has_nan(x) else m)
        return
    t, t_rest = row_others(x, m)
    log_sum, rest = log_of(x, t, t_rest)
    if abs(m + log_sum) < 0.0625 * abs(m):
        t, t_rest = row_others_wide(x, m)
        log_sum, rest = log1p_pair(t, t_rest)
    s, lost = two_sum(m, log_sum)
    put(out, r, s + (lost + rest))


@compiled
def backward_row(g, y, out, stream):  # type: ignore[no-untyped-def]
    s, rest = 0.0, 0.0
    for b in range(0, y.size, BLOCK):
        high, low = dot(g[b : b + BLOCK], y[b : b + BLOCK])
        s, lost = two_sum(s, high)
        rest += lost + low
    if abs(s) < np.inf:
        s, rest = two_sum(s, rest)
    else:
        rest = 0.0
    pulled_back(g, y, s, rest, out, stream)


@compiled
def cross_entropy_row(x, target, loss, r, out, high, low, stream):  # type: ignore[no-untyped-def]
    """Loss into loss[r], p - y into `out`; at the target -(sum of the others' p)."""
    m = largest(x)
    own_x = value_at(x, target)
    if high.size:
        s, rest = row_exponentials(x[:target], m, 0, high, low)
        own, own_rest = row_exponentials(x[target : target + 1], m, 0, high[target:], low[target:])
        after = target + 1
        p, q = row_exponentials(x[after:], m, 0, high[after:], low[after:])
    else:
        s, rest = row_sum(x[:target], m)
        own, own_rest = row_sum(x[target : target + 1], m)
        p, q = row_sum(x[target + 1 :], m)
    s, rest = add_pair(s, rest, p, q)
    whole, whole_rest = add_pair(s, rest, own, own_rest)
    factor, factor_rest = reciprocal(whole, whole_rest)
    at_target = 0.0 - share(x, s, rest, factor, factor_rest)
    if high.size:
        scaled(high, low, factor, factor_rest, out, stream)
    else:
        direct(x, m, factor, factor_rest, out, stream)
    put(out, target, at_target)
    one = unit(x)
    if own_x < m:  # the sum is at least 1 without the target's share
        s, rest = add_pair(whole, whole_rest, -one, 0.0)
    log_sum, log_rest = log_of(x, s / one, rest / one)
    d, lost = two_sum(m, -own_x)
    value, more = two_sum(d, log_sum)
    put(loss, r, value + (more + (lost + log_rest)))
