"""Child processes of the coordinator: started from one thread, overheard, and ended to the last.

A worker is the leader of a session of its own, dies with the coordinator, and carries a token in
its environment: whatever it forks or starts inherits that, so that it is found and killed when the
worker is ended, even from another session.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue

TOKEN_VARIABLE = "SOFTMAX_BENCH_WORKER"
MAX_OUTPUT = 64 << 20
_KEPT_OUTPUT = 16 << 10
_ROUNDS = 5

_Job = tuple[Callable[[], subprocess.Popen[bytes]], "Future[subprocess.Popen[bytes]]"]


class _Starter:
    """A thread that starts processes, and lasts as long as this one.

    A worker is killed when the *thread* that started it ends (`harness.confinement`); those of
    a thread pool end early.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self, job: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="starter", daemon=True)
                self._thread.start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((job, future))
        return future.result()

    def _serve(self) -> None:
        while True:
            job, future = self._jobs.get()
            try:
                future.set_result(job())
            except BaseException as e:
                future.set_exception(e)


_starter = _Starter()


def _forget_starter() -> None:
    global _starter
    _starter = _Starter()  # a fork of this process has no such thread


os.register_at_fork(after_in_child=_forget_starter)


class Output:
    """What a process prints: read as it comes, the end kept, too much of it reported once.

    Args:
        too_much: called, in another thread, when more than `MAX_OUTPUT` bytes have come.
    """

    def __init__(self, too_much: Callable[[], None]) -> None:
        self._read, self.write_end = os.pipe()
        self._wake, self._waker = os.pipe()
        self._too_much = too_much
        self._tail = bytearray()
        self.total = 0
        self._done = threading.Event()
        threading.Thread(target=self._listen, name="output", daemon=True).start()

    @property
    def excessive(self) -> bool:
        return self.total > MAX_OUTPUT

    def started(self) -> None:
        """The process has its end of the pipe; ours is closed."""
        os.close(self.write_end)

    def _listen(self) -> None:
        try:
            while True:
                ready = select.select([self._read, self._wake], [], [])[0]
                if self._read not in ready:  # woken, and all that was printed has been read
                    return
                data = os.read(self._read, 1 << 16)
                if not data:
                    return
                reported = self.excessive
                self.total += len(data)
                self._tail += data
                del self._tail[:-_KEPT_OUTPUT]
                if self.excessive and not reported:
                    self._too_much()
        except OSError:
            return
        finally:
            self._done.set()

    def tail(self, size: int = 2000) -> str:
        """The last characters printed so far."""
        return bytes(self._tail[-size:]).decode(errors="replace")

    def close(self) -> None:
        """Read what is there, and no more."""
        os.write(self._waker, b"x")
        self._done.wait(5.0)
        for fd in (self._read, self._wake, self._waker):
            os.close(fd)


class Child:
    """A running child process, and everything that it starts.

    Args:
        command: the command line.
        pass_fds: descriptors that it inherits.
        environment: all of its environment but the token.
        cwd: its working directory.

    Raises:
        OSError: it could not be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        pass_fds: Sequence[int],
        environment: Mapping[str, str],
        cwd: str | None = None,
    ) -> None:
        # A worker of a worker (conformance) bears the tokens of both
        self.token = f"{os.environ.get(TOKEN_VARIABLE, '')}/{secrets.token_hex(8)}"
        self.output = Output(self.signal_all)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = _starter.start(
                lambda: subprocess.Popen(
                    command,
                    pass_fds=pass_fds,
                    stdin=subprocess.DEVNULL,
                    stdout=self.output.write_end,
                    stderr=self.output.write_end,
                    env={**environment, TOKEN_VARIABLE: self.token},
                    cwd=cwd,
                    start_new_session=True,  # Ctrl-C is the coordinator's to handle
                )
            )
        finally:
            self.output.started()
            if self._process is None:
                self.output.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def wait(self, timeout: float) -> int | None:
        """The exit status, negative for a signal; None if it still runs after `timeout` s."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        return None

    def signal_all(self) -> None:
        """SIGKILL to the process and its group; nothing is waited for."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it and all that it started, and wait until it is gone."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for _ in range(_ROUNDS):  # one may fork while we look
            strays = bearers(self.token)
            for pid in strays:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if not set(strays) - {self._process.pid}:
                break
        self._process.wait()
        self.output.close()


def bearers(token: str) -> list[int]:
    """Processes whose environment has the token, those of workers of theirs included."""
    wanted = f"{TOKEN_VARIABLE}={token}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it has just ended, or is another user's
                environment = (Path(entry.path) / "environ").read_bytes()
                if any(
                    v == wanted or v.startswith(wanted + b"/") for v in environment.split(b"\0")
                ):
                    found.append(int(entry.name))
    return found
