"""Our own compiled softmax for CPUs: vectorised, many threads, no rounding before the exponential.

Not x - max is reduced to (-ln 2 / 2, ln 2 / 2) but x itself, and the maximum's power of two is
subtracted from the exponent, which is exact: the error does not grow with the distance from the
maximum. Exponentials are kept times 2**64, so that a result in the subnormal range is rounded
once, at the end. Where all logits of a float32 row are below 86 in size, neither is needed: such a
row is computed without its maximum, to the same bits, and it shows at its end whether it was one.
Sums are in float64, of float64 compensated. No fast-math. 16-bit formats are computed in float32, a
few rows at a time. Rows are divided over the threads, and of long rows what is left the blocks,
whose exponentials are kept in frames of their own, so that all rows are read once; results of 16
MiB and more are stored past the caches.

Softmax, the logarithms and the gradients are in explicit vectors of 64, 32 or 16 bytes, whatever
the processor has, or as the environment variable SOFTMAX_BENCH_SIMD says (avx512, avx2, generic);
docs/notes/performance.md tells what was tried.
"""

from __future__ import annotations

import struct
from typing import Any

import ml_dtypes
import numpy as np

from implementations._numba import half_rows, ragged_rows
from implementations._numba import operations as kernels
from implementations._numba import softmax as softmax_kernels
from implementations._numba.long_launch import launch_long
from implementations._numba.long_rows import REST, SETTLED, SUM, state_bytes
from implementations._numba.rows_in_lanes import FEW
from implementations._numba.short_rows import SHORT
from implementations._numba.softmax import (
    BLOCKS,
    COMMON_BLOCKS,
    COMMON_MERGE,
    EXACT,
    GROUPS,
    IN_BLOCKS,
    LONG,
    MERGE,
    RESULTS,
    SINGLE,
    TURN,
    WHOLE,
    long_room,
    way_of,
)
from implementations._numba.vector_rows import PIECE
from implementations._shared.changed_logits import kept_rows
from implementations._shared.numpy_rows import (
    Array,
    as_rows,
    buffer_for,
    check,
    check_targets,
    deliver,
)
from implementations._shared.ragged_rows import check_ragged
from implementations._simd.compilation import LINE
from implementations._simd.halves import HAS_HALF
from implementations._simd.launch import (
    launch,
    launch_large,
    launch_small,
    place_of,
    places,
    thread_count,
)

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("numba",),
    "source": "M. Dukhan, A. Ablavatski, Two-pass softmax algorithm, IPDPS workshops 2020, "
    "https://arxiv.org/abs/2001.04438, with the maximum known beforehand",
    "formula": "exp(xᵢ) = pᵢ·2^kᵢ;  K = k of maxᵢ xᵢ;  yⱼ = pⱼ·2^(kⱼ−K) / Σᵢ pᵢ·2^(kᵢ−K)",
    "bound": "two_pass",
    "passes": 2,
    "threads": "many",
    "accumulator": "float32",
    "deviations": (),
}

_FLOAT, _INTEGER = struct.Struct("d"), struct.Struct("q")
_PAST = 1 << 24  # bytes of a result from which stores past the caches pay; below, they hurt
_SCRATCH = 1 << 23  # bytes of scratch rows, one for each thread, up to which L3 holds them well
_LARGE = 2.0**100  # of a scale, whose product with log2(e) must not overflow
_TOGETHER = 1 << 18  # classes of masked rows from which on a launch of their own costs nothing
_PARALLEL = 1 << 15  # elements from which starting the threads (microseconds) pays


def _rows(x: Array, axis: int) -> tuple[Array, int]:
    """`x` as two-dimensional contiguous rows, and how many they are."""
    rows = as_rows(x, axis)
    return rows, (rows.size // rows.shape[-1] if rows.size else 0)


def _run_rows(operation: str, x: Array, out: Array, count: int, more: int = 0) -> None:
    """An operation's kernel over `count` rows at `x` and `out`; larger inputs on all threads."""
    parts = min(count, thread_count()) if x.size >= _PARALLEL else 1
    at, past = kernels.kernel(operation, x.dtype), _past(out, x)
    launch(at, 0, _address(x), _address(out), count, x.size // count, past, more, parts)


def _run_logarithms(operation: str, x: Array, out: Array, count: int) -> None:
    """The same of an operation by logarithms; few long rows are divided over the threads."""
    classes, threads = x.size // count, thread_count() if x.size >= _PARALLEL else 1
    if count >= threads or x.dtype != np.float32 or classes < 2 * PIECE:
        _run_rows(operation, x, out, count)
        return
    at, start, end = kernels.kernel(operation, x.dtype), _address(x), _address(out)
    numbers = np.empty((count * (classes // PIECE) + 1) * LINE, np.uint8)
    place = place_of(numbers)
    place += -place % LINE
    for stage in (kernels.SUMS, kernels.RESULTS):
        launch(at, stage, start, end, count, classes, 0, place, threads)


_FOUND: dict[str, tuple[dict[np.dtype[Any], int], ...]] = {
    logits: ({}, {}, {}, {}) for logits in ("softmax", "scaled", "masked", "half")
}
"""Addresses of the kernels that are compiled: by logits, way and working precision."""

_HALVES = {
    np.dtype(np.float16): np.dtype(np.int16),
    np.dtype(ml_dtypes.bfloat16): np.dtype(np.uint16),
}
"""What stands for formats of 16 bits in compiled code."""


def _kernel(logits: str, dtype: np.dtype[Any], way: int) -> int:
    """The address of the kernel for a working precision; compiled at the first call."""
    found = _FOUND[logits][way]
    if dtype not in found:
        way = SINGLE if way == IN_BLOCKS and logits != "softmax" else way
        found[dtype] = softmax_kernels.kernel(logits, way, dtype)
    return found[dtype]


def _run_changed(logits: str, x: Array, result: Array, classes: int, state: int, past: int) -> None:
    """Softmax of contiguous rows whose logits are changed as `state` says."""
    rows = x.size // classes
    parts = min(rows, thread_count()) if x.size >= _PARALLEL else 1
    kernel = _kernel(logits, x.dtype, way_of(classes))
    launch(kernel, 0, _address(x), _address(result), rows, classes, past, state, parts)


def _run(x: Array, result: Array, sums: Array | None = None) -> None:
    """Softmax of contiguous rows from `x` to `result`, which may be the same.

    `sums`, (rows, 3) of float64, receives what `softmax` keeps of rows of more than FEW.
    """
    way = way_of(x.shape[-1])
    way = SINGLE if way == GROUPS and sums is not None else way
    _run_at(_kernel("softmax", x.dtype, way), _address(x), _address(result), x, sums)


def _run_at(kernel: int, start: int, end: int, x: Array, sums: Array | None) -> None:
    """The same of addresses, `start` being that of `x`, whose rows are along its last axis."""
    size, bytes_all = x.itemsize, x.nbytes
    classes = x.shape[-1]
    rows = bytes_all // (classes * size)
    past = int(rows > 1 and start != end and bytes_all >= _PAST)  # scratch of one costs more
    kept = 0 if sums is None else _address(sums)
    if classes >= LONG and not past:
        launch_long(kernel, start, end, rows, classes, size, kept)
    elif x.size < _PARALLEL:
        launch(kernel, WHOLE, start, end, rows, classes, past, kept, 1)
    else:
        threads = thread_count()
        whole = rows >= threads and classes * size * threads <= _SCRATCH
        if classes < LONG or whole or threads == 1:
            launch(kernel, WHOLE, start, end, rows, classes, past, kept, min(threads, rows))
        else:
            _run_long(kernel, start, end, rows, classes, size, sums)


def _run_long(
    kernel: int, x: int, y: int, rows: int, classes: int, size: int, sums: Array | None
) -> None:
    """Long rows past the caches, each divided over the threads."""
    threads = thread_count()
    room = np.empty(long_room(classes, size, True) + LINE, np.uint8)
    place = _address(room)
    place += -place % LINE

    def run(stage: int, row: int, parts: int) -> None:
        launch(kernel, stage, x, y, row, classes, 1, place, parts)

    exact = 0 if sums is None else EXACT
    for row in range(rows):
        run(TURN if row and not exact else BLOCKS + exact, row, threads)
        run(MERGE + exact, row, 1)
        begin = place - _address(room) + (row & 1) * state_bytes(classes)
        state = room[begin : begin + LINE].view(np.float64)
        if not state[SETTLED // 8]:
            run(COMMON_BLOCKS + exact, row, threads)
            run(COMMON_MERGE + exact, row, 1)
        if sums is not None:
            sums[row] = state[[0, SUM // 8, REST // 8]]
        if exact or row == rows - 1:
            run(RESULTS, row, threads)


def _address(array: Array) -> int:
    """Of its first entry; whether it may be written to plays no part."""
    return int(array.__array_interface__["data"][0])


def _bits(number: float) -> int:
    """Of a float64, as an integer."""
    return int(_INTEGER.unpack(_FLOAT.pack(number))[0])


def _apart(result: Array, rows: Array, x: Array, out: Array | None) -> Array:
    """`result`, or other memory where its rows would lie on rows that are not yet read."""
    if result is out and out is not x and np.may_share_memory(rows, out):
        return np.empty_like(rows)
    return result


def _short_way(logits: str, x: Any, axis: int, out: Array | None, state: int) -> Array | None:
    """The result for arrays as most callers have them, a microsecond after the call; or None."""
    if type(x) is np.ndarray and axis == -1 and 0 < x.ndim < 3:
        n = x.shape[-1]  # what follows is `way_of`, without calling it
        way = (n > FEW) + (n >= SHORT) + (n >= LONG)
        kernel = _FOUND[logits][way].get(x.dtype)
        if kernel and x.flags.carray:
            y = np.empty(x.shape, x.dtype) if out is None else out
            if y.dtype is x.dtype and y.flags.carray:
                if x.size < _PARALLEL:
                    if launch_small(kernel, x, y, state):
                        return y
                elif way == IN_BLOCKS and logits == "softmax":
                    start, end = places(x, y)
                    if start:
                        _run_at(kernel, start, end, x, None)
                        return y
                elif launch_large(kernel, x, y, _PAST, state):
                    return y
    return None


def _of_halves(x: Array, axis: int, out: Array | None) -> Array | None:
    """The result for rows of 16-bit formats as they are in memory; or None."""
    like = _HALVES[x.dtype]
    result = np.empty(x.shape, x.dtype) if out is None else out
    fits = result.dtype == x.dtype and result.shape == x.shape and x.size
    fits = fits and axis in (-1, x.ndim - 1)
    if not (HAS_HALF and fits) or (out is not x and np.may_share_memory(x, result)):
        return None
    way = way_of(x.shape[-1])
    kernel = _FOUND["half"][way].setdefault(like, half_rows.kernel(like))
    inside = _kernel("softmax", np.dtype(np.float32), way)
    if way == IN_BLOCKS and x.nbytes < _PAST and x.flags.carray and result.flags.carray:
        threads = thread_count()
        if x.size // x.shape[-1] < threads and x.size >= 3 * _PARALLEL:  # three launches
            _few_long_halves(kernel, inside, x.view(like), result.view(like), threads)
            return result
    done = _short_way("half", x.view(like), -1, result.view(like), inside)
    return None if done is None else result


def _few_long_halves(kernel: int, softmax: int, x: Array, result: Array, threads: int) -> None:
    """Few long rows of 16-bit formats, each divided over the threads: through float32."""
    classes = x.shape[-1]
    rows = x.size // classes
    wide = np.empty((2, *x.shape), np.float32)
    given, computed = place_of(wide[0]), place_of(wide[1])
    launch(kernel, half_rows.WIDEN, place_of(x), given, rows, classes, 0, 0, threads)
    _run_at(softmax, given, computed, wide[0], None)
    launch(kernel, half_rows.NARROW, computed, place_of(result), rows, classes, 0, 0, threads)


def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    y = _short_way("softmax", x, axis, out, 0)
    if y is None and type(x) is np.ndarray and x.dtype in _HALVES:
        y = _of_halves(x, axis, out)
    if y is not None:
        return y
    x = check(x, out)
    rows = as_rows(x, axis)
    result = buffer_for(rows, x, axis, out)
    if rows.size:
        result = _apart(result, rows, x, out)
        _run(rows, result)
    return deliver(result, x, axis, out)


def _past(result: Array, x: Array) -> int:
    """Whether a result goes past the caches."""
    return int(result.nbytes >= _PAST and not np.may_share_memory(x, result))


def _prepared(x: Any, axis: int, out: Array | None) -> tuple[Array, Array, Array]:
    """`x`, its rows, and where their results go."""
    x = check(x, out)
    rows = as_rows(x, axis)
    return x, rows, _apart(buffer_for(rows, x, axis, out), rows, x, out)


def scaled_softmax(x: Array, scale: float, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax of scale * x: the product is not rounded, and is nowhere in memory."""
    if -_LARGE < scale < _LARGE:
        y = _short_way("scaled", x, axis, out, _bits(scale))
        if y is not None:
            return y
    x, rows, result = _prepared(x, axis, out)
    if rows.size:
        if abs(scale) >= _LARGE:  # to log2(e) * scale
            with np.errstate(over="ignore"):
                rows, scale = rows * rows.dtype.type(2.0**32), scale / 2.0**32
        _run_changed("scaled", rows, result, rows.shape[-1], _bits(scale), _past(result, rows))
    return deliver(result, x, axis, out)


def masked_softmax(x: Array, mask: Any, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax over the classes that `mask` keeps; 0 elsewhere, and in rows without any.

    The mask is read as it is, a byte for each class; one for several rows, or matrices of them, is
    not spread over them.
    """
    whole = type(mask) is np.ndarray and mask.dtype.char == "?" and mask.flags.carray
    if whole and type(x) is np.ndarray and mask.shape == x.shape:
        y = _short_way("masked", x, axis, out, place_of(mask))
        if y is not None:
            return y
    x, rows, result = _prepared(x, axis, out)
    kept = kept_rows(mask, rows, axis)
    if rows.size:
        while kept.ndim > 1 and (kept.shape[0] == 1 or kept.strides[0] == 0):
            kept = kept[0]
        classes = rows.shape[-1]
        kept = np.ascontiguousarray(kept).reshape(-1, classes)
        x_rows, y_rows = rows.reshape(-1, classes), result.reshape(-1, classes)
        if (times := min(len(x_rows) // len(kept), 1 + _TOGETHER // kept.size)) > 1:
            kept = np.tile(kept, (times, 1))
        past = _past(result, rows)
        for r in range(0, len(x_rows), len(kept)):
            some = slice(r, r + len(kept))
            _run_changed("masked", x_rows[some], y_rows[some], classes, _address(kept), past)
    return deliver(result, x, axis, out)


def _with_number(operation: str, x: Any, number: float, axis: int, out: Array | None) -> Array:
    """An operation that takes a number."""
    x, rows, result = _prepared(x, axis, out)
    if rows.size:
        more = np.array([number], rows.dtype)
        _run_rows(operation, rows, result, rows.size // rows.shape[-1], _address(more))
    return deliver(result, x, axis, out)


def softmax_with_sink(x: Array, sink: float, axis: int = -1, out: Array | None = None) -> Array:
    """exp(x) / (exp(sink) + sum), in the frame of the larger of sink and maximum."""
    return _with_number("softmax_with_sink", x, sink, axis, out)


def softcap_softmax(x: Array, cap: float, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax of cap * tanh(x / cap), in float64."""
    return _with_number("softcap_softmax", x, cap, axis, out)


def ragged_softmax(values: Array, offsets: Array, out: Array | None = None) -> Array:
    """Softmax of each row values[offsets[i]:offsets[i + 1]], to the bits that it has alone.

    Whatever lies unevenly, threads share it: rows are divided by their entries, and a row that is
    more than a thread's share is divided itself.
    """
    x, given = check(values, out), np.asarray(offsets)
    longest = -1
    if x.ndim == given.ndim == 1 and given.size and given.dtype.kind in "iu":
        given = np.ascontiguousarray(given, np.int64)
        longest = ragged_rows.longest_row(_address(given), given.size - 1, x.size)
    if longest < 0:
        check_ragged(values, offsets, out)  # says why
    rows = as_rows(x, -1)
    result = _apart(buffer_for(rows, x, -1, out), rows, x, out)
    if rows.size:
        _run_ragged(rows, result, given, longest)
    return deliver(result, x, -1, out)


def _run_ragged(x: Array, result: Array, offsets: Array, longest: int) -> None:
    """Rows between those that are large for a thread in a launch each, and these by themselves."""
    threads = thread_count() if x.size >= _PARALLEL else 1
    own = max(LONG, x.size // threads)
    divided = threads > 1 and longest >= own
    large = np.flatnonzero(np.diff(offsets) >= own).tolist() if divided else []
    ways = range(1 + way_of(longest))
    used = [*(_kernel("softmax", x.dtype, way) for way in ways), *[0] * (4 - len(ways))]
    kernel, start, end = ragged_rows.kernel(x.dtype), _address(x), place_of(result)
    place, past, first = _address(offsets), _past(result, x), 0
    for row in (*large, len(offsets) - 1):
        if row > first:
            state = np.array([place + 8 * first, *used], np.int64)
            parts = threads if offsets[row] - offsets[first] >= _PARALLEL else 1
            launch(kernel, 0, start, end, row - first, 0, past, place_of(state), parts)
        if row in large:
            whole = slice(offsets[row], offsets[row + 1])
            _run(x[whole], result[whole])
        first = row + 1


def log_softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """(x - max) - log1p(sum of all but the maximum), in float64 for float32."""
    x = check(x, out)
    rows, count = _rows(x, axis)
    result = _apart(buffer_for(rows, x, axis, out), rows, x, out)
    if count:
        _run_logarithms("log_softmax", rows, result, count)
    return deliver(result, x, axis, out)


def logsumexp(x: Array, axis: int = -1) -> Array:
    """max + log1p(sum of all but the maximum), in float64 for float32."""
    x = check(x)
    rows, count = _rows(x, axis)
    result = np.full(rows.shape[:-1], -np.inf, rows.dtype)
    if count:
        _run_logarithms("logsumexp", rows, result, count)
    with np.errstate(over="ignore"):  # beyond the range of float16 it is infinite
        return result.astype(x.dtype, copy=False)


def softmax_backward(grad: Array, y: Array, axis: int = -1) -> Array:
    """y * (grad - sum(grad * y)), in float64 for float32."""
    y, grad = check(y), check(grad)
    if grad.shape != y.shape or grad.dtype != y.dtype:
        raise ValueError(
            f"grad: expected shape {y.shape} and dtype {y.dtype} of y; "
            f"got {grad.shape} and {grad.dtype}"
        )
    rows, count = _rows(y, axis)
    grad_rows = as_rows(grad, axis)
    result = np.empty_like(rows)
    if count:
        _run_rows("softmax_backward", rows, result, count, _address(grad_rows))
    return deliver(result, y, axis, None)


def cross_entropy(logits: Array, targets: Any) -> tuple[Array, Array]:
    """Loss of each row, and its gradient p - y, accurate at saturation."""
    x = check(logits)
    target = check_targets(x, targets)
    rows, count = _rows(x, -1)
    gradient = np.empty_like(rows)
    loss = np.full(rows.shape[:-1], np.nan, rows.dtype)
    if count:
        classes = rows.shape[-1]
        sums = np.empty((count, 3)) if classes > FEW else None
        if sums is not None:
            _run(rows, gradient, sums)
        target = np.ascontiguousarray(target, np.int64)
        places = [_address(target), _address(loss), 0 if sums is None else _address(sums)]
        more = np.array(places, np.int64)
        _run_rows("cross_entropy", rows, gradient, count, _address(more))
    with np.errstate(over="ignore"):
        return loss.astype(x.dtype, copy=False), deliver(gradient, x, -1, None)


def exp(x: Array) -> Array:
    """The exponential of the kernels, elementwise, so that its error can be measured."""
    x = check(x)
    flat = np.ascontiguousarray(as_rows(x.reshape(-1), -1))
    result = np.empty_like(flat)
    if flat.size:
        kernels.exp_rows(flat, result)
    with np.errstate(over="ignore"):
        return result.reshape(x.shape).astype(x.dtype, copy=False)
