"""Timings in a worker: inputs kept in place, calls prepared, and one sample of them at a time.

The worker's side judges nothing. What it measures beside time (page faults, processor time, what a
call on new content takes and gives) goes to the coordinator as it is.
"""

from __future__ import annotations

import functools
import gc
import itertools
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.machine import counters
from harness.worker.isolation.activity import processes_ns
from harness.worker.isolation.scheduling import Waits, helped, others
from harness.worker.timing import memory_layout, thread_pools
from harness.worker.timing.cache_flush import Evictor
from harness.worker.timing.calm import probe_ns
from harness.worker.timing.warmup import CAP_NS, MAX_CALLS, warm_up

Reply = tuple[dict[str, Any], list[NDArray[Any]]]

# Bound before any implementation is imported, which might put a clock of its own in its place.
_clock = time.perf_counter_ns
_usage = resource.getrusage
_SELF = resource.RUSAGE_SELF


@dataclass
class Timing:
    """A call that is ready to be timed, and the result of the last one timed.

    `part` is which of several results is as large as the input, and looked at: `result`.
    """

    function: Callable[..., Any]
    options: dict[str, Any]
    output: Any = None
    part: int | None = None

    @property
    def result(self) -> Any:
        """The result that is looked at; the output as it is, where it has not the parts."""
        several = isinstance(self.output, tuple)
        if self.part is None or not several or len(self.output) <= self.part:
            return self.output
        return self.output[self.part]


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
        self.hosts: list[NDArray[Any]] = []
        self.arguments: list[Any] = []
        self.timings: dict[str, Timing] = {}
        self.evictor: Evictor | None = None

    def place(self, header: dict[str, Any], arrays: list[NDArray[Any]]) -> Reply:
        """Keep inputs for the timings to come, in place of those kept before.

        With `cold`, make ready to sweep the caches as well.
        """
        self.release({}, [])
        if header.get("cold"):
            self.evictor = Evictor()
            self.evictor.evict()
        self.hosts = list(arrays)
        self.arguments = [self.backend.from_numpy(a) for a in arrays]
        return {}, []

    def refresh(self, content: NDArray[Any]) -> None:
        """New content for the first input, at the address where the old one was if there is one."""
        np.copyto(self.hosts[0], content)
        if not self.shared():
            self.arguments[0] = self.backend.from_numpy(self.hosts[0])

    def shared(self) -> bool:
        """Whether what is written to the input here is what the function sees."""
        native = self.backend.to_numpy(self.arguments[0])
        return np.may_share_memory(native, self.hosts[0])

    def own_output(self, timing: Timing) -> None:
        """A new preallocated output, every page of it touched."""
        timing.options["out"] = self.backend.empty_like(self.arguments[0])
        self.backend.prefault(timing.options["out"])

    def prepare(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Make the first call of a timing on the inputs in place, warm up and calibrate.

        The output is allocated and touched beforehand unless the call is to allocate its own.
        The reply's `calls` of `per_call_ns` make a sample of `min_sample_ns`; `threads_found` is
        read back from the libraries after the warm-up; `helped`, whether other threads took part in
        it.
        """
        function = self.function(header["operation"])
        timing = Timing(function, dict(header.get("options", {})), part=header.get("part"))
        if not header["allocating"]:
            self.own_output(timing)
        self.timings[header["handle"]] = timing
        threads = header.get("threads")
        first = self.time(timing, 1)
        if threads:
            thread_pools.limit(threads)  # of libraries too that the first call has loaded
        before = others()
        warm = warm_up(
            lambda calls: self.time(timing, calls),
            int(header["warm_up_ns"]),
            int(header.get("warm_up_cap_ns", CAP_NS)),
        )
        needed = int(np.ceil(header["min_sample_ns"] / max(warm.per_call_ns, 1.0)))
        reply = {
            "first_call_ns": first,
            "calls": max(1, min(needed, MAX_CALLS)),
            "per_call_ns": warm.per_call_ns,
            "warm_up_ns": warm.elapsed_ns,
            "warm_up_calls": warm.calls,
            "warm_up_settled": warm.settled,
            "threads_found": thread_pools.sizes(),
            "helped": helped(before, warm.calls, warm.elapsed_ns),
        }
        if header.get("placement"):
            reply["input_placement"] = self._placement(self.arguments[0])
            reply["output_placement"] = self._placement(timing.options.get("out"))
        return reply, []

    def _placement(self, native: Any) -> dict[str, Any] | None:
        on_host = native is not None and self.backend.name != "cupy"
        return memory_layout.placement(self.backend.to_numpy(native)) if on_host else None

    def time(self, timing: Timing, calls: int, steps: Iterator[None] | None = None) -> int:
        """Nanoseconds of so many calls; `steps` may do something before each but the first."""
        steps = itertools.repeat(None, calls) if steps is None else steps
        call = functools.partial(timing.function, *self.arguments, **timing.options)
        synchronize = self.backend.synchronize
        timing.output = result = None
        enabled = gc.isenabled()
        gc.disable()
        try:
            started = _clock()
            for _ in steps:
                result = call()
            synchronize()
            elapsed = _clock() - started
        finally:
            if enabled:
                gc.enable()
        timing.output = result
        return elapsed

    def sample(self, timing: Timing, calls: int, cold: bool) -> tuple[int, ...]:
        """Of so many calls: ns, processor time, what they waited for processors, page faults.

        If `cold`, the caches are swept before each call.
        """
        total = (0, 0, 0, 0)
        for _ in range(calls if cold else 1):
            if cold:
                assert self.evictor is not None
                self.evictor.evict()
            before = _usage(_SELF)
            with Waits() as waits:
                elapsed = self.time(timing, 1 if cold else calls)
            after = _usage(_SELF)
            used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            faults = after.ru_minflt - before.ru_minflt + after.ru_majflt - before.ru_majflt
            found = (elapsed, round(1e9 * used), waits.ns, faults)
            total = tuple(a + b for a, b in zip(total, found, strict=True))  # type: ignore[assignment]
        return total

    def visit(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """`count` samples of a timing in quick succession, after a call that does not count.

        There is none if the cores are not this process's own: a probe (`calm`) takes more than
        `limit_ns`, unless that is 0. The answer has the processor time of the processes below this
        one, too.
        """
        timing, cold = self.timings[header["handle"]], bool(header["cold"])
        if cold and self.evictor is None:
            raise ValueError("visit: cold, but the input was placed without; place it so")
        elsewhere = processes_ns()
        probe = probe_ns()
        count = header["count"] if probe <= (header.get("limit_ns") or probe) else 0
        if header["warm"] and count:
            self.time(timing, 1)
        samples = [self.sample(timing, header["calls"], cold) for _ in range(count)]
        return {
            "probe_ns": probe,
            "samples": samples,
            "elsewhere_ns": max(0, processes_ns() - elsewhere),
        }, []

    def peak(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Highest resident memory of one call above the level before; None where unknown.

        With `watched`, the level alone: the coordinator watches the call from outside.
        """
        timing = self.timings[header["handle"]]
        timing.output = None
        if header.get("watched"):
            before = memory_layout.resident()
            self.time(timing, 1)
            return {"resident": before}, []
        extra = memory_layout.peak_extra(lambda: self.time(timing, 1))
        return {"extra": extra}, []

    def count(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Cycles, instructions and cache misses of `calls` calls (`harness.machine.counters`)."""
        timing = self.timings[header["handle"]]
        return dict(counters.count(lambda: self.time(timing, header["calls"]))), []

    def rows(self, native: Any, indices: Sequence[int]) -> NDArray[Any]:
        """Some rows of a native array, copied."""
        return np.asarray(self.backend.to_numpy(native))[np.asarray(indices, np.intp)].copy()

    def output_rows(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Rows of each result of the last timed call, for the accuracy gate; shapes and dtypes."""
        results = to_arrays(self.backend, self.timings[header["handle"]].output)
        rows = np.asarray(header["rows"])
        reply = {
            "shapes": [list(r.shape) for r in results],
            "dtypes": [r.dtype.name for r in results],
        }
        fits = all(r.ndim > 0 and rows.max() < len(r) for r in results)
        return reply, [r[rows] for r in results] if fits else []

    def release(self, _: dict[str, Any], __: list[NDArray[Any]]) -> Reply:
        """Drop the inputs, outputs, timings, and the buffer that sweeps the caches."""
        self.timings = {}
        self.arguments = []
        self.hosts = []
        if self.evictor is not None:
            self.evictor.close()
            self.evictor = None
        return {}, []
