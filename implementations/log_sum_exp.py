"""Softmax by log-sum-exp without a division: exp(x - (max + log(sum))).

The shifted log-sum-exp is rounded before it is subtracted, so that the result carries an error
proportional to the magnitude of the logits: at an offset of 1e4 it is far worse than max-shift.
Compare `log_sum_exp_difference`, the same formula with the brackets moved.
As NumPy does it: ten passes over the array (maximum: 1; x - max and exp: 4; sum: 1; again: 4).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from implementations._shared import numpy_rows
from implementations._shared.numpy_rows import Array, as_rows, buffer_for, check, deliver, maximum

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": (),
    "source": "P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and "
    "softmax functions, IMA J. Numer. Anal. 41 (2021), eq. (1.4) and Theorem 4.4, "
    "https://doi.org/10.1093/imanum/draa038",
    "formula": "yⱼ = exp(xⱼ − (m + log Σᵢ exp(xᵢ − m))),  m = maxᵢ xᵢ",
    "bound": "log_sum_exp_shifted",
    "passes": 10,
    "threads": "single",
    "accumulator": "float32",
    "deviations": (
        {"id": "offset", "reason": "the error grows with abs(max + log(sum)), not with the range"},
    ),
}


def _logsumexp_rows(rows: Array) -> Array:
    """max + log(sum(exp(x - max))), in every step as written; keeps an axis of length 1."""
    m = maximum(rows)
    e = rows - m
    np.exp(e, out=e)
    return m + np.log(e.sum(axis=-1, keepdims=True))


@np.errstate(all="ignore")
def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    x = check(x, out)
    rows = as_rows(x, axis)
    y = _logsumexp_rows(rows)
    result = buffer_for(rows, x, axis, out)
    np.subtract(rows, y, out=result)
    np.exp(result, out=result)
    return deliver(result, x, axis, out)


@np.errstate(all="ignore")
def log_softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """x - logsumexp(x), literally: its absolute error grows with the offset."""
    x = check(x, out)
    rows = as_rows(x, axis)
    y = _logsumexp_rows(rows)
    result = buffer_for(rows, x, axis, out)
    np.subtract(rows, y, out=result)
    return deliver(result, x, axis, out)


@np.errstate(all="ignore")
def logsumexp(x: Array, axis: int = -1) -> Array:
    """max + log(sum(exp(x - max)))."""
    x = check(x)
    rows = as_rows(x, axis)
    m = maximum(rows)
    return numpy_rows.reduced(np.where(np.isinf(m), m, _logsumexp_rows(rows)), x)


def softmax_backward(grad: Array, y: Array, axis: int = -1) -> Array:
    """y * (grad - sum(grad * y))."""
    return numpy_rows.backward(grad, y, axis)


def cross_entropy(logits: Array, targets: Any) -> tuple[Array, Array]:
    """Loss of each row, and its gradient p - y, accurate at saturation."""
    return numpy_rows.cross_entropy(logits, targets)
