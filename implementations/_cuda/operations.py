"""The operations of cupy_gpu and cupy_gpu_fast on CuPy arrays, over the rows of `launch`.

bfloat16, which CuPy lacks, comes as an object with the bits as uint16 in `.bits`; so does the
result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cupy

from implementations._cuda.launch import FORMATS, Rows, launch, launch_exponential

if TYPE_CHECKING:
    from cupy import ndarray


def unwrapped(x: Any, what: str, formats: tuple[str, ...]) -> tuple[ndarray, str]:
    """The array of an argument and its format, or one clear line."""
    if hasattr(x, "bits"):
        return x.bits, "bfloat16"
    if x.dtype.name not in formats:
        raise TypeError(f"{what}: expected one of {', '.join(formats)}; got {x.dtype}")
    return x, x.dtype.name


def _wrapped(result: ndarray, like: Any) -> Any:
    return type(like)(result) if hasattr(like, "bits") else result


def _overlap(a: ndarray, b: ndarray) -> bool:
    """Whether they share memory without being one and the same array."""
    same = a.data.ptr == b.data.ptr and a.shape == b.shape and a.strides == b.strides
    return not same and bool(cupy.may_share_memory(a, b))


def elementwise(
    operation: str, fast: bool, x: Any, axis: int, out: Any, formats: tuple[str, ...] = FORMATS
) -> Any:
    """Softmax or LogSoftmax along `axis`, into `out` if given."""
    array, name = unwrapped(x, "x", formats)
    rows = Rows(array, name, axis)
    if out is None:
        result = Rows(cupy.empty(rows.shape, array.dtype), name, -1)
        launch(operation, fast, rows, out=result)
        moved = cupy.moveaxis(result.array, -1, axis)
        return _wrapped(cupy.ascontiguousarray(moved), x)
    given, given_name = unwrapped(out, "out", formats)
    if given.shape != array.shape or given_name != name:
        raise ValueError(
            f"out: expected shape {array.shape} and dtype {name}; "
            f"got {given.shape} and {given_name}"
        )
    target = Rows(given, name, axis)
    direct = target.array.data.ptr == given.data.ptr and not _overlap(array, given)
    if not direct:
        target = Rows(cupy.empty(rows.shape, array.dtype), name, -1)
    launch(operation, fast, rows, out=target)
    if not direct:
        given[...] = cupy.moveaxis(target.array, -1, axis)
    return out


def logsumexp(fast: bool, x: Any, axis: int, formats: tuple[str, ...] = FORMATS) -> Any:
    """log Σ exp(x), the axis reduced: CrossEntropy without targets and gradient."""
    array, name = unwrapped(x, "x", formats)
    rows = Rows(array, name, axis)
    shape = rows.shape[:-1]
    if rows.classes == 0:
        wide = cupy.full(shape, float("-inf"), "float32")
        if name == "bfloat16":  # the upper half of the float32
            return _wrapped((wide.view("uint32") >> 16).astype("uint16"), x)
        return wide.astype(array.dtype)
    reduced = cupy.empty(shape, array.dtype)
    launch("CrossEntropy", fast, rows, reduced=reduced)
    return _wrapped(reduced, x)


def cross_entropy(
    fast: bool,
    logits: Any,
    targets: ndarray,
    formats: tuple[str, ...] = FORMATS,
    gradient: bool = True,
) -> tuple[Any, Any]:
    """Loss of each row and its gradient, in one pass; without `gradient` the loss alone, and None.

    A target that is no class gives NaN: looking for one would make the host wait for the device.
    """
    array, name = unwrapped(logits, "logits", formats)
    if targets.dtype.kind not in "iu" or targets.shape != array.shape[:-1]:
        raise ValueError(
            f"targets: expected integers of shape {array.shape[:-1]}; "
            f"got {targets.dtype} of shape {targets.shape}"
        )
    rows = Rows(array, name, -1)
    if rows.classes == 0 and rows.array.shape[:-1] != (0,):
        raise ValueError("logits: expected at least one class; got none")
    loss = cupy.empty(rows.shape[:-1], array.dtype)
    slope = Rows(cupy.empty(rows.shape, array.dtype), name, -1) if gradient else None
    wanted = cupy.ascontiguousarray(targets.astype("int64", copy=False))
    launch("CrossEntropy", fast, rows, targets=wanted, out=slope, reduced=loss)
    return _wrapped(loss, logits), None if slope is None else _wrapped(slope.array, logits)


def softmax_backward(grad: Any, y: Any, axis: int) -> Any:
    """y * (grad - Σ grad * y)."""
    p, name = unwrapped(y, "y", FORMATS)
    g, grad_name = unwrapped(grad, "grad", FORMATS)
    if g.shape != p.shape or grad_name != name:
        raise ValueError(
            f"grad: expected shape {p.shape} and dtype {name} of y; got {g.shape} and {grad_name}"
        )
    rows = Rows(p, name, axis)
    result = Rows(cupy.empty(rows.shape, p.dtype), name, -1)
    launch("SoftmaxBackward", False, rows, g=Rows(g, name, axis), out=result)
    return _wrapped(cupy.ascontiguousarray(cupy.moveaxis(result.array, -1, axis)), y)


def exponential(fast: bool, x: Any, formats: tuple[str, ...] = FORMATS) -> Any:
    """The exponential of the kernels, elementwise, so that its error can be measured."""
    array, name = unwrapped(x, "x", formats)
    flat = Rows(cupy.ascontiguousarray(array).reshape(1, -1), name, -1)
    result = Rows(cupy.empty(flat.shape, array.dtype), name, -1)
    launch_exponential(fast, flat, result)
    return _wrapped(result.array.reshape(array.shape), x)
