"""Rows of `log_softmax`, `logsumexp` and the gradient of softmax in explicit vectors.

Of float32, added and subtracted in float64. Rows shorter than a vector are left to `operations`,
and where a logarithm is wanted, those that `log_sums_of_group` does not know.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from implementations._numba.exponential import as_like, gather, mild, mild_exponential
from implementations._simd.compilation import LINE, VECTOR_BYTES, inner, internal, specialised
from implementations._simd.memory import load, load_one, prefetch, store, store_one, store_past
from implementations._simd.vectors import (
    LANES32,
    all_less,
    broadcast,
    fma,
    joined_at,
    larger,
    larger_size,
    largest_lane,
    sum_lanes,
    to_float32,
    to_float64,
    zero,
)

_ENOUGH = 2.0**-20  # of a sum: a smaller difference of sums is not accurate to float32
_AHEAD = 2048  # bytes
_LEAST = 256  # classes
GROUP = 16  # rows whose logarithms are taken together
NUMBERS = 24  # bytes of the three numbers of a row or of a piece
PIECE = 1 << 13  # classes, of which a row has at least two if it is added up in pieces


@inner
def mild_added(x, twice, a, b, size, top, like):  # type: ignore[no-untyped-def]
    """Sum, largest size and largest logit so far with a vector more, but for lanes seen before."""
    v = load(x, like)
    e = mild_exponential(v)
    a, b = gather(a, b, joined_at(zero(e), e, twice) if twice else e)
    return a, b, larger_size(v, size), larger(v, top)


@inner
def pieces_of(n):  # type: ignore[no-untyped-def]
    """How many pieces a row is added up in, whoever adds them."""
    return max(1, n // PIECE)


@internal
def sum_and_top(x, n, place, like):  # type: ignore[no-untyped-def]
    """Sum of the exponentials of a row or of a piece, its largest logit, and 1 if the logits are
    mild, without which the sum is not so: three float64."""
    a = broadcast(0.0)
    b, c, d = a, a, a
    size, top = broadcast(like), load(x, like)
    end, whole = 4 * n - VECTOR_BYTES, n // (2 * LANES32) * 2 * VECTOR_BYTES
    for i in range(0, whole, 2 * VECTOR_BYTES):
        prefetch(x + i + _AHEAD)
        prefetch(x + i + _AHEAD + VECTOR_BYTES)
        a, b, size, top = mild_added(x + i, 0, a, b, size, top, like)
        c, d, size, top = mild_added(x + i + VECTOR_BYTES, 0, c, d, size, top, like)
    for i in range(whole, 4 * n, VECTOR_BYTES):
        p = min(i, end)
        a, b, size, top = mild_added(x + p, (i - p) // 4, a, b, size, top, like)
    store_one(place, sum_lanes((a + b) + (c + d)))
    store_one(place + 8, np.float64(largest_lane(top)))
    store_one(place + 16, 1.0 if all_less(size, mild(size)) else 0.0)


@internal
def sum_of_piece(x, n, k, place, like):  # type: ignore[no-untyped-def]
    """`sum_and_top` of piece `k` of a row; the last one is longer."""
    count = n - k * PIECE if k == pieces_of(n) - 1 else PIECE
    sum_and_top(x + 4 * k * PIECE, count, place, like)


@inner
def merge_piece(place, other):  # type: ignore[no-untyped-def]
    """The three numbers at `place` with those of one more piece."""
    store_one(place, load_one(place, 0.0) + load_one(other, 0.0))
    store_one(place + 8, max(load_one(place + 8, 0.0), load_one(other + 8, 0.0)))
    store_one(place + 16, min(load_one(place + 16, 0.0), load_one(other + 16, 0.0)))


@inner
def without_top(place, like):  # type: ignore[no-untyped-def]
    """Of the three numbers at `place` the first becomes sum / exp(m) - 1, m the largest logit.

    The last becomes 0 for a row that one class dominates too far for a difference.
    """
    total, m = load_one(place, 0.0), as_like(load_one(place + 8, 0.0), like)
    own = np.float64(largest_lane(mild_exponential(broadcast(m))))
    others = total - own
    if not others >= total * _ENOUGH:
        store_one(place + 16, 0.0)
    store_one(place, others / own)


@internal
def log_sums_of_group(x, count, n, place, like):  # type: ignore[no-untyped-def]
    """Of `count` rows, a group at most: log of the sum of exp(x - m), m, and whether these are so.

    m is the largest logit. They are not of logits that are not mild, and of a row that one class
    dominates too far. Step by step for all rows, so that one's latency is another's work.
    """
    piece = place + NUMBERS * GROUP
    for i in range(count):
        row, p = x + 4 * i * n, place + NUMBERS * i
        sum_of_piece(row, n, 0, p, like)
        for k in range(1, pieces_of(n)):
            sum_of_piece(row, n, k, piece, like)
            merge_piece(p, piece)
    for i in range(count):
        without_top(place + NUMBERS * i, like)
    for i in range(count):
        p = place + NUMBERS * i
        store_one(p, math.log1p(load_one(p, 0.0)))


@internal
def log_sum_of_pieces(places, n, place, like):  # type: ignore[no-untyped-def]
    """The same of one row whose pieces are added up, to `place`."""
    for i in range(0, NUMBERS, 8):
        store_one(place + i, load_one(places + i, 0.0))
    for k in range(1, pieces_of(n)):
        merge_piece(place, places + LINE * k)
    without_top(place, like)
    store_one(place, math.log1p(load_one(place, 0.0)))


@inner
def logarithm(v, m, log_sum):  # type: ignore[no-untyped-def]
    """(v - m) - log_sum of a float32 vector and vectors of a float64 number, rounded once."""
    low, high = to_float64(v)
    return to_float32((low - m) - log_sum, (high - m) - log_sum)


@inner
def whole_vectors(to, n, past):  # type: ignore[no-untyped-def]
    """First and last byte of a result of which vectors go past the caches; zeros for none.

    What is before and behind them shares lines with other rows, which is too much of a short one.
    """
    first = -to % VECTOR_BYTES
    if not past or (n < _LEAST and (first or 4 * n % VECTOR_BYTES)):
        return 0, 0
    return first, first + (4 * n - first) // VECTOR_BYTES * VECTOR_BYTES


@internal
def log_softmax_vectors(x, y, n, past, top, of_sum, like):  # type: ignore[no-untyped-def]
    """A row's results from its largest logit and the logarithm of its sum."""
    m, log_sum = broadcast(top), broadcast(of_sum)
    end = 4 * n - VECTOR_BYTES
    last = logarithm(load(x + end, like), m, log_sum)
    first, stop = whole_vectors(y, n, past)
    if stop:
        if first:
            store(y, logarithm(load(x, like), m, log_sum))
        for i in range(first, stop, VECTOR_BYTES):
            store_past(y + i, logarithm(load(x + i, like), m, log_sum))
    else:
        for i in range(0, end, VECTOR_BYTES):
            store(y + i, logarithm(load(x + i, like), m, log_sum))
    if stop < 4 * n:
        store(y + end, last)


@inner
def dot_added(g, y, a, b, twice, like):  # type: ignore[no-untyped-def]
    """Two sums plus the products of two vectors, in float64; not of lanes that are there twice."""
    v, w = load(g, like), load(y, like)
    if twice:
        v, w = joined_at(zero(v), v, twice), joined_at(zero(w), w, twice)
    low, high = to_float64(v)
    other_low, other_high = to_float64(w)
    return fma(low, other_low, a), fma(high, other_high, b)


@inner
def pulled_back(g, y, wide, like):  # type: ignore[no-untyped-def]
    """y * (g - the sum), rounded once."""
    low, high = to_float64(load(g, like))
    other_low, other_high = to_float64(load(y, like))
    return to_float32(other_low * (low - wide), other_high * (high - wide))


@internal
def backward_vectors(g, y, out, n, past, like):  # type: ignore[no-untyped-def]
    """Whether the row is done. `out` overlaps neither `g` nor `y`."""
    if n < LANES32:
        return False
    a = broadcast(0.0)
    b, c, d = a, a, a
    whole = n // (2 * LANES32) * 2 * VECTOR_BYTES
    for i in range(0, whole, 2 * VECTOR_BYTES):
        a, b = dot_added(g + i, y + i, a, b, 0, like)
        p = i + VECTOR_BYTES
        c, d = dot_added(g + p, y + p, c, d, 0, like)
    end = 4 * n - VECTOR_BYTES
    for i in range(whole, 4 * n, VECTOR_BYTES):
        p = min(i, end)
        a, b = dot_added(g + p, y + p, a, b, (i - p) // 4, like)
    wide = broadcast(sum_lanes((a + b) + (c + d)))
    first, stop = whole_vectors(out, n, past)
    if stop:
        if first:
            store(out, pulled_back(g, y, wide, like))
        for i in range(first, stop, VECTOR_BYTES):
            store_past(out + i, pulled_back(g + i, y + i, wide, like))
    else:
        for i in range(0, end, VECTOR_BYTES):
            store(out + i, pulled_back(g + i, y + i, wide, like))
    if stop < 4 * n:
        store(out + end, pulled_back(g + end, y + end, wide, like))
    return True


def log_sums_way(x: int, count: int, n: int, place: int, like: Any) -> bool:
    """`log_sums_of_group` of float32, and whether that was done."""
    raise NotImplementedError("only within Numba")


def piece_way(x: int, n: int, k: int, place: int, like: Any) -> None:
    """`sum_of_piece` of float32."""
    raise NotImplementedError("only within Numba")


def pieces_way(places: int, n: int, place: int, like: Any) -> None:
    """`log_sum_of_pieces` of float32."""
    raise NotImplementedError("only within Numba")


def log_softmax_way(
    x: int, y: int, n: int, past: bool, top: float, of_sum: float, like: Any
) -> None:
    """`log_softmax_vectors` of float32."""
    raise NotImplementedError("only within Numba")


def backward_way(g: int, y: int, out: int, n: int, past: bool, like: Any) -> bool:
    """`backward_vectors` of float32."""
    raise NotImplementedError("only within Numba")


@specialised(log_sums_way)
def _log_sums_way(x, count, n, place, like):  # type: ignore[no-untyped-def]
    def way(x, count, n, place, like):  # type: ignore[no-untyped-def]
        if n < LANES32:
            return False
        log_sums_of_group(x, count, n, place, like)
        return True

    return way if like == types.float32 else lambda x, count, n, place, like: False


@specialised(piece_way)
def _piece_way(x, n, k, place, like):  # type: ignore[no-untyped-def]
    if like == types.float32:
        return lambda x, n, k, place, like: sum_of_piece(x, n, k, place, like)
    return lambda x, n, k, place, like: None


@specialised(pieces_way)
def _pieces_way(places, n, place, like):  # type: ignore[no-untyped-def]
    if like == types.float32:
        return lambda places, n, place, like: log_sum_of_pieces(places, n, place, like)
    return lambda places, n, place, like: None


@specialised(log_softmax_way)
def _log_softmax_way(x, y, n, past, top, of_sum, like):  # type: ignore[no-untyped-def]
    if like == types.float32:
        return lambda x, y, n, past, top, of_sum, like: log_softmax_vectors(
            x, y, n, past, top, of_sum, like
        )
    return lambda x, y, n, past, top, of_sum, like: None


@specialised(backward_way)
def _backward_way(g, y, out, n, past, like):  # type: ignore[no-untyped-def]
    if like == types.float32:
        return lambda g, y, out, n, past, like: backward_vectors(g, y, out, n, past, like)
    return lambda g, y, out, n, past, like: False
