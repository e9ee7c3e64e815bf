"""All pairs of finite numbers of a 16-bit format, against certified thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.exhaustive.block_judge import BLOCK_ROWS, BlockJudge, settle
from harness.experiments.exhaustive.kernels import Counts, judge_pairs
from harness.experiments.exhaustive.tally import Tally
from harness.experiments.exhaustive.thresholds import BITS, Thresholds, finite_values, thresholds
from harness.numerics.ulps import ulp_error
from harness.reference import softmax_exact


class PairJudge(BlockJudge):
    """The blocks of one format: their inputs, and the judgement of what comes back.

    Args:
        dtype: ``"float16"`` or ``"bfloat16"``.
        block_pairs: about how many pairs a block has; a few times as many bytes are in memory.
    """

    table = "pairs"
    patterns = BITS
    least = 16  # whose tally of 2 MiB takes as long to hand over as a block to judge

    def __init__(self, dtype: str, block_pairs: int = BLOCK_ROWS) -> None:
        self.oracle: Thresholds = thresholds(dtype)
        self.fmt = self.oracle.fmt
        self.numbers = finite_values(self.fmt)
        self.lifted = self.numbers.astype(np.float64)
        self.height = max(1, block_pairs // self.numbers.size)
        self.blocks = -(-self.numbers.size // self.height)
        self.total = self.numbers.size**2
        self.domain = f"softmax([a, b]), all finite a and b of {dtype}"

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
        rows = self.rows(block)
        a = self.lifted[rows]
        bits = np.ascontiguousarray(y).view(np.uint16).reshape(a.size, -1, 2)
        table = np.empty((BITS, 4))
        table[:, 0], table[:, 1] = self.oracle.above, self.oracle.upto
        table[:, 2:] = np.inf, -np.inf
        places = np.full((BITS, 2), -1, np.int64)
        found = Counts.empty(self.outputs)
        judge_pairs(
            a, self.lifted, rows.start, bits, self.oracle.values, table, places, found,
            self.fmt.precision, self.fmt.emin,
        )  # fmt: skip
        if found.left[0]:
            first = 2 * rows.start * self.numbers.size
            settle(found, first, self.inputs(block), y, misrounded=True)
        tally.widen(table[:, 2:], places)
        tally.add(block, a.size * self.lifted.size, found)

    def element(self, place: int) -> tuple[NDArray[Any], int]:
        pair, output = divmod(place, 2)
        return self.numbers[list(divmod(pair, self.numbers.size))], output

    def worst(self, tally: Tally) -> dict[str, Any]:
        """The largest error, certified: among the misrounded if there are any, else the right.

        An error of a right result grows with the distance of d from where the result is exact,
        so that the extremes of d, by result, are enough.
        """
        misrounded = super().worst(tally)
        patterns, sides = np.nonzero(np.isfinite(tally.extremes))
        if misrounded or patterns.size == 0:
            return misrounded
        d = tally.extremes[patterns, sides]
        exact = softmax_exact(np.stack([d, np.zeros_like(d)], axis=1))[:, 0]
        y = self.oracle.values[patterns].astype(self.fmt.dtype)
        best = int(np.argmax(ulp_error(y, exact)))
        place = int(tally.places[patterns[best], sides[best]])
        return self.certified(place, float(self.oracle.values[patterns[best]]))
