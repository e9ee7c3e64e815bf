"""A run that pages are made of, read when it has to be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.records import RunInfo
from harness.records.reader import CELLS_FILE, RUN_FILE, Run, read_info, read_run
from harness.report.pieces import digest, digest_of_file


@dataclass(frozen=True, eq=False)
class Stored:
    """A run.

    Attributes:
        info: its description.
        path: its folder.
        key: a digest of its files; empty for a run that is in memory alone.
        given: the run, where it was read already.
    """

    info: RunInfo
    path: Path = Path()
    key: str = ""
    given: Run | None = None

    @classmethod
    def at(cls, path: Path) -> Stored:
        """The run in a folder.

        Raises:
            ResultsError: there is no readable run.json, or its schema is not this version's.
        """
        info = read_info(path)
        try:
            key = digest(*(digest_of_file(path / name) for name in (RUN_FILE, CELLS_FILE)))
        except OSError:  # what cannot be read is told when the run is: never taken over
            key = ""
        return cls(info, path, key)

    @cached_property
    def run(self) -> Run:
        return read_run(self.path) if self.given is None else self.given
