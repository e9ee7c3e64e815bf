"""What runs in a worker of the scheduler: the same plan, and one piece of it after the other."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Lock

from harness.errors import UserError
from harness.experiments.context import Context, Divided, Unit, ended_by, worker_for
from harness.experiments.plans import OF_COMMANDS, plan
from harness.experiments.scheduled.campaign import Campaign, Made, Piece, digest_of
from harness.records import Record
from harness.registry.contract import read_metadata
from harness.registry.discovery import Implementation, implementations
from harness.worker.client import Pool, WorkerFault

_LOCK = Lock()
_DESKS: dict[str, Desk] = {}
"""That of the run at hand; another run takes its place."""


@atexit.register
def _close_all() -> None:
    """End the processes of implementations while there is a Python left to do it with."""
    for desk in _DESKS.values():
        desk.close()
    _DESKS.clear()


class OtherPlan(UserError):
    """A worker plans other units than the coordinator."""


def make(campaign: Campaign, piece: Piece) -> Made:
    """Measure a piece: one at a time, whatever the number of threads that Dask has here."""
    with _LOCK:
        if campaign.run not in _DESKS:
            _close_all()
            _DESKS[campaign.run] = Desk(campaign)
        return _DESKS[campaign.run].make(piece)


class Desk:
    """The plan of a run in this process, and a process below it for each implementation.

    Raises:
        OtherPlan: it is not that of the coordinator.
    """

    def __init__(self, campaign: Campaign) -> None:
        for name, value in campaign.environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _keep_processors(campaign.cores)
        self._notes: list[str] = []
        self._stack = ExitStack()
        self._open: dict[int, Divided] = {}
        known = {i.metadata.path.resolve(): i for i in implementations().values()}
        paths = [Path(p) for p in campaign.paths]
        chosen = [known.get(p) or Implementation(read_metadata(p)) for p in paths]
        self.context = Context(
            implementations=chosen,
            pool=self._stack.enter_context(Pool()),
            profile=campaign.profile,
            seed=campaign.seed,
            cores=campaign.cores,
            logits=campaign.logits,
            baseline=campaign.baseline,
            on_note=self._notes.append,
            alone=True,
        )
        for one in chosen:
            if self.context.unavailable(one) is None:
                worker = worker_for(one)
                worker.patience_s = campaign.profile.patience_s
                self.context.pool.add(worker)
        own = OF_COMMANDS.get(campaign.profile.name)
        self.units = (
            plan(self.context) if own is None else list(own(self.context, campaign.filters))
        )
        if digest_of([u.keys for u in self.units]) != campaign.units:
            self.close()
            raise OtherPlan("this worker plans other cells than the run has; install the same")

    def make(self, piece: Piece) -> Made:
        """Measure a unit, or a share of one; whatever goes wrong is in what is made."""
        records: list[Record] = []
        share, ended = b"", None
        try:
            unit = self.units[piece.unit]
            if piece.share:
                share = self._divided(piece.unit).made(piece.share)
            else:
                for record in _measured(unit):
                    records.append(record)
        except Exception as e:
            ended = ended_by(e)
            if piece.share and isinstance(e, WorkerFault):
                ended = e.status, e.reason
        notes, self._notes[:] = tuple(self._notes), []
        return Made(
            records=tuple(r.model_dump_json(exclude_none=True) for r in records),
            share=share,
            ended=ended,
            exp_errors=self.context.exp_errors,
            notes=notes,
        )

    def _divided(self, number: int) -> Divided:
        if number not in self._open:
            opened = self.units[number].divided
            found = None if opened is None else self._stack.enter_context(opened())
            if found is None:
                raise OtherPlan("a share of a unit that this worker does not divide")
            self._open[number] = found
        return self._open[number]

    def close(self) -> None:
        self._stack.close()


def _measured(unit: Unit) -> Iterator[Record]:
    """The records of a unit; of what has parts, one part after the other."""
    if unit.parts is None:
        yield from unit.measure()
        return
    for part in unit.parts():
        yield from part.measure()


def _keep_processors(count: int) -> None:
    """Use as many processors as the run began with: libraries take a thread for each."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) <= count:
        return
    first = os.getpid() % len(usable)
    kept = [usable[(first + k) % len(usable)] for k in range(count)]
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # it has ended
            os.sched_setaffinity(int(thread), kept)
