"""A run as the report reads it: its records as plain mappings, and why a figure is missing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from harness.records import ImplementationInfo, RunInfo

Cell = Mapping[str, Any]
DTYPES = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
REGIMES = ("latency", "cached", "streaming")
MEASURED = ("ok", "failed")
_INDEXED = ("implementation", "dtype", "role")


class RunLike(Protocol):
    """What `reader.read_runs` gives for each run."""

    @property
    def info(self) -> RunInfo: ...
    @property
    def rows(self) -> list[dict[str, Any]]: ...
    @property
    def problems(self) -> list[str]: ...


def _ordered(values: Iterable[Any], first: Sequence[Any] = ()) -> list[Any]:
    present = {v for v in values if v is not None}
    return [v for v in first if v in present] + sorted(present - set(first))


@dataclass(frozen=True, eq=False)
class RunData:
    """One run.

    Attributes:
        info: its description.
        cells: its records, in the order of measurement; absent figures are None.
        slug: its folder in the site, with a slash at its end; empty for the root.
        problems: what of the stored run could not be read, a line each.
    """

    info: RunInfo
    cells: Sequence[Cell]
    slug: str
    problems: Sequence[str] = ()

    @cached_property
    def implementations(self) -> list[str]:
        """Names: available ones in the run's order, those only in cells, unavailable ones."""
        named = [i.name for i in self.info.implementations if i.available]
        absent = [i.name for i in self.info.implementations if not i.available]
        seen = {
            c["implementation"]
            for c in self.cells
            if c.get("role") in (None, "implementation")
            and c.get("operation") != "copy"
            and c.get("experiment") != "claims"  # those are about sentences, not code
        }
        return named + sorted(seen - set(named) - set(absent)) + absent

    @cached_property
    def _info_by_name(self) -> dict[str, ImplementationInfo]:
        return {i.name: i for i in self.info.implementations}

    def about(self, name: str) -> ImplementationInfo | None:
        """The run's description of an implementation; None where it has none."""
        return self._info_by_name.get(name)

    def select(self, experiment: str, **equal: Any) -> list[Cell]:
        """The cells of an experiment with the given values."""
        pools = [self._index.get((experiment, k, v), []) for k, v in equal.items() if k in _INDEXED]
        pool = min(pools, key=len) if pools else self._index.get((experiment, "", None), [])
        wanted = list(equal.items())
        return [c for c in pool if all(c.get(k) == v for k, v in wanted)]

    @cached_property
    def _index(self) -> dict[tuple[str, str, Any], list[Cell]]:
        """Cells by experiment, and by experiment and each of the fields most asked for."""
        found: dict[tuple[str, str, Any], list[Cell]] = {}
        for c in self.cells:
            experiment = str(c.get("experiment"))
            found.setdefault((experiment, "", None), []).append(c)
            for k in _INDEXED:
                found.setdefault((experiment, k, c.get(k)), []).append(c)
        return found

    def absent(self, cells: Iterable[Cell], field: str, **wanted: Any) -> dict[str, str]:
        """Implementations without any figure among some cells, each with status and reason."""
        given = list(cells)
        present = {c["implementation"] for c in given if c.get(field) is not None}
        found = {}
        for name in self.implementations:
            if name not in present:
                mine = [c for c in given if c["implementation"] == name]
                status, reason = self.why(name, mine, **wanted)
                found[name] = f"{status.replace('_', ' ')}: {reason}"
        return found

    def dtypes(self, experiment: str) -> list[str]:
        return _ordered((c.get("dtype") for c in self.select(experiment)), DTYPES)

    def operations(self, experiment: str) -> list[str]:
        found = (c.get("operation") for c in self.select(experiment))
        return [o for o in _ordered(found, ("softmax",)) if o != "copy"]

    def statuses(self, name: str) -> Counter[str]:
        """How many cells of an implementation ended in each status."""
        return Counter(
            c["status"]
            for c in self.cells
            if c["implementation"] == name and c.get("role") in (None, "implementation")
        )

    def why(self, name: str, cells: Iterable[Cell] = (), **wanted: Any) -> tuple[str, str]:
        """Status and reason where an implementation has no figure.

        Args:
            name: the implementation.
            cells: its cells at the place that is empty, if there are any.
            wanted: ``dtype`` and ``operation`` of that place.
        """
        for c in cells:
            if c["status"] not in MEASURED:
                return c["status"], c.get("reason") or "no reason recorded"
        about = self.about(name)
        if about is not None and not about.available:
            return "unavailable", about.unavailable_reason or "no reason recorded"
        if about is not None:
            dtype, operation = wanted.get("dtype"), wanted.get("operation")
            if dtype is not None and about.dtypes and dtype not in about.dtypes:
                return "unsupported", f"does not declare {dtype}"
            if operation is not None and operation not in about.operations:
                return "unsupported", f"does not offer {operation}"
        if self.info.finished is None:
            return "not measured", "the run had not finished when this report was made"
        return "not measured", "not in the plan of this run (see its profile and filters)"


def from_run(run: RunLike, slug: str) -> RunData:
    """The report's view of a stored run."""
    return RunData(run.info, [_completed(r) for r in run.rows], slug, tuple(run.problems))


def _completed(row: dict[str, Any]) -> Cell:
    """A failed accuracy cell whose result was not finite has an infinite error, by definition.

    Without this, a record that lost its infinity would drop out of every maximum. The names of
    run and machine, the same in every row, stand in run.json.
    """
    row = {k: v for k, v in row.items() if k not in ("run", "machine")}
    lost = row.get("experiment") == "accuracy" and row.get("max_ulp") is None
    if lost and row.get("status") == "failed" and row.get("nonfinite"):
        row["max_ulp"] = math.inf
        if row.get("bound") is not None and row.get("error_over_bound") is None:
            row["error_over_bound"] = math.inf
    return row


def absent_text(absent: Mapping[str, str]) -> str:
    """The implementations that a figure lacks, gathered by reason, as the end of its caption."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in absent.items():
        by_reason.setdefault(reason, []).append(name)
    parts = [f"{', '.join(names)} ({reason})" for reason, names in by_reason.items()]
    return f" Not drawn: {'; '.join(parts)}." if parts else ""


def of(cells: Iterable[Cell], implementation: str) -> list[Cell]:
    """The cells of an implementation."""
    return [c for c in cells if c["implementation"] == implementation]


def measured(cells: Iterable[Cell]) -> list[Cell]:
    """The cells that hold figures."""
    return [c for c in cells if c["status"] in MEASURED]


def worst(cells: Iterable[Cell], field: str) -> Cell | None:
    """The measured cell with the largest value of `field`."""
    found = [c for c in measured(cells) if c.get(field) is not None]
    return max(found, key=lambda c: float(c[field])) if found else None
