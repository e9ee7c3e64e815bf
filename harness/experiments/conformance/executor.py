"""Makes the calls of a case inside the process of the implementation; judges nothing.

A module of the worker: ``perform`` takes arrays and plain data and gives arrays, the first being
the JSON description of what happened. Exceptions of a single call are part of that description.
"""

from __future__ import annotations

import inspect
import json
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from harness.experiments.conformance.call import (
    Array,
    Caller,
    Result,
    Step,
    arranged,
    extremes,
    owner,
    packed,
    repeated,
    same_bytes,
    unpacked,
)
from harness.experiments.conformance.forked import in_a_child
from harness.experiments.conformance.interleaved import between_lines, folder_of
from harness.numerics.formats import FORMATS
from harness.registry.contract import read_metadata
from harness.worker import backends
from harness.worker.backends import Backend
from harness.worker.local import LocalImplementation

_MARGIN = 55.0
"""What ``out=`` and the memory around it hold before a call: a number that every format has, and
that is no probability and no logarithm of one."""
_TOGETHER, _TOGETHER_S = 200, 0.03
"""How often, or how long, each of several threads makes its call; twice at least."""
_SWITCH_S = 1e-5
"""Threads of Python take turns that often meanwhile: calls of a few microseconds interleave too."""
_KNOWN = {f.dtype for f in FORMATS.values()} | {np.dtype(np.int64), np.dtype(np.bool_)}


def _prepared(step: Step, kept: Sequence[list[Array]]) -> list[Array]:
    arrays = []
    for i, array in enumerate(step.arrays):
        targets = step.operation == "cross_entropy" and i == 1
        if step.cast is not None and not targets:
            array = array.astype(np.dtype(step.cast))
        if step.tiled is not None:
            axis = _repeats_along(step, array)
            array = array if axis is None else repeated(array, axis, step.tiled[1])
        if step.same is not None:
            reused = kept[step.same][i]
            reused[...] = array
            arrays.append(reused)
        elif step.out == "overlap":
            memory = np.empty(array.size + 1, array.dtype)
            arrays.append(memory[:-1].reshape(array.shape))
            arrays[-1][...] = array
        else:
            layout = "C" if targets else step.layout
            arrays.append(arranged(array, step.second or layout if i == 1 else layout))
    return arrays


def _repeats_along(step: Step, array: Array) -> int | None:
    """The axis of an argument or a result along which `Step.tiled` has it repeat, if any."""
    axis, _ = step.tiled or (0, 0)
    dimensions = step.arrays[0].ndim
    if array.ndim == dimensions:
        return axis
    along = step.axis % dimensions if isinstance(step.axis, int) else dimensions - 1
    return None if axis == along else axis - (axis > along)


def _summed_up(step: Step, array: Array) -> tuple[Array, Array]:
    """The extremes of the repetitions in an argument or a result, and which they are.

    A result of another shape comes as it is: nothing but its shape is then looked at.
    """
    axis = _repeats_along(step, array)
    along, length = step.tiled or (0, 0)
    if axis is not None and (array.ndim <= axis or array.shape[axis] != length):
        array, axis = array[..., :0] if array.ndim else array, None
    if axis is None:
        return np.stack([array, array]), np.zeros((2, *array.shape), np.int64)
    return extremes(array, axis, step.arrays[0].shape[along])


def _transferable(array: Array) -> Array:
    if array.dtype in _KNOWN:
        return array
    return np.asarray(array.real, dtype=np.float64)


def _out_for(
    step: Step, native: Sequence[Any], x: Array, backend: Backend
) -> tuple[Any, Array | None]:
    """What is passed as ``out=``, and the array around it whose margin is not for writing."""
    if step.out == "alias":
        return native[0], None
    if step.out == "overlap":
        return backend.from_numpy(owner(x)[1:].reshape(x.shape)), None
    if step.out == "strided" and x.ndim:
        # In the order F the last axis is not contiguous.
        wide = np.full((*x.shape[:-1], x.shape[-1] + 3), _MARGIN, dtype=x.dtype, order="F")
        return backend.from_numpy(wide[..., 2:-1]), wide
    return backend.from_numpy(np.full(x.shape, _MARGIN, dtype=x.dtype)), None


def lacks(function: Callable[..., Any], step: Step) -> str | None:
    """Which of the step's keywords the function does not take, as a reason; None if it has all."""
    further = [k for k in step.keywords if k not in step.numbers]
    if not further:
        return None
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return "its signature cannot be read"
    missing = [k for k in further if k not in parameters]
    return f"takes no {missing[0]}=" if missing else None


def _native_keywords(step: Step, backend: Backend) -> dict[str, Any]:
    given = dict(step.keywords)
    if "dtype" in given:
        given["dtype"] = backend.from_numpy(np.zeros(1, np.dtype(given["dtype"]))).dtype
    return given


def _axis_of(step: Step) -> dict[str, Any]:
    axis_is_given = step.axis != "default" and step.operation != "cross_entropy"
    return {"axis": step.axis} if axis_is_given else {}


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _dtype_name(array: Array) -> str:
    return array.dtype.name if array.dtype.isnative else array.dtype.str


def _line(error: BaseException) -> str:
    """An exception in one line."""
    text = f"{type(error).__name__}: {error}".strip().split("\n", 1)[0][:300]
    # A half of a character, such as of a file name, is no text that a record can hold.
    return text.encode("utf-8", "replace").decode()


def compiled_caller(
    function: Callable[..., Any], backend: Backend, scale: float, dtype: np.dtype[Any]
) -> Callable[..., Any] | None:
    """A caller that scales its argument, made one program with the function; None if nothing can.

    Tracing libraries see through the call. So does Numba where the function is one that it
    compiled: its caller may then contract products and sums, as compilers of C do by default.
    """
    factor, one_program = dtype.type(scale), backend.compile
    if one_program is not None:

        def traced(x: Any, **options: Any) -> Any:
            return one_program(lambda v: function(v * factor, **options))(x)

        return traced
    if not hasattr(function, "py_func") or not hasattr(function, "nopython_signatures"):
        return None
    import numba

    @numba.njit(fastmath={"contract"})
    def caller(x):  # type: ignore[no-untyped-def]
        return function(x * factor)

    def along_last(x: Any, axis: int = -1) -> Any:
        return caller(x)

    return along_last


Functions = Callable[[str], Callable[..., Any]]


def perform_steps(function: Functions, backend: Backend, steps: Sequence[Step]) -> list[Result]:
    """Every step in turn, by the caller that it names.

    Args:
        function: gives the implementation's function of an operation.
        backend: how arrays get to it and back.
        steps: the calls, in order; those that a case asks for together share one list.
    """
    results: list[Result] = []
    for caller, group in groupby(steps, key=lambda step: step.caller):
        results += _CALLERS[caller](function, backend, list(group))
    return results


def _from_a_thread(function: Functions, backend: Backend, steps: Sequence[Step]) -> list[Result]:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_one_by_one, function, backend, steps).result()


def _together(function: Functions, backend: Backend, steps: Sequence[Step]) -> list[Result]:
    """Each step in a thread of its own, in the midst of the next one and beside all others.

    What comes back of a step is its result that is most unlike the one that it has alone.
    """
    alone = _one_by_one(function, backend, steps)
    if any(result.error is not None for result in alone):
        return alone
    calls = [_caller_of(function(step.operation), backend, step) for step in steps]
    found = [[own] for own in alone]
    folder = folder_of(function(steps[0].operation))
    start = threading.Barrier(len(steps))

    def again(call: Callable[[], Result], own: Result) -> Result:
        start.wait()
        began, worst = time.perf_counter(), own
        for count in range(_TOGETHER):
            worst = max(worst, call(), key=partial(_unlike, own))
            if count and time.perf_counter() - began > _TOGETHER_S:
                break
        return worst

    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        with warnings.catch_warnings(), ThreadPoolExecutor(len(steps)) as threads:
            warnings.simplefilter("ignore")
            for i in range(len(steps) if folder else 0):
                j = (i + 1) % len(steps)
                result, others = threads.submit(
                    between_lines, calls[i], calls[j], str(folder)
                ).result()
                # An exception may come from the tracing alone, which compilers refuse.
                found[i] += [r for r in (result,) if r.error is None]
                found[j] += [r for r in others if r.error is None]
            for results, worst in zip(found, threads.map(again, calls, alone), strict=True):
                results.append(worst)
    finally:
        sys.setswitchinterval(interval)
    return [max(rs, key=partial(_unlike, own)) for rs, own in zip(found, alone, strict=True)]


def _caller_of(function: Callable[..., Any], backend: Backend, step: Step) -> Callable[[], Result]:
    """The plain call of a step, which may be made many times."""
    native = [backend.from_numpy(a) for a in _prepared(step, [])]
    options = _axis_of(step) | step.numbers

    def call() -> Result:
        try:
            with np.errstate(all="ignore"):
                value = function(*native, **options)
                backend.synchronize()
        except (Exception, SystemExit) as e:
            return Result(error=_line(e))
        raw = [np.asarray(backend.to_numpy(p)) for p in _parts(value)]
        copies = tuple(np.array(_transferable(r), copy=True) for r in raw)
        return Result(copies, tuple(_dtype_name(r) for r in raw))

    return call


def _unlike(own: Result, result: Result) -> int:
    """In how many bytes a result differs from that of the same call alone.

    Most where it has an error or a shape of its own.
    """
    if result is own:
        return 0
    if [a.shape for a in result.arrays] != [a.shape for a in own.arrays]:
        return sys.maxsize
    here, alone = (b"".join(a.tobytes() for a in r.arrays) for r in (result, own))
    return int(np.count_nonzero(np.frombuffer(here, np.uint8) != np.frombuffer(alone, np.uint8)))


def _in_a_child(function: Functions, backend: Backend, steps: Sequence[Step]) -> list[Result]:
    calls = [partial(_one_by_one, function, backend, [step]) for step in steps]
    return [Result(error=a) if isinstance(a, str) else a[0] for a in in_a_child(calls)]


def _one_by_one(function: Functions, backend: Backend, steps: Sequence[Step]) -> list[Result]:
    """The steps in this thread; results are copied when a call returns and compared at the end."""
    results: list[Result] = []
    kept: list[list[Array]] = []
    live: list[list[Array]] = []
    for step in steps:
        kept.append(_prepared(step, kept))
        result, raw = _made(function(step.operation), backend, step, kept[-1])
        results.append(result)
        live.append(raw)
    for i, (result, raw) in enumerate(zip(results, live, strict=True)):
        later = [np.array(_transferable(r), copy=True) for r in raw]
        if not all(same_bytes(a, b) for a, b in zip(result.arrays, later, strict=False)):
            results[i] = replace(result, changed=True)
    return results


def _made(
    own: Callable[..., Any], backend: Backend, step: Step, arrays: list[Array]
) -> tuple[Result, list[Array]]:
    """One call, and its results where they lie; none of those that later calls may change."""
    lacking = lacks(own, step)
    call: Callable[..., Any] | None = own
    if step.scale is not None:
        call = compiled_caller(own, backend, step.scale, arrays[0].dtype)
    if call is None or lacking:
        reason = lacking or "nothing traces or compiles its caller: the product is rounded"
        return Result(not_made=reason), []
    within = step.out in ("alias", "overlap")  # out= lies in the memory of the input
    inputs = arrays[int(within) :]
    before = [a.tobytes() for a in (step.arrays[int(within) :] if step.tiled else inputs)]
    around = [None if owner(a) is a else owner(a).tobytes() for a in inputs]
    options = _native_keywords(step, backend) | ({} if step.positional else _axis_of(step))
    by_position = (step.axis,) if step.positional else ()
    wide = None
    ignored = left = False
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            native = [backend.from_numpy(a) for a in arrays]
            if step.out != "none":
                options["out"], wide = _out_for(step, native, arrays[0], backend)
            value = call(*native, *by_position, **options)
            backend.synchronize()
            raw = [np.asarray(backend.to_numpy(p)) for p in _parts(value)]
            if step.out != "none":
                held = np.asarray(backend.to_numpy(options["out"]))
                ignored = not (len(raw) == 1 and np.array_equal(held, raw[0], equal_nan=True))
                left = ignored and not within and bool(np.all(held == _MARGIN))
            sent = [_transferable(r) for r in raw]
            if step.tiled is not None:
                pairs = [_summed_up(step, r) for r in sent]
                sent = [v for v, _ in pairs] + [places for _, places in pairs]
            copies = [np.array(s, copy=True) for s in sent]
    except (Exception, SystemExit) as e:
        return Result(error=_line(e)), []
    # Of many repetitions, each still has the bytes that it was given.
    after = (_summed_up(step, a)[0] if step.tiled else [a] for a in inputs)
    modified = any(a.tobytes() != b for each, b in zip(after, before, strict=True) for a in each)
    overrun = any(
        b is not None and owner(a).tobytes() != b for a, b in zip(inputs, around, strict=True)
    )
    if wide is not None:
        overrun |= bool(np.any(wide[..., :2] != _MARGIN) or np.any(wide[..., -1:] != _MARGIN))
    result = Result(
        arrays=tuple(copies),
        dtypes=tuple(_dtype_name(r) for r in raw),
        shapes=tuple(r.shape for r in raw),
        modified=modified,
        overrun=overrun and not modified,
        shared=any(np.may_share_memory(r, a) for r in raw for a in inputs),
        out_ignored=ignored,
        out_left=left,
    )
    # A result that is the input (out=x), or a reused array, may change for good reason.
    overlaps = (within or step.same is not None) and any(
        np.shares_memory(r, a) for r in raw for a in arrays
    )
    return result, [] if overlaps or step.tiled is not None else raw


_CALLERS: dict[Caller, Callable[[Functions, Backend, Sequence[Step]], list[Result]]] = {
    "own": _one_by_one,
    "thread": _from_a_thread,
    "together": _together,
    "fork": _in_a_child,
}


@cache
def _implementation(path: str) -> LocalImplementation:
    return LocalImplementation(read_metadata(Path(path)))


@cache
def _remember_programs(backend: str) -> None:
    """Keep what XLA compiles for the next time: a fifth of a second for each of 500 shapes.

    Only here, where nothing is timed. What is read back is the program that was compiled.
    """
    if backend != "jax":
        return
    import jax

    from harness.reference.cache import cache_directory

    folder = cache_directory() / "xla" / f"jax-{jax.__version__}"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def import_subject(path: str) -> None:
    """Import the implementation at `path` and its array library: seconds, for some."""
    _implementation(path).module()


def perform(*arrays: Array, path: str, steps: list[dict[str, Any]]) -> tuple[Array, ...]:
    """`perform_steps` on the implementation at `path`, over the worker's pipe."""
    implementation = _implementation(path)
    library = implementation.metadata.backend
    _remember_programs(library)
    function, backend = partial(getattr, implementation.module()), backends.get(library)
    plain, values = packed(perform_steps(function, backend, unpacked(Step, steps, arrays)))
    return np.frombuffer(json.dumps(plain).encode(), np.uint8).copy(), *values
