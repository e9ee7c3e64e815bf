"""Constant rows: every entry is 1/n, at every length up to 2**16 and at many beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.exhaustive.block_judge import BlockJudge, class_of
from harness.experiments.exhaustive.kernels import Counts
from harness.experiments.exhaustive.tally import Tally
from harness.numerics.exact import Exact
from harness.numerics.formats import float_format, to_float64, to_hex
from harness.numerics.ulps import ulp_error
from harness.reference.double_double import pair_of_integer_ratio

SEED = 20210812
EVERY_UP_TO = 1 << 16
LARGEST = 1 << 20


def lengths() -> list[int]:
    """Every n to 2**16; 2**k and its neighbours, and 1,000 seeded n, to 2**20; ascending."""
    powers = {(1 << k) + d for k in range(17, 21) for d in (-1, 0, 1)}
    powers = {n for n in powers if n <= LARGEST} | {EVERY_UP_TO + 1}
    rng = np.random.default_rng(SEED)
    rest = np.setdiff1d(np.arange(EVERY_UP_TO + 1, LARGEST + 1), sorted(powers))
    drawn = rng.choice(rest, 1000, replace=False)
    return sorted({*range(1, EVERY_UP_TO + 1), *powers, *map(int, drawn)})


def reciprocal(n: int) -> Exact:
    """1/n as an exact pair of shape (1,)."""
    hi, lo = pair_of_integer_ratio(1, n)
    return Exact(np.array([hi]), np.array([lo]), np.zeros(1, np.int32))


class ConstantJudge(BlockJudge):
    """softmax of n equal logits must be 1/n, rounded, in every place.

    Args:
        dtype: any format.
        ns: the lengths; by default those of `lengths`.
    """

    table = "constant"
    outputs = 1

    def __init__(self, dtype: str, ns: list[int] | None = None) -> None:
        self.fmt = float_format(dtype)
        self.ns = lengths() if ns is None else ns
        self.blocks = self.total = self.patterns = len(self.ns)
        self.domain = f"n logits equal to 0, {len(self.ns)} lengths n up to {max(self.ns)}"

    def rows_of(self, block: int) -> int:
        return 1

    def inputs(self, block: int) -> NDArray[Any]:
        return np.zeros((1, self.ns[block]), self.fmt.dtype)

    def judge(self, block: int, y: NDArray[Any], tally: Tally) -> None:
        exact = reciprocal(self.ns[block])
        expected = float(to_float64(exact.round_to(self.fmt))[0])
        # In float64 NaN differ from everything, themselves too: unique must see one
        found, sizes = _distinct(y)
        errors = ulp_error(found, exact[np.zeros(found.size, int)], self.fmt)
        values = to_float64(found)
        count = Counts.empty(self.outputs)
        for value, size, error in zip(values, sizes, errors, strict=True):
            right = value == expected
            k = int(error > 0) if right else class_of(float(error), self.fmt, misrounded=True)
            count.counts[0, k] += size
        worst = int(np.argmax(errors))
        count.worst[0], count.place[0] = (errors[worst], values[worst]), block
        tally.extremes[block] = count.counts[0, 2:].sum(), errors[worst]
        tally.add(block, 1, count)

    def element(self, place: int) -> tuple[NDArray[Any], int]:
        return self.inputs(place)[0], 0

    def worst(self, tally: Tally) -> dict[str, Any]:
        if tally.worst[0, 0] < 0:
            return {}
        n = self.ns[int(tally.worst_place[0])]
        return {
            "max_ulp": float(tally.worst[0, 0]),
            "worst_logits": [to_hex(0.0)],
            "worst_repeat": n if n > 1 else None,
            "worst_class": 0,
            "worst_got": to_hex(tally.worst[0, 1]),
            "worst_expected": to_hex(reciprocal(n).round_to(self.fmt)[0]),
        }

    def figures(self, tally: Tally) -> dict[str, Any] | None:
        wrong = np.nonzero(tally.done & (tally.extremes[:, 0] > 0))[0]
        return {
            "wrong lengths": int(wrong.size),
            "first wrong length": self.ns[int(wrong[0])] if wrong.size else None,
        }


def _distinct(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The distinct values of an array, by bits, and how often each occurs."""
    flat = np.ascontiguousarray(y).reshape(-1)
    bits = flat.view(np.dtype(f"u{flat.dtype.itemsize}"))
    if (bits == bits[0]).all():
        return flat[:1], np.array([flat.size], np.int64)
    found, sizes = np.unique(bits, return_counts=True)
    return found.view(flat.dtype), sizes.astype(np.int64)
