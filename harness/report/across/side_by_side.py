"""Accuracy of several runs side by side: errors do not depend on the load of a machine.

Times are never set beside each other here; `compare` does that where it is right.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import AccuracyRecord
from harness.report.across.machines import errors, place_of
from harness.report.drawing.prose import prose
from harness.report.drawing.tables import Column, Entry, Table, count, missing, number, texts, words
from harness.report.run_data import DTYPES, RunData, worst_error


def _rows(runs: Sequence[RunData], operation: str) -> list[list[Entry]]:
    names = dict.fromkeys(n for run in runs for n in run.implementations)
    rows = []
    for name in names:
        for dtype in DTYPES:
            given = [errors(run, dtype, operation).get(name, {}) for run in runs]
            present = [g for g in given if g]
            if len(present) < 2:
                continue
            shared = set.intersection(*(set(g) for g in present))
            row = [words(name), words(dtype), count(len(shared))]
            largest: list[float] = []
            for run, records in zip(runs, given, strict=True):
                if not records:
                    row.append(missing(*run.why(name, (), dtype, operation)))
                    continue
                found = worst_error(c for key, c in records.items() if key in shared)
                if found is None:
                    row.append(missing("no shared input", "the runs judged it on other inputs"))
                    continue
                largest.append(found[0])
                bad = any(records[key].status == "failed" for key in shared)
                row.append(number(found[0], kind="bad" if bad else ""))
            differ = len(set(largest)) > 1
            row.append(Entry(
                "differ" if differ else "equal" if len(largest) > 1 else "–",
                differ if len(largest) > 1 else "",
            ))  # fmt: skip
            rows.append(row)
    return rows


def accuracy(runs: Sequence[RunData]) -> list[Table]:
    """Largest errors over the inputs that the runs share, a table for each operation.

    An implementation stands there where at least two runs measured it in a format; only inputs
    that all of those have, by their SHA-256, count.
    """
    operations = dict.fromkeys(o for run in runs for o in run.operations(AccuracyRecord))
    measured = [run for run in runs if run.select(AccuracyRecord)]
    tables = []
    for operation in operations:
        rows = _rows(measured, operation)
        if not rows:
            continue
        columns = [
            *texts("Implementation", "Format"),
            Column("Shared inputs"),
            *(
                Column(f"{place_of(run.info)}, {run.info.id}", "ulp", group="Largest error")
                for run in measured
            ),
            Column("Runs", numeric=False),
        ]
        tables.append(Table(
            f"side-by-side-{operation}", f"{operation}: largest errors, run beside run",
            columns, rows, [prose("side_by_side")],
        ))  # fmt: skip
    return tables
