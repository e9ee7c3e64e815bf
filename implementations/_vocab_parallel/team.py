"""A team of ranks on one machine: this process is the first, the others are started at a call.

The others wait between calls, and end with this process. Where one of them ends or does not answer
in time, the call raises `RankError` and the next call starts new ones.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist

from implementations._vocab_parallel import memory
from implementations._vocab_parallel.rank import kind_of_work, own_part

if TYPE_CHECKING:
    from torch import Tensor

RANKS_VARIABLE, TIMEOUT_VARIABLE = "SOFTMAX_RANKS", "SOFTMAX_RANKS_TIMEOUT"
MOST_RANKS = 4
_START_S = 120.0
_POLL_S = 0.05
_GRACE_S = 1.0
_GLOO = "gloo/transport"
"""What errors name that say only that another rank is lost."""
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])['path']; "
    "from implementations._vocab_parallel.rank import main; main()"
)


class RankError(RuntimeError):
    """A rank ended or did not answer; there are no ranks until the next call starts new ones."""


def _setting(name: str, default: str, kind: type, least: float, most: float) -> Any:
    text = os.environ.get(name, default)
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise ValueError(
            f"{name}: expected {kind.__name__} from {least:g} to {most:g}; got {text!r}"
        )
    return value


class _Fate(NamedTuple):
    """What became of a rank; the lower the place, the more it is to blame for what others say."""

    place: int
    text: str


@dataclass
class _Other:
    """A rank in a process of its own.

    Attributes:
        heard: of a line that has not come whole.
        told: what it said that it could not do.
    """

    process: subprocess.Popen[bytes]
    channel: socket.socket
    heard: bytes = b""
    told: str | None = None

    def send(self, words: dict[str, Any]) -> None:
        self.channel.sendall(json.dumps(words).encode() + b"\n")

    def answer(self, until: float) -> dict[str, Any] | None:
        """The next line it sends; None where it ended, or it is too late."""
        while b"\n" not in self.heard:
            left = until - time.monotonic()
            ready, _, _ = select.select([self.channel], [], [], min(_POLL_S, max(left, 0)))
            if not ready:
                if left <= 0:
                    return None
                continue
            try:
                more = self.channel.recv(1 << 16)
            except ConnectionError:
                more = b""
            if not more:
                return None
            self.heard += more
        line, _, self.heard = self.heard.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def fate(self) -> _Fate | None:
        """How it ended, or what it could not do; None where it is there and has said nothing."""
        with contextlib.suppress(ConnectionError):
            while (words := self.answer(time.monotonic())) is not None:
                self.told = words.get("error", self.told)
        code = self.process.poll()
        if code is not None and code < 0:
            return _Fate(0, f"was killed by {signal.Signals(-code).name}")
        if self.told is not None:
            return _Fate(3 if _GLOO in self.told else 1, f"could not go on: {self.told}")
        return None if code is None else _Fate(1, f"ended with status {code}")


@dataclass
class _Running:
    """The ranks that are there.

    Attributes:
        shared: the descriptor of the memory that they share.
        work: this process's own part.
    """

    ranks: int
    timeout_s: float
    shared: int = field(default_factory=memory.make)
    others: list[_Other] = field(default_factory=list)
    work: Any = None

    def start(self, kind: str) -> None:
        with tempfile.TemporaryDirectory(prefix="softmax-ranks-") as folder:
            meeting = os.path.join(folder, "store")
            for rank in range(1, self.ranks):
                self.others.append(self._other(kind, rank, meeting))
            self._expect("imported", _START_S)
            store = dist.FileStore(meeting, self.ranks)
            self.work = kind_of_work(kind)(store, 0, self.ranks, self.timeout_s)
            self._expect("connected", self.timeout_s)  # they still read the store when we do not

    def _other(self, kind: str, rank: int, meeting: str) -> _Other:
        ours, theirs = socket.socketpair()
        orders = {
            "work": kind, "rank": rank, "ranks": self.ranks, "store": meeting,
            "timeout_s": self.timeout_s, "channel": theirs.fileno(), "memory": self.shared,
            "parent": os.getpid(), "path": sys.path,
        }  # fmt: skip
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, json.dumps(orders)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self.shared),
            )
        return _Other(process, ours)

    def space(self, rows: int, classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(targets, logits) to be filled for a call, where all ranks find them."""
        if not self.others:  # a forked child would share it too
            return torch.empty(rows, dtype=torch.int64), torch.empty(rows, classes, dtype=dtype)
        memory.resize(self.shared, memory.room(rows, classes, dtype))
        return memory.views(self.shared, rows, classes, dtype)

    def call(self, operation: str, logits: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        order = {
            "operation": operation, "shape": list(logits.shape), "targets": targets is not None,
            "dtype": str(logits.dtype).removeprefix("torch."),
        }  # fmt: skip
        for other in self.others:
            other.send(order)
        found = own_part(self.work, 0, self.ranks, operation, logits, targets)
        self._expect("done", self.timeout_s)
        return found

    def _expect(self, word: str, seconds: float) -> None:
        """Wait until every other rank has said a word."""
        until = time.monotonic() + seconds
        for rank, other in enumerate(self.others, 1):
            said = other.answer(until) or {}
            other.told = said.get("error")
            if word not in said:
                raise RankError(f"rank {rank} of {self.ranks} is not {word}")

    def blame(self) -> str:
        """What became of the rank that is to blame: one that lost another is not.

        All have a while to say so, those too that a rank which was killed has left in a call: they
        are ended afterwards.
        """
        until = time.monotonic() + _GRACE_S
        silent = _Fate(2, f"did not answer within {self.timeout_s:g} s")
        while True:
            fates = [other.fate() for other in self.others]
            if None not in fates or time.monotonic() > until:
                break
            time.sleep(_POLL_S)
        known = [(fate or silent, rank) for rank, fate in enumerate(fates, 1)]
        place = min(fate.place for fate, _ in known)
        told = [f"rank {r} of {self.ranks} {f.text}" for f, r in known if f.place == place]
        return "; ".join(told)

    def stop(self) -> None:
        for other in self.others:
            other.process.kill()
            other.channel.close()
        for other in self.others:
            other.process.wait()
        os.close(self.shared)


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came of: torch fails to log one of a group that it did not make,
    where the process has a default group, and that failure is what arrives."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class Team:
    """Ranks that do one kind of work; calls of several threads take turns.

    A forked child has none of them: its calls raise, where its parent had ranks.

    Args:
        kind: the work, ``"module:class"`` (see `work`).
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._forked = False
        atexit.register(self.stop)
        os.register_at_fork(after_in_child=self._in_a_child)

    @property
    def processes(self) -> list[int]:
        """The other ranks' process ids, in the order of ranks."""
        running = self._running
        return [] if running is None else [other.process.pid for other in running.others]

    def call(
        self,
        operation: str,
        logits: Tensor,
        targets: Tensor | None = None,
        result: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """What the ranks make of `logits`, whose last axis, the classes, is divided among them.

        Args:
            operation: one that the kind of work knows.
            logits: (..., classes), in any layout; may be `result`.
            targets: one for each row, int64, where the operation has targets.
            result: where to write what each class has, of the shape and dtype of `logits`.

        Returns:
            What each row has, (rows,).

        Raises:
            RankError: see there.
            ValueError: a variable of the environment is no number in its range.
        """
        rows, classes = logits.shape[:-1].numel(), logits.shape[-1]
        if not rows * classes:  # nothing to divide; a sum without terms is 0
            return (logits.new_full((rows,), -torch.inf),)
        with self._lock:
            running = self._started()
            running.work.sizes(classes, running.ranks)  # or it says what it cannot do
            try:
                own, shared = running.space(rows, classes, logits.dtype)
                shared.view(logits.shape).copy_(logits)
                if targets is not None:
                    own.copy_(targets.reshape(-1))
                found = running.call(operation, shared, None if targets is None else own)
                if result is not None:
                    result.copy_(shared.view(result.shape))
            except BaseException as error:
                self._fail(error)
                raise
            memory.resize(running.shared, 0)
        return tuple(each for each in found if each.ndim == 1)

    def loss_and_gradient(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """`call` of cross_entropy: the loss of each row, and the gradient of their sum.

        Args:
            logits: (..., classes).
            targets: integers of any type, one for each row.

        Raises:
            ValueError: `targets` do not fit; else as `call`.
        """
        classes = logits.shape[-1]
        if targets.is_floating_point() or targets.shape != logits.shape[:-1]:
            raise ValueError(
                f"targets: expected integers of shape {tuple(logits.shape[:-1])}; "
                f"got {targets.dtype} of shape {tuple(targets.shape)}"
            )
        targets = targets.long()
        if ((targets < 0) | (targets >= classes)).any():
            raise ValueError(f"targets: expected class indices from 0 to {classes - 1}")
        gradient = torch.empty(logits.shape, dtype=logits.dtype)
        (loss,) = self.call("cross_entropy", logits, targets, gradient)
        return loss.view(targets.shape), gradient

    def stop(self) -> None:
        """End the other ranks, if there are any."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def _started(self) -> _Running:
        if self._forked:
            raise RankError(
                "the ranks belong to the process that was forked; start the child anew (spawn), "
                "or fork before the first call"
            )
        if self._running is None:
            ranks = _setting(RANKS_VARIABLE, "2", int, 1, MOST_RANKS)
            timeout_s = _setting(TIMEOUT_VARIABLE, "20", float, 0.1, 3600)
            self._running = _Running(ranks, timeout_s)
            try:
                self._running.start(self._kind)
            except BaseException as error:
                self._fail(error)
                raise
        return self._running

    def _fail(self, error: BaseException) -> None:
        """End what is left; if another rank is to blame, say so in place of `error`."""
        running, self._running = self._running, None
        if running is None:
            return
        lost = isinstance(error, RankError) or any(_GLOO in str(e) for e in _behind(error))
        blame = running.blame() if lost and running.others else ""
        running.stop()
        if blame:
            raise RankError(f"{blame}; the next call starts new ranks") from error

    def _in_a_child(self) -> None:
        running, self._running = self._running, None
        self._lock = threading.Lock()
        if running is not None and running.others:
            self._forked = True
            # Its threads are not here: it must not be tidied up, not even when Python ends
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(running))
