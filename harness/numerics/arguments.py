"""Checks of the arguments that a caller can get wrong: an axis, targets of a loss, offsets."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def checked_axis(axis: Any, ndim: int) -> int:
    """`axis` as an index of at least 0, for an array with `ndim` dimensions.

    Raises:
        TypeError: for anything but an integer (NumPy's are integers, booleans are not).
        AxisError: out of range.
    """
    try:
        if isinstance(axis, bool | np.bool_):
            raise TypeError
        index = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis: expected an integer; got {axis!r}") from None
    if not -ndim <= index < ndim:
        raise np.exceptions.AxisError(index, ndim)
    return index % ndim


def checked_targets(targets: ArrayLike, logits_shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Targets of a cross-entropy: one class for each row of logits of shape (..., classes).

    Raises:
        TypeError: for targets that are not integers: floats, booleans, text.
        ValueError: for targets of another shape than (...), or outside 0..classes - 1.
    """
    if not logits_shape:
        raise ValueError("logits: expected shape (..., classes); got a scalar")
    rows, classes = logits_shape[:-1], logits_shape[-1]
    found = np.asarray(targets)
    if found.dtype.kind not in "iu":
        raise TypeError(f"targets: expected integers; got {found.dtype}")
    if found.shape != rows:
        raise ValueError(f"targets: expected shape {rows}; got {found.shape}")
    if found.size and (int(found.min()) < 0 or int(found.max()) >= classes):
        raise ValueError(
            f"targets: expected integers of 0..{classes - 1}; "
            f"got {int(found.min())}..{int(found.max())}"
        )
    return found.astype(np.int64, copy=False)


def checked_offsets(offsets: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Where rows of unlike lengths begin in values of a shape, and where the last one ends.

    Args:
        offsets: integers, shape (rows + 1,): from 0 to the number of values, never descending.
        shape: of the values, which have one dimension.

    Raises:
        TypeError: for offsets that are not integers: floats, booleans, text.
        ValueError: for values or offsets of other dimensions, or offsets that do not ascend from 0
            to the number of values.
    """
    if len(shape) != 1:
        raise ValueError(f"values: expected one dimension, all rows in it; got shape {shape}")
    found = np.asarray(offsets)
    if found.dtype.kind not in "iu":
        raise TypeError(f"offsets: expected integers; got {found.dtype}")
    if found.ndim != 1 or not found.size:
        raise ValueError(f"offsets: expected shape (rows + 1,); got {found.shape}")
    if found[0] != 0 or found[-1] != shape[0]:
        raise ValueError(
            f"offsets: expected to begin with 0 and to end with {shape[0]}, the number of values; "
            f"got {found[0]} and {found[-1]}"
        )
    if (down := np.flatnonzero(found[1:] < found[:-1])).size:
        row = int(down[0])
        raise ValueError(
            f"offsets: expected to ascend; row {row} is from {found[row]} to {found[row + 1]}"
        )
    return found.astype(np.int64, copy=False)
