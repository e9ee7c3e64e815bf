"""A run for other programs: records as CSV and Parquet, tables as CSV, Markdown and LaTeX."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from harness.records import Record
from harness.report.drawing.sanitize import latex, markdown, readable, slug
from harness.report.drawing.tables import Table, csv_text
from harness.report.run_data import RunData

TYPESET = 25
"""Rows of a table that may still stand in a text."""


def write_cells(run: RunData, folder: Path) -> list[tuple[Path, str]]:
    """Write the records as CSV in an archive; all as Parquet where pyarrow is; run.json.

    There is a CSV for each experiment, with the columns in which it has anything.

    Returns:
        The files written, each with what it holds.
    """
    files = []
    stored = [(type(c), _flat(c)) for c in run.records]
    texts = {}
    for kind in dict.fromkeys(kind for kind, _ in stored):
        names, rows = _columns([row for of, row in stored if of is kind])
        experiment = run.select(kind)[0].experiment
        texts[f"cells-{slug(experiment)}.csv"] = csv_text(names, rows)
    if texts:
        archive = folder / "records.zip"
        _zip(texts, archive)
        files.append((archive, "All records as CSV, a file an experiment; lists are JSON"))
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
    text = json.dumps(run.info.model_dump(mode="json"), sort_keys=True)
    description.write_text(text + "\n", encoding="utf-8", newline="")
    return [*files, (description, "Description of the run")]


def write_tables(tables: Sequence[Table], others: Iterable[Table], path: Path) -> None:
    """Write tables into one archive.

    All as CSV; those of `tables` that have up to `TYPESET` rows as Markdown and LaTeX too.
    """
    texts = {f"csv/{table.name}.csv": table.to_csv() for table in (*tables, *others)}
    for table in tables:
        if len(table.rows) > TYPESET:
            continue
        texts[f"markdown/{table.name}.md"] = to_markdown(table)
        texts[f"latex/{table.name}.tex"] = to_latex(table)
    _zip(texts, path)


def _zip(texts: Mapping[str, str], path: Path) -> None:
    """The same texts give the same bytes: the archive holds no times."""
    with ZipFile(path, "w") as archive:
        for name, text in texts.items():
            archive.writestr(ZipInfo(name), text.encode("utf-8"), ZIP_DEFLATED, compresslevel=9)


def _heads(table: Table) -> list[str]:
    return [" ".join(p for p in (c.group, c.header, c.unit) if p) for c in table.columns]


def _shown(table: Table) -> list[list[str]]:
    """What the page shows, with the interval or the like behind each figure."""
    return [
        [" ".join(p for p in (e.text, (e.detail or "").replace("\n", " ")) if p) for e in row]
        for row in table.shown
    ]


def _notes(table: Table) -> list[str]:
    """What stands below a table: its remarks, whose rows are one gap, the footnotes."""
    empty = table.empty()
    return [
        *table.marks,
        *table.notes,
        *([f"No figures: {empty}."] if empty else []),
        *table.footnotes,
    ]


def to_markdown(table: Table) -> str:
    """A table as a pipe table, with its caption and notes."""

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(map(markdown, cells))} |\n"

    rule = "|" + "|".join(" ---: " if c.numeric else " --- " for c in table.columns) + "|\n"
    notes = "".join(f"\n{markdown(note)}\n" for note in _notes(table))
    body = "".join(map(line, _shown(table)))
    return f"**{markdown(table.caption)}**\n\n{line(_heads(table))}{rule}{body}{notes}"


def to_latex(table: Table) -> str:
    """A table for LaTeX with the package booktabs; notes as comments."""

    def line(cells: Iterable[str]) -> str:
        text = " & ".join(map(latex, cells))
        # behind the end of a line a bracket or a star would be its argument
        return f"{'{}' if text[:1] in ('[', '*') else ''}{text} \\\\\n"

    columns = "".join("r" if c.numeric else "l" for c in table.columns)
    notes = "".join(f"% {readable(' '.join(n.split()))}\n" for n in _notes(table))
    body = "".join(map(line, _shown(table)))
    return (
        f"{notes}\\begin{{tabular}}{{{columns}}}\n\\toprule\n{line(_heads(table))}\\midrule\n"
        f"{body}\\bottomrule\n\\end{{tabular}}\n"
    )


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
