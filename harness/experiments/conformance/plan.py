"""The catalogue on every implementation: a unit for each operation, format and implementation.

The implementations come one after the other on the same inputs, so that what they must give is
computed once. Deviations that are declared but explain nothing are units of their own, the last:
an expected failure that passes is an error.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby, product
from queue import SimpleQueue
from typing import Any

from harness.bounds.tolerances import ASSUMED_EXP_ERROR, Arithmetic
from harness.experiments.conformance.case import FLOATS, OPERATIONS
from harness.experiments.conformance.catalogue import CASES, MODULE_OF
from harness.experiments.conformance.judge import (
    OF_THE_PROCESSOR,
    PROMISED,
    Options,
    planned,
    unneeded,
)
from harness.experiments.conformance.judge_process import (
    Judged,
    JudgeProcess,
    Task,
    Waiting,
    judged_here,
    unit,
)
from harness.experiments.context import Context, Unit
from harness.records import ConformanceRecord, Record
from harness.records.conformance import DEVIATIONS
from harness.registry.contract import CHANGED, IN_PARTS, RAGGED
from harness.registry.discovery import Implementation

CHEAP_ENOUGH = ("26-stalled-float32",)
"""Heavy cases that every profile judges: gigabytes, but for a second."""

BESIDE = (*CHANGED, *IN_PARTS, RAGGED)
"""Operations that have cells for those alone who offer them."""
_ORDER = {case.id: k for k, case in enumerate(CASES)}
_SHARES = 3
"""How many processes at most work on one implementation, operation and format."""
_COSTLY = ("lengths", "wide_rows", "many_elements")
"""Modules of cases that take longest: begun first, so that nobody waits for them in the end."""

MOST_EXP_ERROR, MOST_EXP_UNDERFLOW = ASSUMED_EXP_ERROR, 4.0
"""What is let pass of a measured exponential: beyond, it is no excuse but the fault itself."""


def arithmetic_of(context: Context, implementation: Implementation, dtype: str) -> Arithmetic:
    """What the implementation computes with: declared, and the measured error of its exp."""
    meta = implementation.metadata
    measured = context.exp_error(implementation, dtype)
    return Arithmetic(
        meta.bound or "generic",
        meta.accumulator,
        MOST_EXP_ERROR if measured is None else _stepped(measured.error_u, MOST_EXP_ERROR),
        None if measured is None else _stepped(measured.underflow_eta, MOST_EXP_UNDERFLOW),
    )


def _stepped(error: float, most: float) -> float:
    """To the next of 2, 4, 8, ...: implementations then share the evaluated bounds."""
    if not error < most:
        return most
    return float(2.0 ** math.ceil(math.log2(max(error, 2.0))))


@dataclass
class _Schedule:
    """The units in their order, and the processes that judge them.

    Several implementations are judged one after the other in one process, which keeps what the
    inputs must give; of one alone, the cases of each module are a task of their own.

    Attributes:
        groups: for each operation and format, the implementations that are to be judged.
        futures: what was submitted, by operation, format and implementation.
        waiting: tasks; each process takes the next one.
    """

    context: Context
    groups: list[tuple[str, str, list[Implementation]]] = field(default_factory=list)
    futures: defaultdict[tuple[str, str, str], list[Future[Judged]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    waiting: Waiting = field(default_factory=SimpleQueue)
    judges: list[JudgeProcess] = field(default_factory=list)

    def first_of(self, name: str) -> tuple[str, str]:
        """The first operation and format of an implementation: those of the `Case.whole`."""
        return next((o, d) for o, d, members in self.groups if name in [m.name for m in members])

    def judged(self, operation: str, dtype: str, one: Implementation) -> Judged:
        """What was found, in the order of the catalogue; submits its group and the next ones."""
        if self.context.alone:
            found = judged_here(self._unit(operation, dtype, one))
        else:
            self.submit(next(i for i, g in enumerate(self.groups) if g[:2] == (operation, dtype)))
            found = [r for f in self.futures[operation, dtype, one.name] for r in f.result()]
        return sorted(found, key=lambda record: _ORDER[str(record.case)])

    def _unit(
        self, operation: str, dtype: str, one: Implementation, cases: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """What a process that judges is asked; no cases stand for all."""
        whole = self.first_of(one.name) == (operation, dtype)
        options = replace(_options(self.context, whole), cases=cases)
        arithmetic = arithmetic_of(self.context, one, dtype)
        return unit(one.metadata.path.resolve(), operation, dtype, arithmetic, options)

    def submit(self, place: int = 0) -> None:
        """Submit as many groups from this one on as there are processes, so that none is idle."""
        count = max(1, self.context.cores)
        for i in range(place, min(place + count, len(self.groups))):
            self._submit(i, count)

    def _submit(self, index: int, processes: int) -> None:
        operation, dtype, members = self.groups[index]
        if any((operation, dtype, m.name) in self.futures for m in members):
            return
        ids = [c.id for c in CASES if c.applies(operation, dtype)]
        shares: list[tuple[str, ...]] = [()]  # all of them
        if len(members) == 1:
            shares = _by_module(ids)
            processes += 1  # each waits for an answer now and then
        for cases in shares:
            task: Task = []
            for member in members:
                future: Future[Judged] = Future()
                task.append((self._unit(operation, dtype, member, cases), future))
                self.futures[operation, dtype, member.name].append(future)
            self.waiting.put(task)
        for _ in range(min(processes - len(self.judges), len(shares), _SHARES)):
            name = f"conformance judge {len(self.judges)}"
            self.judges.append(JudgeProcess(name, self.waiting))
        if index == len(self.groups) - 1:
            for _ in self.judges:  # each ends when nothing more waits
                self.waiting.put(None)

    def abandon(self) -> None:
        """Ends the processes at once: they must not go on beside what is measured next."""
        for one in self.judges:
            one.abandon()
        self.judges.clear()


def _by_module(ids: list[str]) -> list[tuple[str, ...]]:
    """The cases of each module together, the costliest modules first."""
    together = {module: tuple(own) for module, own in groupby(ids, key=MODULE_OF.__getitem__)}
    return [together[m] for m in sorted(together, key=lambda m: m not in _COSTLY)]


def _options(context: Context, whole: bool) -> Options:
    name = context.profile.name
    full = name == "full"
    return Options(
        seed=context.seed,
        heavy=full,
        also=CHEAP_ENOUGH,
        whole=whole,
        thorough=full,
        budget_s=_BUDGET_S.get(name, 0.3),
        timeout_s=context.profile.timeout_s,
        patience_s=context.profile.patience_s,
    )


_BUDGET_S = {"full": 5.0, "check": 2.5}
"""A check asks every class count of an implementation that is fast enough: it is of one alone."""


def _measure(
    schedule: _Schedule, implementation: Implementation,
    operation: str, dtype: str, cells: tuple[ConformanceRecord, ...],
) -> Iterator[Record]:  # fmt: skip
    refusal = schedule.context.refusal(implementation, operation, dtype)
    if refusal is not None:
        yield from (cell.ended(*refusal) for cell in cells)
        return
    yield from schedule.judged(operation, dtype, implementation)


def _deviation_record(
    context: Context, implementation: Implementation, identity: str
) -> ConformanceRecord:
    return ConformanceRecord(
        implementation=implementation.name,
        operation=DEVIATIONS,
        device=implementation.metadata.device,
        workload=f"deviation-{identity}",
        case=f"deviation-{identity}",
        title=f"the declared deviation {identity!r} shows in some case",
        seed=context.seed,
        status="skipped",
    )


def _measure_deviations(context: Context, implementation: Implementation) -> Iterator[Record]:
    meta = implementation.metadata
    declared = meta.deviations
    found = [
        r for r in context.records.values()
        if isinstance(r, ConformanceRecord) and r.implementation == meta.name
        and r.operation != DEVIATIONS and r.verdict is not None
    ]  # fmt: skip
    idle = {d.id for d in unneeded(declared, found)}
    used = {r.deviation for r in found}
    formats = {*_formats(context, implementation), *(meta.dtypes or PROMISED)}
    asked = [o for o in meta.operations if o in (*OPERATIONS, *BESIDE)]
    complete = set(product(asked, formats)) <= {(r.operation, r.dtype) for r in found}
    for deviation in declared:
        told: dict[str, str] = {"verdict": "skipped"}
        if deviation.id in used:
            told = {"status": "ok", "verdict": "expected", "deviation": deviation.id}
        elif deviation.id in idle and deviation.id in OF_THE_PROCESSOR:
            told["reason"] = "does not show with the instructions of this processor"
        elif deviation.id in idle and complete:
            told = {"status": "failed", "verdict": "unexpected_pass"}
            told["reason"] = (
                f"declared ({deviation.reason}), but every case it would explain passes: "
                f"withdraw it from IMPLEMENTATION['deviations']"
            )
        else:
            told["reason"] = "not all operations, formats and cases it could show in were judged"
        yield _deviation_record(context, implementation, deviation.id).model_copy(update=told)


def _formats(context: Context, implementation: Implementation) -> list[str]:
    # Of a module that declares none, the 16-bit ones give findings alone.
    declared = implementation.metadata.dtypes or FLOATS
    return [d for d in context.profile.dtypes if d in declared]


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each operation, format and implementation, and one for declared deviations."""
    schedule = _Schedule(context)
    for operation in (o for o in (*OPERATIONS, *BESIDE) if o in context.profile.operations):
        for dtype in context.profile.dtypes:
            members = [
                i for i in context.implementations if context.refusal(i, operation, dtype) is None
            ]
            if members:
                schedule.groups.append((operation, dtype, members))
            cases = tuple(c for c in CASES if c.applies(operation, dtype))
            for implementation in context.implementations:
                if dtype not in _formats(context, implementation):
                    continue
                if operation in BESIDE and operation not in implementation.operations:
                    continue  # few offer it, and nobody need
                name = implementation.name
                first = implementation in members and (operation, dtype) == schedule.first_of(name)
                cells = tuple(
                    planned(implementation.metadata, operation, dtype, c, context.seed)
                    for c in cases
                    if first or not c.whole
                )
                yield Unit(
                    "conformance",
                    f"conformance {name} {operation} {dtype}",
                    cells,
                    partial(_measure, schedule, implementation, operation, dtype, cells),
                    1.0 if operation in implementation.operations else 0.01,
                    schedule.abandon,
                    schedule.submit,
                )
    for implementation in context.implementations:
        declared = implementation.metadata.deviations
        if declared and context.unavailable(implementation) is None:
            yield Unit(
                "conformance",
                f"conformance {implementation.name} deviations",
                tuple(_deviation_record(context, implementation, d.id) for d in declared),
                partial(_measure_deviations, context, implementation),
                0.01,
                concluding=True,
            )
