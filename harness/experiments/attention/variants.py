"""The operations of attention and the parameters that are tried, with their certified results."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.bounds.tolerances import Arithmetic, changed_allowance
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, float_format, to_float64
from harness.reference import composed

Parameter = Literal["scale", "cap", "sink", "mask"]
OPERATIONS: dict[Parameter, str] = {
    "scale": "scaled_softmax",
    "cap": "softcap_softmax",
    "sink": "softmax_with_sink",
    "mask": "masked_softmax",
}


@dataclass(frozen=True)
class Variant:
    """An operation with its parameter.

    Attributes:
        value: of the parameter, a number of the format; of a mask the share that is masked, 1 for
            a causal one.
    """

    parameter: Parameter
    value: float

    @property
    def operation(self) -> str:
        return OPERATIONS[self.parameter]

    @property
    def change(self) -> composed.Change:
        if self.parameter == "scale":
            return composed.Change(scale=self.value)
        return composed.Change(cap=self.value if self.parameter == "cap" else None)

    @property
    def sink(self) -> float | None:
        return self.value if self.parameter == "sink" else None

    @property
    def options(self) -> dict[str, Any]:
        """Of a call, beside its arrays."""
        if self.parameter == "mask":
            return {"axis": -1}
        return {self.parameter: self.value, "axis": -1}

    def mask(self, rows: int, classes: int, seed: int) -> NDArray[np.bool_] | None:
        """What is kept; of a mask by chance nothing in the last row, if there are several."""
        if self.parameter != "mask":
            return None
        if self.value == 1.0:
            reach = np.linspace(1, classes, rows).round()
            return np.asarray(np.arange(classes) < reach[:, None])
        kept = np.random.default_rng(seed).random((rows, classes)) >= self.value
        kept[:, 0] = True
        if rows > 1:
            kept[-1] = False
        return np.asarray(kept)

    def exact(self, x: NDArray[Any], mask: NDArray[np.bool_] | None) -> Exact:
        """The certified results of rows."""
        sink = None if self.sink is None else np.full(len(x), self.sink)
        with np.errstate(all="ignore"):
            return composed.changed_rows(to_float64(x), self.change, mask, sink)

    def allowed(
        self, x: NDArray[Any], mask: NDArray[np.bool_] | None, exact: Exact, dtype: str,
        arithmetic: Arithmetic,
    ) -> Float64Array:  # fmt: skip
        """Ulps allowed to each result."""
        return changed_allowance(
            to_float64(x), self.change, mask, self.sink, exact, dtype, arithmetic
        )


def variants(dtype: str) -> Iterator[Variant]:
    """What is tried in a format: 1/8 is exact, the others are what models use.

    1/sqrt(128) is of heads of 128, 0.1 and 10 are temperatures of 10 and 0.1; caps of 50 and 30
    are of Gemma 2; a sink of 0 is the softmax that is "off by one".
    """
    kind = float_format(dtype).dtype.type
    for scale in (0.125, 1.0 / math.sqrt(128.0), 0.1, 10.0):
        yield Variant("scale", float(kind(scale)))
    for cap in (50.0, 30.0):
        yield Variant("cap", cap)
    for sink in (0.0, 8.0):
        yield Variant("sink", sink)
    for masked in (0.25, 1.0):
        yield Variant("mask", masked)
