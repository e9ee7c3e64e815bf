"""The store: a run is a folder with `run.json` and one record a line in `cells.jsonl`.

Records are appended and flushed as they are measured; a run that is finished is never changed.
Reading tolerates what a kill leaves behind (a last line cut in the middle) and reports it.
"""

from __future__ import annotations

import json
import os
import secrets
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.records import RECORD, SCHEMA_VERSION, Record, RunInfo

if TYPE_CHECKING:
    import pandas as pd

RUN_FILE = "run.json"
CELLS_FILE = "cells.jsonl"
_MAX_LINE = 4 << 20

_KEY_FIELDS = (
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
)


class ResultsError(ValueError):
    """A path that holds no run, or a run that cannot be read; one line that says what to do."""


class ResultsWarning(UserWarning):
    """Part of a run could not be read; what could is used."""


def cell_key(record: Record | Mapping[str, Any]) -> str:
    """The coordinates of a record as one string: equal for the same cell of the grid."""
    get = record.get if isinstance(record, Mapping) else lambda k, d=None: getattr(record, k, d)
    return "|".join("" if (v := get(f)) is None else f"{v}" for f in _KEY_FIELDS)


def new_run_id(now: datetime | None = None) -> str:
    """``<UTC>-<short id>``, the name of a run's folder."""
    now = now or datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


class RunWriter:
    """Writes one run; use as a context manager.

    Raises:
        ResultsError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, info: RunInfo, *, resume: bool = False) -> None:
        self.folder = folder
        self.info = info
        try:
            folder.mkdir(parents=True, exist_ok=resume)
            if resume:
                _cut_torn_line(folder / CELLS_FILE)
            self._write_info()
            self._cells = open(folder / CELLS_FILE, "ab", buffering=0)  # noqa: SIM115
        except OSError as e:
            raise ResultsError(
                f"{folder}: cannot be written ({e.strerror}); choose another place with --results"
            ) from None

    def append(self, record: Record) -> None:
        """Write one record, whole, before returning."""
        line = record.model_dump_json(exclude_none=True).encode() + b"\n"
        view = memoryview(line)
        while view:
            view = view[self._cells.write(view) :]

    def update(self, **changes: Any) -> None:
        """Replace fields of run.json, atomically."""
        self.info = self.info.model_copy(update=changes)
        self._write_info()

    def finish(self) -> None:
        """Mark the run as finished."""
        self.update(finished=datetime.now(UTC).isoformat(timespec="seconds"))

    def close(self) -> None:
        self._cells.close()

    def _write_info(self) -> None:
        temporary = self.folder / f".{RUN_FILE}.{os.getpid()}"
        temporary.write_text(self.info.model_dump_json(indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, self.folder / RUN_FILE)

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _cut_torn_line(path: Path) -> None:
    """Remove what a kill left of a last record, so that appending starts on a new line."""
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with open(path, "r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)


@dataclass(frozen=True)
class Run:
    """A run as read.

    Attributes:
        path: its folder.
        info: run.json.
        records: every readable record, in the order measured; of several with the same
            coordinates (a resumed run) only the last.
        problems: what could not be read, a line each.
    """

    path: Path
    info: RunInfo
    records: list[Record] = field(repr=False)
    problems: list[str] = field(default_factory=list)

    @property
    def machine(self) -> str:
        return str(self.info.machine.get("slug") or self.path.parent.name)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The records as plain dictionaries, `run` and `machine` in front."""
        front = {"run": self.info.id, "machine": self.machine}
        return [{**front, **r.model_dump()} for r in self.records]

    @property
    def cells(self) -> pd.DataFrame:
        """The records as a DataFrame, one row each, columns `run` and `machine` in front."""
        return _frame(self.rows)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    empty = ["run", "machine", *_KEY_FIELDS, "status", "reason"]
    columns = list(dict.fromkeys(c for r in rows for c in r)) or empty
    return pd.DataFrame(rows, columns=columns)


def _read_lines(path: Path, problems: list[str]) -> Iterator[tuple[int, bytes]]:
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE + 1):
            number += 1
            if len(line) > _MAX_LINE:
                problems.append(f"{path.name}:{number}: line longer than {_MAX_LINE} bytes")
                while not line.endswith(b"\n") and (line := file.readline(_MAX_LINE)):
                    pass
            elif line.strip():
                yield number, line


def _reject_constant(literal: str) -> Any:
    raise ValueError(f"{literal} is not JSON")


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read one run's folder. Nothing of it is imported or run.

    Raises:
        ResultsError: there is no readable run.json, or its schema is not this version's.
    """
    path = Path(folder)
    try:
        text = (path / RUN_FILE).read_text(encoding="utf-8")
        data = json.loads(text, parse_constant=_reject_constant)
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version != SCHEMA_VERSION:
            raise ResultsError(
                f"{path / RUN_FILE}: schema version {version!r}; this harness reads "
                f"{SCHEMA_VERSION}: use the release that wrote it, or measure again"
            )
        info = RunInfo.model_validate(data)
    except OSError as e:
        raise ResultsError(f"{path}: not a run ({e.strerror}: {RUN_FILE})") from None
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise ResultsError(f"{path / RUN_FILE}: {where}: {first['msg']}") from None
    except (ValueError, RecursionError) as e:
        if isinstance(e, ResultsError):
            raise
        raise ResultsError(f"{path / RUN_FILE}: not JSON: {str(e)[:200]}") from None
    problems: list[str] = []
    records: dict[str, Record] = {}
    cells = path / CELLS_FILE
    if cells.exists():
        for number, line in _read_lines(cells, problems):
            try:
                raw = json.loads(line, parse_constant=_reject_constant)
                record = RECORD.validate_python(raw)
            except ValidationError as e:
                first = e.errors()[0]
                where = ".".join(str(p) for p in first["loc"])
                problems.append(f"{cells.name}:{number}: {where}: {first['msg']}"[:300])
            except (ValueError, RecursionError) as e:
                problems.append(f"{cells.name}:{number}: not a record: {e}"[:300])
            else:
                records[cell_key(record)] = record
    else:
        problems.append(f"{cells.name}: no such file")
    return Run(path, info, list(records.values()), problems)


def find_runs(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The run folders at or below `paths`, sorted, each once.

    Raises:
        ResultsError: a path does not exist, or holds no run.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        if (path / RUN_FILE).is_file():
            found[path] = None
            continue
        below = sorted(p.parent for p in path.glob("**/" + RUN_FILE)) if path.is_dir() else []
        if not below:
            what = "holds no run" if path.exists() else "no such file or folder"
            raise ResultsError(
                f"{path}: {what}; give a run's folder, or one above it (with a {RUN_FILE} in it)"
            )
        found.update(dict.fromkeys(below))
    return list(found)


def read_runs(paths: Sequence[str | os.PathLike[str]]) -> list[Run]:
    """Every run at or below `paths`, oldest first; unreadable parts give a `ResultsWarning`."""
    runs = [read_run(p) for p in find_runs(paths)]
    for run in runs:
        for problem in run.problems:
            warnings.warn(f"{run.path}: {problem}", ResultsWarning, stacklevel=2)
    return sorted(runs, key=lambda r: (r.info.created, r.info.id))


def read_results(*paths: str | os.PathLike[str]) -> pd.DataFrame:
    """All records of the runs at or below `paths` as one DataFrame.

    Columns are `run`, `machine` and the fields of `harness.records`; a figure that an experiment
    does not have is missing (NaN or None). Times are in nanoseconds, bandwidths in GB/s.

    Raises:
        ResultsError: nothing there is a run.
    """
    return _frame([row for run in read_runs(paths) for row in run.rows])
