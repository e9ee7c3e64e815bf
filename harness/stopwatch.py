"""Timings in a worker: inputs kept in place, calls prepared, and one sample of them at a time."""

from __future__ import annotations

import functools
import gc
import itertools
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reply = tuple[dict[str, Any], list[NDArray[Any]]]

_CALIBRATION_NS = 200_000
_QUICK_NS = 20_000_000
_MAX_CALLS = 1_000_000


@dataclass
class Timing:
    """A call that is ready to be timed, and the result of the last one timed."""

    call: Callable[[], Any]
    output: Any = None


def to_arrays(backend: Any, result: Any) -> list[NDArray[Any]]:
    """What a call returned, as NumPy arrays: one, or several of a tuple."""
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(backend.to_numpy(p)) for p in parts]


class Stopwatch:
    """The worker's commands that time: what it holds between two of them.

    Args:
        backend: the array library of the implementation.
        function: finds the function of an operation by its name.
    """

    def __init__(self, backend: Any, function: Callable[[str], Callable[..., Any]]) -> None:
        self.backend = backend
        self.function = function
        self.arguments: list[Any] = []
        self.timings: dict[str, Timing] = {}

    def place(self, _: dict[str, Any], arrays: list[NDArray[Any]]) -> Reply:
        """Keep inputs for the timings to come, in place of those kept before."""
        self.release({}, [])
        self.arguments = [self.backend.from_numpy(a) for a in arrays]
        return {}, []

    def prepare(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Make the first call of a timing on the inputs in place, warm up and calibrate.

        The output is allocated and touched beforehand unless the call is to allocate its own.
        The reply's `calls` makes a sample at least `min_sample_ns` long.
        """
        function = self.function(header["operation"])
        options = dict(header.get("options", {}))
        if not header["allocating"]:
            options["out"] = self.backend.empty_like(self.arguments[0])
            self.backend.prefault(options["out"])
        timing = Timing(functools.partial(function, *self.arguments, **options))
        self.timings[header["handle"]] = timing
        first = self._time(timing, 1)
        end_of_warm_up = time.perf_counter_ns() + int(header["warm_up_ns"])
        calls = 1
        per_call = float(self._time(timing, 1))
        # The fastest of several: an interruption must not pass for a slow function.
        for _i in range(3):
            if per_call < _QUICK_NS:
                per_call = min(per_call, self._time(timing, 1))
        while calls * per_call < _CALIBRATION_NS and calls < _MAX_CALLS:
            calls *= 4
            per_call = min(per_call, self._time(timing, calls) / calls)
        while time.perf_counter_ns() < end_of_warm_up:
            per_call = min(per_call, self._time(timing, calls) / calls)
        needed = int(np.ceil(header["min_sample_ns"] / max(per_call, 1.0)))
        return {"first_call_ns": first, "calls": max(1, min(needed, _MAX_CALLS))}, []

    def _time(self, timing: Timing, calls: int) -> int:
        call, synchronize = timing.call, self.backend.synchronize
        timing.output = result = None
        enabled = gc.isenabled()
        gc.disable()
        try:
            started = time.perf_counter_ns()
            for _ in itertools.repeat(None, calls):
                result = call()
            synchronize()
            elapsed = time.perf_counter_ns() - started
        finally:
            if enabled:
                gc.enable()
        timing.output = result
        return elapsed

    def sample(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """One sample of `calls` calls, after `warm` calls that are not counted.

        Also how often the system took a processor away from one of its threads meanwhile.
        """
        timing = self.timings[header["handle"]]
        if header["warm"]:
            self._time(timing, header["warm"])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        elapsed = self._time(timing, header["calls"])
        preempted = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before
        return {"elapsed_ns": elapsed, "preempted": preempted}, []

    def output_rows(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Rows of the last timed call's output, for the accuracy gate; its shape and dtype."""
        result = to_arrays(self.backend, self.timings[header["handle"]].output)[0]
        reply = {"shape": list(result.shape), "dtype": result.dtype.name}
        rows = np.asarray(header["rows"])
        fits = result.ndim == 2 and rows.max() < len(result)
        return reply, [result[rows]] if fits else []

    def release(self, _: dict[str, Any], __: list[NDArray[Any]]) -> Reply:
        """Drop the inputs, outputs and timings."""
        self.timings = {}
        self.arguments = []
        return {}, []
