"""Judges of two more whole domains: rows (t, 0) for every float32 t, three classes in float8."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.exhaustive.block_judge import BLOCK_ROWS, BlockJudge, settle
from harness.experiments.exhaustive.kernels import Counts, judge_line, judge_triples
from harness.experiments.exhaustive.tally import Tally
from harness.experiments.exhaustive.thresholds import finite_values
from harness.numerics.formats import float_format, from_ordinal, to_float64, to_ordinal
from harness.records.exhaustive import ExhaustiveTable


class LineJudge(BlockJudge):
    """softmax([t, 0]) for every finite float32 t: 2**32 rows less the NaN and infinities."""

    table = "line"
    domain = "softmax([t, 0]), all finite t of float32"

    def __init__(self, block_rows: int = BLOCK_ROWS) -> None:
        self.fmt = float_format("float32")
        top = int(to_ordinal(np.array([self.fmt.max]), self.fmt)[0])
        self.lowest = -top
        self.total = 2 * top + 1
        self.size = block_rows
        self.blocks = -(-self.total // block_rows)

    def rows_of(self, block: int) -> int:
        return min(self.size, self.total - block * self.size)

    def _rows(self, first: int, count: int) -> NDArray[Any]:
        first += self.lowest
        t = from_ordinal(np.arange(first, first + count), self.fmt)
        return np.stack([t, np.zeros_like(t)], axis=1)

    def inputs(self, block: int) -> NDArray[Any]:
        return self._rows(block * self.size, self.rows_of(block))

    def judge(self, block: int, y: NDArray[Any], tally: Tally) -> None:
        x, found = self.inputs(block), Counts.empty(self.outputs)
        first = 2 * block * self.size
        lifted = to_float64(x), to_float64(y)
        judge_line(*lifted, first, found, self.fmt.precision, self.fmt.emin)
        settle(found, first, x, y)
        tally.add(block, len(y), found)

    def element(self, place: int) -> tuple[NDArray[Any], int]:
        row, output = divmod(place, 2)
        return self._rows(row, 1)[0], output


class TripleJudge(BlockJudge):
    """softmax of all triples of finite float8 numbers.

    Args:
        dtype: a format of 8 bits.
        direct: the implementation takes float8 itself; else it is given the same numbers in
            float32, and its float32 results are rounded to float8 here, to nearest even.
    """

    table: ExhaustiveTable = "float8"
    outputs = 1

    def __init__(self, dtype: str, direct: bool) -> None:
        self.fmt = float_format(dtype)
        self.direct = direct
        self.numbers = finite_values(self.fmt)
        self.blocks = self.numbers.size
        self.total = self.numbers.size**3
        self.domain = f"softmax([a, b, c]), all finite a, b, c of {dtype}"
        if not direct:
            self.rounding = "computed in float32, its results rounded to nearest even here"

    def rows_of(self, block: int) -> int:
        return self.numbers.size**2

    def _rows(self, block: int) -> NDArray[Any]:
        n = self.numbers
        x = np.empty((n.size, n.size, 3), n.dtype)
        x[..., 0], x[..., 1], x[..., 2] = n[block], n[:, np.newaxis], n
        return x.reshape(-1, 3)

    def inputs(self, block: int) -> NDArray[Any]:
        x = self._rows(block)
        return x if self.direct else x.astype(np.float32)

    def judge(self, block: int, y: NDArray[Any], tally: Tally) -> None:
        x = self._rows(block)
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = y if self.direct else y.astype(self.fmt.dtype)
        found, first = Counts.empty(self.outputs), 3 * block * self.rows_of(block)
        lifted = to_float64(x), to_float64(rounded)
        judge_triples(*lifted, first, found, self.fmt.precision, self.fmt.emin)
        settle(found, first, x, rounded)
        tally.add(block, len(x), found)

    def element(self, place: int) -> tuple[NDArray[Any], int]:
        row, output = divmod(place, 3)
        return self.numbers[list(np.unravel_index(row, (self.numbers.size,) * 3))], output
