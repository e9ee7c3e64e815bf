"""Two-pass softmax: exponentials as (mantissa, exponent) pairs, which cannot overflow.

exp(x) is kept as p * 2**k with p in [0.7, 1.42] and k a floating-point integer, so that the sum
needs no maximum beforehand; pairs are rescaled by powers of two, which is exact. Only the largest
k is subtracted, hence the error does not grow with the distance from the maximum.
The reduction x - k ln 2 holds for abs(x) up to a limit; a row whose maximum is beyond it is
shifted by the maximum, which is exact wherever the result is not 0 (Sterbenz), so that every
finite input is right. As NumPy does it, the passes are those of the temporaries: 45.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from implementations._shared import numpy_rows
from implementations._shared.numpy_rows import (
    Array,
    as_rows,
    buffer_for,
    check,
    check_targets,
    deliver,
    maximum,
    top_of,
)

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": (),
    "source": "M. Dukhan, A. Ablavatski, Two-pass softmax algorithm, IPDPS workshops 2020, "
    "https://arxiv.org/abs/2001.04438",
    "formula": "exp(xᵢ) = pᵢ·2^kᵢ;  K = maxᵢ kᵢ;  yⱼ = (pⱼ / Σᵢ pᵢ·2^(kᵢ−K))·2^(kⱼ−K)",
    "bound": "two_pass",
    "passes": 45,
    "threads": "single",
    "accumulator": "float32",
    "deviations": (
        {"id": "order", "reason": "NumPy's float32 exp inverts a few neighbouring arguments"},
    ),
}

# ln 2 = high + low; high has so few bits that k * high is exact for every k that can occur.
# Beyond `shift_above`, at least twice the range of results that are not 0, rows are shifted.
_LN2 = {
    np.dtype(np.float32): (0.693359375, -2.12194440e-4),
    np.dtype(np.float64): (6.93147180369123816490e-01, 1.90821492927058770002e-10),
}
_SHIFT_ABOVE = {np.dtype(np.float32): 256.0, np.dtype(np.float64): 2048.0}


def _shift(rows: Array, m: Array) -> Array:
    """`rows`, less the row's maximum where that is too large for the reduction.

    Far below the maximum they are clamped: exp of those is 0 beside it. -inf is clamped too.
    """
    limit = _SHIFT_ABOVE[rows.dtype]
    shifted = rows - np.where(np.abs(m) > limit, m, rows.dtype.type(0))
    return np.maximum(shifted, rows.dtype.type(-2 * limit), out=shifted)


def _exponential(x: Array) -> tuple[Array, Array]:
    """exp(x) as (p, k): p * 2**k, p within [0.7, 1.42], k integers of x's dtype."""
    high, low = (x.dtype.type(c) for c in _LN2[x.dtype])
    k = np.rint(x * x.dtype.type(math.log2(math.e)))
    r = x - k * high
    r -= k * low
    return np.exp(r, out=r), k


def _sum(p: Array, k: Array, m: Array) -> tuple[Array, Array]:
    """Sum of p * 2**k over each row as (s, K), K the largest k; NaN for an infinite maximum."""
    largest = k.max(axis=-1, keepdims=True, initial=-np.inf)
    s = _ldexp(p, k - largest).sum(axis=-1, keepdims=True)
    s[np.isinf(m)] = np.nan
    return s, largest


def _ldexp(p: Array, k: Array) -> Array:
    """p * 2**k, rounded only where the result is subnormal."""
    return np.ldexp(p, np.maximum(k, p.dtype.type(-9999)).astype(np.int32))


@np.errstate(all="ignore")
def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    x = check(x, out)
    rows = as_rows(x, axis)
    m = maximum(rows)
    p, k = _exponential(_shift(rows, m))
    s, largest = _sum(p, k, m)
    result = buffer_for(rows, x, axis, out)
    np.divide(p, s, out=p)
    np.copyto(result, _ldexp(p, k - largest))
    return deliver(result, x, axis, out)


def _excess(p: Array, k: Array, m: Array, top: Array) -> Array:
    """Sum over all classes but `top`, over the term of `top`: e^(x - max) summed, less 1.

    The quotient of two pairs, so that no e^(x - max) is rounded in between. The maximum has the
    largest k. NaN for an infinite maximum; -1, an empty sum less 1, of no classes.
    """
    if p.shape[-1] == 0:
        return np.full((*p.shape[:-1], 1), -1.0, p.dtype)
    k_top, p_top = np.take_along_axis(k, top, -1), np.take_along_axis(p, top, -1)
    others = _ldexp(p, k - k_top)
    np.put_along_axis(others, top, 0, -1)
    t = others.sum(axis=-1, keepdims=True) / p_top
    t[~np.isfinite(m)] = np.nan
    return t


@np.errstate(all="ignore")
def log_softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """(x - max) - log1p(sum over all but the maximum, over the maximum's term).

    The sum is of pairs; x - max is rounded, as it is in every log_softmax.
    """
    x = check(x, out)
    rows = as_rows(x, axis)
    m, top = maximum(rows), top_of(rows)
    p, k = _exponential(_shift(rows, m))
    log_sum = np.log1p(_excess(p, k, m, top))
    result = buffer_for(rows, x, axis, out)
    np.subtract(rows, m, out=result)
    np.subtract(result, log_sum, out=result)
    return deliver(result, x, axis, out)


@np.errstate(all="ignore")
def logsumexp(x: Array, axis: int = -1) -> Array:
    """K ln 2 + log(sum of p * 2**(k - K)), and the shift where there was one."""
    x = check(x)
    rows = as_rows(x, axis)
    m = maximum(rows)
    p, k = _exponential(_shift(rows, m))
    s, largest = _sum(p, k, m)
    high, low = (rows.dtype.type(c) for c in _LN2[rows.dtype])
    log_sum = largest * high + (largest * low + np.log(s))
    log_sum += np.where(np.abs(m) > _SHIFT_ABOVE[rows.dtype], m, rows.dtype.type(0))
    return numpy_rows.reduced(np.where(np.isinf(m), m, log_sum), x)


def softmax_backward(grad: Array, y: Array, axis: int = -1) -> Array:
    """y * (grad - sum(grad * y))."""
    return numpy_rows.backward(grad, y, axis)


@np.errstate(all="ignore")
def cross_entropy(logits: Array, targets: Any) -> tuple[Array, Array]:
    """Loss log(sum) - (x_t - max) of each row, and its gradient p - y, neither cancelling.

    The gradient's entry at the target is -(sum of the others' p), not p_t - 1.
    """
    x = check(logits)
    target = check_targets(x, targets)
    rows = as_rows(x, -1)
    m, top = maximum(rows), top_of(rows)
    p, k = _exponential(_shift(rows, m))
    t = _excess(p, k, m, top)
    loss = np.log1p(t) - (np.take_along_axis(rows, target, -1) - m)
    s, largest = _sum(p, k, m)
    others = _ldexp(p, k - largest)
    np.put_along_axis(others, target, 0, -1)
    at_target = -others.sum(axis=-1, keepdims=True) / s
    gradient = _ldexp(p / s, k - largest)
    np.put_along_axis(gradient, target, at_target, -1)
    return numpy_rows.reduced(loss, x), deliver(gradient, x, -1, None)
