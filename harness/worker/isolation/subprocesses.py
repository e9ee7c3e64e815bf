"""Child processes of the coordinator: started from one thread, their output kept, all ended.

A worker is the leader of a session of its own, dies with the coordinator, and carries a token in
its environment: whatever it forks or starts inherits that, so that it is found and killed when the
worker is ended, even from another session. Should the coordinator be killed, `reaper` does
it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import resource
import secrets
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from queue import SimpleQueue

from harness.errors import UserError
from harness.worker.isolation import address_space, reaper
from harness.worker.isolation.reaper import TOKEN_VARIABLE

MAX_OUTPUT = 64 << 20
_KEPT_OUTPUT = 16 << 10
_FAREWELL_S = 5.0

_OWN_FILES, _FILES_PER_CHILD = 64, 8
"""Descriptors: what a process needs for itself (26 were seen), and for each of its children (5)."""
_CHILDREN_OF_OURS = 12
"""Workers of the harness, such as those of the limits, and processes that judge."""


def allow_open_files(implementations: int) -> None:
    """Have as many open files allowed as a run of so many implementations takes.

    Each has a worker, and a control. With too few files it would be blamed for what it cannot open.

    Raises:
        TooFewFiles: the hard limit is below that.
    """
    needed = _OWN_FILES + _FILES_PER_CHILD * (2 * implementations + _CHILDREN_OF_OURS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise TooFewFiles(
            f"open files: expected a limit of at least {needed}; got {hard}; raise it with "
            f"ulimit -n {needed}, in a new shell if this one refuses"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class TooFewFiles(UserError):
    """The system lets this process open fewer files than it needs."""


_Job = tuple[Callable[[], subprocess.Popen[bytes]], "Future[subprocess.Popen[bytes]]"]


class _Starter:
    """A thread that starts processes, and lasts as long as this one.

    A worker is killed when the *thread* that started it ends (`resource_limits`); those of
    a thread pool end before what `atexit` does, and the workers' children would be left.
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


class _Survivor:
    """The process that outlives this one by a moment (`reaper`), and what it was told."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._known: dict[str, None] = {}
        self._lock = threading.Lock()

    def learn(self, name: str) -> None:
        """It is to kill what bears this token, or belongs to this worker."""
        with self._lock:
            self._known[name] = None
            if self._process is None or self._process.poll() is not None:
                self._start()
            else:
                self._tell(f"+{name}\n")

    def forget(self, name: str) -> None:
        with self._lock:
            self._known.pop(name, None)
            self._tell(f"-{name}\n")

    def _start(self) -> None:
        self._close()
        with contextlib.suppress(OSError):  # then what a worker leaves after a kill -9 stays
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", reaper.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={k: v for k, v in os.environ.items() if k != TOKEN_VARIABLE},
                cwd="/",
                start_new_session=True,
            )
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)
            self._tell("".join(f"+{name}\n" for name in self._known))

    def _tell(self, text: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it was killed: the next worker brings another
                os.write(self._process.stdin.fileno(), text.encode())

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def end(self) -> None:
        """Let it do its work now, and wait for it."""
        with self._lock:
            self._close()
            if self._process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_FAREWELL_S)
                self._process = None

    def disown(self) -> None:
        """In a fork of this process: it is the other's, and must see the other's end alone."""
        self._close()
        if self._process is not None:
            self._process.returncode = 0  # it is no child of ours to wait for


_starter = _Starter()
_survivor = _Survivor()


def _forget() -> None:
    global _starter, _survivor
    _starter = _Starter()  # a fork of this process has no such thread
    _survivor.disown()
    _survivor = _Survivor()


os.register_at_fork(after_in_child=_forget)
atexit.register(lambda: _survivor.end())


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
        fixed_addresses: have its parts where they are in every process of the same program.

    Raises:
        OSError: it could not be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        pass_fds: Sequence[int],
        environment: Mapping[str, str],
        *,
        fixed_addresses: bool = False,
    ) -> None:
        # A worker of a worker (conformance) bears the tokens of both
        self.token = f"{os.environ.get(TOKEN_VARIABLE, '')}/{secrets.token_hex(8)}"
        self.output = Output(self.signal_all)
        self._process: subprocess.Popen[bytes] | None = None
        _survivor.learn(self.token)

        def start() -> subprocess.Popen[bytes]:
            with address_space.fixed_addresses() if fixed_addresses else contextlib.nullcontext():
                return subprocess.Popen(
                    command,
                    pass_fds=pass_fds,
                    stdin=subprocess.DEVNULL,
                    stdout=self.output.write_end,
                    stderr=self.output.write_end,
                    env={**environment, TOKEN_VARIABLE: self.token},
                    start_new_session=True,  # Ctrl-C is the coordinator's to handle
                )

        try:
            self._process = _starter.start(start)
        finally:
            self.output.started()
            if self._process is None:
                _survivor.forget(self.token)
                self.output.close()
        _survivor.learn(f"{self._process.pid}")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait(self, timeout: float) -> int | None:
        """The exit status, negative for a signal; None if it still runs after `timeout` s."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout)
        return None

    def signal_all(self) -> None:
        """SIGKILL to the process and its group; nothing is waited for."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def end_all(children: Sequence[Child]) -> None:
    """Kill children and all that they started, found in one search; wait until they are gone."""
    if not children:
        return
    reaper.kill_all([child.token for child in children], [child.pid for child in children])
    for child in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    for child in children:
        child.process.wait()
        _survivor.forget(child.token)
        _survivor.forget(f"{child.pid}")
        child.output.close()
