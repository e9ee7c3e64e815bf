"""A reference vector, rows of inputs of one operation, and its certified results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import reference
from harness.numerics.exact import Exact, from_float64
from harness.numerics.formats import FloatFormat, float_format, scale_by_power
from harness.reference.operations import empty_exact
from harness.registry.contract import IN_PARTS, NUMBERS, OPERATIONS, RAGGED

Array = NDArray[Any]

MERGE, LINEAR = IN_PARTS
CERTIFIED = tuple(o for o in OPERATIONS if hasattr(reference, o))
"""The operations that have a reference."""

RESULTS: Mapping[str, tuple[str, ...]] = {
    "cross_entropy": ("loss", "gradient"),
    MERGE: ("m", "s"),
    LINEAR: ("loss", "in_hidden", "in_weight"),
}
"""What an operation gives; a single ``result`` where it is not here."""

WIDE = 60_000
"""Rows of so many classes have their results in their own format alone."""

FLOAT64, REST = "_float64", "_rest"
"""What is added to the name of a result for the same in float64, and for what float64 leaves."""


@dataclass(frozen=True, eq=False)
class Vector:
    """Inputs of one operation in one format.

    Attributes:
        operation, dtype: of the inputs.
        name: where they come from, a colon, and the length of a row; one of its operation and
            format.
        inputs: by the names of the operation's parameters, two-dimensional: a row of each belongs
            together, and what is one number a row has one column. Of linear_cross_entropy and
            ragged_softmax, which take a batch as a whole, a vector is one call.
    """

    operation: str
    dtype: str
    name: str
    inputs: Mapping[str, Array]

    @property
    def fmt(self) -> FloatFormat:
        return float_format(self.dtype)

    @property
    def rows(self) -> int:
        if self.operation == RAGGED:
            return len(self.inputs["offsets"]) - 1
        return len(next(iter(self.inputs.values())))

    def exact(self) -> dict[str, Exact]:
        """The results by name, unrounded; of two dimensions, as the inputs.

        Raises:
            ArithmeticError: a result could not be certified.
        """
        names = RESULTS.get(self.operation, ("result",))
        made = self._made()
        return {
            name: e if len(e.shape) == 2 else e.reshape(-1, 1)
            for name, e in zip(names, made, strict=True)
        }

    def _made(self) -> tuple[Exact, ...]:
        function = getattr(reference, f"{self.operation}_exact")
        whole = [a for name, a in self.inputs.items() if name not in NUMBERS]
        arrays = [a[:, 0] if name in _FLAT else a for name, a in self.inputs.items()]
        numbers = [name for name in self.inputs if name in NUMBERS]
        if numbers:
            return (self._by_number(function, whole, numbers[0]),)
        found = function(*arrays)
        if self.operation == MERGE:
            return from_float64(found[0]), found[1]
        return found if isinstance(found, tuple) else (found,)

    def _by_number(self, function: Any, arrays: list[Array], number: str) -> Exact:
        """Rows with the same scale, cap or sink together: the reference takes one."""
        given, out = self.inputs[number][:, 0], empty_exact(arrays[0].shape)
        for value in np.unique(given.astype(np.float64)):
            rows = given == value
            found = function(*(a[rows] for a in arrays), value)
            out.hi[rows], out.lo[rows], out.exponent[rows] = found.hi, found.lo, found.exponent
        return out


_FLAT = frozenset({"targets", "values", "offsets", "m1", "s1", "m2", "s2"})
"""Arguments of one dimension."""


def arrays_of(vector: Vector, exact: Mapping[str, Exact]) -> dict[str, Array]:
    """Everything that is stored of a vector, by name: its inputs, and each result once or twice.

    A result is correctly rounded to the format. Beside it stands the same rounded to float64
    (``result_float64``), or, in float64, what that rounding left (``result_rest``).
    """
    found = dict(vector.inputs)
    wide = next(iter(vector.inputs.values())).shape[1] >= WIDE
    for name, e in exact.items():
        rounded = found[name] = _plain(e.round_to(vector.fmt))
        if not wide and vector.dtype == "float64":
            found[name + REST] = rest_of(e, rounded)
        elif not wide:
            found[name + FLOAT64] = _plain(e.round_to("float64"))
    return found


def _plain(rounded: Array) -> Array:
    """With one NaN: which one an operation gives differs from processor to processor."""
    rounded[np.isnan(rounded)] = np.nan
    return rounded


def rest_of(exact: Exact, rounded: NDArray[np.float64]) -> NDArray[np.float64]:
    """exact - rounded, in float64; 0 where the result is not finite."""
    with np.errstate(all="ignore"):
        q, hi, lo = exact.in_ulps(float_format("float64"))
        rest = scale_by_power((hi - scale_by_power(rounded, -q)) + lo, q)
    return np.where(np.isfinite(rounded) & np.isfinite(exact.hi), rest, 0.0)
