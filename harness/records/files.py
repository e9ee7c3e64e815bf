"""The files of a run: their names, the names of runs and cells, and what can be wrong with them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from harness.errors import UserError
from harness.records import Record

RUN_FILE = "run.json"
CELLS_FILE = "cells.jsonl"

KEY_FIELDS = (
    "experiment",
    "implementation",
    "role",
    "operation",
    "dtype",
    "device",
    "threads",
    "workload",
    "classes",
    "rows",
    "seed",
    "kind",
    "probe",
    "sign",
    "event",
    "offset",
    "regime",
    "allocating",
    "cache",
    "beside",
)


class ResultsError(UserError):
    """A path that holds no run, or a run that cannot be read; one line that says what to do."""


class ResultsWarning(UserWarning):
    """Part of a run could not be read; what could is used."""


def cell_key(record: Record | Mapping[str, Any]) -> str:
    """The coordinates of a record as one string: equal for the same cell of the grid."""
    get = record.get if isinstance(record, Mapping) else lambda k, d=None: getattr(record, k, d)
    # A warm cache is what records without the field had: theirs is the same cell.
    return "|".join("" if (v := get(f)) in (None, "warm") else f"{v}" for f in KEY_FIELDS)


def new_run_id(now: datetime | None = None) -> str:
    """``<UTC>-<short id>``, the name of a run's folder."""
    now = now or datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
