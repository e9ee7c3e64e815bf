"""Two more whole domains: the rows (t, 0) for every float32, and three classes in float8."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.exhaustive.blocks import BLOCK_ROWS, class_of, report_worst
from harness.experiments.exhaustive.kernels import CAPACITY, CLASSES, judge_line, judge_triples
from harness.experiments.exhaustive.results import Worst
from harness.experiments.exhaustive.tally import Tally, empty_tally
from harness.experiments.exhaustive.thresholds import finite_values
from harness.numerics.formats import FloatFormat, float_format, from_ordinal, to_float64, to_ordinal
from harness.numerics.ulps import ulp_error
from harness.reference import softmax_exact

FLOAT8 = ("float8_e4m3fn", "float8_e5m2")


class _Open:
    """What a block's kernel leaves open, settled by the certified reference."""

    def __init__(self, outputs: int) -> None:
        self.counts = np.zeros((outputs, CLASSES), np.int64)
        self.worst = np.full((outputs, 2), -1.0)
        self.place = np.full(outputs, -1, np.int64)
        self.undecided = np.empty(CAPACITY, np.int64)

    def settle(
        self, left: int, first: int, x: NDArray[Any], y: NDArray[Any], fmt: FloatFormat
    ) -> None:
        """The classes of the first `left` undecided results of the rows x, y of the block.

        Raises:
            ArithmeticError: more than there is room for.
        """
        if left > CAPACITY:
            raise ArithmeticError(
                f"{left} results of a block on the edges of the error classes; "
                f"expected at most {CAPACITY}; please report this implementation"
            )
        if left == 0:
            return
        classes = x.shape[1]
        places = self.undecided[:left]
        rows, outputs = np.divmod(places - first, classes)
        exact = softmax_exact(x[rows])
        errors = ulp_error(y[rows].astype(fmt.dtype), exact)[np.arange(left), outputs]
        for place, row, output, error in zip(places, rows, outputs, errors, strict=True):
            k = int(output) if self.counts.shape[0] > 1 else 0
            self.counts[k, class_of(float(error), fmt)] += 1
            if error > self.worst[k, 0]:
                self.worst[k] = error, float(y[row, output])
                self.place[k] = place


class LineJudge:
    """softmax([t, 0]) for every finite float32 t: 2**32 rows less the NaN and infinities."""

    experiment = "line"
    operation = "softmax"
    measures_error = True
    dtype = "float32"
    domain = "softmax([t, 0]), all finite t of float32"
    rounding: str | None = None

    def __init__(self, block_rows: int = BLOCK_ROWS) -> None:
        self.fmt = float_format("float32")
        top = int(to_ordinal(np.array([self.fmt.max]), self.fmt)[0])
        self.lowest = -top
        self.total = 2 * top + 1
        self.size = block_rows
        self.blocks = -(-self.total // block_rows)

    def tally(self) -> Tally:
        return empty_tally(self.blocks, 2)

    def rows_of(self, block: int) -> int:
        return min(self.size, self.total - block * self.size)

    def _t(self, first: int, count: int) -> NDArray[Any]:
        return from_ordinal(np.arange(self.lowest + first, self.lowest + first + count), self.fmt)

    def inputs(self, block: int) -> NDArray[Any]:
        t = self._t(block * self.size, self.rows_of(block))
        return np.stack([t, np.zeros_like(t)], axis=1)

    def judge(self, block: int, y: NDArray[Any], tally: Tally) -> None:
        x, lifted = self.inputs(block), to_float64(y)
        found = _Open(2)
        first = 2 * block * self.size
        left = judge_line(
            to_float64(x[:, 0]), lifted, first, found.counts, found.worst, found.place,
            found.undecided, self.fmt.precision, self.fmt.emin,
        )  # fmt: skip
        found.settle(left, first, x, lifted, self.fmt)
        tally.add(block, len(y), found.counts, found.worst, found.place)

    def worst(self, tally: Tally) -> Worst | None:
        k = int(np.argmax(tally.worst[:, 0]))
        if tally.worst[k, 0] < 0:
            return None
        row = self._t(int(tally.worst_place[k]) // 2, 1)
        return report_worst(
            np.array([row[0], np.float32(0)]), k, float(tally.worst[k, 1]), self.fmt
        )

    def figures(self, tally: Tally) -> dict[str, Any] | None:
        return None


class TripleJudge:
    """softmax of all triples of finite float8 numbers.

    Args:
        dtype: one of `FLOAT8`.
        direct: the implementation takes float8 itself; else it is given the same numbers in
            float32, and its float32 results are rounded to float8 here, to nearest even.
    """

    experiment = "float8"
    operation = "softmax"
    measures_error = True

    def __init__(self, dtype: str, direct: bool) -> None:
        self.fmt = float_format(dtype)
        self.dtype = dtype
        self.direct = direct
        self.numbers = finite_values(self.fmt)
        self.blocks = self.numbers.size
        self.total = self.numbers.size**3
        self.domain = f"softmax([a, b, c]), all finite a, b, c of {dtype}"
        self.rounding = (
            None if direct else "computed in float32, its results rounded to nearest even here"
        )

    def tally(self) -> Tally:
        return empty_tally(self.blocks, 1)

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
            rounded = to_float64(y if self.direct else y.astype(self.fmt.dtype))
        found = _Open(1)
        first = 3 * block * self.rows_of(block)
        left = judge_triples(
            to_float64(x), rounded, first, found.counts, found.worst, found.place,
            found.undecided, self.fmt.precision, self.fmt.emin,
        )  # fmt: skip
        found.settle(left, first, x, rounded, self.fmt)
        tally.add(block, len(x), found.counts, found.worst, found.place)

    def worst(self, tally: Tally) -> Worst | None:
        if tally.worst[0, 0] < 0:
            return None
        row, output = divmod(int(tally.worst_place[0]), 3)
        a, rest = divmod(row, self.rows_of(0))
        b, c = divmod(rest, self.numbers.size)
        logits = self.numbers[[a, b, c]]
        return report_worst(logits, output, float(tally.worst[0, 1]), self.fmt)

    def figures(self, tally: Tally) -> dict[str, Any] | None:
        return None
