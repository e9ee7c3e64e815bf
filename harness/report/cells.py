"""A run as the report reads it: plain cells with Python values, and why a cell is missing."""

from __future__ import annotations

import math
import types
import typing
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from harness.records import (
    AccuracyRecord,
    ImplementationInfo,
    OverflowRecord,
    RunInfo,
    ThroughputRecord,
)

Cell = Mapping[str, Any]
DTYPES = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
REGIMES = ("latency", "cached", "streaming")
MEASURED = ("ok", "failed")


class RunLike(Protocol):
    """What `harness.results.read_runs` gives for each run."""

    @property
    def info(self) -> RunInfo: ...
    @property
    def cells(self) -> Any: ...
    @property
    def path(self) -> Path: ...


def _fields_of(kind: type) -> frozenset[str]:
    """Names of the record fields whose annotation is `kind`, or `kind` or None."""
    names = set()
    for model in (AccuracyRecord, OverflowRecord, ThroughputRecord):
        for name, info in model.model_fields.items():
            annotation = info.annotation
            union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
            options = typing.get_args(annotation) if union else (annotation,)
            if kind in options:
                names.add(name)
    return frozenset(names)


_FLOATS = _fields_of(float)
_INTEGERS = _fields_of(int) | {"sign"}
_BOOLEANS = _fields_of(bool)
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _value(name: str, value: Any) -> Any:
    """A cell's value as plain Python; None where a DataFrame has any of its missing values."""
    if isinstance(value, list | tuple | dict | str):
        if name in _FLOATS and isinstance(value, str):
            return _NON_FINITE.get(value)
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    if name in _BOOLEANS and not isinstance(value, str):
        return bool(value)
    if name in _INTEGERS and isinstance(value, float) and value.is_integer():
        return int(value)
    if name in _FLOATS and isinstance(value, int):
        return float(value)
    return value


def _ordered(values: Iterable[Any], first: Sequence[Any] = ()) -> list[Any]:
    present = {v for v in values if v is not None}
    return [v for v in first if v in present] + sorted(present - set(first))


@dataclass(frozen=True)
class RunData:
    """One run.

    Attributes:
        info: its description.
        cells: its records, in the order of measurement; absent figures are None.
        slug: its folder in the site.
    """

    info: RunInfo
    cells: Sequence[Cell]
    slug: str

    @cached_property
    def implementations(self) -> list[str]:
        """Names, in the order of the run's list, then those that only cells mention."""
        named = [i.name for i in self.info.implementations]
        seen = {
            c["implementation"]
            for c in self.cells
            if c.get("role") in (None, "implementation") and c.get("operation") != "copy"
        }
        return named + sorted(seen - set(named))

    @cached_property
    def _info_by_name(self) -> dict[str, ImplementationInfo]:
        return {i.name: i for i in self.info.implementations}

    def about(self, name: str) -> ImplementationInfo | None:
        """The run's description of an implementation; None where it has none."""
        return self._info_by_name.get(name)

    def select(self, experiment: str, **equal: Any) -> list[Cell]:
        """The cells of an experiment with the given values."""
        return [
            c
            for c in self._by_experiment.get(experiment, [])
            if all(c.get(k) == v for k, v in equal.items())
        ]

    @cached_property
    def _by_experiment(self) -> dict[str, list[Cell]]:
        found: dict[str, list[Cell]] = {}
        for c in self.cells:
            found.setdefault(str(c.get("experiment")), []).append(c)
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
    names = [str(c) for c in run.cells.columns]
    rows = run.cells.itertuples(index=False, name=None)
    cells = [{n: _value(n, v) for n, v in zip(names, row, strict=True)} for row in rows]
    return RunData(run.info, cells, slug)


def measured(cells: Iterable[Cell]) -> list[Cell]:
    """The cells that hold figures."""
    return [c for c in cells if c["status"] in MEASURED]


def worst(cells: Iterable[Cell], field: str) -> Cell | None:
    """The measured cell with the largest value of `field`."""
    found = [c for c in measured(cells) if c.get(field) is not None]
    return max(found, key=lambda c: float(c[field])) if found else None
