"""Judges of domains too large to be judged whole: a billion rows drawn, always the same ones.

Rows of a block are drawn from its number, so that any worker can make them anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.exhaustive.block_judge import BLOCK_ROWS, BlockJudge
from harness.experiments.exhaustive.kernels import Counts
from harness.experiments.exhaustive.line import TripleJudge
from harness.experiments.exhaustive.tally import Tally
from harness.experiments.judgement import bound_of, excuses
from harness.experiments.worst_case.evaluate import open_context
from harness.numerics.formats import FloatFormat, float_format, from_ordinal, to_float64, to_ordinal
from harness.numerics.ulps import ulp_error, wrong_threshold
from harness.records.exhaustive import ExhaustiveTable
from harness.reference import softmax_exact
from harness.registry.discovery import Implementation

SEED = 20261130
Array = NDArray[Any]


class TripleSample(TripleJudge):
    """softmax of 2**30 drawn triples of a 16-bit format.

    Half of them any three finite numbers; half three of which none has a vanishing result.

    Args:
        dtype: ``"float16"`` or ``"bfloat16"``.
    """

    table: ExhaustiveTable = "triples"
    sampled = True

    def __init__(self, dtype: str, blocks: int = 1 << 10, rows: int = BLOCK_ROWS) -> None:
        super().__init__(dtype, direct=True)
        self.blocks, self.rows, self.total = blocks, rows, blocks * rows
        self.domain = f"softmax([a, b, c]), {self.total:,} drawn triples of {dtype}"

    def rows_of(self, block: int) -> int:
        return self.rows

    def _rows(self, block: int) -> Array:
        rng = np.random.default_rng([SEED, self.fmt.precision, block])
        if block % 2:
            return self.numbers[rng.integers(0, self.numbers.size, (self.rows, 3))]
        spread = -np.log(self.fmt.smallest_normal) / 2
        x = rng.uniform(-spread, 0.0, (self.rows, 3)) * rng.random((self.rows, 1)) ** 2
        return (x + rng.normal(0.0, 4.0, (self.rows, 1))).astype(self.fmt.dtype)

    def element(self, place: int) -> tuple[Array, int]:
        row, output = divmod(place, 3)
        block, k = divmod(row, self.rows)
        return self.inputs(block)[k], output


Draw = Callable[[np.random.Generator, tuple[int, int], FloatFormat], NDArray[np.float64]]


def _deep(
    rng: np.random.Generator, shape: tuple[int, int], fmt: FloatFormat
) -> NDArray[np.float64]:
    """Results down to the smallest subnormal."""
    x = rng.uniform(np.log(fmt.smallest_subnormal), 0.0, shape)
    x[:, 0] = 0.0
    return rng.permuted(x, axis=1)


def _near_ties(
    rng: np.random.Generator, shape: tuple[int, int], fmt: FloatFormat
) -> NDArray[np.float64]:
    """All within a few ulps of one number."""
    centre = rng.normal(0.0, 10.0, (shape[0], 1)).astype(fmt.dtype)
    return to_float64(from_ordinal(to_ordinal(centre) + rng.integers(-4, 5, shape), fmt))


def _offset(
    rng: np.random.Generator, shape: tuple[int, int], fmt: FloatFormat
) -> NDArray[np.float64]:
    """Far from zero, where max + log Σ rounds."""
    most = min(5.0, np.log10(fmt.max) - 0.5)
    centre = rng.choice([-1.0, 1.0], (shape[0], 1)) * 10 ** rng.uniform(1.0, most, (shape[0], 1))
    return rng.normal(centre, 3.0, shape)


KINDS: tuple[Draw, ...] = (
    lambda rng, shape, fmt: rng.normal(0.0, 1.0, shape),
    lambda rng, shape, fmt: rng.normal(0.0, 10.0, shape),
    _deep,
    _near_ties,
    _offset,
)
CLASS_COUNTS = (2, 3, 4, 5, 7, 10)


class BoundsJudge(BlockJudge):
    """2**30 drawn rows, each result against the bound of the implementation's algorithm.

    Args:
        dtype: any format.
        implementation: whose bound, and whose measured error of exp.
    """

    table = "bounds"
    outputs = 1
    sampled = True
    patterns = 2  # error / bound: of results that are not correctly rounded, and of those excused

    def __init__(
        self, dtype: str, implementation: Implementation, blocks: int = 1 << 15,
        rows: int = 1 << 15,
    ) -> None:  # fmt: skip
        self.fmt = float_format(dtype)
        self.implementation = implementation
        self.blocks, self.rows, self.total = blocks, rows, blocks * rows
        counts = ", ".join(map(str, CLASS_COUNTS))
        self.domain = f"{self.total:,} drawn rows of {counts} classes in {dtype}"
        with open_context(implementation) as context:
            context.exp_error(implementation, dtype)  # all that a process is needed for
        self.context = context

    def rows_of(self, block: int) -> int:
        return self.rows

    def inputs(self, block: int) -> Array:
        rng = np.random.default_rng([SEED, self.fmt.precision, self.fmt.emax, block])
        kind, count = divmod(block, len(CLASS_COUNTS))
        shape = self.rows, CLASS_COUNTS[count]
        x = KINDS[kind % len(KINDS)](rng, shape, self.fmt)
        return np.clip(x, -self.fmt.max, self.fmt.max).astype(self.fmt.dtype)

    def judge(self, block: int, y: Array, tally: Tally) -> None:
        x, found = self.inputs(block), Counts.empty(self.outputs)
        exact = softmax_exact(x)
        error = ulp_error(y, exact)
        bound = bound_of(
            self.context, self.implementation, x, exact, self.fmt.name, with_published=False
        )
        ratio = np.nan_to_num(bound.ratio(error), nan=np.inf, posinf=np.inf)
        error = np.nan_to_num(error, nan=np.inf, posinf=np.inf)
        edges = [0.0, 0.5, 1.0, 2.0, 4.0, np.nextafter(wrong_threshold(self.fmt), 0.0)]
        classes = np.searchsorted(edges, error.ravel())
        found.counts[0] = np.bincount(classes, minlength=found.counts.shape[1])
        place = np.arange(error.size, dtype=np.int64).reshape(error.shape)
        place += block * self.rows * max(CLASS_COUNTS)
        excused = np.zeros(len(x), bool)
        if (ratio > 1.0).any():
            deviations = self.implementation.metadata.deviations
            told = excuses(deviations, x, y, exact, ratio, bound)
            excused = np.array([t is not None for t in told])
        # Correctly rounded, a subnormal result comes as near to its bound as a rounding can
        ratio[(error <= 0.5) & (ratio <= 1.0)] = 0.0
        extremes = np.tile(np.array([np.inf, -np.inf]), (self.patterns, 1))
        places = np.full((self.patterns, 2), -1, np.int64)
        for k, rows in enumerate((~excused, excused)):
            if rows.any():
                at = int(np.argmax(ratio[rows]))
                extremes[k, 1], places[k, 1] = ratio[rows].ravel()[at], place[rows].ravel()[at]
        kept = np.where(excused[:, np.newaxis], -1.0, error)
        at = int(np.argmax(kept))
        found.worst[0] = kept.flat[at], to_float64(y).flat[at]
        found.place[0] = place.flat[at]
        tally.widen(extremes, places)
        tally.add(block, len(x), found)

    def element(self, place: int) -> tuple[Array, int]:
        block, within = divmod(place, self.rows * max(CLASS_COUNTS))
        x = self.inputs(block)
        row, output = divmod(within, x.shape[1])
        return x[row], output

    def figures(self, tally: Tally) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        for k, name in enumerate(("error / bound", "error / bound where a deviation is declared")):
            if tally.places[k, 1] >= 0:
                found[name] = float(tally.extremes[k, 1])
        if found.get("error / bound", 0.0) > 1.0:
            row, output = self.element(int(tally.places[0, 1]))
            found["beyond it"] = f"class {output} of [{', '.join(float(v).hex() for v in row)}]"
        return found
