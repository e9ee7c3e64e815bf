"""A device that is none: NumPy arrays, and a clock that moves when the work says so."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.worker.backends import Backend, numpy_arrays
from harness.worker.backends.device import Device, DeviceFacts
from harness.worker.client import WorkerFault
from harness.worker.server import Worker as RealWorker
from harness.worker.server import _answer, _failure
from harness.worker.timing.device_timer import DeviceStopwatch
from harness.worker.timing.host_timer import Stopwatch

LAUNCH_NS = 100.0


class OutOfMemoryError(RuntimeError):
    """Named as CuPy's and torch's are."""


class Simulation:
    """The clock and the memory of a device, shared by all that run on it.

    Attributes:
        now: ns, of host and device alike.
        put_off: ns of work that the events do not see, and a wait for the whole device does.
        capturing: what a graph being captured has recorded so far; None outside.
    """

    def __init__(self, total: int = 1 << 30, l2: int = 1 << 14) -> None:
        self.now = 0.0
        self.total, self.l2, self.used = total, l2, 0
        self.put_off = 0.0
        self.capturing: list[Callable[[], None]] | None = None
        self.freed = 0

    def clock(self) -> int:
        return int(self.now)

    def empty(self, like: Any, rows: int) -> Any:
        array = np.empty((rows, like.shape[1]), like.dtype)
        if self.used + array.nbytes > self.total:
            raise OutOfMemoryError(f"out of memory: {array.nbytes} bytes")
        self.used += array.nbytes
        weakref.finalize(array, self._gone, array.nbytes)
        return array

    def _gone(self, nbytes: int) -> None:
        self.used -= nbytes

    def launch(self, work: Callable[[], None], ns: float) -> None:
        """Do work that takes so long on the device, or record it in the graph being captured."""

        def step() -> None:
            work()
            self.now += ns

        if self.capturing is not None:
            self.capturing.append(step)
        else:
            self.now += LAUNCH_NS
            step()

    def limit(self, arrays: int, gbps: float) -> Callable[[Sequence[Any], Any], None]:
        """A kernel that moves so many arrays; what is written is the first input."""

        def move(inputs: Sequence[Any], output: Any) -> None:
            def work() -> None:
                if output is not None and arrays > 1:
                    np.copyto(output, inputs[0])

            self.launch(work, arrays * inputs[0].nbytes / gbps)

        return move

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self.capturing = []
        work()
        steps, self.capturing = self.capturing, None

        def replay() -> None:
            self.now += LAUNCH_NS
            for step in steps:
                step()

        return replay

    def synchronize(self) -> None:
        self.now += self.put_off
        self.put_off = 0.0

    def free(self) -> None:
        gc.collect()
        self.freed += 1

    def from_numpy(self, array: Any) -> Any:
        self.now += 1e9  # a transfer takes a second, so that no other time can hide one
        return array.copy()

    def device(self) -> Device:
        return Device(
            facts=lambda: DeviceFacts("simulated", self.l2, self.total - self.used, self.total),
            empty=self.empty,
            fill=_fill,
            rows=lambda native, rows: native[list(rows)],
            limits={
                "copy_memcpy": self.limit(2, 90.0),
                "copy_kernel": self.limit(2, 100.0),
                "add_kernel": self.limit(3, 105.0),
                "read_kernel": self.limit(1, 110.0),
            },
            record=lambda: self.now,
            wait=lambda event: None,
            elapsed_ns=lambda a, b: b - a,
            synchronize=self.synchronize,
            capture=self.capture,
            free=self.free,
        )

    def backend(self) -> Backend:
        plain = numpy_arrays.backend()
        values = {k: getattr(plain, k) for k in Backend.__dataclass_fields__}
        values |= {"name": "simulated", "device": self.device(), "from_numpy": self.from_numpy}
        values["synchronize"] = self.synchronize
        return Backend(**values)


def _fill(target: Any, block: Any) -> Any:
    target[...] = np.resize(block, target.shape)
    return target


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Kernel:
    """A softmax on the simulated device.

    Attributes:
        gbps: its speed.
        factor: what it multiplies its results by.
        deferred_ns: work that it leaves to a stream that nothing waits for.
        seen: the addresses of its inputs, in order.
    """

    def __init__(
        self, simulation: Simulation, gbps: float, factor: float = 1.0, deferred_ns: float = 0.0
    ) -> None:
        self.simulation, self.gbps, self.factor = simulation, gbps, factor
        self.deferred_ns = deferred_ns
        self.seen: list[int] = []

    def softmax(self, x: Any, axis: int = -1, out: Any = None) -> Any:
        self.seen.append(x.ctypes.data)
        out = np.empty_like(x) if out is None else out

        def work() -> None:
            out[...] = softmax(x) * self.factor

        self.simulation.launch(work, 2 * x.nbytes / self.gbps)
        self.simulation.put_off += self.deferred_ns
        return out

    def log_softmax(self, x: Any, axis: int = -1, out: Any = None) -> Any:
        out = np.empty_like(x) if out is None else out

        def work() -> None:
            out[...] = np.log(softmax(x)) * self.factor

        self.simulation.launch(work, 2 * x.nbytes / self.gbps)
        return out

    def softmax_backward(self, grad: Any, y: Any, axis: int = -1) -> Any:
        result = np.empty_like(y)

        def work() -> None:
            result[...] = y * (grad - (grad * y).sum(-1, keepdims=True)) * self.factor

        self.simulation.launch(work, 3 * y.nbytes / self.gbps)
        return result

    def cross_entropy(self, logits: Any, targets: Any) -> Any:
        loss, gradient = np.empty(len(logits), logits.dtype), np.empty_like(logits)

        def work() -> None:
            p, rows = softmax(logits), np.arange(len(logits))
            loss[...] = -np.log(p[rows, targets]) * self.factor
            gradient[...] = p
            gradient[rows, targets] -= 1

        self.simulation.launch(work, 2 * logits.nbytes / self.gbps)
        return loss, gradient

    def cross_entropy_loss(self, logits: Any, targets: Any) -> Any:
        loss = np.empty(len(logits), logits.dtype)

        def work() -> None:
            rows = np.arange(len(logits))
            loss[...] = -np.log(softmax(logits)[rows, targets]) * self.factor

        self.simulation.launch(work, logits.nbytes / self.gbps)
        return loss


class Worker:
    """A worker in this process, with the commands of a real one."""

    def __init__(self, name: str, simulation: Simulation, kernel: Kernel | None) -> None:
        self.name, self.kernel = name, kernel
        self.log: list[str] = []
        self.stopped = 0
        self.shared: list[tuple[str, str]] = []
        self.watch = DeviceStopwatch(simulation.backend(), lambda op: getattr(kernel, op))

    def request(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        arrays: Sequence[Any] = (),
        timeout: float = 60.0,
    ) -> Any:
        self.log.append(command)
        self.shared.append((self.name, command))
        if command == "run":
            return {"input_modified": False}, [np.exp(arrays[0])]
        try:
            return getattr(self.watch, command)(dict(arguments or {}), list(arrays))
        except Exception as e:
            failure = _failure(e, command)
        # Outside, so that no traceback holds on to a buffer; none crosses the pipe of a real one.
        raise WorkerFault(failure["failure"], f"{command}: {failure['message']}")

    def stop(self) -> None:
        self.stopped += 1


class WholeWorker(Worker):
    """A worker in this process that answers every command, with the code of a real one."""

    pid = None
    keeps = ""

    def __init__(self, name: str, simulation: Simulation, kernel: Kernel | None) -> None:
        super().__init__(name, simulation, kernel)
        self.real = RealWorker()
        self.real.module = kernel  # type: ignore[assignment]
        self.real.backend = self.watch.backend
        self.real.stopwatch = Stopwatch(self.watch.backend, self.real._function)
        self.real.device_stopwatch = self.watch

    def request(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        arrays: Sequence[Any] = (),
        timeout: float = 60.0,
    ) -> Any:
        self.log.append(command)
        try:
            return _answer(self.real, {**(arguments or {}), "command": command}, list(arrays))
        except Exception as e:
            failure = _failure(e, command)
        raise WorkerFault(failure["failure"], f"{command}: {failure['message']}")

    def kill(self) -> None:
        """There is no process."""

    def settle(self, timeout: float = 0.25) -> bool:
        return True


SOURCE = '''"""{name}."""
IMPLEMENTATION = {{"backend": "cupy", "device": "cuda", "bound": "generic", "passes": 2}}


def softmax(x, axis=-1, out=None):
    raise NotImplementedError


def log_softmax(x, axis=-1, out=None):
    raise NotImplementedError


def softmax_backward(grad, y, axis=-1):
    raise NotImplementedError


def cross_entropy(logits, targets):
    raise NotImplementedError


def cross_entropy_loss(logits, targets):
    raise NotImplementedError
'''
"""A module with every operation that is timed on a device; `name` is to be filled in."""
