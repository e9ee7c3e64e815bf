"""The public functions of the reference: any shape, axis, strides and format, to rows and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from harness.numerics.arguments import checked_axis, checked_targets
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, FloatFormat, float_format, to_float64
from harness.reference.backward import backward_rows
from harness.reference.cross_entropy import cross_entropy_rows
from harness.reference.operations import (
    empty_exact,
    log_softmax_rows,
    logsumexp_rows,
    softmax_rows,
)

T = TypeVar("T", bound=np.generic)
Axis = int | tuple[int, ...] | None
Format = DTypeLike | FloatFormat


def lift(x: ArrayLike) -> Float64Array:
    """`x` in float64, exactly.

    Raises:
        TypeError: for complex, longdouble and non-numeric dtypes.
        ValueError: for integers beyond 2**53 that float64 doesn't hold.
    """
    array = np.asarray(x)
    if array.dtype.kind in "biu":
        lifted = array.astype(np.float64)
        if array.dtype.itemsize == 8 and np.any(np.abs(lifted) > 2.0**53):
            raise ValueError(
                f"x: expected integers of at most 2**53; got {array.dtype} up to "
                f"{np.abs(lifted).max():.0f}; convert them to a float dtype first"
            )
        return lifted
    return to_float64(array)


def _check_subnormals() -> None:
    """Refuses to work while the processor flushes subnormals: exact differences need them."""
    tiny = np.full(1, 5e-324)
    if not (tiny * 1.0)[0] > 0 or not (np.full(1, 2.0**-1022) * 0.5)[0] > 0:
        raise RuntimeError(
            "reference: expected gradual underflow; this thread flushes subnormals to zero "
            "(torch.set_flush_denormal, or a library built with fast-math); switch that off"
        )


def _axes(ndim: int, axis: Axis) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple) else (axis,)
    axes = [checked_axis(a, ndim) for a in given]
    if len(set(axes)) != len(axes):
        raise ValueError(f"axis: expected different axes; got {axis}")
    return tuple(axes)


def to_rows(x: NDArray[T], axes: tuple[int, ...]) -> tuple[NDArray[T], tuple[int, ...]]:
    """(rows, classes), contiguous, and the shape with the axes moved to the end."""
    moved = np.moveaxis(x, axes, range(x.ndim - len(axes), x.ndim))
    classes = math.prod(moved.shape[x.ndim - len(axes) :])
    rows = math.prod(moved.shape[: x.ndim - len(axes)])
    return np.ascontiguousarray(moved).reshape(rows, classes), moved.shape


def _from_rows(value: Exact, shape: tuple[int, ...], axes: tuple[int, ...]) -> Exact:
    last = range(len(shape) - len(axes), len(shape))

    def back(part: NDArray[Any]) -> NDArray[Any]:
        # ascontiguousarray would make a scalar one-dimensional
        return np.array(np.moveaxis(part.reshape(shape), last, axes), order="C", copy=None)

    return Exact(back(value.hi), back(value.lo), back(value.exponent))


def _elementwise(rows_function: Callable[[Float64Array], Exact], x: ArrayLike, axis: Axis) -> Exact:
    lifted = lift(x)
    axes = _axes(lifted.ndim, axis)
    if lifted.size == 0:
        return empty_exact(lifted.shape)
    _check_subnormals()
    rows, shape = to_rows(lifted, axes)
    with np.errstate(all="ignore"):
        return _from_rows(rows_function(rows), shape, axes)


def _default(x: ArrayLike, dtype: Format | None) -> FloatFormat:
    if dtype is not None:
        return float_format(dtype)
    own = np.asarray(x).dtype
    return float_format(np.float64 if own.kind in "biu" else own)


def softmax_exact(x: ArrayLike, axis: Axis = -1) -> Exact:
    """exp(x_i) / sum_j exp(x_j) along `axis`, unrounded; the shape of `x`.

    Relative error below 2**-90 (mostly 2**-98); `round_to` gives the correct rounding.

    Raises:
        TypeError: for a dtype other than those of `FORMATS`, integers and booleans.
        AxisError: for an axis out of range.
    """
    return _elementwise(softmax_rows, x, axis)


def log_softmax_exact(x: ArrayLike, axis: Axis = -1) -> Exact:
    """x_i - log sum_j exp(x_j) along `axis`, unrounded; otherwise as `softmax_exact`."""
    return _elementwise(log_softmax_rows, x, axis)


def logsumexp_exact(x: ArrayLike, axis: Axis = -1) -> Exact:
    """log sum_j exp(x_j), `axis` reduced, unrounded; otherwise as `softmax_exact`."""
    lifted = lift(x)
    axes = _axes(lifted.ndim, axis)
    rows, shape = to_rows(lifted, axes)
    kept = shape[: len(shape) - len(axes)]
    if rows.size == 0:
        empty = empty_exact((rows.shape[0],))
        empty.hi[...], empty.lo[...], empty.exponent[...] = -np.inf, 0.0, 0
        return empty.reshape(*kept)
    _check_subnormals()
    with np.errstate(all="ignore"):
        return logsumexp_rows(rows).reshape(*kept)


def cross_entropy_exact(logits: ArrayLike, targets: ArrayLike) -> tuple[Exact, Exact]:
    """Loss log sum_j exp(x_j) - x_t and its gradient in the logits, p - onehot(t), unrounded.

    Args:
        logits: shape (..., classes).
        targets: integers of [0, classes), shape (...).

    Returns:
        The loss of each row, shape (...), without reduction; the gradient, shape (..., classes).

    Raises:
        ValueError: for targets of another shape or out of range.
        TypeError: for targets that are not integers, and as `softmax_exact`.
    """
    lifted = lift(logits)
    target = checked_targets(targets, lifted.shape)
    kept, classes = lifted.shape[:-1], lifted.shape[-1]
    if lifted.size == 0:
        return empty_exact(kept), empty_exact(lifted.shape)
    _check_subnormals()
    rows = np.ascontiguousarray(lifted).reshape(-1, classes)
    with np.errstate(all="ignore"):
        loss, gradient = cross_entropy_rows(rows, target.reshape(-1))
    return loss.reshape(*kept), gradient.reshape(*lifted.shape)


def softmax_backward_exact(grad: ArrayLike, y: ArrayLike, axis: Axis = -1) -> Exact:
    """y_i (g_i - sum_j g_j y_j) along `axis`, from y and g as given, unrounded.

    Exact up to the 106 bits of a pair. Rows with a NaN or an infinity are NaN.

    Raises:
        ValueError: if the shapes differ. TypeError, AxisError: as `softmax_exact`.
    """
    g, v = lift(grad), lift(y)
    if g.shape != v.shape:
        raise ValueError(f"grad, y: expected one shape; got {g.shape} and {v.shape}")
    axes = _axes(v.ndim, axis)
    if v.size == 0:
        return empty_exact(v.shape)
    _check_subnormals()
    (g_rows, _), (v_rows, shape) = to_rows(g, axes), to_rows(v, axes)
    with np.errstate(all="ignore"):
        return _from_rows(backward_rows(g_rows, v_rows), shape, axes)


def softmax(x: ArrayLike, axis: Axis = -1, dtype: Format | None = None) -> NDArray[Any]:
    """Softmax along `axis`, correctly rounded once to `dtype` (default: that of `x`).

    Integer and boolean input gives float64 by default. Shape of `x`; errors of `softmax_exact`.
    """
    return softmax_exact(x, axis).round_to(_default(x, dtype))


def log_softmax(x: ArrayLike, axis: Axis = -1, dtype: Format | None = None) -> NDArray[Any]:
    """Log-softmax along `axis`, correctly rounded as `softmax`."""
    return log_softmax_exact(x, axis).round_to(_default(x, dtype))


def logsumexp(x: ArrayLike, axis: Axis = -1, dtype: Format | None = None) -> NDArray[Any]:
    """Log-sum-exp, `axis` reduced, correctly rounded as `softmax`."""
    return logsumexp_exact(x, axis).round_to(_default(x, dtype))


def cross_entropy(
    logits: ArrayLike, targets: ArrayLike, dtype: Format | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Per-row loss and gradient of `cross_entropy_exact`, each correctly rounded to `dtype`."""
    fmt = _default(logits, dtype)
    loss, gradient = cross_entropy_exact(logits, targets)
    return loss.round_to(fmt), gradient.round_to(fmt)


def softmax_backward(
    grad: ArrayLike, y: ArrayLike, axis: Axis = -1, dtype: Format | None = None
) -> NDArray[Any]:
    """`softmax_backward_exact`, correctly rounded once to `dtype` (default: that of `y`)."""
    return softmax_backward_exact(grad, y, axis).round_to(_default(y, dtype))
