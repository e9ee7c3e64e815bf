"""The records of a run that pages across runs need: few, so that reading many runs takes no time.

They stand in a file of the run's folder of pages, in the store's own form. A run that has not
changed since the last site is known by them alone; one that has is put on pages across runs by
them, too, so that both ways give the same pages.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from harness.records import AccuracyRecord, AnyRecord, ConformanceRecord, OverflowRecord, Record
from harness.records.files import KEY_FIELDS
from harness.records.timing import TimingRecord
from harness.report.pages.conformance import SHOWN, case_of, state_of
from harness.report.pages.thresholds import OVERFLOWS
from harness.report.run_data import MEASURED

FILE = ".kept.json.gz"
FAULTS = ("failed", "error", "crashed", "timeout", "out_of_memory")
"""Statuses of cells that ended in another way than they should."""

_STORED: TypeAdapter[tuple[list[str], list[AnyRecord]]] = TypeAdapter(
    tuple[list[str], list[AnyRecord]]
)
_FIELDS = {
    *KEY_FIELDS, "status", "reason", "deviation",
    # accuracy and overflow
    "max_ulp", "error_over_bound", "bound", "nonfinite", "input_sha256", "occurs", "last_good",
    "first_bad",
    # conformance
    "case", "number", "title", "verdict", "outcome", "message", "deviation_reason", "case_input",
    "got", "expected", "error_ulp", "allowed_ulp", "upstream", "witness", "diagnosis",
    # timings
    "best_ns", "median_ns", "gbps", "gbps_low", "gbps_high", "baseline", "speedup",
    "speedup_low", "speedup_high", "percent_of_limit", "gate_ulp", "gate_error_over_bound",
    "noisy", "undecided", "ranked", "implausible",
}  # fmt: skip
_INCLUDED: Any = {0: True, 1: {"__all__": _FIELDS}}


def _needed(c: Record) -> bool:
    if c.status in FAULTS:
        return True
    if isinstance(c, ConformanceRecord):
        return state_of(c) in SHOWN
    if isinstance(c, OverflowRecord):
        return c.kind == "threshold" and (c.probe, c.sign, c.event) == OVERFLOWS
    if isinstance(c, TimingRecord):
        return c.role == "implementation" and c.status in MEASURED
    return isinstance(c, AccuracyRecord) and c.status != "unavailable"


def chosen(records: Sequence[Record]) -> list[Record]:
    """The records that are kept.

    Of the others the first of every implementation, experiment, format, operation and status,
    which says that it was there, and the first of every case that it passed, which says that it was
    tried.
    """
    found = []
    seen: set[tuple[str | None, ...]] = set()
    for c in records:
        passed = isinstance(c, ConformanceRecord) and state_of(c) == "pass"
        place = (
            c.experiment, c.implementation, c.dtype, c.operation, c.status,
            case_of(c) if passed else None,  # type: ignore[arg-type]
        )  # fmt: skip
        if _needed(c) or place not in seen:
            found.append(c)
        seen.add(place)
    return found


def write(records: Sequence[Record], problems: Sequence[str], folder: Path) -> None:
    """Write what is kept of a run into its folder of pages."""
    folder.mkdir(parents=True, exist_ok=True)
    what: Any = (list(problems), chosen(records))
    text = _STORED.dump_json(what, include=_INCLUDED, exclude_none=True)
    (folder / FILE).write_bytes(gzip.compress(text, mtime=0))


def read(folder: Path) -> tuple[list[str], list[Record]]:
    """Problems and records that were kept.

    Raises:
        ValueError: the file is not as it was written.
        OSError: there is none, or it cannot be read.
    """
    try:
        text = gzip.decompress((folder / FILE).read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as e:
        raise ValueError(f"{folder / FILE}: not as it was written: {e}") from e
    problems, records = _STORED.validate_json(text)
    return problems, list(records)
