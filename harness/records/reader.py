"""The store: a run is a folder with `run.json` and one record a line in `cells.jsonl`.

Records are appended and flushed as they are measured (`writer`); a run that is finished is never
changed. Lines that cannot be read (a last one cut by a kill, or what strangers write) are left out
and reported.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from harness.records import RECORD, SCHEMA_VERSION, Record, RunInfo
from harness.records.files import (
    CELLS_FILE,
    KEY_FIELDS,
    RUN_FILE,
    ResultsError,
    ResultsWarning,
    Unwritable,
    cell_key,
    new_run_id,
    resume_command,
    temporary_results,
)
from harness.records.writer import RunWriter
from harness.text import one_line

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CELLS_FILE",
    "RUN_FILE",
    "ResultsError",
    "ResultsWarning",
    "Run",
    "RunWriter",
    "Unwritable",
    "cell_key",
    "find_runs",
    "new_run_id",
    "read_newest",
    "read_results",
    "read_run",
    "read_runs",
    "resume_command",
    "temporary_results",
]

T = TypeVar("T")

_MAX_LINE = 4 << 20
_MAX_INFO = 64 << 20
_MAX_PROBLEMS = 100
_BESIDE = ("control", "limit")  # roles of what is timed beside the implementations


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
    def unmeasured(self) -> dict[str, Record]:
        """The implementations without any number or verdict, each with its first record."""
        cells = [r for r in self.records if getattr(r, "role", "") not in _BESIDE]
        measured = {r.implementation for r in cells if r.status in ("ok", "failed")}
        first = {r.implementation: r for r in reversed(cells)}
        return {name: cell for name, cell in first.items() if name not in measured}

    @property
    def nothing_measured(self) -> str | None:
        """Why no implementation has a number or a verdict, in one line; None where one has."""
        names = {r.implementation for r in self.records if getattr(r, "role", "") not in _BESIDE}
        if names - self.unmeasured.keys():
            return None
        why = (f"{name}: {r.status}, {r.reason}" for name, r in self.unmeasured.items())
        return f"nothing was measured ({'; '.join(why)})"

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

    empty = ["run", "machine", *KEY_FIELDS, "status", "reason"]
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


def _parsed(text: bytes) -> Any:
    """Strict JSON, parsed; half a surrogate pair is refused, too: no file can hold it."""
    data = json.loads(text.decode(), parse_constant=_reject_constant)
    if b"\\u" in text:
        json.dumps(data, ensure_ascii=False).encode()
    return data


def read_info(path: Path) -> RunInfo:
    """run.json of the run in `path`, validated.

    Raises:
        ResultsError: there is none that is readable, or its schema is not this version's.
    """
    file = path / RUN_FILE
    try:
        if file.exists() and not file.is_file():
            raise ResultsError(f"{file}: expected a file; got a folder or a device")
        with open(file, "rb") as stream:
            text = stream.read(_MAX_INFO + 1)
        if len(text) > _MAX_INFO:
            raise ResultsError(f"{file}: longer than {_MAX_INFO} bytes; it was not written by us")
        data = _parsed(text)
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version != SCHEMA_VERSION:
            raise ResultsError(
                f"{file}: schema version {one_line(repr(version), 40)}; this harness reads "
                f"{SCHEMA_VERSION}: use the release that wrote it, or measure again"
            )
        return RunInfo.model_validate(data)
    except OSError as e:
        raise ResultsError(f"{path}: not a run ({e.strerror}: {RUN_FILE})") from None
    except ValidationError as e:
        raise ResultsError(f"{file}: {_first(e)}") from None
    except (ValueError, RecursionError) as e:
        if isinstance(e, ResultsError):
            raise
        raise ResultsError(f"{file}: not JSON: {one_line(str(e), 200)}") from None


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(p) for p in first["loc"])
    return one_line(f"{where}: {first['msg']}", 300)


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read one run's folder. Nothing of it is imported or run.

    Raises:
        ResultsError: there is no readable run.json, or its schema is not this version's.
    """
    path = Path(folder)
    info = read_info(path)
    problems: list[str] = []
    records: dict[str, Record] = {}
    cells = path / CELLS_FILE
    try:
        if not cells.exists():
            problems.append(f"{cells.name}: no such file")
        elif not cells.is_file():
            problems.append(f"{cells.name}: expected a file; got a folder or a device")
        else:
            for number, line in _read_lines(cells, problems):
                try:
                    raw = _parsed(line)
                    record = RECORD.validate_python(raw)
                except ValidationError as e:
                    problems.append(f"{cells.name}:{number}: {_first(e)}")
                except (ValueError, RecursionError) as e:
                    reason = one_line(str(e), 250)
                    problems.append(f"{cells.name}:{number}: not a record: {reason}")
                else:
                    records[cell_key(record)] = record
    except OSError as e:
        problems.append(f"{cells.name}: cannot be read further ({e.strerror})")
    if len(problems) > _MAX_PROBLEMS:
        more = len(problems) - _MAX_PROBLEMS
        problems = [*problems[:_MAX_PROBLEMS], f"{cells.name}: and {more} more such lines"]
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


def each_run(paths: Sequence[str | os.PathLike[str]], read: Callable[[Path], T]) -> list[T]:
    """What `read` makes of every run at or below `paths`; one that it cannot read gives a warning.

    Raises:
        ResultsError: nothing there is a run, or none of them can be read.
    """
    found: list[T] = []
    unreadable: list[ResultsError] = []
    for path in find_runs(paths):
        try:
            found.append(read(path))
        except ResultsError as e:
            unreadable.append(e)
    if unreadable and not found:
        raise unreadable[0]
    for error in unreadable:
        warnings.warn(f"left out: {error}", ResultsWarning, stacklevel=3)
    return found


def tell_problems(path: Path, problems: Iterable[str]) -> None:
    """A warning for each part of a run that could not be read."""
    for problem in problems:
        warnings.warn(f"{path}: {problem}", ResultsWarning, stacklevel=3)


def read_runs(paths: Sequence[str | os.PathLike[str]]) -> list[Run]:
    """Every run at or below `paths`, oldest first; unreadable parts give a `ResultsWarning`.

    Raises:
        ResultsError: nothing there is a run, or none of them can be read.
    """
    runs = each_run(paths, read_run)
    for run in runs:
        tell_problems(run.path, run.problems)
    return sorted(runs, key=lambda r: (r.info.created, r.info.id))


def read_newest(path: str | os.PathLike[str]) -> tuple[Run, int]:
    """The run at or below `path` that began last, and how many there are.

    One that cannot be read gives a `ResultsWarning`.

    Raises:
        ResultsError: nothing there is a run, or none of them can be read.
    """
    found = each_run([path], lambda folder: (folder, read_info(folder)))
    newest, _ = max(found, key=lambda one: (one[1].created, one[1].id))
    return read_run(newest), len(found)


def read_results(*paths: str | os.PathLike[str]) -> pd.DataFrame:
    """All records of the runs at or below `paths` as one DataFrame.

    Columns are `run`, `machine` and the fields of `harness.records`; a number that an experiment
    does not have is missing (NaN or None). Times are in nanoseconds, bandwidths in GB/s.

    Raises:
        ResultsError: nothing there is a run.
    """
    return _frame([row for run in read_runs(paths) for row in run.rows])
