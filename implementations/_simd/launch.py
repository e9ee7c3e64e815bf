"""Compiled kernels by their addresses, and the one loop that divides their work over threads.

Numba compiles a function again into every caller; a parallel loop takes it seconds. So a kernel is
a C function of integers, compiled once for a format, and `launch` calls it by its address, on this
thread or in parts on all.

Numba's threads have two limits that end the process. Those of the layer "omp" do not outlive a
fork: the child of a process that had them computes on one thread (`thread_count`). Those of the
layer "workqueue" serve one caller at a time: threads of Python take turns (`launch`).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numba.np.ufunc.parallel import _iget_num_threads as numba_threads

from implementations._simd.compilation import SourceCache, compiled

ARGUMENTS = 9  # stage, x, y, rows, classes, past, state, part, parts
_SIGNATURE = types.void(*[types.intp] * ARGUMENTS)


@intrinsic  # type: ignore[misc]
def call_kernel(typingctx: Any, function: Any, arguments: Any) -> Any:
    """The C function at an address, called with integers."""

    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * ARGUMENTS)
        numbers = [builder.extract_value(values[1], i) for i in range(ARGUMENTS)]
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), numbers)
        return context.get_dummy_value()

    return types.void(types.intp, types.UniTuple(types.intp, ARGUMENTS)), code


_alone = False
_turn = threading.RLock()


def _after_fork() -> None:
    """In the child: whether Numba's threads were lost, and a lock that nobody holds."""
    global _alone, _turn
    _turn = threading.RLock()
    with contextlib.suppress(ValueError):  # none had been started: the child may start its own
        _alone = numba.threading_layer() == "omp"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def is_alone() -> bool:
    """Whether a fork has lost Numba's threads."""
    return _alone


def thread_count() -> int:
    """How many threads a kernel may use: Numba's number, or 1 where a fork has lost them."""
    return 1 if _alone else int(numba.get_num_threads())


@compiled(parallel=True)
def _launch(function, stage, x, y, rows, n, past, state, parts):  # type: ignore[no-untyped-def]
    """`launch`, whoever else is at it; in as many parts as there are threads and rows if 0.

    To be called from Python alone: Numba starts its threads when it loads this function, and not
    when it loads one that calls it, which crashes.
    """
    if parts == 0:
        parts = min(rows, numba_threads())
    if parts == 1:
        call_kernel(function, (stage, x, y, rows, n, past, state, 0, 1))
    else:
        for part in prange(parts):
            call_kernel(function, (stage, x, y, rows, n, past, state, part, parts))


def with_threads(function: Callable[..., None], *arguments: int) -> None:
    """Call a function that uses Numba's threads, as their layer allows."""
    global _serial
    if _serial is None:  # Numba chooses the layer when it starts its threads
        numba.get_num_threads()
        _serial = numba.threading_layer() == "workqueue"
    if _serial:
        with _turn:
            function(*arguments)
    else:
        function(*arguments)


_serial: bool | None = None
"""Whether the threads serve one caller at a time; None before they have been asked for."""


def launch(
    function: int, stage: int, x: int, y: int, rows: int, n: int, past: int, state: int, parts: int
) -> None:
    """Call the kernel at the address `function` once, or in `parts` on as many threads.

    There must be no more parts than `thread_count` says.
    """
    if parts == 1:
        _launch(function, stage, x, y, rows, n, past, state, 1)
    else:
        with_threads(_launch, function, stage, x, y, rows, n, past, state, parts)


@compiled
def places(x, y):  # type: ignore[no-untyped-def]
    """Addresses of C-contiguous arrays; zeros if empty, of other shapes, or overlapping in part."""
    source, target = np.intp(x.ctypes.data), np.intp(y.ctypes.data)
    apart = source == target or abs(source - target) >= x.size * x.itemsize
    if x.size and x.shape == y.shape and apart:
        return source, target
    return np.intp(0), np.intp(0)


@compiled
def place_of(a):  # type: ignore[no-untyped-def]
    """The address of an array that can be written to, sooner than Python finds it."""
    return np.intp(a.ctypes.data)


@compiled
def launch_small(function, x, y, state):  # type: ignore[no-untyped-def]
    """`launch` on this thread along the last axis of arrays, if `places` has them; whether."""
    source, target = places(x, y)
    if source == 0:
        return False
    n = x.shape[x.ndim - 1]
    call_kernel(function, (0, source, target, x.size // n, n, 0, state, 0, 1))
    return True


def launch_large(function: int, x: Any, y: Any, past: int, state: int) -> bool:
    """The same on all threads, past the caches from `past` bytes on if not in place.

    The places found by compiled code spare microseconds, the time of a few thousand entries.
    """
    source, target = places(x, y)
    if source == 0:
        return False
    classes = x.shape[-1]
    rows = x.size // classes
    bypass = int(source != target and x.nbytes >= past)
    on_all(function, 0, source, target, rows, classes, bypass, state)
    return True


def on_all(function: int, *arguments: int) -> None:
    """`launch` in as many parts as there are threads and rows."""
    if _alone:
        _launch(function, *arguments, 1)
    else:
        with_threads(_launch, function, *arguments, 0)


@intrinsic  # type: ignore[misc]
def rows_at(typingctx: Any, address: Any, rows: Any, classes: Any, like: Any) -> Any:
    """The memory at an address as a contiguous array (rows, classes) of `like`'s type."""
    result = types.Array(like, 2, "C")

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(result)(context, builder)
        size = like.bitwidth // 8
        item = context.get_constant(types.intp, size)
        data = builder.inttoptr(values[0], context.get_data_type(like).as_pointer())
        populate_array(
            array,
            data=data,
            shape=[values[1], values[2]],
            strides=[builder.mul(values[2], item), item],
            itemsize=item,
            meminfo=None,
        )
        return array._getvalue()

    return result(types.intp, types.intp, types.intp, like), emit


def address_of(function: Callable[..., Any]) -> int:
    """The address of a Python function compiled as a C function of `ARGUMENTS` integers."""
    options = {"error_model": "numpy"}
    made = CFunc(function, (_SIGNATURE.args, _SIGNATURE.return_type), {}, options)
    with contextlib.suppress(RuntimeError):  # no folder to write to: compiled in every process
        made._cache = SourceCache(function)
    made.compile()
    _KEPT.append(made)
    return int(made.address)


_KEPT: list[Any] = []
