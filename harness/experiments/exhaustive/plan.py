"""Whole domains as cells: a unit for each table, format and implementation.

`exhaustive` calls workers as the experiments do, and imports this package's context: it
is imported here when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.experiments.context import Context, Unit
from harness.experiments.profiles import Filters
from harness.records import ExhaustiveRecord, Record
from harness.registry.discovery import Implementation

if TYPE_CHECKING:
    from harness.experiments.exhaustive.results import ExhaustiveResult, Experiment

CLASSES: dict[str, int] = {"pairs": 2, "line": 2, "float8": 3}
"""Classes of a row, where all rows of a table have as many."""

_WEIGHTS = {"pairs": 4.0, "line": 5.0, "constant": 2.0, "float8": 0.1, "exp_order": 1.5}

OnRows = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Tables(Filters):
    """What `softmax-bench exhaustive` was asked for; a run keeps it among its filters.

    Attributes:
        tables: names; empty for the pairs alone.
        every: judge one block of so many.
        workers: processes; None for one a core, at most four.
    """

    tables: tuple[str, ...] = ()
    every: int = 1
    workers: int | None = None


def formats(table: Experiment, dtypes: tuple[str, ...]) -> tuple[str, ...]:
    """The formats of a table among those asked for; its first one if nothing was."""
    from harness.experiments.exhaustive.run import DTYPES

    have = DTYPES[table]
    return tuple(d for d in have if d in dtypes) if dtypes else have[:1]


def _coordinates(implementation: Implementation, table: Experiment, dtype: str) -> ExhaustiveRecord:
    return ExhaustiveRecord(
        implementation=implementation.name,
        operation="exp" if table == "exp_order" else "softmax",
        dtype=dtype,
        device=implementation.metadata.device,
        workload=table,
        classes=CLASSES.get(table),
        table=table,
        status="skipped",
    )


def record_of(blank: ExhaustiveRecord, result: ExhaustiveResult, **more: Any) -> ExhaustiveRecord:
    """The record of a finished table."""
    figures: dict[str, Any] = {
        "status": result.status,
        "reason": result.reason,
        "domain": result.domain or None,
        "elapsed_s": result.elapsed_s,
        "rounding": result.rounding,
        **more,
    }
    if result.total:
        figures |= {
            "judged": result.rows,
            "total": result.total,
            "exhaustive": result.exhaustive,
        }
    if result.rows:  # counts of nothing are no figures
        figures |= {
            "figures": dict(result.figures) if result.figures is not None else None,
            "misrounded": list(result.misrounded) or None,
            "ulp_histogram": dict(result.histogram) or None,
            "max_ulp": result.max_ulp,
        }
    if result.worst is not None:
        worst = result.worst
        figures |= {
            "worst_logits": list(worst.logits),
            "worst_repeat": worst.repeat if worst.repeat > 1 else None,
            "worst_class": worst.output,
            "worst_got": worst.computed,
            "worst_expected": worst.expected,
        }
    return blank.model_copy(update=figures)


def _measure(
    implementation: Implementation, table: Experiment, dtype: str, asked: Tables,
    folder: Callable[[], Path | None], on_rows: OnRows | None,
) -> Iterator[Record]:  # fmt: skip
    from harness.experiments.exhaustive.run import run_exhaustive

    here = folder()
    point = None if here is None else here / f".{table}-{dtype}-{implementation.name}.npz"
    label = f"{table} {dtype} {implementation.name}"
    result = run_exhaustive(
        implementation, table, dtype,
        workers=asked.workers, every=asked.every, checkpoint=point,
        on_progress=None if on_rows is None else partial(on_rows, label),
    )  # fmt: skip
    blank = _coordinates(implementation, table, dtype)
    yield record_of(blank, result, every=asked.every, workers=asked.workers)
    if point is not None:
        point.unlink(missing_ok=True)


def plan(
    context: Context,
    asked: Tables | None = None,
    folder: Callable[[], Path | None] = lambda: None,
    on_rows: OnRows | None = None,
) -> Iterator[Unit]:
    """A unit for each table, format and implementation.

    Args:
        context: of the run.
        asked: the tables; by default all of those with a format of the profile.
        folder: where to keep progress; of an interrupted table, it is resumed from there.
        on_rows: called with (label, rows judged, rows to judge), from several threads.
    """
    from harness.experiments.exhaustive.run import EXPERIMENTS

    tables = EXPERIMENTS
    if asked is None:
        asked = Tables(dtypes=context.profile.dtypes)
    elif asked.tables:
        tables = tuple(t for t in EXPERIMENTS if t in asked.tables)
    else:
        tables = ("pairs",)
    for table in tables:
        for dtype in formats(table, asked.dtypes):
            for implementation in context.implementations:
                yield Unit(
                    "exhaustive",
                    f"exhaustive {table} {dtype} {implementation.name}",
                    (_coordinates(implementation, table, dtype),),
                    partial(_measure, implementation, table, dtype, asked, folder, on_rows),
                    _WEIGHTS[table] / asked.every,
                )
