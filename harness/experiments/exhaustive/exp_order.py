"""Every value of an exponential: where it falls from one to the next, and how far it is off."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.exhaustive.block_judge import BlockJudge
from harness.experiments.exhaustive.kernels import Counts, inversions
from harness.experiments.exhaustive.tally import Tally
from harness.numerics.formats import float_format, from_ordinal, to_float64, to_hex, to_ordinal

BLOCK = 1 << 21
_NAN = 6


class OrderJudge(BlockJudge):
    """exp of all numbers from ln(smallest subnormal) - 1 to ln(largest), neighbour by neighbour.

    Args:
        dtype: a format of at most 32 bits.
        block: numbers in a block; it overlaps the next by one.

    Raises:
        TypeError: for a wider format.
    """

    table = "exp_order"
    operation = "exp"
    measures_error = False

    def __init__(self, dtype: str, block: int = BLOCK) -> None:
        self.fmt = float_format(dtype)
        if self.fmt.bits > 32:
            raise TypeError(f"dtype: expected a format of at most 32 bits; got {dtype}")
        low = np.log(2.0) * (self.fmt.emin - self.fmt.precision + 1) - 1.0
        ends = np.array([low, np.log(self.fmt.max)]).astype(self.fmt.dtype)
        self.low, high = (int(o) for o in to_ordinal(ends, self.fmt))
        self.total = high - self.low + 1
        self.size = block
        self.blocks = -(-(self.total - 1) // block)
        self.domain = f"exp, all numbers of {dtype} from {float(ends[0]):g} to {float(ends[1]):g}"

    def rows_of(self, block: int) -> int:
        """Numbers that are new in a block: the last one belongs to the next."""
        last = block == self.blocks - 1
        return self._count(block) - (0 if last else 1)

    def _count(self, block: int) -> int:
        return min(self.size + 1, self.total - block * self.size)

    def inputs(self, block: int) -> NDArray[Any]:
        first = self.low + block * self.size
        return from_ordinal(np.arange(first, first + self._count(block)), self.fmt)

    def judge(self, block: int, y: NDArray[Any], tally: Tally) -> None:
        x, lifted = to_float64(self.inputs(block)), to_float64(y)
        count, first, _ = inversions(lifted)
        # Shifted logits are never positive: those pairs are counted apart
        negative = int(np.count_nonzero(x <= 0))
        below = inversions(lifted[:negative])[0] if negative else 0
        found = Counts.empty(self.outputs)
        found.counts[:, 0] = below, count - below
        found.counts[0, _NAN] = np.count_nonzero(np.isnan(lifted[: self.rows_of(block)]))
        if count:  # of equals the tally keeps the lowest place: the first inversion
            found.worst[:, 0], found.place[:] = 1.0, block * self.size + first
            found.worst[:, 1] = lifted[first : first + 2]
        ulp = self._ulps(x, lifted)
        at = int(np.argmax(ulp))
        largest = np.array([[np.inf, ulp[at]]])
        tally.widen(largest, np.array([[-1, block * self.size + at]]))
        tally.add(block, self.rows_of(block), found)

    def _ulps(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Errors in ulps of the format, against float64, which is right to 2**-28 of them."""
        p, least = self.fmt.precision, self.fmt.emin - self.fmt.precision + 1
        with np.errstate(all="ignore"):
            exact = np.exp(x)
            ulps = np.abs(y - exact) / np.ldexp(1.0, np.maximum(np.frexp(exact)[1] - p, least))
            beyond = exact >= self.fmt.max * (1.0 + 2.0**-p)
        ulps[beyond & np.isposinf(y)] = 0.0  # as is due there
        return np.asarray(np.nan_to_num(ulps, nan=np.inf, posinf=np.inf))

    def element(self, place: int) -> tuple[NDArray[Any], int]:
        return from_ordinal(np.array([self.low + place, self.low + place + 1]), self.fmt), 0

    def worst(self, tally: Tally) -> dict[str, Any]:
        return {}  # what the tally keeps there is the first inversion

    def figures(self, tally: Tally) -> dict[str, Any] | None:
        found: dict[str, Any] = {
            "inversions": int(tally.counts[:, 0].sum()),
            "at arguments of at most 0": int(tally.counts[0, 0]),
            "NaN": int(tally.counts[0, _NAN]),
            "largest error, ulp": round(float(tally.extremes[0, 1]), 6),
            "at": to_hex(self.element(int(tally.places[0, 1]))[0][0]),
        }
        if tally.worst_place[0] >= 0:
            x, _ = self.element(int(tally.worst_place[0]))
            found["first"] = " ".join(
                f"exp({to_hex(v)})={to_hex(e)}" for v, e in zip(x, tally.worst[:, 1], strict=True)
            )
        return found
