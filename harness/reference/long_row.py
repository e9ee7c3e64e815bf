"""Softmax of one row whose classes come in blocks, because memory does not hold them.

The blocks are gone through twice: for the maximum, and for the sum of the exponentials, which is
added up in double-double as that of a row at hand (`tails`). What the filter cannot certify, less
than one element of 2**44 whose value lies beside a midpoint by chance, keeps its relative error
below `WORST_RELATIVE_ERROR` and is not settled by Ziv's loop, which would need the whole row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array
from harness.reference.api import lift
from harness.reference.double_double import sum_rows
from harness.reference.operations import empty_exact, softmax_from
from harness.reference.tails import Extremes, Tails, extremes, tail_bound, tail_sums


class LongRow:
    """The exact softmax of a row, a block of classes at a time.

    Args:
        blocks: gives the row from the beginning, in arrays of one dimension of any format, each
            time that it is called. Its values are finite or -inf, one at least finite.
    """

    def __init__(self, blocks: Callable[[], Iterable[NDArray[np.generic]]]) -> None:
        with np.errstate(all="ignore"):
            self._of = _joined([extremes(lift(b)[None, :]) for b in blocks()])
            self._exponent, known, outside = self._of.scale()
            sums, classes = [], 0
            for block in blocks():
                sums.append(tail_sums(lift(block)[None, :], self._of, self._exponent))
                classes += block.size
            hi, lo = (np.stack([s[i] for s in sums], axis=1) for i in (0, 1))
            hi, lo = sum_rows(hi, lo)
        self._tails = Tails(
            maximum=self._of.maximum,
            count=self._of.count,
            unmasked=self._of.unmasked,
            hi=np.where(known, hi, 0.0),
            lo=np.where(known, lo, 0.0),
            exponent=np.where(known, self._exponent, 0),
            outside=outside,
            bound=tail_bound(classes),
        )

    @property
    def maximum(self) -> float:
        """The largest logit."""
        return float(self._of.maximum[0])

    def softmax(self, block: NDArray[np.generic]) -> Exact:
        """The exact softmax of the row at a block of it, of the shape of the block."""
        x: Float64Array = lift(block)[None, :]
        out = empty_exact(x.shape)
        with np.errstate(all="ignore"):
            tail_sums(x, self._of, self._exponent, out)
            softmax_from(x, out, self._tails)
        return out.reshape(block.size)


def _joined(parts: list[Extremes]) -> Extremes:
    """The extremes of a row from those of its blocks, each of one row."""
    maxima = np.concatenate([p.maximum for p in parts])
    top = maxima == maxima.max()
    below = np.concatenate([maxima[~top], [p.second[0] for p in parts], [-np.inf]])
    return Extremes(
        maximum=maxima.max(keepdims=True),
        count=np.array([sum(p.count[0] for p, t in zip(parts, top, strict=True) if t)]),
        unmasked=np.array([sum(int(p.unmasked[0]) for p in parts)]),
        second=below.max(keepdims=True),
    )
