"""Softmax by the passes that are published, in explicit vectors: three-pass, two-pass, online.

All take the same exponential, sums and stores, so that what differs is how often a row is read:

- three passes: the largest logit; the sum of exponentials; exponentials again, times the scale;
- three passes with reloading: exponentials are stored as they are summed, the third scales them;
- two passes: the sum of exponentials as pairs p * 2**k, which need no maximum; as above;
- online: the sum in one pass beside a running maximum, rescaled as that grows; as above.

A running maximum is of all logits before the next four vectors. `eager` rescales before each four,
by 1 where it did not grow, as the algorithm is printed; else only where it did.
"""

from __future__ import annotations

import numpy as np

from implementations._numba.exponential import (
    depth,
    exponential,
    frame,
    infinity,
    reduce,
    shift_above,
    unbias,
    unit,
)
from implementations._numba.row import extremes
from implementations._numba.softmax import share
from implementations._simd.compilation import VECTOR_BYTES, inner, internal
from implementations._simd.memory import itemsize, load, load_one, stack, store, store_one
from implementations._simd.vectors import (
    all_less,
    any_less,
    below_power,
    broadcast,
    divide,
    exponent_base,
    halves_of_power,
    joined_at,
    larger,
    larger_size,
    largest_lane,
    sum_lanes,
    where_equal,
    zero,
)

THREE, TWO, ONLINE, EAGER, RELOAD = range(5)

_padded = stack(2 * VECTOR_BYTES)


@inner
def vector_at(x, i, n, like):  # type: ignore[no-untyped-def]
    """The vector from number `i` on, the last one overlapping, and how many lanes it has twice."""
    lanes = VECTOR_BYTES // itemsize(like)
    start = min(i, n - lanes)
    return load(x + start * itemsize(like), like), min(i - start, lanes)


@inner
def fresh(v, twice):  # type: ignore[no-untyped-def]
    """0 in the lanes that are there twice."""
    return joined_at(zero(v), v, twice)


@internal
def sum_in_frame(x, n, framed, like):  # type: ignore[no-untyped-def]
    """The sum of a row's exponentials in its frame."""
    lanes = VECTOR_BYTES // itemsize(like)
    a = broadcast(like)
    b, c, d = a, a, a
    whole = n // (4 * lanes) * (4 * lanes)
    shift, cutoff, base = framed
    for i in range(0, whole, 4 * lanes):
        p = x + i * itemsize(like)
        a = a + exponential(load(p, like), shift, cutoff, base)
        b = b + exponential(load(p + VECTOR_BYTES, like), shift, cutoff, base)
        c = c + exponential(load(p + 2 * VECTOR_BYTES, like), shift, cutoff, base)
        d = d + exponential(load(p + 3 * VECTOR_BYTES, like), shift, cutoff, base)
    for i in range(whole, n, lanes):
        v, twice = vector_at(x, i, n, like)
        a = a + fresh(exponential(v, shift, cutoff, base), twice)
    return sum_lanes((a + b) + (c + d))


@internal
def results(x, y, n, framed, total, like):  # type: ignore[no-untyped-def]
    """Exponentials of a row in its frame, times the reciprocal of their sum."""
    end = (n - VECTOR_BYTES // itemsize(like)) * itemsize(like)
    shift, cutoff, base = framed
    scale = divide(unit(shift), broadcast(total))
    last = exponential(load(x + end, like), shift, cutoff, base) * scale
    for i in range(0, end, VECTOR_BYTES):
        store(y + i, exponential(load(x + i, like), shift, cutoff, base) * scale)
    store(y + end, last)


@internal
def three_passes(x, y, n, like):  # type: ignore[no-untyped-def]
    """A row."""
    top, _ = extremes(x, n, like)
    framed = frame(top)
    results(x, y, n, framed, sum_in_frame(x, n, framed, like), like)


@internal
def stored_exponentials(x, y, n, framed, like):  # type: ignore[no-untyped-def]
    """Exponentials of a row in its frame, stored, and their sum."""
    lanes, size = VECTOR_BYTES // itemsize(like), itemsize(like)
    shift, cutoff, base = framed
    end = n - lanes
    last = exponential(load(x + end * size, like), shift, cutoff, base)
    a = broadcast(like)
    b, c, d = a, a, a
    whole = end // (4 * lanes) * (4 * lanes)
    for i in range(0, whole, 4 * lanes):
        p, q = x + i * size, y + i * size
        e = exponential(load(p, like), shift, cutoff, base)
        f = exponential(load(p + VECTOR_BYTES, like), shift, cutoff, base)
        g = exponential(load(p + 2 * VECTOR_BYTES, like), shift, cutoff, base)
        h = exponential(load(p + 3 * VECTOR_BYTES, like), shift, cutoff, base)
        store(q, e)
        store(q + VECTOR_BYTES, f)
        store(q + 2 * VECTOR_BYTES, g)
        store(q + 3 * VECTOR_BYTES, h)
        a, b, c, d = a + e, b + f, c + g, d + h
    for i in range(whole, end, lanes):
        e = exponential(load(x + i * size, like), shift, cutoff, base)
        store(y + i * size, e)
        a = a + e
    a = a + fresh(last, (lanes - n % lanes) % lanes)
    store(y + end * size, last)
    return sum_lanes((a + b) + (c + d))


@internal
def three_passes_reloading(x, y, n, like):  # type: ignore[no-untyped-def]
    """A row."""
    top, _ = extremes(x, n, like)
    framed = frame(top)
    total = stored_exponentials(x, y, n, framed, like)
    scale = divide(unit(framed[0]), broadcast(total))
    end = (n - VECTOR_BYTES // itemsize(like)) * itemsize(like)
    last = load(y + end, like) * scale
    for i in range(0, end, VECTOR_BYTES):
        store(y + i, load(y + i, like) * scale)
    store(y + end, last)


@inner
def pair_added(x, i, n, s, top, size, like):  # type: ignore[no-untyped-def]
    """Sum s * 2**top plus the exponentials of a vector, lane by lane, in the larger exponent."""
    v, twice = vector_at(x, i, n, like)
    p, t = reduce(v)
    new = larger(t, top)
    s = s * below_power(top, new) + fresh(p * below_power(t, new), twice)
    return s, new, larger_size(v, size)


@internal
def two_passes(x, y, n, like):  # type: ignore[no-untyped-def]
    """A row; one with numbers beyond the range of the reduction goes in three passes."""
    lanes = VECTOR_BYTES // itemsize(like)
    nothing = broadcast(like)
    a, b, c, d = nothing, nothing, nothing, nothing
    size = nothing
    lowest = reduce(nothing - shift_above(nothing))[1]
    e, f, g, h = lowest, lowest, lowest, lowest
    whole = n // (4 * lanes) * (4 * lanes)
    for i in range(0, whole, 4 * lanes):
        a, e, size = pair_added(x, i, n, a, e, size, like)
        b, f, size = pair_added(x, i + lanes, n, b, f, size, like)
        c, g, size = pair_added(x, i + 2 * lanes, n, c, g, size, like)
        d, h, size = pair_added(x, i + 3 * lanes, n, d, h, size, like)
    for i in range(whole, n, lanes):
        a, e, size = pair_added(x, i, n, a, e, size, like)
    if not all_less(size, shift_above(nothing)):
        three_passes(x, y, n, like)
        return
    top = broadcast(largest_lane(larger(larger(e, f), larger(g, h))))
    s = (a * below_power(e, top) + b * below_power(f, top)) + (
        c * below_power(g, top) + d * below_power(h, top)
    )
    scale = divide(unit(s), broadcast(sum_lanes(s)))
    end = (n - lanes) * itemsize(like)
    last = pair_result(load(x + end, like), scale, top)
    for i in range(0, end, VECTOR_BYTES):
        store(y + i, pair_result(load(x + i, like), scale, top))
    store(y + end, last)


@inner
def pair_result(v, scale, top):  # type: ignore[no-untyped-def]
    """p * scale * 2**(k - top), rounded once below the normal range: in two steps."""
    p, t = reduce(v)
    first, second = halves_of_power(t, top)
    return p * scale * first * second


@inner
def relative_frame(m):  # type: ignore[no-untyped-def]
    """A frame in which `m` is subtracted from every logit, and rounded; nothing for -inf."""
    nothing = zero(m)
    shift = where_equal(m, nothing - infinity(m), nothing, m)
    return shift, nothing - depth(m), exponent_base(reduce(nothing)[1])


@inner
def rescaled(s, m, new, framed):  # type: ignore[no-untyped-def]
    """A sum relative to `m`, relative to `new`, of which `framed` is the frame."""
    shift, cutoff, base = framed
    never = zero(m) - infinity(m)
    distance = where_equal(m, never, never, m - shift)
    return s * (exponential(distance, zero(m), cutoff, base) * unbias(m))


@internal
def online_sum(x, n, eager, like):  # type: ignore[no-untyped-def]
    """The largest logit of a row and the sum of its exponentials relative to that, in one pass."""
    lanes = VECTOR_BYTES // itemsize(like)
    s = broadcast(like)
    m = s - infinity(s)
    shift, cutoff, base = relative_frame(m)
    for i in range(0, n, 4 * lanes):
        v0, twice0 = vector_at(x, i, n, like)
        v1, twice1 = vector_at(x, i + lanes, n, like)
        v2, twice2 = vector_at(x, i + 2 * lanes, n, like)
        v3, twice3 = vector_at(x, i + 3 * lanes, n, like)
        top = larger(larger(v0, v1), larger(v2, v3))
        if eager or any_less(m, top):
            new = broadcast(largest_lane(larger(top, m)))
            shift, cutoff, base = relative_frame(new)
            s = rescaled(s, m, new, (shift, cutoff, base))
            m = new
        e0 = fresh(exponential(v0, shift, cutoff, base), twice0)
        e1 = fresh(exponential(v1, shift, cutoff, base), twice1)
        e2 = fresh(exponential(v2, shift, cutoff, base), twice2)
        e3 = fresh(exponential(v3, shift, cutoff, base), twice3)
        s = s + ((e0 + e1) + (e2 + e3))
    return m, sum_lanes(s)


@internal
def online(x, y, n, eager, like):  # type: ignore[no-untyped-def]
    """A row."""
    m, total = online_sum(x, n, eager, like)
    results(x, y, n, relative_frame(m), total, like)


@internal
def row_by(way, x, y, n, like):  # type: ignore[no-untyped-def]
    """A row of at least as many classes as lanes."""
    if way == THREE:
        three_passes(x, y, n, like)
    elif way == TWO:
        two_passes(x, y, n, like)
    elif way == RELOAD:
        three_passes_reloading(x, y, n, like)
    else:
        online(x, y, n, way == EAGER, like)


@internal
def rows_by(way, x, y, first, last, n, like):  # type: ignore[no-untyped-def]
    """Rows `first` to `last`; one of fewer classes than lanes beside logits of -inf."""
    lanes, step = VECTOR_BYTES // itemsize(like), n * itemsize(like)
    padded = _padded()
    for r in range(first, last):
        row, result = x + r * step, y + r * step
        if n >= lanes:
            row_by(way, row, result, n, like)
            continue
        store(padded, broadcast(like) - infinity(broadcast(like)))
        for i in range(0, step, itemsize(like)):
            store_one(padded + i, load_one(row + i, like))
        row_by(way, padded, padded, lanes, like)
        for i in range(0, step, itemsize(like)):
            store_one(result + i, load_one(padded + i, like))


def passes_float32(stage, x, y, rows, n, past, state, part, parts):  # type: ignore[no-untyped-def]
    """A share of the rows the way that `stage` says, as a C function, for float32."""
    first, last = share(rows, part, parts, 1)
    rows_by(stage, x, y, first, last, n, np.float32(0))


def passes_float64(stage, x, y, rows, n, past, state, part, parts):  # type: ignore[no-untyped-def]
    """The same, for float64."""
    first, last = share(rows, part, parts, 1)
    rows_by(stage, x, y, first, last, n, np.float64(0))
