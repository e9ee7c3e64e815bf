"""Softmax by log-sum-exp, shifted twice: exp((x - max) - log(sum)).

The same formula as `log_sum_exp` with the brackets moved: the offset cancels in x - max before
log(sum) is subtracted, so that the error depends on the range of the logits, not on their
magnitude. As NumPy does it: ten passes over the array.
"""

from __future__ import annotations

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
)

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": (),
    "source": "P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and "
    "softmax functions, IMA J. Numer. Anal. 41 (2021), section 4, "
    "https://doi.org/10.1093/imanum/draa038",
    "formula": "yⱼ = exp((xⱼ − m) − log Σᵢ exp(xᵢ − m)),  m = maxᵢ xᵢ",
    "bound": "log_sum_exp_shifted_difference",
    "passes": 10,
    "threads": "single",
    "accumulator": "float32",
    "deviations": (
        {"id": "saturation", "reason": "log(1 + tiny) is 0: log p is not resolved where p is 1"},
    ),
}


def _log_softmax_rows(rows: Array, result: Array) -> Array:
    """(x - max) - log(sum(exp(x - max))) into `result`."""
    np.subtract(rows, maximum(rows), out=result)
    return np.subtract(result, np.log(np.exp(result).sum(axis=-1, keepdims=True)), out=result)


@np.errstate(all="ignore")
def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    x = check(x, out)
    rows = as_rows(x, axis)
    result = _log_softmax_rows(rows, buffer_for(rows, x, axis, out))
    np.exp(result, out=result)
    return deliver(result, x, axis, out)


@np.errstate(all="ignore")
def log_softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """(x - max) - log(sum): what most libraries do; 0 where p is near 1."""
    x = check(x, out)
    rows = as_rows(x, axis)
    return deliver(_log_softmax_rows(rows, buffer_for(rows, x, axis, out)), x, axis, out)


@np.errstate(all="ignore")
def logsumexp(x: Array, axis: int = -1) -> Array:
    """max + log(sum(exp(x - max)))."""
    x = check(x)
    rows = as_rows(x, axis)
    m = maximum(rows)
    log_sum = np.log(np.exp(rows - m).sum(axis=-1, keepdims=True))
    return numpy_rows.reduced(numpy_rows.add_maximum(m, log_sum), x)


def softmax_backward(grad: Array, y: Array, axis: int = -1) -> Array:
    """y * (grad - sum(grad * y))."""
    return numpy_rows.backward(grad, y, axis)


@np.errstate(all="ignore")
def cross_entropy(logits: Array, targets: Any) -> tuple[Array, Array]:
    """-log p_t of each row, and p - y from log p: expm1(log p_t) at the target.

    Both are as good as log p is, which is 0 where p_t is near 1.
    """
    x = check(logits)
    target = check_targets(x, targets)
    rows = as_rows(x, -1)
    log_p = _log_softmax_rows(rows, np.empty_like(rows))
    at_target = np.take_along_axis(log_p, target, -1)
    gradient = np.exp(log_p)
    np.put_along_axis(gradient, target, np.expm1(at_target), -1)
    return numpy_rows.reduced(-at_target, x), deliver(gradient, x, -1, None)
