"""Writes a run: one process at a time, one record a line, nothing half-written."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from harness.records import RECORD, Record, RunInfo
from harness.records.files import (
    CELLS_FILE,
    RUN_FILE,
    ResultsError,
    ResultsWarning,
    Unwritable,
    cell_key,
    resume_command,
)


class RunWriter:
    """Writes one run, and keeps what it wrote; use as a context manager.

    Args:
        folder: of the run.
        info: for its run.json.
        resume: the records that the run has already; None for a new one.
        records: where it keeps what it wrote; by default a dictionary of its own.

    Attributes:
        records: by `cell_key`, in the order measured; of several of one cell the last.
        torn: whether a kill had left a last line that could not be read, now removed.

    Raises:
        ResultsError: the folder cannot be made or written.
    """

    def __init__(
        self, folder: Path, info: RunInfo, *, resume: Sequence[Record] | None = None,
        records: dict[str, Record] | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.info = info
        self.records = {} if records is None else records
        self.records.update({cell_key(r): r for r in resume or ()})
        self.torn = False
        self._cells: FileIO | None = None
        try:
            self.info = RunInfo.model_validate_json(info.model_dump_json())  # as it will be read
        except ValueError as e:
            raise ResultsError(
                f"{folder}: a name, path or docstring of the run is not UTF-8, as {RUN_FILE} must "
                f"be ({e}); rename that file or folder, or mend the docstring"
            ) from None
        try:
            folder.mkdir(parents=True, exist_ok=resume is not None)
            self._cells = FileIO(folder / CELLS_FILE, "x" if resume is None else "a+")
            self._lock()
            if resume is not None:
                _remove_temporaries(folder)
                self._forget(_cut_torn_line(self._cells))
            self._end = self._cells.seek(0, os.SEEK_END)
            self._write_info()
        except (OSError, ResultsError) as e:
            self.close()
            if isinstance(e, ResultsError):
                raise
            raise Unwritable(
                folder,
                str(e.strerror),
                f"cannot be written ({e.strerror}); choose another place with --results",
            ) from None

    def _lock(self) -> None:
        """Keep other processes from writing this run; the lock ends with ours, however it ends."""
        assert self._cells is not None
        try:
            fcntl.flock(self._cells, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResultsError(
                f"{self.folder}: another process is writing this run; wait until it has ended"
            ) from None
        except OSError:  # a file system without locks: the run is worth more than the lock
            warnings.warn(
                f"{self.folder}: the file system has no locks; write a run from one process only",
                ResultsWarning,
                stacklevel=3,
            )

    def _forget(self, line: bytes) -> None:
        """Have the cell of a removed line measured again, even if only its newline was missing."""
        if line:
            try:
                self.records.pop(cell_key(RECORD.validate_json(line)), None)
            except ValueError:
                self.torn = True

    def append(self, record: Record) -> None:
        """Write one record, whole, before returning.

        Raises:
            ResultsError: the disk is full, or gone; what was written before is intact.
        """
        line = record.model_dump_json(exclude_none=True).encode() + b"\n"
        assert self._cells is not None
        view = memoryview(line)
        try:
            while view:
                view = view[self._cells.write(view) or 0 :]
        except OSError as e:
            with contextlib.suppress(OSError):
                self._cells.truncate(self._end)  # no half of a line
            raise self._unwritable(e) from None
        self._end += len(line)
        self.records[cell_key(record)] = record

    def update(self, **changes: Any) -> None:
        """Replace fields of run.json, atomically.

        Raises:
            ResultsError: it cannot be written; the old one is intact.
        """
        self.info = self.info.model_copy(update=changes)
        try:
            self._write_info()
        except OSError as e:
            raise self._unwritable(e) from None

    def _unwritable(self, error: OSError) -> Unwritable:
        command = resume_command(self.info, self.folder)
        then = "begin anew" if command is None else f"go on with: {command}"
        return Unwritable(
            self.folder,
            str(error.strerror),
            f"cannot be written any more ({error.strerror}); what was measured is kept: make "
            f"room, then {then}",
        )

    def finish(self, order: Iterable[str] = ()) -> None:
        """Mark the run as finished, each of its records kept once.

        Args:
            order: keys of cells, in the order in which their records are kept; others follow.
        """
        with contextlib.suppress(OSError):  # the journal has everything, too
            self._sort(order)
        self.update(finished=datetime.now(UTC).isoformat(timespec="seconds"))

    def _sort(self, order: Iterable[str]) -> None:
        """Replace the journal, atomically; what is no record of ours stays at its end."""
        lines: dict[str, bytes] = {}
        strange = []
        for line in (self.folder / CELLS_FILE).read_bytes().splitlines(keepends=True):
            try:
                lines[cell_key(json.loads(line))] = line
            except (ValueError, AttributeError):
                strange.append(line)
        known = [key for key in dict.fromkeys(order) if key in lines]
        keys = dict.fromkeys([*known, *self.records, *lines])
        temporary = self.folder / f".{CELLS_FILE}.{os.getpid()}"
        try:
            temporary.write_bytes(b"".join([*(lines[k] for k in keys if k in lines), *strange]))
            os.replace(temporary, self.folder / CELLS_FILE)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self.records = {k: self.records[k] for k in keys if k in self.records}

    def close(self) -> None:
        if self._cells is not None:
            self._cells.close()

    def _write_info(self) -> None:
        temporary = self.folder / f".{RUN_FILE}.{os.getpid()}"
        try:
            temporary.write_text(self.info.model_dump_json(indent=1) + "\n", encoding="utf-8")
            os.replace(temporary, self.folder / RUN_FILE)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left; no writer is alive, since we hold the lock."""
    for name in (RUN_FILE, CELLS_FILE):
        for path in folder.glob(f".{name}.*"):
            path.unlink(missing_ok=True)


def _cut_torn_line(cells: FileIO) -> bytes:
    """Remove and return a last line without its end, so that appending starts on a new line."""
    cells.seek(0)
    text = cells.readall()
    keep = text.rfind(b"\n") + 1
    if keep < len(text):
        cells.truncate(keep)
    return text[keep:]
