"""Max-shift softmax: exp(x - max) / sum(exp(x - max)).

The algorithm of nearly every library. It overflows for no input; its error grows with the
distance of an entry from the maximum, since x - max is rounded before the exponential.
Sums are pairwise along any axis. As NumPy does it: eight passes over the array (read x for the
maximum; x - max, exp and the division read and write; the sum reads).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from implementations._shared import changed_logits, linear_layer, numpy_rows, ragged_rows
from implementations._shared.numpy_rows import Array, as_rows, buffer_for, check, deliver, maximum

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": (),
    "source": "P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and "
    "softmax functions, IMA J. Numer. Anal. 41 (2021), Algorithm 4.1 and Theorem 4.3, "
    "https://doi.org/10.1093/imanum/draa038",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "passes": 8,
    "threads": "single",
    "accumulator": "float32",
    "deviations": (
        {"id": "order", "reason": "NumPy's float32 exp inverts a few neighbouring arguments"},
    ),
}


@np.errstate(all="ignore")
def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    x = check(x, out)
    rows = as_rows(x, axis)
    m = maximum(rows)
    e = buffer_for(rows, x, axis, out)
    np.subtract(rows, m, out=e)
    np.exp(e, out=e)
    np.divide(e, e.sum(axis=-1, keepdims=True), out=e)
    return deliver(e, x, axis, out)


@np.errstate(all="ignore")
def _changed(
    z: Array, x: Array, axis: int, out: Array | None, *, sink: float = -np.inf,
    empty: Array | None = None,
) -> Array:  # fmt: skip
    """Softmax of rows that are overwritten, beside a sink; 0 in rows that are `empty`."""
    m = np.maximum(maximum(z), z.dtype.type(sink))
    z -= m
    np.exp(z, out=z)
    total = z.sum(axis=-1, keepdims=True) + np.exp(z.dtype.type(sink) - m)
    np.divide(z, total, out=z)
    if empty is not None:
        np.copyto(z, 0, where=empty)
    return deliver(z, x, axis, out)


@np.errstate(all="ignore")
def scaled_softmax(x: Array, scale: float, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax of scale * x, a rounded product."""
    x = check(x, out)
    rows = as_rows(x, axis)
    return _changed(changed_logits.scaled(rows, scale), x, axis, out)


def masked_softmax(x: Array, mask: Any, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax over the classes that `mask` keeps; 0 elsewhere, and in rows without any."""
    x = check(x, out)
    rows, empty = changed_logits.masked(as_rows(x, axis), mask, axis)
    return _changed(rows, x, axis, out, empty=empty)


def softmax_with_sink(x: Array, sink: float, axis: int = -1, out: Array | None = None) -> Array:
    """exp(x - m) / (exp(sink - m) + sum), m the maximum of both."""
    x = check(x, out)
    return _changed(as_rows(x, axis).copy(), x, axis, out, sink=sink)


@np.errstate(all="ignore")
def softcap_softmax(x: Array, cap: float, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax of cap * tanh(x / cap)."""
    x = check(x, out)
    return _changed(changed_logits.capped(as_rows(x, axis), cap), x, axis, out)


def ragged_softmax(values: Array, offsets: Array, out: Array | None = None) -> Array:
    """The same of each row values[offsets[i]:offsets[i + 1]], by `reduceat`."""
    return ragged_rows.max_shift(values, offsets, out)


@np.errstate(all="ignore")
def log_softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """(x - max) - log1p(sum over all but the maximum): accurate where p is near 1, too.

    Both terms are at most 0, so nothing cancels.
    """
    x = check(x, out)
    rows = as_rows(x, axis)
    m, top = maximum(rows), numpy_rows.top_of(rows)
    d = buffer_for(rows, x, axis, out)
    np.subtract(rows, m, out=d)
    np.subtract(d, np.log1p(numpy_rows.excess(np.exp(d), top)), out=d)
    return deliver(d, x, axis, out)


@np.errstate(all="ignore")
def logsumexp(x: Array, axis: int = -1) -> Array:
    """max + log1p(sum over all but the maximum)."""
    x = check(x)
    rows = as_rows(x, axis)
    m = maximum(rows)
    log_sum = np.log1p(numpy_rows.excess(np.exp(rows - m), numpy_rows.top_of(rows)))
    return numpy_rows.reduced(numpy_rows.add_maximum(m, log_sum), x)


def softmax_backward(grad: Array, y: Array, axis: int = -1) -> Array:
    """y * (grad - sum(grad * y))."""
    return numpy_rows.backward(grad, y, axis)


def cross_entropy(logits: Array, targets: Any) -> tuple[Array, Array]:
    """Loss of each row, and its gradient p - y, accurate at saturation."""
    return numpy_rows.cross_entropy(logits, targets)


@np.errstate(all="ignore")
def linear_cross_entropy(hidden: Array, weight: Array, targets: Any) -> tuple[Array, Array, Array]:
    """Loss of each row of logits hidden @ weight.T, and the gradients of their sum in both."""
    h, w, target = linear_layer.rows_of(hidden, weight, targets)
    loss, gradient = numpy_rows.cross_entropy(h @ w.T, target[:, 0])
    return linear_layer.delivered(loss, gradient @ w, gradient.T @ h, hidden)
