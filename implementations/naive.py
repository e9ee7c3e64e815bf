"""exp(x) / sum(exp(x)), with no shift, in the precision of the input.

The formula of the textbook, and the control of this suite: it overflows where exp(x) does (above
88.72 in float32, 709.78 in float64, 11.09 in float16) and divides 0 by 0 where all exponentials
underflow. Everything is done in the input's own format on purpose, sums in bfloat16 included,
which stall at 256 equal terms; the other implementations use float32 inside for 16-bit formats.
As NumPy does it: five passes over the array (read x, write e, read e, read e, write y).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from implementations._shared.numpy_rows import Array, check, check_targets

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": (),
    "source": "P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and "
    "softmax functions, IMA J. Numer. Anal. 41 (2021), eq. (1.2) and Theorem 3.3, "
    "https://doi.org/10.1093/imanum/draa038",
    "formula": "yⱼ = exp(xⱼ) / Σᵢ exp(xᵢ)",
    "bound": "naive",
    "passes": 5,
    "threads": "single",
    "deviations": (
        {"id": "overflow", "reason": "exp(x) overflows for large logits: there is no shift"},
        {"id": "underflow", "reason": "0/0 where all exponentials underflow: there is no shift"},
        {"id": "stalled-sum", "reason": "sums in the input's own 16-bit format"},
        {"id": "strided-sum", "reason": "NumPy sums one by one along an axis that is not last"},
        {"id": "order", "reason": "NumPy's float32 exp inverts a few neighbouring arguments"},
        {
            "id": "log-of-p",
            "reason": "log p is taken from p, which may be subnormal or rounded to 0",
        },
        {"id": "saturation", "reason": "log p and p_t - 1 are taken from the rounded p"},
    ),
}


@np.errstate(all="ignore")
def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    x = check(x, out)
    e = np.exp(x)
    return np.divide(e, e.sum(axis=axis, keepdims=True), out=out)


@np.errstate(all="ignore")
def log_softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """log(softmax(x)), literally."""
    return np.log(softmax(x, axis), out=out)


@np.errstate(all="ignore")
def logsumexp(x: Array, axis: int = -1) -> Array:
    """log(sum(exp(x))), literally."""
    x = check(x)
    return np.asarray(np.log(np.exp(x).sum(axis=axis)), dtype=x.dtype)


@np.errstate(all="ignore")
def softmax_backward(grad: Array, y: Array, axis: int = -1) -> Array:
    """y * (grad - sum(grad * y))."""
    y = check(y)
    return y * (grad - (grad * y).sum(axis=axis, keepdims=True))


@np.errstate(all="ignore")
def cross_entropy(logits: Array, targets: Any) -> tuple[Array, Array]:
    """-log(p_t) of each row, and p - y, literally."""
    p = softmax(logits)
    target = check_targets(p, targets)
    p_target = np.take_along_axis(p, target, -1)
    loss = -np.log(p_target[..., 0])
    np.put_along_axis(p, target, p_target - p.dtype.type(1), -1)
    return np.asarray(loss, dtype=p.dtype), p
