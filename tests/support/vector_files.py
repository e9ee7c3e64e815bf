"""Reads a folder of reference vectors by NumPy alone, and holds it against the reference anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - NumPy then knows bfloat16 and float8
import numpy as np

from harness import reference
from harness.registry.contract import NUMBERS

FLAT = {"targets", "values", "offsets", "m1", "s1", "m2", "s2"}


@dataclass(frozen=True)
class Stored:
    """A vector as index.txt and the files beside it have it."""

    operation: str
    dtype: str
    name: str
    arrays: dict[str, np.ndarray[Any, Any]]

    @property
    def inputs(self) -> dict[str, np.ndarray[Any, Any]]:
        return {n: a for n, a in self.arrays.items() if n not in self.results and "_" not in n}

    @property
    def results(self) -> tuple[str, ...]:
        known = {"cross_entropy": ("loss", "gradient"), "merge_logsumexp": ("m", "s")}
        known["linear_cross_entropy"] = ("loss", "in_hidden", "in_weight")
        return known.get(self.operation, ("result",))


def read(folder: Path) -> Iterator[Stored]:
    """The vectors of a folder, in order."""
    lines = [line.split() for line in (folder / "index.txt").read_text().splitlines()]
    vectors: dict[tuple[str, ...], dict[str, np.ndarray[Any, Any]]] = {}
    for file, operation, dtype, name, array, kind, rows, columns, offset in lines[1:]:
        shape = int(rows), int(columns)
        data = np.fromfile(folder / file, kind, shape[0] * shape[1], offset=int(offset))
        vectors.setdefault((operation, dtype, name), {})[array] = data.reshape(shape)
    return (Stored(*key, arrays) for key, arrays in vectors.items())


def same(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays are alike in every bit, but for which NaN it is."""
    nan = np.isnan(a.astype(np.float64)) & np.isnan(b.astype(np.float64))
    bits = np.dtype(f"u{a.dtype.itemsize}")
    return a.dtype == b.dtype and bool(np.all(nan | (a.view(bits) == b.view(bits))))


def differing(folder: Path) -> list[str]:
    """The results that are not those of the reference: operation, vector and array of each.

    What is left beside a result of float64 is not looked at.
    """
    found = []
    for v in read(folder):
        for array, due in {**_due(v, v.dtype, ""), **_due(v, "float64", "_float64")}.items():
            if array in v.arrays and not same(v.arrays[array], due.reshape(v.arrays[array].shape)):
                found.append(f"{v.operation} {v.name} {array}")
    return found


def _due(v: Stored, dtype: str, end: str) -> dict[str, np.ndarray[Any, Any]]:
    """The results in a format, by name."""
    given = {n: a[:, 0] if n in FLAT else a for n, a in v.inputs.items()}
    if "mask" in given:
        given["mask"] = given["mask"] == 1
    function = partial(getattr(reference, v.operation), dtype=dtype)
    number = next((n for n in given if n in NUMBERS), None)
    if number is None:
        due = function(*given.values())
    else:  # the reference takes one, and each row has its own
        numbers = given.pop(number)[:, 0].astype(np.float64)
        rows = zip(*given.values(), numbers, strict=True)
        due = np.array([function(*row) for row in rows])
    every = due if isinstance(due, tuple) else (due,)
    return {name + end: one for name, one in zip(v.results, every, strict=True)}
