"""Checks of the arguments that a caller can get wrong: an axis, and the targets of a loss."""

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
