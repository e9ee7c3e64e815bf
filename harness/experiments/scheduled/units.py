"""A run's units by way of the workers of a scheduler: what `runner` measures them with."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack

from harness.experiments.context import Context, Divided, Unit, UnitEnded
from harness.experiments.profiles import Filters
from harness.experiments.scheduled.campaign import Campaign, Made, Piece, digest_of
from harness.experiments.scheduled.crew import Crew
from harness.records import RECORD, Record
from harness.worker.client import INHERITED, WorkerFault

SHARES = 1024
"""Of a unit that is divided: enough for a thousand workers, a second or more each."""


def campaign_of(run: str, context: Context, filters: Filters, units: Sequence[Unit]) -> Campaign:
    """What the workers must know of a run."""
    return Campaign(
        run=run,
        profile=context.profile,
        filters=filters,
        seed=context.seed,
        baseline=context.baseline,
        cores=context.cores,
        logits=tuple(context.logits),
        paths=tuple(str(i.metadata.path.resolve()) for i in context.implementations),
        environment={name: os.environ.get(name) for name in INHERITED},
        units=digest_of([u.keys for u in units]),
    )


def scheduled(
    crew: Crew, context: Context, units: Sequence[Unit], left: Iterable[Unit]
) -> Generator[tuple[Unit, Iterator[Record]]]:
    """Each unit that is left with its records, as they come; what concludes is measured here.

    Args:
        units: the whole plan, by whose places the workers know a unit.
    """
    places = {id(unit): k for k, unit in enumerate(units)}
    shared: dict[int, _Shared] = {}
    pieces: list[Piece] = []
    with ExitStack() as stack:
        for unit in (u for u in left if not u.concluding):
            place = places[id(unit)]
            divided = None if unit.divided is None else stack.enter_context(unit.divided())
            first = unit.coordinates[0]
            near = f"{unit.experiment} {first.operation} {first.dtype}"
            if divided is None:
                pieces.append(Piece(place, near=near))
                continue
            shares = divided.shares(SHARES)
            pieces += [Piece(place, share, near) for share in shares]
            shared[place] = _Shared(divided, len(shares))
            if not shares:
                yield unit, iter((divided.ended(None),))
        for piece, made, host in crew.made(pieces, lambda p: _wanted(shared.get(p.unit))):
            context.learn(made.exp_errors)
            for note in made.notes:
                context.on_note(note)
            unit, whole = units[piece.unit], shared.get(piece.unit)
            if whole is None:
                yield unit, _records(made, host)
            elif whole.missing:
                record = whole.take(made, host)
                if record is not None:
                    yield unit, iter((record,))
    for unit in left:
        if unit.concluding:
            yield unit, unit.measure()


class _Shared:
    """A unit that is put together of shares.

    Attributes:
        missing: how many shares; none after one that could not be measured.
        begun: whether one was given to a worker.
    """

    def __init__(self, divided: Divided, shares: int) -> None:
        self.divided = divided
        self.missing = shares
        self.begun = False
        self._hosts: set[str] = set()

    def take(self, made: Made, host: str) -> Record | None:
        """Take a share over; the record of the unit, if it was the last."""
        self._hosts.add(host)
        fault = None if made.ended is None else WorkerFault(*made.ended)
        if fault is None:
            self.divided.add(made.share)
        self.missing = self.missing - 1 if fault is None else 0
        if self.missing:
            return None
        return self.divided.ended(fault).model_copy(update={"host": ", ".join(sorted(self._hosts))})


def _wanted(shared: _Shared | None) -> bool:
    """Whether a piece is still to be measured: of what ended before its time no share is."""
    if shared is None:
        return True
    if not shared.begun:
        shared.begun = True
        shared.divided.begin()
    return shared.missing > 0


def _records(made: Made, host: str) -> Iterator[Record]:
    """The records of a unit, and what ended it.

    Raises:
        UnitEnded: it could not be measured whole.
    """
    for line in made.records:
        yield RECORD.validate_json(line).model_copy(update={"host": host})
    if made.ended is not None:
        raise UnitEnded(*made.ended)
