"""The workers of a Dask scheduler that take part in a run, and what each of them is given.

Every piece comes back once, whatever happens on the way: a worker that is lost, a scheduler that
is started anew, a network that pauses. What cannot be had any more is told after `patience_s`.
"""

from __future__ import annotations

import logging
import pickle
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from harness.errors import UserError
from harness.experiments.scheduled.campaign import (
    LOCAL,
    Campaign,
    Made,
    Piece,
    Scheduling,
    identity,
    introduce,
)
from harness.experiments.scheduled.desk import make
from harness.text import one_line

_AHEAD = 2
"""Pieces that each worker has: one at work, one that waits, so that none is idle."""
_POLL_S = 1.0
_CONNECT_S = 10.0
_REFUSED_S = 10.0
"""How long a run waits where there are workers, but none that can take part."""
_CONFIG = {
    "distributed.worker.profile.enabled": False,  # samples of stacks, which double the time
    "distributed.nanny.pre-spawn-environ": {},  # memory given back at once, to be asked for anew
}
"""Of workers on this machine: what of Dask's own settings would slow a judge down."""
_LOGGERS = ("distributed", "distributed.client", "distributed.worker", "asyncio")
"""They tell with tracebacks of every connection that is lost; what matters of it, we say."""
_WHY_LOST = "killed, or out of memory: their own log says which"
_LOSSES = 5
"""How many workers may be lost over a piece: kills at random are fewer, a lack of memory is not."""


class SchedulerError(UserError):
    """A scheduler that cannot be reached, or has no worker that can take part."""


def _by_name() -> Callable[[str, str, bytes], bytes]:
    """A function that calls another by name, and goes over the wire as code.

    A worker, or a scheduler, that cannot import us would be ended by anything of ours.
    """

    def call(module: str, name: str, arguments: bytes) -> bytes:
        import pickle
        from importlib import import_module

        return pickle.dumps(getattr(import_module(module), name)(*pickle.loads(arguments)))

    return call


class _Lost(Exception):
    """What a worker had made went with it, or with the connection to it."""


def _answer(future: Any) -> Any:
    """What a function returned on a worker.

    Raises:
        _Lost: nobody has it any more.
        Exception: what the function raised.
    """
    if future.status == "error":
        raise future.exception(timeout=_CONNECT_S)
    try:
        return pickle.loads(future.result(timeout=_CONNECT_S))
    except Exception as e:
        if future.status == "error":  # only now
            raise
        raise _Lost from e


@dataclass
class _Worker:
    """A worker that takes part, the name that records give its machine, and what it is at."""

    address: str
    host: str
    near: str = ""


@dataclass
class Crew:
    """Hands pieces to workers, and gives back what they make; use as a context manager.

    Args:
        scheduling: where.
        campaign: what every worker is told.
        packages: distributions whose versions must be ours.
        note: is told of workers that come, go and are refused.
        hosts: what each machine is, by the name that records give it; added to.

    Raises:
        SchedulerError: it cannot be reached, or Dask is not installed.
    """

    scheduling: Scheduling
    campaign: Campaign
    packages: Sequence[str]
    note: Callable[[str], None]
    hosts: dict[str, dict[str, Any]]
    _names: dict[tuple[str, str], str] = field(default_factory=dict)
    _workers: dict[str, _Worker] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _refused: set[str] = field(default_factory=set)
    _told: set[str] = field(default_factory=set)
    _done: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _stack: ExitStack = field(default_factory=ExitStack)
    _asked: dict[str, tuple[str, Any]] = field(default_factory=dict)
    _submitted: int = 0
    _client: Any = None
    _address: str = ""

    def __enter__(self) -> Self:
        try:
            import dask
            import distributed
        except ImportError as e:
            raise SchedulerError(
                f"--scheduler: Dask is not installed here ({e}); pip install 'softmax-bench[scale]'"
            ) from None
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            self._stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        self._own = identity(self.campaign.paths, self.packages)
        self._address = self.scheduling.address
        if self._address.startswith(LOCAL):
            count = int(self._address.removeprefix(LOCAL))
            self._stack.enter_context(dask.config.set(_CONFIG))
            cluster = distributed.LocalCluster(
                n_workers=count, threads_per_worker=1, processes=True, dashboard_address=":0",
                silence_logs=logging.CRITICAL,
            )  # fmt: skip
            self._stack.callback(cluster.close)
            self._address = cluster.scheduler_address
        try:
            self._connect()
        except OSError as e:
            self._stack.close()
            raise SchedulerError(
                f"--scheduler: no Dask scheduler answers at {self._address} ({one_line(str(e))}); "
                f"start one with: dask scheduler"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._close()
        self._stack.close()

    def made(
        self, pieces: Sequence[Piece], wanted: Callable[[Piece], bool] = lambda piece: True
    ) -> Iterator[tuple[Piece, Made, str]]:
        """What is made of each piece, and the name of the machine that made it, as they come.

        Args:
            pieces: in the order in which they are handed out.
            wanted: asked before one is handed out.

        Raises:
            SchedulerError: for as long as `patience_s` there was no scheduler, or no worker.
        """
        waiting = deque(pieces)
        flying: dict[str, tuple[Piece, Any, _Worker]] = {}
        losses: Counter[Piece] = Counter()
        looked, alone_since = 0.0, time.monotonic()
        while waiting or flying:
            if time.monotonic() - looked >= _POLL_S:
                looked = time.monotonic()
                lost = self._look()
                for key, (piece, future, worker) in list(flying.items()):
                    if worker.address in self._workers and not future.cancelled():
                        continue
                    del flying[key]
                    waiting.appendleft(piece)
                    losses[piece] += worker.address in lost  # the first was at work
                    lost.discard(worker.address)
                    with suppress(Exception):
                        future.release()
            if self._workers:
                alone_since = time.monotonic()
            else:
                self._wait(time.monotonic() - alone_since)
            while waiting and (idle := self._idle(flying, len(waiting))) is not None:
                piece = self._next(waiting, idle)
                if not wanted(piece):
                    continue
                if losses[piece] >= _LOSSES:
                    reason = f"{losses[piece]} workers that had it were lost, one after the other"
                    yield piece, Made(ended=("crashed", f"{reason} ({_WHY_LOST})")), idle.host
                    continue
                future = self._submit(idle.address, make, self.campaign, piece)
                if future is None:
                    waiting.appendleft(piece)
                    break
                flying[future.key] = piece, future, idle
            try:
                future = self._done.get(timeout=_POLL_S / 4)
            except queue.Empty:
                continue
            if future.key in self._asked:
                self._take(self._asked.pop(future.key)[0], future)
            elif future.key in flying and not future.cancelled():
                piece, _, worker = flying.pop(future.key)
                try:
                    found = self._found(future)
                except UserError as e:  # it plans other cells, or cannot read an implementation
                    waiting.appendleft(piece)
                    self._refuse(worker.address, f"a worker of {worker.host} is refused: {e}")
                    continue
                if found is None:
                    waiting.appendleft(piece)
                    losses[piece] += 1
                else:
                    yield piece, found, worker.host

    def _submit(self, address: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """A future of what a worker is to do; None where the connection is just being lost."""
        self._submitted += 1
        try:
            future = self._client.submit(
                _by_name(), function.__module__, function.__name__, pickle.dumps(arguments),
                workers=[address], allow_other_workers=False, pure=False,
                key=f"softmax-bench-{self.campaign.run}-{self._submitted}",
            )  # fmt: skip
        except Exception:
            return None
        future.add_done_callback(self._done.put)
        return future

    def _found(self, future: Any) -> Made | None:
        """What was made; None where it was lost on the way, or its worker was.

        Raises:
            UserError: the worker cannot take part.
        """
        from distributed import KilledWorker

        try:
            made: Made = _answer(future)
        except (_Lost, KilledWorker):
            return None
        except UserError:
            raise
        except Exception as e:
            return Made(ended=("error", one_line(f"harness: {type(e).__name__}: {e}")))
        return made

    def _idle(
        self, flying: Mapping[str, tuple[Piece, Any, _Worker]], waiting: int
    ) -> _Worker | None:
        """The worker with the least to do, if it could have more: near the end, only if it waits.

        Args:
            waiting: how many pieces nobody has.
        """
        load = dict.fromkeys(self._workers, 0)
        for _, _, worker in flying.values():
            if worker.address in load:
                load[worker.address] += 1
        least = min(load, key=lambda a: load[a], default=None)
        most = _AHEAD if waiting > len(load) else 1
        return None if least is None or load[least] >= most else self._workers[least]

    def _next(self, waiting: deque[Piece], worker: _Worker) -> Piece:
        """Take out the next piece for a worker: near to its last, else to nobody's."""
        taken = {other.near for other in self._workers.values()}
        places = range(len(waiting))
        place = next((k for k in places if waiting[k].near == worker.near), None)
        if place is None:
            place = next((k for k in places if waiting[k].near not in taken), 0)
        piece = waiting[place]
        del waiting[place]
        worker.near = piece.near
        return piece

    def _look(self) -> set[str]:
        """Who is there now: who is new is asked who it is, who has gone is forgotten.

        Returns:
            The workers that have gone while the scheduler stayed.
        """
        silent = f"the scheduler at {self._address} does not answer; waiting for it"
        try:
            if self._client is None or self._client.status != "running":
                raise OSError("the connection is lost")
            there = set(self._client.scheduler_info(n_workers=-1)["workers"])
        except (OSError, ValueError, TypeError):
            self._say(silent)
            self._workers.clear()
            self._known.clear()
            with suppress(OSError):
                self._connect()
                self._told.discard(silent)
            return set()
        lost = self._workers.keys() - there
        for address in lost:
            del self._workers[address]
        for key, (address, future) in list(self._asked.items()):
            if future.cancelled():  # with a connection that was lost
                del self._asked[key]
                self._known.discard(address)
        for address in there - self._known:
            future = self._submit(address, introduce, self.campaign.paths, self.packages)
            if future is not None:
                self._asked[future.key] = address, future
                self._known.add(address)
        self._known &= there
        return lost

    def _take(self, address: str, future: Any) -> None:
        """Let a worker take part that has said who it is, if it is one of ours."""
        try:
            answer: Mapping[str, Any] = _answer(future)
        except _Lost:
            self._known.discard(address)  # and ask again
            return
        except Exception as e:
            self._refuse(
                address,
                f"a worker is refused, it cannot run softmax-bench ({one_line(str(e))}); install "
                f"{self._own['softmax-bench']} there",
            )
            return
        theirs: Mapping[str, str] = answer["identity"]
        other = [
            f"{name} {theirs.get(name)} is not {ours}"
            for name, ours in self._own.items() if theirs.get(name) != ours
        ]  # fmt: skip
        if answer["processors"] < self.campaign.cores:
            other.append(f"{answer['processors']} processors are fewer than {self.campaign.cores}")
        if other and not self.scheduling.others:
            self._refuse(
                address,
                f"a worker on {answer['host']} is refused ({'; '.join(other[:4])}); make it the "
                f"same, or take it as it is with --other-workers record",
            )
            return
        if address in self._known:
            self._workers[address] = _Worker(address, self._host(answer["host"], theirs, other))

    def _refuse(self, address: str, why: str) -> None:
        self._refused.add(address)
        self._workers.pop(address, None)
        self._say(why)

    def _host(self, name: str, theirs: Mapping[str, str], other: Sequence[str]) -> str:
        """The name that records give a machine: the run does not tell what it calls itself."""
        key = name, repr(sorted(theirs.items()))
        if key not in self._names:
            self._names[key] = host = f"host {len(self.hosts) + 1}"
            self.hosts[host] = {**theirs, "differs in": list(other)}
            self._say(f"{host} is {name}, {theirs['processor']}")
        return self._names[key]

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.note(text)

    def _wait(self, seconds: float) -> None:
        """Say that nobody has taken part for so long.

        Raises:
            SchedulerError: too long; or all that are there were refused.
        """
        running = self._client is not None and self._client.status == "running"
        text = (
            f"no {'worker that can take part' if running else 'scheduler'} at {self._address}; "
            f"start one with: dask worker {self._address} --nthreads 1"
        )
        all_refused = running and bool(self._known) and self._known <= self._refused
        if seconds > (_REFUSED_S if all_refused else self.scheduling.patience_s):
            raise SchedulerError(text)
        if seconds > _REFUSED_S and running:
            self._say(text)

    def _connect(self) -> None:
        """A new connection; what was asked for through the old one is asked for again.

        Raises:
            OSError: nobody answers.
        """
        from distributed import Client

        self._close()
        self._client = Client(self._address, timeout=_CONNECT_S, set_as_default=False)

    def _close(self) -> None:
        if self._client is not None:
            with suppress(Exception):
                self._client.close(timeout=_CONNECT_S)
            self._client = None
