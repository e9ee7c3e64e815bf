"""Rows in parts: the pairs that are merged, in several orders, and the judge of one merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import workloads
from harness.bounds import over_bound
from harness.bounds.tolerances import merge_allowance
from harness.numerics.formats import float_format, to_float64
from harness.numerics.ulps import ulp_error
from harness.reference import merge_logsumexp_exact

Pair = tuple[NDArray[Any], NDArray[Any]]
"""Maxima and sums, one of each row."""
Step = Callable[[Pair, Pair], Pair]

PARTS = 13


def parts(dtype: str, rows: int, classes: int, seed: int) -> list[Pair]:
    """The pairs of the parts of rows of normal logits; some parts have no class, some rows none."""
    x = to_float64(workloads.generate("normal(scale=10)", classes, rows, dtype, seed))
    pieces = np.array_split(x, PARTS, axis=1)
    kind = float_format(dtype).dtype
    empty = np.random.default_rng(seed).random((PARTS, rows)) < 0.15
    empty[:, 0] = True
    empty[-1, 1:] = False
    found = []
    for piece, none in zip(pieces, empty, strict=True):
        m = np.where(none, -np.inf, piece.max(axis=1))
        total = np.where(none, 0.0, np.exp(piece - piece.max(axis=1, keepdims=True)).sum(axis=1))
        found.append((m.astype(kind), total.astype(kind)))
    return found


def _left(step: Step, pairs: Sequence[Pair]) -> Pair:
    return reduce(step, pairs)


def _right(step: Step, pairs: Sequence[Pair]) -> Pair:
    return reduce(lambda one, other: step(other, one), reversed(pairs))


def _tree(step: Step, pairs: Sequence[Pair]) -> Pair:
    while len(pairs) > 1:
        rest = list(pairs[len(pairs) // 2 * 2 :])
        pairs = [step(a, b) for a, b in zip(pairs[::2], pairs[1::2], strict=False)] + rest
    return pairs[0]


ORDERS: tuple[Callable[[Step, Sequence[Pair]], Pair], ...] = (_left, _right, _tree)


class Seen(NamedTuple):
    """What one merge did: error over what is allowed, error in ulps, and counts."""

    ratio: float
    ulp: float
    maxima_wrong: int
    nonfinite: int


def judged(one: Pair, other: Pair, got: Pair, exp_error: float) -> Seen:
    """A merge against the exact one of the pairs that it was given."""
    m, exact = merge_logsumexp_exact(*one, *other)
    m1, s1, m2, s2 = (to_float64(a) for a in (*one, *other))
    allowed = merge_allowance((m1, s1, m2, s2), exact, exp_error)
    error = ulp_error(got[1], exact)
    ratio = np.nan_to_num(over_bound(error, allowed), nan=np.inf)
    finite = np.isfinite(to_float64(got[1]))
    return Seen(
        float(ratio.max()), float(error.max()),
        int(np.count_nonzero(to_float64(got[0]) != m)), int(np.count_nonzero(~finite)),
    )  # fmt: skip


def spread(sums: Sequence[NDArray[Any]]) -> float:
    """The largest difference of sums of the same parts, in ulps of the largest of them."""
    values = np.stack([to_float64(s) for s in sums])
    fmt = float_format(sums[0].dtype)
    top = values.max(axis=0)
    ulp = np.exp2(np.floor(np.log2(np.maximum(top, 1.0))) - fmt.precision + 1)
    return float(((top - values.min(axis=0)) / ulp).max())
