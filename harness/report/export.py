"""The records of a run for other programs: CSV, Parquet, and the description as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.report.cells import RunData
from harness.report.tables import csv_text


def write_cells(run: RunData, folder: Path) -> list[tuple[Path, str]]:
    """Write all records as CSV, and as Parquet where pyarrow is installed, and run.json.

    Returns:
        The files written, each with what it holds.
    """
    names = list(dict.fromkeys(k for c in run.cells for k in c))
    rows = [
        [json.dumps(v) if isinstance(v, list | dict) else v for v in (c.get(n) for n in names)]
        for c in run.cells
    ]
    table = folder / "cells.csv"
    table.write_text(csv_text(names, rows), encoding="utf-8", newline="")
    files = [(table, "All records of the run; lists are JSON")]
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        pass
    else:
        parquet = folder / "cells.parquet"
        columns = {n: _arrow_column([r[k] for r in rows]) for k, n in enumerate(names)}
        pyarrow.parquet.write_table(pyarrow.table(columns), parquet, compression="zstd")
        files.append((parquet, "The same as Parquet"))
    description = folder / "run.json"
    text = json.dumps(run.info.model_dump(mode="json"), indent=1, sort_keys=True)
    description.write_text(text + "\n", encoding="utf-8", newline="")
    return [*files, (description, "Description of the run")]


def _arrow_column(values: Sequence[Any]) -> list[Any]:
    """Values of one type: numbers stay numbers, a column of mixed kinds becomes text."""
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {int, float} and len(kinds) > 1:
        return [None if v is None else float(v) for v in values]
    if len(kinds) > 1:
        return [None if v is None else str(v) for v in values]
    return list(values)
