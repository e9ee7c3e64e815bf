"""The files of a run: their names, the names of runs and cells, and what can be wrong with them."""

from __future__ import annotations

import errno
import secrets
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.records import Record, RunInfo

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
    "parameter",
    "value",
    "over",
    "other",
    "result",
    "setting",
)


class ResultsError(UserError):
    """A path that holds no run, or a run that cannot be read; one line that says what to do."""


class Unwritable(ResultsError):
    """The folder of a run cannot be written, or not any more.

    Attributes:
        folder: of the run.
        why: what the system says.
    """

    def __init__(self, folder: Path, why: str, message: str) -> None:
        super().__init__(f"{folder}: {message}")
        self.folder = folder
        self.why = why


class ResultsWarning(UserWarning):
    """Part of a run could not be read; what could is used."""


def cell_key(record: Record | Mapping[str, Any]) -> str:
    """The coordinates of a record as one string: equal for the same cell of the grid."""
    get = (record if isinstance(record, Mapping) else vars(record)).get
    # A warm cache is what records without the field had: theirs is the same cell.
    return "|".join("" if (v := get(f)) in (None, "warm") else f"{v}" for f in KEY_FIELDS)


def new_run_id() -> str:
    """``<UTC>-<short id>``, the name of a run's folder."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def resume_command(info: RunInfo, folder: Path) -> str | None:
    """The command that resumes an interrupted run; None for a kind that cannot be resumed."""
    if info.profile in ("check", "reproduce", "worst-case") or info.profile.startswith("gpu-"):
        return None
    name = info.profile if info.profile in ("exhaustive", "train") else "run"
    return f"softmax-bench {name} --resume {shlex.quote(str(folder))}"


@contextmanager
def temporary_results() -> Iterator[Path]:
    """A folder for runs that are not kept.

    Raises:
        ResultsError: no folder can be made, or the disk is full; nothing of the run is kept.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="softmax-bench-")
    except OSError as e:
        raise ResultsError(
            f"no folder for temporary files can be written ({e.strerror}); set TMPDIR to one"
        ) from None
    with made as folder:
        try:
            yield Path(folder)
        except (Unwritable, OSError) as e:
            if isinstance(e, Unwritable):
                ours, why = e.folder.is_relative_to(folder), e.why
            else:
                ours, why = e.errno in (errno.ENOSPC, errno.EDQUOT), str(e.strerror)
            if not ours:
                raise
            raise ResultsError(
                f"{folder}: the temporary files of a run that is not kept cannot be written any "
                f"more ({why}); make room there, or set TMPDIR to another folder"
            ) from None
