"""All pairs of finite numbers of a 16-bit format, against certified thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.exhaustive.blocks import BLOCK_ROWS, class_of, report_worst
from harness.experiments.exhaustive.kernels import CAPACITY, CLASSES, judge_pairs
from harness.experiments.exhaustive.results import Worst
from harness.experiments.exhaustive.tally import Tally, empty_tally
from harness.experiments.exhaustive.thresholds import BITS, Thresholds, finite_values, thresholds
from harness.numerics.ulps import ulp_error
from harness.reference import softmax_exact


class PairJudge:
    """The blocks of one format: their inputs, and the judgement of what comes back.

    Args:
        dtype: ``"float16"`` or ``"bfloat16"``.
        block_pairs: about how many pairs a block has; a few times as many bytes are in memory.
    """

    experiment = "pairs"
    operation = "softmax"
    measures_error = True

    def __init__(self, dtype: str, block_pairs: int = BLOCK_ROWS) -> None:
        self.oracle: Thresholds = thresholds(dtype)
        self.numbers = finite_values(self.oracle.fmt)
        self.lifted = self.numbers.astype(np.float64)
        self.height = max(1, block_pairs // self.numbers.size)
        self.blocks = -(-self.numbers.size // self.height)
        self.total = self.numbers.size**2
        self.dtype = dtype
        self.domain = f"softmax([a, b]), all finite a and b of {dtype}"
        self.rounding: str | None = None

    def tally(self) -> Tally:
        return empty_tally(self.blocks, 2, BITS)

    def rows_of(self, block: int) -> int:
        rows = self.rows(block)
        return int(rows.stop - rows.start) * self.numbers.size

    def rows(self, block: int) -> slice:
        """The numbers a of a block."""
        return slice(block * self.height, min((block + 1) * self.height, self.numbers.size))

    def inputs(self, block: int) -> NDArray[Any]:
        """(pairs, 2): every number of the block's slice beside every number there is."""
        a = self.numbers[self.rows(block)]
        x = np.empty((a.size, self.numbers.size, 2), self.numbers.dtype)
        x[:, :, 0] = a[:, np.newaxis]
        x[:, :, 1] = self.numbers
        return x.reshape(-1, 2)

    def judge(self, block: int, y: NDArray[Any], tally: Tally) -> None:
        """Add the results of a block to the tally.

        Raises:
            ArithmeticError: more results than expected lie on the edge of a class.
        """
        fmt = self.oracle.fmt
        rows = self.rows(block)
        a = self.lifted[rows]
        bits = np.ascontiguousarray(y).view(np.uint16).reshape(a.size, -1, 2)
        table = np.empty((BITS, 4))
        table[:, 0], table[:, 1] = self.oracle.above, self.oracle.upto
        table[:, 2:] = np.inf, -np.inf
        places = np.full((BITS, 2), -1, np.int64)
        counts = np.zeros((2, CLASSES), np.int64)
        worst, worst_place = np.full((2, 2), -1.0), np.full(2, -1, np.int64)
        undecided = np.empty(CAPACITY, np.int64)
        left = judge_pairs(
            a, self.lifted, rows.start, bits, self.oracle.values, table, places,
            counts, worst, worst_place, undecided, fmt.precision, fmt.emin,
        )  # fmt: skip
        if left > CAPACITY:
            raise ArithmeticError(
                f"block {block}: {left} results on the edges of the error classes; "
                f"expected at most {CAPACITY}; please report this implementation"
            )
        for place in undecided[:left]:
            self._settle(int(place), bits, rows.start, counts, worst, worst_place)
        tally.widen(table, places)
        tally.add(block, a.size * self.lifted.size, counts, worst, worst_place)

    def pair(self, place: int) -> tuple[int, int, int]:
        """(index of a, index of b, output) of a place."""
        pair, output = divmod(place, 2)
        return (*divmod(pair, self.numbers.size), output)

    def _settle(
        self,
        place: int,
        bits: NDArray[np.uint16],
        first: int,
        counts: NDArray[np.int64],
        worst: NDArray[np.float64],
        worst_place: NDArray[np.int64],
    ) -> None:
        """The class of one misrounded result, from the certified reference."""
        i, j, k = self.pair(place)
        error = self.error(place, int(bits[i - first, j, k]))
        counts[k, class_of(error, self.oracle.fmt, misrounded=True)] += 1
        if error > worst[k, 0]:
            worst[k, 0], worst_place[k] = error, place
            worst[k, 1] = self.oracle.values[bits[i - first, j, k]]

    def error(self, place: int, bits: int) -> float:
        """The certified ulp error of one result."""
        i, j, k = self.pair(place)
        row = np.array([self.numbers[i], self.numbers[j]])
        y = np.array([bits], np.uint16).view(self.oracle.fmt.dtype)
        return float(ulp_error(y, softmax_exact(row)[k : k + 1])[0])

    def worst(self, tally: Tally) -> Worst | None:
        """The largest error, certified: among the misrounded if there are any, else the right.

        An error of a right result grows with the distance of d from where the result is exact,
        so that the extremes of d, by result, are enough.
        """
        fmt = self.oracle.fmt
        if tally.worst[:, 0].max() >= 0:
            output = int(np.argmax(tally.worst[:, 0]))
            place, value = int(tally.worst_place[output]), float(tally.worst[output, 1])
        else:
            patterns, sides = np.nonzero(np.isfinite(tally.extremes))
            if patterns.size == 0:
                return None
            d = tally.extremes[patterns, sides]
            exact = softmax_exact(np.stack([d, np.zeros_like(d)], axis=1))[:, 0]
            y = self.oracle.values[patterns].astype(fmt.dtype)
            best = int(np.argmax(ulp_error(y, exact)))
            place = int(tally.places[patterns[best], sides[best]])
            value = float(self.oracle.values[patterns[best]])
        i, j, k = self.pair(place)
        return report_worst(np.array([self.numbers[i], self.numbers[j]]), k, value, fmt)

    def figures(self, tally: Tally) -> dict[str, Any] | None:
        return None
