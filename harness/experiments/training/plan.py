"""Trainings as cells: what is asked of which implementation, in which format, from which seeds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from harness.experiments.context import Context, Part, Unit, blank
from harness.experiments.profiles import Filters
from harness.experiments.side_by_side import unit_of
from harness.experiments.training.trainer import ask, needed, refusal, trainer
from harness.records import Record, TrainingRecord
from harness.records.training import Loss, Question, Setting
from harness.registry.discovery import Implementation
from harness.worker.client import RemoteImplementation, WorkerFault
from harness.workloads.digits import CLASSES

QUESTIONS: tuple[Question, ...] = get_args(Question)


@dataclass(frozen=True)
class Grid:
    """How much a profile trains.

    Attributes:
        seeds: of the first network of ``digits``, and of those whose gradients are clipped.
        others: of the other networks of ``digits``.
        digits, nonfinite, depth, collapse, clipping: the settings of each question.
        cost: class counts.
        seconds: that a timed call is repeated.
    """

    seeds: int
    others: int
    digits: tuple[Setting, ...]
    nonfinite: tuple[Setting, ...]
    depth: tuple[Setting, ...]
    collapse: tuple[Setting, ...]
    clipping: tuple[Setting, ...]
    cost: tuple[int, ...]
    seconds: float

    def seeds_of(self, kind: Question, setting: Setting) -> int:
        """How many networks are trained alike."""
        if kind == "clipping" or (kind == "digits" and setting == self.digits[0]):
            return self.seeds
        return self.others if kind == "digits" else 1


_ADAM = Setting()
_SGD = Setting(optimiser="sgd", rate=0.1)
_DEEP = (256, 128)


def _collapse(epochs: int) -> tuple[Setting, ...]:
    usual = Setting(batch=0, epochs=epochs, rate=0.01, epsilon=1e-30)
    return (
        usual,
        usual.model_copy(update={"smoothing": 0.1}),
        usual.model_copy(update={"loss": "own"}),
    )


def clipped(spikes: Sequence[float], epochs: int = 10) -> tuple[Setting, ...]:
    """Disturbed trainings, each with every way of clipping; without any first."""
    ways = (("none", 1.0), ("elements", 0.01), ("elements", 1.0), ("norm", 1.0), ("after", 0.01))
    exploding = {"scale": 100.0}  # gradients are a hundred times as large, from the first step on
    return tuple(
        _SGD.model_copy(update={"clip": clip, "limit": limit, "epochs": epochs, **change})
        for change in (exploding, *({"spike": spike} for spike in spikes))
        for clip, limit in ways
    )


def _depths(depths: Sequence[int]) -> tuple[Setting, ...]:
    return tuple(
        Setting(hidden=(64,) * (d - 1), activation=a)
        for a in ("sigmoid", "tanh", "relu")
        for d in depths
    )


def _growing(scales: Sequence[float], rates: Sequence[float]) -> tuple[Setting, ...]:
    grown = [_SGD.model_copy(update={"scale": s, "epochs": 2}) for s in scales]
    return (*grown, *(_SGD.model_copy(update={"rate": r, "epochs": 2}) for r in rates))


GRIDS: Mapping[str, Grid] = {
    "smoke": Grid(
        1, 1, (Setting(epochs=3),), _growing((100.0,), ()), _depths((10,)), _collapse(40),
        clipped((1000.0,), 3), (10, 1000), 0.01,
    ),
    "quick": Grid(
        3, 1, (_ADAM, Setting(loss="own")),
        _growing((1.0, 10.0, 100.0, 1000.0), (10.0, 1000.0)),
        _depths((2, 6, 10)), _collapse(100), clipped((10.0, 1000.0)),
        (10, 100, 1000, 10_000), 0.05,
    ),
    "full": Grid(
        5, 5,
        (_ADAM, _SGD, Setting(hidden=_DEEP), Setting(hidden=_DEEP, optimiser="sgd", rate=0.1),
         Setting(loss="squared"), Setting(loss="own")),
        _growing((1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0), (1.0, 10.0, 100.0, 1000.0)),
        _depths((2, 3, 4, 6, 8, 10)), _collapse(2000),
        clipped((10.0, 100.0, 1000.0, 10_000.0)),
        (10, 100, 1000, 10_000, 100_000), 0.2,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Asked(Filters):
    """What `softmax-bench train` was asked for; a run keeps it among its filters.

    Attributes:
        grid: name of one of `GRIDS`.
        questions: empty for all.
        seeds: of each network; None for those of the grid.
    """

    grid: str = "quick"
    questions: tuple[str, ...] = ()
    seeds: int | None = None


def _cells(
    context: Context, implementation: Implementation, dtype: str, kind: Question, asked: Asked
) -> Iterator[TrainingRecord]:
    """The cells of a question: settings and seeds, or class counts."""
    grid = GRIDS[asked.grid]
    one = partial(
        blank, TrainingRecord, implementation, dtype, operation="cross_entropy", kind=kind,
        threads=1, classes=CLASSES,
    )  # fmt: skip
    first = dtype == "float32" and implementation.name == _reference(context)
    if kind == "vanishing":
        yield one(workload="gaps", seed=context.seed)
    elif kind == "cost":
        for classes in grid.cost if dtype == "float32" else ():
            for loss in _losses(implementation):
                setting = Setting(loss=loss, optimiser="sgd", batch=32)
                yield one(workload=setting.id, setting=setting, seed=context.seed,
                          classes=classes, rows=setting.batch)  # fmt: skip
    else:
        for setting in getattr(grid, kind):
            if setting.loss == "own" and implementation.name != "torch":
                continue
            if (kind in ("depth", "clipping") or setting.smoothing) and not first:
                continue
            for k in range(grid.seeds_of(kind, setting) if asked.seeds is None else asked.seeds):
                yield one(workload=setting.id, setting=setting, seed=context.seed + k)


def _losses(implementation: Implementation) -> tuple[Loss, ...]:
    return ("cross_entropy", "own") if implementation.name == "torch" else ("cross_entropy",)


def _reference(context: Context) -> str:
    """Whose softmax it is where the question is about something else: the baseline's, if there."""
    names = [i.name for i in context.implementations if context.unavailable(i) is None]
    return context.baseline if context.baseline in names else (names or [""])[0]


def _worker(context: Context, implementation: Implementation) -> RemoteImplementation:
    name = f"{implementation.name} (training)"
    if name not in context.pool:
        worker = trainer(implementation, name)
        worker.patience_s = context.profile.patience_s
        context.pool.add(worker)
    return context.pool[name]


def _measure(
    context: Context, implementation: Implementation, cells: Sequence[TrainingRecord], grid: Grid
) -> Iterator[Record]:
    for cell in cells:
        started = time.perf_counter()
        try:
            assert cell.dtype is not None
            assert cell.kind is not None
            why = refusal()
            if why is not None:
                raise WorkerFault("unavailable", why)
            setting = cell.setting or Setting()
            operation = needed(implementation, cell.kind, setting)
            context.demand(implementation, operation, cell.dtype)
            if implementation.metadata.device != "cpu":
                raise WorkerFault("unsupported", "networks are trained on the CPU")
            found = ask(
                _worker(context, implementation), implementation, cell.kind, setting, cell.dtype,
                cell.seed or 0, context.profile.timeout_s,
                classes=cell.classes or CLASSES, seconds=grid.seconds,
            )  # fmt: skip
            yield _judged(cell, found, time.perf_counter() - started)
        except WorkerFault as fault:
            yield cell.ended(fault.status, fault.reason)


def _judged(cell: TrainingRecord, found: dict[str, Any], elapsed: float) -> TrainingRecord:
    status, reason = "ok", None
    if found.get("first_nonfinite") is not None and cell.kind != "nonfinite":
        status = "failed"
        reason = f"{found['nonfinite']} not finite at step {found['first_nonfinite']}"
    changes = {"status": status, "reason": reason, "elapsed_s": round(elapsed, 4), **found}
    return TrainingRecord.model_validate(cell.model_dump() | changes)


def plan(context: Context, asked: Asked | None = None) -> Iterator[Unit]:
    """A unit for each question, format and implementation.

    Args:
        context: of the run.
        asked: by default everything that the grid of the run's profile has.
    """
    if asked is None:
        name = context.profile.name
        asked = Asked(grid=name if name in GRIDS else "quick", dtypes=context.profile.dtypes)
    grid = GRIDS[asked.grid]
    dtypes = asked.dtypes or ("float32", "float64", "float16", "bfloat16")
    for kind in QUESTIONS:
        if asked.questions and kind not in asked.questions:
            continue
        for dtype in dtypes:
            for implementation in context.implementations:
                cells = tuple(_cells(context, implementation, dtype, kind, asked))
                if not cells:
                    continue
                label = f"training {kind} {dtype} {implementation.name}"
                measure = partial(_measure, context, implementation, cells, grid)
                if kind == "cost":
                    yield Unit("training", label, cells, measure, _weight(cells), timed=True)
                    continue
                part = Part(implementation.name, measure)
                parts = partial(list[Part], (part,))
                yield unit_of("training", label, cells, parts, _weight(cells))


def _weight(cells: Sequence[TrainingRecord]) -> float:
    """About the seconds that cells take."""
    steps = 0.0
    for c in cells:
        s = c.setting or Setting(epochs=1)
        steps += s.epochs * (2 if s.batch == 0 else 42)
    return 0.05 + steps * 4e-4
