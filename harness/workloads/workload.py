"""A workload: input family, shape, format and seed, and the array that they stand for.

It holds what makes an input reproducible: the id that records store, the stream of random numbers
behind it, the rounding to the format and the check that what came out is what was asked for.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from harness.numerics.formats import FloatFormat, float_format
from harness.workloads.captured import (
    checked_shape,
    file_digest,
    load_logits,
    open_logits,
    split_source,
)
from harness.workloads.digits import ROWS, WorkloadUnavailable, digits_logits
from harness.workloads.families import FAMILIES, Draw, Family
from harness.workloads.stored import Stored

VERSION = 1
"""Version of the definitions of all families; it enters every stream and every record."""

DISTINCT_ELEMENTS = 2**24
"""Above this many elements the drawn rows are repeated: generation stays under a second."""

_DEFAULT_CLASSES, _DEFAULT_ROWS = 1000, 1
_ID = re.compile(r"\s*([a-z_0-9]+)\s*(?:\((.*)\))?\s*", re.DOTALL)
Params = tuple[tuple[str, float | str], ...]


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise ValueError(f"workload: expected one of {', '.join(FAMILIES)}; got {name!r}")
    return FAMILIES[name]


def _number(value: float) -> str:
    """The shortest text that reads back as the same float; integers without a point."""
    if value == int(value) and abs(value) < 1e16:
        return str(int(value))
    return repr(value)


def _numeric_params(family: Family, given: Mapping[str, object]) -> Params:
    known = family.parameters
    for name in given:
        if name not in known:
            raise ValueError(
                f"workload {family.name}: expected parameters from "
                f"({', '.join(known) or 'none'}); got {name!r}"
            )
    values: list[tuple[str, float | str]] = []
    for name, parameter in known.items():
        raw = given.get(name, parameter.default)
        try:
            value = float(raw)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            value = math.nan
        inside = parameter.low <= value <= parameter.high
        if not inside or (parameter.integral and value != int(value)):
            kind = "an integer" if parameter.integral else "a number"
            raise ValueError(
                f"workload {family.name}: expected {name} to be {kind} from "
                f"{parameter.low:g} to {parameter.high:g}; got {raw!r}"
            )
        values.append((name, value + 0.0))  # -0 and 0 are one parameter
    return tuple(values)


def _file_params(given: Mapping[str, object]) -> Params:
    source = given.get("path")
    if not isinstance(source, str | Path) or not set(given) <= {"path", "sha256"}:
        raise ValueError(
            "workload file: expected file(path=FILE.npy); an id with name and sha256 alone does "
            "not say where the file is"
        )
    return (("path", str(source)), ("sha256", str(given.get("sha256") or file_digest(source))))


@dataclass(frozen=True)
class Workload:
    """Everything that determines an input array.

    Attributes:
        family: one of `FAMILIES`.
        classes: length of the softmax axis, the last one.
        rows: number of rows.
        dtype: name of a format of `formats`.
        seed: non-negative; workloads that differ in any field have independent streams.
        params: (name, value) pairs, complete and in the family's order. `make` fills them in.
    """

    family: str
    classes: int
    rows: int
    dtype: str
    seed: int
    params: Params

    def __post_init__(self) -> None:
        family = _family(self.family)
        for name in ("classes", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a positive integer; got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed: expected a non-negative integer; got {self.seed}")
        if family.fixed_classes not in (None, self.classes):
            raise ValueError(
                f"workload {self.family}: expected classes={family.fixed_classes}; "
                f"got {self.classes}"
            )

    @property
    def options(self) -> dict[str, float | str]:
        """The parameters as a dictionary."""
        return dict(self.params)

    @property
    def id(self) -> str:
        """What records store, such as ``normal(scale=10)``; `parse` reads it back.

        A file appears as its name and the start of its SHA-256, never as a path of the machine.
        """
        if self.family == "file":
            path, name, as_bfloat16 = split_source(str(self.options["path"]))
            parts = [path.name, *([name] if name else []), *(["bfloat16"] if as_bfloat16 else [])]
            return f"file(name={'::'.join(parts)},sha256={str(self.options['sha256'])[:12]})"
        if not self.params:
            return self.family
        return f"{self.family}({','.join(f'{k}={_number(float(v))}' for k, v in self.params)})"

    @property
    def distinct_rows(self) -> int:
        """How many rows are drawn; the others repeat them from the first on."""
        return min(self.rows, max(1, DISTINCT_ELEMENTS // self.classes))

    def generate(self) -> NDArray[Any]:
        """The array: ``(rows, classes)``, C-contiguous, rounded to the format.

        Finite, but for the -inf of families that mask.

        Raises:
            WorkloadUnavailable: where the format cannot hold the values, or the file
                cannot be had.
        """
        fmt = float_format(self.dtype)
        if self.family == "digits":
            drawn: NDArray[Any] = _repeat(digits_logits().logits, min(self.rows, ROWS))
        elif self.family == "file":
            drawn = self._captured()
        else:
            draw = FAMILIES[self.family].draw
            assert draw is not None
            values = {k: float(v) for k, v in self.params}
            drawn = draw(Draw(self._rng(), self.distinct_rows, self.classes, fmt, values))
        rounded = _rounded(drawn, fmt)
        self._check(drawn, rounded, fmt)
        return np.ascontiguousarray(_repeat(rounded, self.rows))

    def _rng(self) -> np.random.Generator:
        text = f"{VERSION}|{self.id}|{self.classes}|{self.rows}|{self.dtype}|{self.seed}"
        words = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4")
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words.tolist())))

    def _captured(self) -> NDArray[Any]:
        path = str(self.options["path"])
        self.refuse_changed()
        logits = load_logits(path)
        self._check_classes(logits.shape[1])
        return logits[: self.rows]

    def _check_classes(self, classes: int) -> None:
        if classes != self.classes:
            raise ValueError(
                f"{self.id}: expected classes={classes}, as in the file; got {self.classes}"
            )

    def refuse_changed(self) -> None:
        """Nothing where the file of captured logits is what it was.

        Raises:
            WorkloadUnavailable: it is not.
        """
        if file_digest(str(self.options["path"])) != self.options["sha256"]:
            raise WorkloadUnavailable(f"{self.id}: the file has changed since the run was planned")

    def opened(self) -> Stored:
        """Captured logits of any size, opened, to be closed; their blocks come as `rounded` has
        them.

        Raises:
            WorkloadUnavailable: the file has changed. LogitsError: it cannot be read.
        """
        self.refuse_changed()
        stored = open_logits(str(self.options["path"]))
        self._check_classes(stored.classes)
        return stored

    def rounded(self, block: NDArray[Any]) -> NDArray[Any]:
        """Some of the values, rounded to the format.

        Raises:
            WorkloadUnavailable: the format cannot hold them.
        """
        fmt = float_format(self.dtype)
        rounded = _rounded(block, fmt)
        self._check(block, rounded, fmt)
        return np.ascontiguousarray(rounded)

    def _check(self, drawn: NDArray[Any], rounded: NDArray[Any], fmt: FloatFormat) -> None:
        bad = ~np.isfinite(rounded)
        if FAMILIES[self.family].masks:  # a mask is drawn, not made by overflow to -inf
            bad &= ~np.isneginf(drawn) | np.isnan(rounded)
        if bad.any():
            raise WorkloadUnavailable(
                f"{self.id}: {int(bad.sum())} of {rounded.size} values exceed the largest finite "
                f"{fmt.name}, {fmt.max:g}; choose a wider dtype or smaller parameters"
            )


def _rounded(x: NDArray[Any], fmt: FloatFormat) -> NDArray[Any]:
    """To nearest (float64 to bfloat16 and float8 by way of float32)."""
    if x.dtype == fmt.dtype:
        return x
    with np.errstate(over="ignore"):  # reported by the check, with the workload's name
        return x.astype(fmt.dtype)


def _repeat(x: NDArray[Any], rows: int) -> NDArray[Any]:
    return x[:rows] if rows <= len(x) else np.resize(x, (rows, x.shape[1]))


def make(
    family: str,
    classes: int | None = None,
    rows: int | None = None,
    dtype: DTypeLike = "float32",
    seed: int = 0,
    params: Mapping[str, float | str] | Mapping[str, float] | None = None,
) -> Workload:
    """A workload of a family by name, with defaults for what is not said.

    Args:
        family: one of `FAMILIES`.
        classes, rows: the shape; by default that of the digits (1797 rows) or of the file, and
            one row of 1000 classes for the others.
        dtype: a format's name or dtype.
        seed: non-negative integer.
        params: parameters of the family; for ``file``: path.

    Raises:
        ValueError: for an unknown family or parameter, or one out of its range.
    """
    known = _family(family)
    given = params or {}
    complete = _file_params(given) if family == "file" else _numeric_params(known, given)
    natural = (_DEFAULT_ROWS, known.fixed_classes or _DEFAULT_CLASSES)
    if family == "digits":
        natural = (ROWS, natural[1])
    elif family == "file" and (classes is None or rows is None):
        natural = checked_shape(str(dict(complete)["path"]))
    return Workload(
        family=family,
        classes=natural[1] if classes is None else int(classes),
        rows=natural[0] if rows is None else int(rows),
        dtype=float_format(dtype).name,
        seed=int(seed),
        params=complete,
    )


def parse(
    text: str,
    classes: int | None = None,
    rows: int | None = None,
    dtype: DTypeLike = "float32",
    seed: int = 0,
    **params: float | str,
) -> Workload:
    """The workload of an id such as ``normal(scale=10)``; omitted parameters have their defaults.

    Captured logits are ``file(path=FILE.npy)``. The other arguments are those of `make`;
    `params` win over those of the id.

    Raises:
        ValueError: for text that is no workload id, and as `make`.
    """
    match = _ID.fullmatch(text)
    if match is None:
        raise ValueError(f"workload: expected an id such as normal(scale=10); got {text!r}")
    family, inside = match[1], match[2] or ""
    given: dict[str, float | str] = {}
    if family == "file" and inside.strip().startswith("path="):
        given["path"] = inside.strip().removeprefix("path=")  # may hold commas and parentheses
    else:
        for part in filter(None, (p.strip() for p in inside.split(","))):
            name, equals, value = part.partition("=")
            if not equals or name.strip() in given:
                raise ValueError(
                    f"workload: expected name=value pairs, each name once; got {part!r} in {text!r}"
                )
            given[name.strip()] = value.strip()
    return make(family, classes, rows, dtype, seed, {**given, **params})


def generate(
    family_or_id: str,
    classes: int | None = None,
    rows: int | None = None,
    dtype: DTypeLike = "float32",
    seed: int = 0,
    **params: float | str,
) -> NDArray[Any]:
    """The logits of a family or an id: ``(rows, classes)`` of `dtype`, already rounded to it.

    Raises:
        ValueError: as `parse`.
        WorkloadUnavailable: as `Workload.generate`.
    """
    return parse(family_or_id, classes, rows, dtype, seed, **params).generate()


def standard_ids() -> tuple[str, ...]:
    """Ids of every family but ``file`` with its preset parameters, in the report's order."""
    return tuple(
        make(family.name, params=preset).id
        for family in FAMILIES.values()
        if family.name != "file"
        for preset in family.presets
    )


def input_sha256(array: NDArray[Any]) -> str:
    """SHA-256 of an array's dtype, shape and values in C order, as 64 hex digits."""
    contiguous = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{contiguous.dtype.name}|{contiguous.shape}|".encode())
    digest.update(contiguous.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
