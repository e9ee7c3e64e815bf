"""A worker process as the coordinator sees it: requests with a deadline, faults as values.

Whatever happens to the process becomes a `WorkerFault` with a status and a reason fit for a
record, and the next request starts a fresh process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from harness.records import Status
from harness.text import one_line
from harness.worker import transport
from harness.worker.compiling import FIRST_S, limit_of
from harness.worker.isolation.activity import tasks
from harness.worker.isolation.address_space import AddressSpace
from harness.worker.isolation.numba_cache import compiled_cache
from harness.worker.isolation.resource_limits import reply_limit
from harness.worker.isolation.scheduling import Share, Turns, crowded, longer, share, turns
from harness.worker.isolation.subprocesses import MAX_OUTPUT, Child, end_all
from harness.worker.replies import checked

_KEPT = str(1 << 40)

ENVIRONMENT = {
    # What is freed stays with the process: else whether a call faults in its pages anew depends on
    # what others freed before, and the same code takes once and a half the time
    "MALLOC_MMAP_THRESHOLD_": _KEPT,
    "MALLOC_TRIM_THRESHOLD_": _KEPT,
    # workqueue launches take 50 times as long as omp ones, and abort when nested
    "NUMBA_THREADING_LAYER_PRIORITY": "omp tbb workqueue",
    "PYTHONFAULTHANDLER": "0",
    "MPLBACKEND": "Agg",
}

INHERITED = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "CUDA_VISIBLE_DEVICES",
    "MALLOC_ARENA_MAX", "LD_PRELOAD", "TORCH_NUM_THREADS",
)  # fmt: skip
"""Variables that change threads or speed, and that workers inherit."""

_ADDRESS = "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR"
"""Inductor keeps an address of this process here. A worker whose first compilation changed the one
that it inherited would be told off for that, and replaced after every call."""

_POLL_S = 0.0003
_PIPE_BYTES = 1 << 20
"""With the 64 KiB that pipes have, large arrays take two to five times as long."""


def _threads(count: int, bound: bool) -> dict[str, Any]:
    return {"count": count, "bound": bound}


_LEAST_S = 3.0
"""The shortest limit of a request to a worker that hung before."""


class WorkerFault(Exception):
    """A request that gave no result.

    Attributes:
        status: the status of the record that it becomes.
        reason: one line, of characters that every file and terminal can hold.
        absent: whether it may be no fault of the code: a library, compiler or device is absent.
        lasting: whether a new process would do the same.
    """

    def __init__(
        self, status: Status, reason: str, detail: str = "", *, absent: bool = False,
        lasting: bool = False,
    ) -> None:  # fmt: skip
        reason = one_line(reason)
        super().__init__(reason)
        self.status: Status = status
        self.reason = reason
        self.detail = detail
        self.absent = absent
        self.lasting = lasting


class RemoteImplementation:
    """One implementation (or module of limits) in a process of its own.

    Args:
        name: for messages.
        load: arguments of the worker's `load` command: a ``path`` or a ``module``.
        environment: variables added to the worker's environment.

    Attributes:
        patience_s: seconds that requests may pass without an answer, all together. Once one has,
            the next are given a third of what is left; in the end none is tried any more.
        hung_s: seconds that have passed so.
        compiles: whether a `call` may have to compile first.
        first_s: seconds that the first `call` took; None before it.
        keeps: the threads and processes that were seen to stay between calls, in words.
    """

    def __init__(
        self, name: str, load: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._load = dict(load)
        self._environment = dict(environment or {})
        self._process: Child | None = None
        self._read = self._write = -1
        self._next_id = 0
        self._threads: dict[str, Any] | None = None
        self._unloadable: WorkerFault | None = None
        self.keeps = ""
        self.address_space: AddressSpace | None = None
        self.patience_s, self.hung_s = 1e9, 0.0
        self.compiles = False
        self.first_s: float | None = None
        self._cores: int | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _start(self, timeout: float) -> None:
        their_read, self._write = os.pipe()
        self._read, their_write = os.pipe()
        os.set_blocking(self._write, False)
        with contextlib.suppress(OSError):  # a user has only so much
            fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        ends = (str(their_read), str(their_write), str(os.getpid()))
        inherited = {k: v for k, v in os.environ.items() if k != _ADDRESS}
        space = self.address_space
        server = "harness.worker.server"
        program = ["-m", server] if space is None else space.program(server)
        # Where there is to be one thread: no others of NumPy's library, which spin at first
        alone = {"OPENBLAS_NUM_THREADS": "1"} if self._threads == _threads(1, True) else {}
        try:
            self._process = Child(
                # -P: a file of the current folder must not stand in for a package
                [sys.executable, "-P", *program, *ends],
                pass_fds=(their_read, their_write),
                environment={
                    **inherited, **ENVIRONMENT, **compiled_cache(), **self._environment,
                    **alone, "PYTHONPATH": path,
                    **({} if space is None else space.environment),
                },
                fixed_addresses=space is not None,
            )  # fmt: skip
        except (OSError, RuntimeError) as e:
            self.stop()
            raise WorkerFault("error", f"load: the process could not be started: {e}") from None
        finally:
            os.close(their_read)
            os.close(their_write)
        try:
            self._exchange("load", self._load, (), timeout)
        except WorkerFault as fault:
            if fault.status in ("error", "timeout"):  # what it does once it does every time
                self._unloadable = fault
            raise
        if self._threads is not None:
            self._exchange("threads", self._threads, (), timeout)

    def request(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        arrays: tuple[NDArray[Any], ...] = (),
        timeout: float = 60.0,
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Send one command and wait for its answer; starts the process if there is none.

        Args:
            timeout: seconds for the answer; the process is killed when they have passed.

        Raises:
            WorkerFault: it raised, ran out of memory, crashed, or did not answer in time.
        """
        if self._unloadable is not None:
            raise self._unloadable
        if self.hung_s >= self.patience_s:
            reason = f"not tried: {self.hung_s:.0f} s had passed without an answer"
            raise WorkerFault("skipped", reason)
        if self.hung_s:
            timeout = min(timeout, max((self.patience_s - self.hung_s) / 3.0, _LEAST_S))
        if self._process is None:
            self._start(max(timeout, 120.0))
        return self._exchange(command, arguments or {}, arrays, timeout)

    def call(
        self, arguments: Mapping[str, Any], arrays: tuple[NDArray[Any], ...], timeout: float,
        calls: int = 1,
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:  # fmt: skip
        """The command ``run``, with time to compile where it may have to.

        Args:
            timeout: seconds for the answer, were everything compiled.
            calls: how many calls of the implementation it stands for.

        Raises:
            WorkerFault: as in `request`.
        """
        if self._process is None:  # importing is no call, and may take longer than one
            self.request("release", timeout=max(timeout, FIRST_S))
        limit = limit_of(timeout, self.first_s, calls) if self.compiles else timeout
        started = time.perf_counter()
        answer = self.request("run", arguments, arrays, limit)
        if self.first_s is None:
            self.first_s = time.perf_counter() - started
        return answer

    def set_threads(self, count: int, *, bound: bool = False) -> int | None:
        """Give the implementation `count` threads, now and after any restart; what is in force.

        Args:
            bound: give them as many cores alone, the same for every worker: for timings, which
                take turns. Where that changes it takes a new process: libraries look once how
                many cores there are, and wait for each other accordingly ever after.
        """
        if bound and self.new_for(count):
            self.stop()
        self.expect_threads(count, bound=bound)
        reply, _ = self.request("threads", self._threads)
        return reply["threads"]  # type: ignore[no-any-return]

    def bind(self, cores: int) -> None:
        """Bind what it runs now to so many cores, of those that its threads are bound to."""
        if cores != self._cores:
            self.request("bind", {"count": cores})
            self._cores = cores

    def new_for(self, count: int) -> bool:
        """Whether so many bound threads would take a new process."""
        return self._threads is not None and self._threads != _threads(count, True)

    def expect_threads(self, count: int, *, bound: bool = False) -> None:
        """Give the next process so many from its beginning (`set_threads`)."""
        self._threads = _threads(count, bound)
        self._cores = count

    def settle(self, timeout: float = 0.25) -> bool:
        """Wait until no thread of the worker runs any more; False if one still does.

        The threads of an OpenMP library go on spinning for milliseconds after their work, and
        would take a core from whoever is measured next.
        """
        if self._process is None:
            return True
        pid, deadline = str(self._process.pid), time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not any(running for running, _ in tasks(pid).values()):
                return True
            time.sleep(_POLL_S)
        return False

    def _exchange(
        self,
        command: str,
        arguments: Mapping[str, Any],
        arrays: tuple[NDArray[Any], ...],
        timeout: float,
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        began, before = time.monotonic(), turns(self.pid or 0)
        self._next_id += 1
        header = {**arguments, "command": command, "id": self._next_id}
        try:
            transport.send(self._write, header, arrays, began + timeout)
            self._await(command, began, timeout, before)
            answer = transport.receive(
                self._read, time.monotonic() + timeout, max_bytes=reply_limit()
            )
        except transport.FrameTimeout:
            had = share(self.pid or 0, before)
            raise self._late(command, timeout, timeout, had) from None
        except (transport.FrameClosed, BrokenPipeError) as e:
            raise self._death(command, e) from None
        except transport.FrameError as e:
            raise self._no_answer(command, e) from None
        return self._answer(command, arguments, *answer)

    def _await(self, command: str, began: float, timeout: float, before: Turns) -> None:
        """Wait for the answer to begin; longer, once, where the machine was too busy to give one.

        Raises:
            WorkerFault: it did not.
        """
        limit = timeout
        while not transport.begins(self._read, began + limit):
            had = share(self.pid or 0, before)
            if limit > timeout or not crowded(had, limit):
                raise self._late(command, timeout, limit, had)
            limit = timeout * longer(had)

    def _late(self, command: str, timeout: float, limit: float, had: Share) -> WorkerFault:
        """That nothing came in time; the process is ended.

        Who had all the time that a quiet machine gives hangs, however many others there were.
        """
        self.stop()
        reason = f"{command}: no answer within {limit:.3g} s"
        if crowded(had, limit) and had.ran_s < timeout:
            reason += f"; it waited {had.waited_s:.3g} s of that for a processor"
            return WorkerFault("skipped", f"the machine was busy: {reason}")
        self.hung_s += limit
        return WorkerFault("timeout", reason)

    def _no_answer(self, command: str, error: Exception) -> WorkerFault:
        self.stop()
        return WorkerFault("error", f"{command}: what it answered is no answer: {error}")

    def _answer(
        self, command: str, arguments: Mapping[str, Any], reply: dict[str, Any],
        results: list[NDArray[Any]],
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:  # fmt: skip
        if reply.get("id") != self._next_id:
            self.stop()
            raise WorkerFault("error", f"{command}: answered out of turn; the worker was stopped")
        faults = [str(f) for f in reply.get("misconduct") or ()]
        self.keeps = one_line(str(reply.pop("keeps", ""))) or self.keeps
        lasting = reply.pop("lasting", False) is True
        if faults or (command == "load" and "failure" in reply):
            self.stop()
        if "failure" in reply:
            status: Status = "out_of_memory" if reply["failure"] == "out_of_memory" else "error"
            also = "".join(f"; it also {f}" for f in faults)
            reason = f"{command}: {reply.get('message')}{also}"
            absent = reply.get("absent") is True and not faults
            raise WorkerFault(status, reason, str(reply.get("traceback", "")), absent=absent)
        if faults:
            operation = arguments.get("operation") if command == "run" else None
            what = f"{command}: " if operation is None else f"{operation}: "
            reason = f"{what}{'; '.join(faults)} (the worker was replaced)"
            fault = WorkerFault("failed", reason, lasting=lasting)
            self._unloadable = fault if lasting else None
            raise fault
        try:
            return checked(command, reply), results
        except ValueError as e:
            raise self._no_answer(command, e) from None

    def _death(self, command: str, error: Exception) -> WorkerFault:
        process = self._process
        assert process is not None
        code = process.wait(2.0)
        excessive, tail = process.output.excessive, process.output.tail()
        self.stop()
        if excessive:
            reason = f"printed more than {MAX_OUTPUT >> 20} MiB; the process was killed"
            return WorkerFault("failed", f"{command}: {reason}", tail)
        if code is None:
            return WorkerFault("crashed", f"{command}: the worker closed its pipe ({error})", tail)
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            hint = ""
            status: Status = "crashed"
            if name == "SIGKILL":
                status, hint = "out_of_memory", " (by the system, most likely for its memory)"
            elif name == "SIGABRT" and "bad_alloc" in tail:
                status, hint = "out_of_memory", " (it could not allocate memory)"
            return WorkerFault(status, f"{command}: the process was killed by {name}{hint}", tail)
        return WorkerFault("crashed", f"{command}: the process left with exit status {code}", tail)

    def kill(self) -> None:
        """Kill the process, from any thread; the request in flight fails, `stop` tidies up."""
        process = self._process
        if process is not None:
            process.signal_all()

    def stop(self) -> None:
        """End the process and everything that it started; safe to call twice."""
        stop([self])


def stop(workers: Collection[RemoteImplementation]) -> None:
    """End the processes of workers and everything that they started; safe to call twice."""
    processes = [worker._process for worker in workers]
    for worker in workers:
        worker._process = None
    # before their pipes are closed: they would end by themselves, and leave orphans
    end_all([process for process in processes if process is not None])
    for worker in workers:
        ends = worker._read, worker._write
        worker._read = worker._write = -1  # first: another thread may be stopping it too
        for fd in ends:
            if fd >= 0:
                os.close(fd)


def start(workers: Collection[RemoteImplementation], *, anew: AddressSpace | None = None) -> None:
    """Start workers side by side; one that cannot start says so when it is asked.

    Args:
        anew: end the processes that they have; these and later ones have this address space.
    """

    if anew is not None:
        stop(workers)
        for worker in workers:
            worker.address_space = anew

    def one(worker: RemoteImplementation) -> None:
        with contextlib.suppress(WorkerFault):
            worker.request("release", timeout=120.0)

    with ThreadPoolExecutor(max_workers=max(1, len(workers))) as threads:
        list(threads.map(one, workers))


class Pool:
    """The workers of a run, one a name, started at their first request."""

    def __init__(self) -> None:
        self._workers: dict[str, RemoteImplementation] = {}

    def add(self, worker: RemoteImplementation) -> None:
        self._workers[worker.name] = worker

    def __getitem__(self, name: str) -> RemoteImplementation:
        return self._workers[name]

    def __contains__(self, name: object) -> bool:
        return name in self._workers

    def __iter__(self) -> Iterator[RemoteImplementation]:
        return iter(self._workers.values())

    def start(self) -> None:
        """Start every worker now, side by side; one that cannot start says so when it is asked."""
        start(self._workers.values())

    def kill(self) -> None:
        """Kill every process, so that requests in other threads end at once."""
        for worker in list(self._workers.values()):
            worker.kill()

    def stop(self) -> None:
        for worker in self._workers.values():
            worker.stop()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
