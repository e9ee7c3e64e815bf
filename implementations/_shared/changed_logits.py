"""What attention does to logits before softmax, in NumPy: rows with the classes last.

Each gives new rows in the working precision, which whoever calls it may overwrite.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from implementations._shared.numpy_rows import Array


def scaled(rows: Array, scale: float) -> Array:
    """scale * x: a product, rounded."""
    return rows * rows.dtype.type(scale)


def capped(rows: Array, cap: float) -> Array:
    """cap * tanh(x / cap)."""
    c = rows.dtype.type(cap)
    z = rows / c
    np.tanh(z, out=z)
    return np.multiply(z, c, out=z)


def masked(rows: Array, mask: Any, axis: int) -> tuple[Array, Array]:
    """-inf where the mask is False; and which rows have no class, with an axis of length 1.

    Args:
        mask: booleans that broadcast to the array that the rows are of.
        axis: of the classes, in that array.
    """
    z = np.where(kept_rows(mask, rows, axis), rows, -np.inf).astype(rows.dtype, copy=False)
    return z, (z == -np.inf).all(axis=-1, keepdims=True)


def kept_rows(mask: Any, rows: Array, axis: int) -> Array:
    """A mask in the shape of `rows`, by strides alone: classes last, nothing copied."""
    kept = np.asarray(mask)
    if kept.dtype != bool:
        raise TypeError(f"mask: expected booleans, True keeps; got {kept.dtype}")
    shape = list(rows.shape)
    shape.insert(axis % rows.ndim, shape.pop())
    try:
        return np.moveaxis(np.broadcast_to(kept, shape), axis, -1)
    except ValueError:
        raise ValueError(
            f"mask: expected a shape that broadcasts to {tuple(shape)}, that of x; got {kept.shape}"
        ) from None
