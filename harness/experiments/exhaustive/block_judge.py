"""The interface of a table's judge to the loop over its blocks, and what several judges share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.exhaustive.kernels import CAPACITY, Counts
from harness.experiments.exhaustive.tally import Tally, empty_tally
from harness.numerics.formats import FloatFormat, float_format, to_hex
from harness.numerics.ulps import ulp_error, wrong_threshold
from harness.records.exhaustive import ExhaustiveTable
from harness.reference import softmax_exact

BLOCK_ROWS = 1 << 20


class BlockJudge(ABC):
    """A domain in blocks: inputs go out, results come in and are added to a tally.

    Attributes:
        table, operation: its name, and the operation that is called.
        outputs: how many outputs of a row are counted apart.
        measures_error: the counts are of ulp errors, by class.
        patterns: how many extremes the tally keeps.
        least: how many blocks a share of the domain has at least, where others judge it.
        sampled: the rows are but some of the domain: no maximum is a true one.
        rounding: who rounds the results to the format, if not the implementation.
        fmt: the format.
        domain: what the rows are, in words.
        blocks, total: how many there are, and rows.
    """

    table: ExhaustiveTable
    operation: str = "softmax"
    outputs: int = 2
    measures_error: bool = True
    patterns: int = 1
    least: int = 1
    sampled: bool = False
    rounding: str | None = None
    fmt: FloatFormat
    domain: str
    blocks: int
    total: int

    def tally(self) -> Tally:
        """A tally of this domain with nothing in it."""
        return empty_tally(self.blocks, self.outputs, self.patterns)

    @abstractmethod
    def rows_of(self, block: int) -> int:
        """How many rows a block has."""

    @abstractmethod
    def inputs(self, block: int) -> NDArray[Any]:
        """The inputs of a block, (rows, classes)."""

    @abstractmethod
    def judge(self, block: int, y: NDArray[Any], tally: Tally) -> None:
        """Judge `y`, the results of a block, and add them to the tally.

        Raises:
            ArithmeticError: more of them than expected lie on the edge of a class.
        """

    @abstractmethod
    def element(self, place: int) -> tuple[NDArray[Any], int]:
        """The row, (classes,), and the index of the output that a place in the tally stands for."""

    def worst(self, tally: Tally) -> dict[str, Any]:
        """Fields of the record: the largest error, certified; none where no error was kept."""
        k = int(np.argmax(tally.worst[:, 0]))
        if tally.worst[k, 0] < 0:
            return {}
        return self.certified(int(tally.worst_place[k]), float(tally.worst[k, 1]))

    def certified(self, place: int, value: float) -> dict[str, Any]:
        """Fields of the record: one result, its error taken from the certified reference."""
        row, output = self.element(place)
        exact = softmax_exact(row)
        with np.errstate(invalid="ignore"):
            y = np.array([value]).astype(self.fmt.dtype)
        return {
            "max_ulp": float(ulp_error(y, exact[output : output + 1])[0]),
            "worst_logits": [to_hex(v) for v in row],
            "worst_class": output,
            "worst_got": to_hex(y[0]),
            "worst_expected": to_hex(exact.round_to(self.fmt)[output]),
        }

    def figures(self, tally: Tally) -> dict[str, Any] | None:
        """The record's field `figures`: what else the domain counts, by name."""
        return None


def class_of(error: float, fmt: FloatFormat, *, misrounded: bool = False) -> int:
    """The index in `HISTOGRAM_KEYS` of a nonzero error in ulps; a misrounded one is above 0.5."""
    if error >= wrong_threshold(fmt):
        return 6
    found = 1 + int(np.searchsorted([0.5, 1.0, 2.0, 4.0], error))
    return max(found, 2) if misrounded else found


def settle(
    found: Counts, first: int, x: NDArray[Any], y: NDArray[Any], *, misrounded: bool = False
) -> None:
    """Count what a kernel left undecided by the reference; x, y are the block's rows.

    Args:
        first: the place of the block's first result.
        misrounded: they are known to be misrounded.

    Raises:
        ArithmeticError: more was left than `CAPACITY`.
    """
    left = int(found.left[0])
    if left > CAPACITY:
        raise ArithmeticError(
            f"{left} results of a block on the edges of the error classes; "
            f"expected at most {CAPACITY}; please report this implementation"
        )
    places = found.undecided[:left]
    rows, outputs = np.divmod(places - first, x.shape[1])
    fmt = float_format(y.dtype)
    errors = ulp_error(y[rows], softmax_exact(x[rows]))[np.arange(left), outputs]
    for place, row, output, error in zip(places, rows, outputs, errors, strict=True):
        k = int(output) if len(found.counts) > 1 else 0
        found.counts[k, class_of(float(error), fmt, misrounded=misrounded)] += 1
        if error > found.worst[k, 0]:
            found.worst[k] = error, float(y[row, output])
            found.place[k] = place
