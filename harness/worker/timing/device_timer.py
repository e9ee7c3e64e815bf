"""Timings on a device, in a worker: buffers in rotation, windows between events, graphs.

Like `host_timer` it judges nothing. A window begins and ends with an event on the legacy
default stream; what goes on after the end event, on a stream that does not wait, is measured by a
wait for the whole device and told as `after_ns`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.worker.backends.device import Device
from harness.worker.timing.host_timer import Reply, to_arrays
from harness.worker.timing.warmup import CAP_NS, MAX_CALLS, warm_up

GRAPH_CALLS = 32
"""Calls in one graph: its launch is shared by so many."""
TRANSFERS = 3

_clock = time.perf_counter_ns


@dataclass
class _Timing:
    """A call that is ready: `step` asks for one unit of work, of `calls_a_step` calls."""

    function: Callable[..., Any]
    options: dict[str, Any]
    own_output: bool
    step: Callable[[], None] = lambda: None
    calls_a_step: int = 1
    position: int = 0
    output: Any = None


@dataclass
class _Window:
    elapsed_ns: float
    after_ns: int


@dataclass
class DeviceStopwatch:
    """The worker's commands that time on a device.

    Args:
        backend: the array library; it has a device.
        function: finds the function of an operation by its name.
    """

    backend: Any
    function: Callable[[str], Callable[..., Any]]
    inputs: list[list[Any]] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    timings: dict[str, _Timing] = field(default_factory=dict)

    @property
    def device(self) -> Device:
        device: Device | None = self.backend.device
        if device is None:
            raise ValueError(f"backend {self.backend.name}: expected a device; it has none")
        return device

    def device_facts(self, _: dict[str, Any], __: list[NDArray[Any]]) -> Reply:
        """The device, and how much of its memory is free."""
        return dict(vars(self.device.facts())), []

    def device_place(self, header: dict[str, Any], arrays: list[NDArray[Any]]) -> Reply:
        """`buffers` sets of inputs of `rows` rows, each filled with a block over and over.

        A block of one dimension has one entry a row. `outputs` asks for an array like the first
        input in each set. The reply has the times in which the first block itself went to the
        device and back, as the array library moves it (pageable memory): no part of any kernel's
        time.
        """
        self.device_release({}, [])
        to_device, to_host = [], []
        for _ in range(TRANSFERS):
            started = _clock()
            moved = self.backend.from_numpy(arrays[0])
            self.device.synchronize()
            to_device.append(_clock() - started)
            started = _clock()
            self.backend.to_numpy(moved)
            to_host.append(_clock() - started)
            del moved
        for _ in range(header["buffers"]):
            self.inputs.append([self._whole(block, header["rows"]) for block in arrays])
            if header["outputs"]:
                self.outputs.append(self.device.empty(self.inputs[-1][0], header["rows"]))
                self.backend.prefault(self.outputs[-1])
        self.device.synchronize()
        return {
            "host_to_device_ns": float(np.median(to_device)),
            "device_to_host_ns": float(np.median(to_host)),
            "transfer_bytes": arrays[0].nbytes,
        }, []

    def _whole(self, block: NDArray[Any], rows: int) -> Any:
        """A new native array of so many rows, filled with a block."""
        part = self.backend.from_numpy(block.reshape(len(block), -1))
        whole = self.device.fill(self.device.empty(part, rows), part)
        return whole if block.ndim > 1 else whole.reshape(-1)

    def _refill(self, given: list[Any], blocks: list[NDArray[Any]]) -> list[Any]:
        """Inputs with other content; at their old places where the library can write there."""
        filled = []
        for whole, block in zip(given, blocks, strict=True):
            part = self.backend.from_numpy(block.reshape(len(block), -1))
            if block.ndim > 1:
                filled.append(self.device.fill(whole, part))
            else:
                filled.append(self.device.fill(whole.reshape(-1, 1), part).reshape(-1))
        return filled

    def _call(self, timing: _Timing) -> None:
        at = timing.position % len(self.inputs)
        timing.position += 1
        if timing.own_output:
            timing.output = timing.function(*self.inputs[at], **timing.options)
        else:
            options = {**timing.options, "out": self.outputs[at]}
            timing.output = timing.function(*self.inputs[at], **options)

    def _timing(self, header: dict[str, Any]) -> _Timing:
        operation = header["operation"]
        if operation in self.device.limits:
            move = self.device.limits[operation]

            def function(*inputs: Any, out: Any) -> Any:
                move(inputs, out)
                return out

            return _Timing(function, {}, own_output=False)
        options = dict(header.get("options", {}))
        return _Timing(self.function(operation), options, own_output=bool(header["allocating"]))

    def device_prepare(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """The first call, the warm-up by its rule, the graph if one is wanted, calibration.

        The reply's `calls` makes a window of at least `min_sample_ns`; with a graph it is a
        multiple of the calls in it.
        """
        timing = self._timing(header)
        self.timings[header["handle"]] = timing
        timing.step = lambda: self._call(timing)
        self.device.synchronize()
        started = _clock()
        timing.step()
        self.device.synchronize()
        first = _clock() - started
        if header.get("graph"):
            if self.device.capture is None:
                raise ValueError(f"backend {self.backend.name}: expected graphs; it has none")
            timing.step = self.device.capture(lambda: self._calls(timing))
            timing.calls_a_step = GRAPH_CALLS
        warm = warm_up(
            lambda steps: max(1, round(self._window(timing, steps).elapsed_ns)),
            int(header["warm_up_ns"]),
            int(header.get("warm_up_cap_ns", CAP_NS)),
        )
        steps = int(np.ceil(header["min_sample_ns"] / max(warm.per_call_ns, 1.0)))
        return {
            "first_call_ns": first,
            "calls": timing.calls_a_step * max(1, min(steps, MAX_CALLS)),
            "per_call_ns": warm.per_call_ns / timing.calls_a_step,
            "warm_up_ns": warm.elapsed_ns,
            "warm_up_calls": warm.calls * timing.calls_a_step,
            "warm_up_settled": warm.settled,
            "clock": self.device.clock,
        }, []

    def _calls(self, timing: _Timing) -> None:
        for _ in range(GRAPH_CALLS):
            self._call(timing)

    def _window(self, timing: _Timing, steps: int) -> _Window:
        """So many steps between two events, behind one that is not timed.

        The device comes from another process, whose addresses and caches it still has, and the
        first launch must not find it idle.
        """
        device, step = self.device, timing.step
        device.synchronize()
        enabled = gc.isenabled()
        gc.disable()
        try:
            step()
            begin = device.record()
            for _ in range(steps):
                step()
            end = device.record()
            device.wait(end)
            seen = _clock()
            device.synchronize()
            finished = _clock()
        finally:
            if enabled:
                gc.enable()
        return _Window(device.elapsed_ns(begin, end), finished - seen)

    def device_sample(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """One window of `calls` calls."""
        timing = self.timings[header["handle"]]
        return vars(self._window(timing, max(1, header["calls"] // timing.calls_a_step))), []

    def device_output(self, header: dict[str, Any], arrays: list[NDArray[Any]]) -> Reply:
        """Rows of the last timed output; with blocks, of one more step on those as the inputs.

        The old outputs are wiped first in that case, and the rows are read in the order of the
        default stream, as a caller would: work that was put off to another stream is not there.
        """
        timing = self.timings[header["handle"]]
        if arrays:
            self.inputs = [self._refill(given, arrays) for given in self.inputs]
            for result in self.outputs:
                self.backend.prefault(result)
            self.device.synchronize()
            timing.step()
        output = timing.output
        results: tuple[Any, ...] = output if isinstance(output, tuple) else (output,)
        parts = [to_arrays(self.backend, self.device.rows(r, header["rows"]))[0] for r in results]
        return {"shapes": [[int(n) for n in getattr(r, "bits", r).shape] for r in results]}, parts

    def device_release(self, _: dict[str, Any], __: list[NDArray[Any]]) -> Reply:
        """Drop every buffer, graph and timing, and give the memory back to the device."""
        self.timings = {}
        self.inputs, self.outputs = [], []
        gc.collect()
        self.device.free()
        return {}, []
