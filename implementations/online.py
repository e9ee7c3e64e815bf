"""Online softmax: a running (maximum, sum) pair, then one pass that scales.

Maximum and sum are found in a single reading of the logits: when a larger maximum appears, the
sum so far is rescaled by exp(old - new). Written element by element in NumPy it would measure the
interpreter, so the running pair advances by blocks of 4096 classes, for all rows at once;
`merge_logsumexp` is the step. It guards the maximum -inf, where exp(-inf - -inf) would be NaN: a
row that begins with masked entries is right.
As NumPy does it: twelve passes over the array, five of which find their
block in the cache where a block of all rows fits in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from implementations._shared import changed_logits, linear_layer, numpy_rows
from implementations._shared.numpy_rows import Array, as_rows, buffer_for, check, deliver, maximum

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": (),
    "source": "M. Milakov, N. Gimelshein, Online normalizer calculation for softmax, 2018, "
    "Algorithm 3, https://arxiv.org/abs/1805.02867",
    "formula": "(m, s) ← (max(m, mᵦ), s·exp(m − max) + sᵦ·exp(mᵦ − max));  yⱼ = exp(xⱼ − m) / s",
    "bound": "online",
    "passes": 12,
    "threads": "single",
    "accumulator": "float32",
    "deviations": (
        {"id": "order", "reason": "NumPy's float32 exp inverts a few neighbouring arguments"},
    ),
}

BLOCK = 4096
LAYER_BLOCK = 256
"""Classes of a linear layer whose logits are there at a time."""


def merge_logsumexp(m1: Array, s1: Array, m2: Array, s2: Array) -> tuple[Array, Array]:
    """The (maximum, sum) pair of two parts of a row from the pair of each.

    `s` is the sum of exp(x - m) over the part; an empty or fully masked part is (-inf, 0), the
    neutral element, exactly. Arrays of any one shape. A NaN in a pair, or a maximum of +inf,
    gives a NaN sum.
    """
    m = np.maximum(m1, m2)
    with np.errstate(all="ignore"):
        return m, s1 * _weight(m1, m) + s2 * _weight(m2, m)


def _weight(part: Array, whole: Array) -> Array:
    """exp(part - whole), 0 for a part without any entry above -inf."""
    return np.where(part == -np.inf, np.zeros_like(part), np.exp(part - whole))


def _merge_excess(m1: Array, t1: Array, m2: Array, t2: Array) -> tuple[Array, Array]:
    """The same for pairs (maximum, sum - 1), of which log(sum) = log1p(t) keeps a tiny rest."""
    m = np.maximum(m1, m2)
    first = t1 + (1 + t2) * _weight(m2, m)
    second = t2 + (1 + t1) * _weight(m1, m)
    return m, np.where(m1 == m, first, second)


def _scan(rows: Array, *, excess: bool) -> tuple[Array, Array]:
    """(maximum, sum) of each row, or (maximum, sum - 1), block by block; axes of length 1."""
    shape = (*rows.shape[:-1], 1)
    m = np.full(shape, -np.inf, rows.dtype)
    s = np.full(shape, -1.0 if excess else 0.0, rows.dtype)
    for start in range(0, rows.shape[-1], BLOCK):
        block = rows[..., start : start + BLOCK]
        m_block = maximum(block)
        e = block - m_block
        np.exp(e, out=e)
        masked = m_block == -np.inf
        if excess:
            s_block = numpy_rows.excess(e, numpy_rows.top_of(block))
            s_block[masked] = -1
            m, s = _merge_excess(m, s, m_block, s_block)
        else:
            s_block = e.sum(axis=-1, keepdims=True)
            s_block[masked] = 0
            m, s = merge_logsumexp(m, s, m_block, s_block)
    return m, s


@np.errstate(all="ignore")
def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    x = check(x, out)
    rows = as_rows(x, axis)
    m, s = _scan(rows, excess=False)
    result = buffer_for(rows, x, axis, out)
    np.subtract(rows, m, out=result)
    np.exp(result, out=result)
    np.divide(result, s, out=result)
    return deliver(result, x, axis, out)


@np.errstate(all="ignore")
def _changed(
    z: Array, x: Array, axis: int, out: Array | None, *, sink: float = -np.inf,
    empty: Array | None = None,
) -> Array:  # fmt: skip
    """Softmax of rows that are overwritten; the sink is one more part; 0 if `empty`."""
    m, s = merge_logsumexp(*_scan(z, excess=False), *_pair_of(sink, z))
    np.subtract(z, m, out=z)
    np.exp(z, out=z)
    np.divide(z, s, out=z)
    if empty is not None:
        np.copyto(z, 0, where=empty)
    return deliver(z, x, axis, out)


def _pair_of(sink: float, z: Array) -> tuple[Array, Array]:
    """The (maximum, sum) pair of a single class; the neutral one of -inf."""
    shape = (*z.shape[:-1], 1)
    return np.full(shape, sink, z.dtype), np.full(shape, float(sink > -np.inf), z.dtype)


@np.errstate(all="ignore")
def scaled_softmax(x: Array, scale: float, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax of scale * x, a rounded product."""
    x = check(x, out)
    return _changed(changed_logits.scaled(as_rows(x, axis), scale), x, axis, out)


def masked_softmax(x: Array, mask: Any, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax over the classes that `mask` keeps; 0 elsewhere, and in rows without any."""
    x = check(x, out)
    rows, empty = changed_logits.masked(as_rows(x, axis), mask, axis)
    return _changed(rows, x, axis, out, empty=empty)


def softmax_with_sink(x: Array, sink: float, axis: int = -1, out: Array | None = None) -> Array:
    """exp(x - m) / s, the sink merged into the running pair (m, s)."""
    x = check(x, out)
    return _changed(as_rows(x, axis).copy(), x, axis, out, sink=sink)


@np.errstate(all="ignore")
def softcap_softmax(x: Array, cap: float, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax of cap * tanh(x / cap)."""
    x = check(x, out)
    return _changed(changed_logits.capped(as_rows(x, axis), cap), x, axis, out)


@np.errstate(all="ignore")
def log_softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """(x - max) - log1p(sum - 1), the running pair being (max, sum - 1)."""
    x = check(x, out)
    rows = as_rows(x, axis)
    m, t = _scan(rows, excess=True)
    result = buffer_for(rows, x, axis, out)
    np.subtract(rows, m, out=result)
    np.subtract(result, np.log1p(t), out=result)
    return deliver(result, x, axis, out)


@np.errstate(all="ignore")
def logsumexp(x: Array, axis: int = -1) -> Array:
    """max + log1p(sum - 1), the running pair being (max, sum - 1)."""
    x = check(x)
    m, t = _scan(as_rows(x, axis), excess=True)
    return numpy_rows.reduced(numpy_rows.add_maximum(m, np.log1p(t)), x)


def softmax_backward(grad: Array, y: Array, axis: int = -1) -> Array:
    """y * (grad - sum(grad * y))."""
    return numpy_rows.backward(grad, y, axis)


def cross_entropy(logits: Array, targets: Any) -> tuple[Array, Array]:
    """Loss of each row, and its gradient p - y, accurate at saturation."""
    return numpy_rows.cross_entropy(logits, targets)


@np.errstate(all="ignore")
def linear_cross_entropy(hidden: Array, weight: Array, targets: Any) -> tuple[Array, Array, Array]:
    """Loss of each row of logits hidden @ weight.T, and the gradients of their sum in both.

    The logits are never there as a whole: a block of classes at a time, for the running pair
    (max, sum - 1), and once more for the gradients.
    """
    h, w, target = linear_layer.rows_of(hidden, weight, targets)
    blocks = [slice(k, k + LAYER_BLOCK) for k in range(0, len(w), LAYER_BLOCK)]
    m, t = np.full((len(h), 1), -np.inf, h.dtype), np.full((len(h), 1), -1.0, h.dtype)
    own = np.empty_like(m)
    for block in blocks:
        z = h @ w[block].T
        m, t = _merge_excess(m, t, *_scan(z, excess=True))
        here = (target >= block.start) & (target < block.stop)
        at = np.where(here, target - block.start, 0)
        own = np.where(here, np.take_along_axis(z, at, -1), own)
    in_hidden, in_weight = np.zeros_like(h), np.empty_like(w)
    for block in blocks:
        gradient = np.exp(h @ w[block].T - m) / (1 + t)
        here = ((target >= block.start) & (target < block.stop))[:, 0]
        at = here.nonzero()[0], target[here, 0] - block.start
        # p - 1, or -(sum of the others) where the target has the largest logit
        rest = np.where(own == m, -t / (1 + t), -1.0)[here, 0]
        gradient[at] = np.where((own == m)[here, 0], rest, gradient[at] + rest)
        in_hidden += gradient @ w[block]
        in_weight[block] = gradient.T @ h
    return linear_layer.delivered(np.log1p(t) - (own - m), in_hidden, in_weight, hidden)
