"""Whole domains as cells: a unit for each table, format and implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.experiments.context import Context, Divided, Unit
from harness.experiments.exhaustive.tables import SAMPLED, TABLES, formats, planned
from harness.experiments.profiles import Filters
from harness.records import ExhaustiveRecord, Record
from harness.records.exhaustive import ExhaustiveTable
from harness.registry.discovery import Implementation

_WEIGHTS = {
    "pairs": 4.0, "line": 5.0, "constant": 2.0, "float8": 0.1, "exp_order": 1.5, "triples": 2.0,
    "bounds": 20.0,
}  # fmt: skip

OnRows = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Tables(Filters):
    """What `softmax-bench exhaustive` was asked for; a run keeps it among its filters.

    Attributes:
        tables: names; empty for the pairs alone.
        every: judge only every N-th block.
        workers: processes; None for one a core, at most four.
    """

    tables: tuple[str, ...] = ()
    every: int = 1
    workers: int | None = None


def _measure(
    implementation: Implementation, table: ExhaustiveTable, dtype: str, asked: Tables,
    folder: Callable[[], Path | None], on_rows: OnRows | None,
) -> Iterator[Record]:  # fmt: skip
    from harness.experiments.exhaustive.run import run_exhaustive  # Numba: not for other runs

    options = _options(implementation, table, dtype, asked, folder, on_rows)
    yield run_exhaustive(implementation, table, dtype, **options)
    if options["checkpoint"] is not None:
        options["checkpoint"].unlink(missing_ok=True)


@contextmanager
def _divided(
    implementation: Implementation, table: ExhaustiveTable, dtype: str, asked: Tables,
    folder: Callable[[], Path | None], on_rows: OnRows | None,
) -> Iterator[Divided | None]:  # fmt: skip
    from harness.experiments.exhaustive.run import blocks_of

    options = _options(implementation, table, dtype, asked, folder, on_rows)
    blocks = blocks_of(implementation, table, dtype, **options)
    if isinstance(blocks, ExhaustiveRecord):
        yield None
        return
    try:
        yield blocks
    finally:
        blocks.close()
        if blocks.over and options["checkpoint"] is not None:
            options["checkpoint"].unlink(missing_ok=True)


def _options(
    implementation: Implementation, table: ExhaustiveTable, dtype: str, asked: Tables,
    folder: Callable[[], Path | None], on_rows: OnRows | None,
) -> dict[str, Any]:  # fmt: skip
    here = folder()
    label = f"{table} {dtype} {implementation.name}"
    return {
        "workers": asked.workers,
        "every": asked.every,
        "checkpoint": None if here is None else here / f".{label.replace(' ', '-')}.npz",
        "on_progress": None if on_rows is None else partial(on_rows, label),
    }


def plan(
    context: Context,
    asked: Tables | None = None,
    folder: Callable[[], Path | None] = lambda: None,
    on_rows: OnRows | None = None,
) -> Iterator[Unit]:
    """A unit for each table, format and implementation.

    Args:
        context: of the run.
        asked: the tables; by default all but `SAMPLED` of those with a format of the profile.
        folder: where to keep progress; of an interrupted table, it is resumed from there.
        on_rows: called with (label, rows judged, rows to judge), from several threads.
    """
    tables = tuple(t for t in TABLES if t not in SAMPLED)
    if asked is None:
        asked = Tables(dtypes=context.profile.dtypes)
    elif asked.tables:
        tables = tuple(t for t in TABLES if t in asked.tables)
    else:
        tables = ("pairs",)
    for table in tables:
        for dtype in formats(table, asked.dtypes):
            for implementation in context.implementations:
                cell = implementation, table, dtype, asked, folder, on_rows
                yield Unit(
                    "exhaustive",
                    f"exhaustive {table} {dtype} {implementation.name}",
                    (planned(implementation, table, dtype),),
                    partial(_measure, *cell),
                    _WEIGHTS[table] / asked.every,
                    divided=partial(_divided, *cell),
                )
