"""Rows of float16 and bfloat16: a few at a time as float32, in memory that stays in the caches."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from implementations._numba.row import aligned, release, room
from implementations._numba.softmax import WHOLE, share
from implementations._simd.compilation import VECTOR_BYTES, inner, internal
from implementations._simd.halves import (
    HALF_BYTES,
    copy_half,
    load_half,
    store_half,
    store_halves_past,
)
from implementations._simd.launch import address_of, call_kernel
from implementations._simd.memory import fence, load, prefetch, stack, store
from implementations._simd.vectors import LANES32

_TOGETHER = 1 << 13  # numbers that are float32 at a time, or a row
WIDEN, NARROW = 1, 2  # stages beside WHOLE rows
_LANES = 16  # rows, a multiple of which is taken at a time if there are as many

_few = stack(HALF_BYTES)


@internal
def widen(source, target, count, like):  # type: ignore[no-untyped-def]
    """`count` numbers of 16 bits to float32."""
    if count < LANES32:
        few = _few()
        for i in range(count):
            copy_half(source + 2 * i, few + 2 * i)
        store(target, load_half(few, like))
        return
    for i in range(0, count - LANES32, LANES32):
        prefetch(source + 2 * (i + count))  # what comes next
        store(target + 4 * i, load_half(source + 2 * i, like))
    i = count - LANES32
    store(target + 4 * i, load_half(source + 2 * i, like))


@internal
def narrow(source, target, count, past, like):  # type: ignore[no-untyped-def]
    """The way back, past the caches but for what is not whole lines."""
    single = np.float32(0)
    if count < LANES32:
        few = _few()
        store_half(few, load(source, single), like)
        for i in range(count):
            copy_half(few + 2 * i, target + 2 * i)
        return
    done = 0
    if past and count > 4 * LANES32:
        done = (-target % VECTOR_BYTES) // 2
        if done:
            store_half(target, load(source, single), like)
            store_half(target + 2 * LANES32, load(source + 4 * LANES32, single), like)
        while done + 2 * LANES32 <= count:
            low, high = load(source + 4 * done, single), load(source + 4 * (done + LANES32), single)
            store_halves_past(target + 2 * done, low, high, like)
            done += 2 * LANES32
    last = count - LANES32
    for i in range(done, last, LANES32):
        store_half(target + 2 * i, load(source + 4 * i, single), like)
    if done < count:
        store_half(target + 2 * last, load(source + 4 * last, single), like)


@inner
def half_rows(stage, x, y, rows, n, past, softmax, part, parts, like):  # type: ignore[no-untyped-def]
    """A part of the softmax of rows; `softmax` is the address of the kernel of float32.

    Or of the way to float32, or back, of rows that are computed there.
    """
    if stage != WHOLE:
        first, last = share(rows * n, part, parts, VECTOR_BYTES)
        if stage == WIDEN:
            widen(x + 2 * first, y + 4 * first, last - first, like)
        else:
            narrow(x + 4 * first, y + 2 * first, last - first, past != 0, like)
        return
    first, last = share(rows, part, parts, _LANES if n < VECTOR_BYTES else 1)
    together = max(1, _TOGETHER // n)
    if together > _LANES:
        together = together // _LANES * _LANES
    size = 4 * together * n + VECTOR_BYTES
    scratch, results = room(size), room(size)
    a, b = aligned(scratch), aligned(results)
    for r in range(first, last, together):
        count = min(together, last - r)
        widen(x + 2 * r * n, a, count * n, like)
        call_kernel(softmax, (WHOLE, a, b, count, n, 0, 0, 0, 1))
        narrow(b, y + 2 * r * n, count * n, past != 0, like)
    if past:
        fence()
    release(scratch)
    release(results)


def half_int16(stage, x, y, rows, n, past, softmax, part, parts):  # type: ignore[no-untyped-def]
    """A part of the softmax of rows of float16, as a C function."""
    half_rows(stage, x, y, rows, n, past, softmax, part, parts, np.int16(0))


def half_uint16(stage, x, y, rows, n, past, softmax, part, parts):  # type: ignore[no-untyped-def]
    """The same, of bfloat16."""
    half_rows(stage, x, y, rows, n, past, softmax, part, parts, np.uint16(0))


@cache
def kernel(dtype: np.dtype[Any]) -> int:
    """The address of the kernel for int16 or uint16."""
    return address_of({"int16": half_int16, "uint16": half_uint16}[dtype.name])
