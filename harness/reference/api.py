"""The public functions of the reference: any shape, axis, strides and format, to rows and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from harness.numerics.arguments import checked_axis, checked_offsets, checked_targets
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, FloatFormat, float_format, to_float64
from harness.reference.backward import backward_rows
from harness.reference.composed import Change, changed_rows
from harness.reference.cross_entropy import cross_entropy_rows
from harness.reference.linear import LARGEST
from harness.reference.linear import linear_cross_entropy as linear_rows
from harness.reference.merge import merge_pairs
from harness.reference.operations import (
    empty_exact,
    log_softmax_rows,
    logsumexp_rows,
    softmax_rows,
)
from harness.reference.ragged import ragged_rows

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


def _number(name: str, value: float, *, positive: bool = False) -> float:
    number = float(value)
    if not math.isfinite(number) or (positive and number <= 0):
        what = "a positive, finite number" if positive else "a finite number"
        raise ValueError(f"{name}: expected {what}; got {value!r}")
    return number


def _changed(
    x: ArrayLike, axis: Axis, change: Change, mask: ArrayLike | None = None,
    sink: ArrayLike | None = None,
) -> Exact:  # fmt: skip
    """Softmax of changed logits; `mask` and `sink` of shapes that broadcast."""
    lifted = lift(x)
    axes = _axes(lifted.ndim, axis)
    if lifted.size == 0:
        return empty_exact(lifted.shape)
    _check_subnormals()
    rows, shape = to_rows(lifted, axes)
    kept = extra = None
    if mask is not None:
        given = np.asarray(mask)
        if given.dtype != bool:
            raise TypeError(f"mask: expected booleans, True keeps; got {given.dtype}")
        kept = to_rows(np.broadcast_to(given, lifted.shape), axes)[0]
    if sink is not None:
        extra = np.broadcast_to(lift(sink), shape[: len(shape) - len(axes)]).reshape(-1)
    with np.errstate(all="ignore"):
        return _from_rows(changed_rows(rows, change, kept, extra), shape, axes)


def scaled_softmax_exact(x: ArrayLike, scale: float, axis: Axis = -1) -> Exact:
    """exp(s x_i) / sum_j exp(s x_j) along `axis`, the product exact; as `softmax_exact`.

    Raises:
        ValueError: for a scale that is not finite.
    """
    return _changed(x, axis, Change(scale=_number("scale", scale)))


def softcap_softmax_exact(x: ArrayLike, cap: float, axis: Axis = -1) -> Exact:
    """Softmax of c tanh(x / c) along `axis` (Gemma 2, arXiv 2408.00118); as `softmax_exact`.

    An infinite logit counts as c or -c. With a large cap the relative error is larger than that of
    `softmax_exact` (2**-83 with c = 2**26); the rounding is correct all the same.

    Raises:
        ValueError: for a cap that is not positive and finite.
    """
    return _changed(x, axis, Change(cap=_number("cap", cap, positive=True)))


def masked_softmax_exact(x: ArrayLike, mask: ArrayLike, axis: Axis = -1) -> Exact:
    """Softmax along `axis` over the classes that `mask` keeps; exactly 0 elsewhere.

    Args:
        x: logits; what is masked may be anything, NaN too.
        mask: booleans that broadcast to the shape of `x`; True keeps.

    Returns:
        As `softmax_exact`; NaN in rows of which nothing is kept.

    Raises:
        TypeError: for a mask that is not of booleans.
    """
    return _changed(x, axis, Change(), mask=mask)


def softmax_with_sink_exact(x: ArrayLike, sink: ArrayLike, axis: Axis = -1) -> Exact:
    """exp(x_i) / (exp(sink) + sum_j exp(x_j)) along `axis`; as `softmax_exact`.

    Args:
        sink: one logit, or one for each row; 0 is the softmax that is "off by one".
    """
    return _changed(x, axis, Change(), sink=sink)


def ragged_softmax_exact(values: ArrayLike, offsets: ArrayLike) -> Exact:
    """Softmax of rows of unlike lengths, which lie one after the other; as `softmax_exact`.

    The stored entries of a CSR matrix are such rows, its ``data`` and ``indptr``; what it does not
    store counts as -inf, and has the probability 0.

    Args:
        values: shape (entries,); row i is ``values[offsets[i]:offsets[i + 1]]``, and may be empty.
        offsets: integers, shape (rows + 1,), from 0 to the number of entries, never descending.

    Returns:
        Of the shape of `values`.

    Raises:
        ValueError: for other dimensions, or offsets that do not ascend so.
        TypeError: for offsets that are not integers, and as `softmax_exact`.
    """
    lifted = lift(values)
    places = checked_offsets(offsets, lifted.shape)
    if lifted.size == 0:
        return empty_exact(lifted.shape)
    _check_subnormals()
    with np.errstate(all="ignore"):
        return ragged_rows(np.ascontiguousarray(lifted), places)


def merge_logsumexp_exact(
    m1: ArrayLike, s1: ArrayLike, m2: ArrayLike, s2: ArrayLike
) -> tuple[Float64Array, Exact]:
    """The pair (maximum, sum) of two parts of a row, from the pair of each, unrounded.

    A pair stands for s exp(m); (-inf, 0) for a part without classes. With a NaN, a maximum of +inf,
    or a sum that is negative or infinite, the sum is NaN.

    Args:
        m1, s1, m2, s2: arrays that broadcast to one shape.

    Raises:
        TypeError: as `softmax_exact`. ValueError: for shapes that do not fit.
    """
    given = np.broadcast_arrays(*(lift(a) for a in (m1, s1, m2, s2)))
    shape = given[0].shape
    if not given[0].size:
        return np.zeros(shape), empty_exact(shape)
    _check_subnormals()
    maximum, total = merge_pairs(*(np.ascontiguousarray(a).reshape(-1) for a in given))
    return maximum.reshape(shape), total.reshape(*shape)


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


def linear_cross_entropy_exact(
    hidden: ArrayLike, weight: ArrayLike, targets: ArrayLike
) -> tuple[Exact, Exact, Exact]:
    """Cross-entropy of the logits hidden @ weight.T, the products and sums exact, unrounded.

    Args:
        hidden: shape (..., features). weight: shape (classes, features).
        targets: integers of [0, classes), shape (...).

    Returns:
        The loss of each row, shape (...), without reduction, and the gradients of their sum in
        `hidden` and in `weight`, of their shapes. NaN everywhere if an input is not finite.

    Raises:
        ValueError: for shapes that do not fit, targets out of range, or a magnitude of 2**480 and
            more. TypeError: as `cross_entropy_exact`.
    """
    h, w = lift(hidden), lift(weight)
    if w.ndim != 2 or h.ndim < 1 or h.shape[-1] != w.shape[1] or not w.size:
        raise ValueError(
            f"hidden, weight: expected shapes (..., features) and (classes, features); "
            f"got {h.shape} and {w.shape}"
        )
    kept = h.shape[:-1]
    target = checked_targets(targets, (*kept, len(w)))
    if not h.size:
        zero = np.zeros(w.shape)
        return empty_exact(kept), empty_exact(h.shape), Exact(zero, zero, zero.astype(np.int32))
    _check_subnormals()
    finite = np.isfinite(h).all() and np.isfinite(w).all()
    if not finite:
        shapes = (kept, h.shape, w.shape)
        return tuple(  # type: ignore[return-value]
            Exact(np.full(s, np.nan), np.zeros(s), np.zeros(s, np.int32)) for s in shapes
        )
    if max(np.abs(h).max(), np.abs(w).max()) >= LARGEST:
        raise ValueError("hidden, weight: expected magnitudes below 2**480")
    rows = np.ascontiguousarray(h).reshape(-1, h.shape[-1])
    loss, in_hidden, in_weight = linear_rows(rows, np.ascontiguousarray(w), target.reshape(-1))
    return loss.reshape(*kept), in_hidden.reshape(*h.shape), in_weight


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


def scaled_softmax(
    x: ArrayLike, scale: float, axis: Axis = -1, dtype: Format | None = None
) -> NDArray[Any]:
    """`scaled_softmax_exact`, correctly rounded as `softmax`."""
    return scaled_softmax_exact(x, scale, axis).round_to(_default(x, dtype))


def softcap_softmax(
    x: ArrayLike, cap: float, axis: Axis = -1, dtype: Format | None = None
) -> NDArray[Any]:
    """`softcap_softmax_exact`, correctly rounded as `softmax`."""
    return softcap_softmax_exact(x, cap, axis).round_to(_default(x, dtype))


def masked_softmax(
    x: ArrayLike, mask: ArrayLike, axis: Axis = -1, dtype: Format | None = None
) -> NDArray[Any]:
    """`masked_softmax_exact`, correctly rounded as `softmax`."""
    return masked_softmax_exact(x, mask, axis).round_to(_default(x, dtype))


def softmax_with_sink(
    x: ArrayLike, sink: ArrayLike, axis: Axis = -1, dtype: Format | None = None
) -> NDArray[Any]:
    """`softmax_with_sink_exact`, correctly rounded as `softmax`."""
    return softmax_with_sink_exact(x, sink, axis).round_to(_default(x, dtype))


def ragged_softmax(
    values: ArrayLike, offsets: ArrayLike, dtype: Format | None = None
) -> NDArray[Any]:
    """`ragged_softmax_exact`, correctly rounded as `softmax`."""
    return ragged_softmax_exact(values, offsets).round_to(_default(values, dtype))


def merge_logsumexp(
    m1: ArrayLike, s1: ArrayLike, m2: ArrayLike, s2: ArrayLike, dtype: Format | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """`merge_logsumexp_exact`, the sum correctly rounded (default: to the dtype of `s1`)."""
    fmt = _default(s1, dtype)
    maximum, total = merge_logsumexp_exact(m1, s1, m2, s2)
    return maximum.astype(fmt.dtype), total.round_to(fmt)


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


def linear_cross_entropy(
    hidden: ArrayLike, weight: ArrayLike, targets: ArrayLike, dtype: Format | None = None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """`linear_cross_entropy_exact`, each correctly rounded (default: to the dtype of `hidden`)."""
    fmt = _default(hidden, dtype)
    loss, in_hidden, in_weight = linear_cross_entropy_exact(hidden, weight, targets)
    return loss.round_to(fmt), in_hidden.round_to(fmt), in_weight.round_to(fmt)


def softmax_backward(
    grad: ArrayLike, y: ArrayLike, axis: Axis = -1, dtype: Format | None = None
) -> NDArray[Any]:
    """`softmax_backward_exact`, correctly rounded once to `dtype` (default: that of `y`)."""
    return softmax_backward_exact(grad, y, axis).round_to(_default(y, dtype))
