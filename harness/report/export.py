"""The records of a run for other programs: CSV, Parquet, and the description as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.records import Record
from harness.report.drawing.sanitize import slug
from harness.report.drawing.tables import csv_text
from harness.report.run_data import RunData


def write_cells(run: RunData, folder: Path) -> list[tuple[Path, str]]:
    """Write the records as CSV, a file an experiment; all as Parquet where pyarrow is; run.json.

    A CSV has the columns in which its experiment has anything.

    Returns:
        The files written, each with what it holds.
    """
    files = []
    stored = [(type(c), _flat(c)) for c in run.records]
    for kind in dict.fromkeys(kind for kind, _ in stored):
        names, rows = _columns([row for of, row in stored if of is kind])
        experiment = run.select(kind)[0].experiment
        path = folder / f"cells-{slug(experiment)}.csv"
        path.write_text(csv_text(names, rows), encoding="utf-8", newline="")
        files.append((path, f"All records of the experiment {experiment}; lists are JSON"))
    names, rows = _columns([row for _, row in stored])
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        pass
    else:
        parquet = folder / "cells.parquet"
        columns = {n: _arrow_column([r[k] for r in rows]) for k, n in enumerate(names)}
        pyarrow.parquet.write_table(pyarrow.table(columns), parquet, compression="zstd")
        files.append((parquet, "All records as Parquet"))
    description = folder / "run.json"
    text = json.dumps(run.info.model_dump(mode="json"), indent=1, sort_keys=True)
    description.write_text(text + "\n", encoding="utf-8", newline="")
    return [*files, (description, "Description of the run")]


def _flat(record: Record) -> dict[str, Any]:
    """What a record holds, by name; lists as JSON."""
    return {
        k: json.dumps(v) if isinstance(v, list | dict) else v
        for k, v in record.model_dump().items()
        if v is not None
    }


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """The names of the columns that are not empty, and the rows."""
    names = list(dict.fromkeys(k for row in rows for k in row))
    return names, [list(map(row.get, names)) for row in rows]


def _arrow_column(values: Sequence[Any]) -> list[Any]:
    """Values of one type: numbers stay numbers, a column of mixed kinds becomes text."""
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {int, float} and len(kinds) > 1:
        return [None if v is None else float(v) for v in values]
    if len(kinds) > 1:
        return [None if v is None else str(v) for v in values]
    return list(values)
