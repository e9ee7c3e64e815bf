"""Rows in memory to columns in vectors and back, transposed in registers.

`to_columns(rows, mask, step, columns, like)` and `to_rows(columns, rows, step, like)` are of as
many rows as a vector has lanes, and as many columns; `_half` and `_quarter` of fewer columns.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from implementations._simd.compilation import VECTOR_BYTES
from implementations._simd.memory import chosen, pointer_to
from implementations._simd.vectors import llvm_number, llvm_vector, shuffled, vector_of


def _inner_transposed(builder: Any, vectors: list[Any], e: int) -> list[Any]:
    """Squares of e x e numbers transposed in place: block k of each of e vectors that follow."""
    n = vectors[0].type.count

    def each(a: Any, b: Any, lanes: list[int]) -> Any:
        """A shuffle of 128 bits of each, in every block: lanes from 0 in a, from e in b."""
        return shuffled(
            builder,
            a,
            b,
            [e * k + i if i < e else n + e * k + i - e for k in range(n // e) for i in lanes],
        )

    out: list[Any] = []
    for g in range(0, len(vectors), e):
        r = vectors[g : g + e]
        if e == 2:
            out += [each(r[0], r[1], [0, 2]), each(r[0], r[1], [1, 3])]
            continue
        low = [each(r[i], r[i + 1], [0, 4, 1, 5]) for i in (0, 2)]
        high = [each(r[i], r[i + 1], [2, 6, 3, 7]) for i in (0, 2)]
        for pair in (low, high):
            out += [each(*pair, [0, 1, 4, 5]), each(*pair, [2, 3, 6, 7])]
    return out


def _exchanged(builder: Any, v: list[Any], e: int, pieces: int, back: bool) -> list[Any]:
    """Blocks of 128 bits of vectors in one position of their groups, from rows' to columns'."""

    def block(a: Any, b: Any, chosen: list[int]) -> Any:
        return shuffled(builder, a, b, [e * k + i for k in chosen for i in range(e)])

    if len(v) == 1:
        return v
    if len(v) == 2 and pieces == 1:
        return [block(*v, [0, 2]), block(*v, [1, 3])]
    if len(v) == 2:
        if back:
            return [block(*v, [0, 4, 1, 5]), block(*v, [2, 6, 3, 7])]
        return [block(*v, [0, 2, 4, 6]), block(*v, [1, 3, 5, 7])]
    even = [block(v[i], v[i + 1], [0, 2, 4, 6]) for i in (0, 2)]
    odd = [block(v[i], v[i + 1], [1, 3, 5, 7]) for i in (0, 2)]
    return [block(*pair, chosen) for chosen in ([0, 2, 4, 6], [1, 3, 5, 7]) for pair in (even, odd)]


def _to_columns(pieces: int) -> Any:
    @intrinsic  # type: ignore[misc]
    def to_columns(typingctx: Any, rows: Any, mask: Any, step: Any, columns: Any, like: Any) -> Any:
        """The first columns of as many rows as a vector has lanes, to vectors one by one.

        `rows` is the address of the first, `step` the bytes between rows; reads as many columns
        of each as a vector has lanes, divided by the number of pieces. `mask` is None, or the
        address of a byte for each number, 0 for those that become -inf.
        """
        vector = vector_of(like)
        if vector is None:
            return None
        e = 128 // vector.element.bitwidth
        count, size = vector.lanes // pieces, vector.element.bitwidth // 8

        def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            part = ir.VectorType(llvm_number(vector.element), count)
            word = ir.IntType(64)

            def piece(row: int) -> Any:
                ahead = builder.mul(values[2], ir.Constant(word, row))
                found = builder.load(pointer_to(builder, builder.add(values[0], ahead), part))
                found.align = size
                if mask == types.none:
                    return found
                place = builder.add(values[1], builder.sdiv(ahead, ir.Constant(word, size)))
                return chosen(builder, place, found, ir.Constant(part, [-math.inf] * count))

            def joined(parts: list[Any]) -> Any:
                while len(parts) > 1:
                    n = parts[0].type.count
                    parts = [
                        shuffled(builder, parts[i], parts[i + 1], list(range(2 * n)))
                        for i in range(0, len(parts), 2)
                    ]
                return parts[0]

            loaded = [
                joined([piece(e * (pieces * (i // e) + q) + i % e) for q in range(pieces)])
                for i in range(count)
            ]
            inside = _inner_transposed(builder, loaded, e)
            for j in range(e):
                for b, v in enumerate(_exchanged(builder, inside[j::e], e, pieces, False)):
                    place = builder.add(values[3], ir.Constant(word, (e * b + j) * VECTOR_BYTES))
                    builder.store(
                        v, pointer_to(builder, place, llvm_vector(vector))
                    ).align = VECTOR_BYTES
            return context.get_dummy_value()

        return types.void(types.intp, mask, types.intp, types.intp, like), code

    return to_columns


def _to_rows(pieces: int) -> Any:
    @intrinsic  # type: ignore[misc]
    def to_rows(typingctx: Any, columns: Any, rows: Any, step: Any, like: Any) -> Any:
        """The way back of `to_columns`; rows are stored in order: of two, the later stays."""
        vector = vector_of(like)
        if vector is None:
            return None
        e = 128 // vector.element.bitwidth
        count = vector.lanes // pieces

        def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            word = ir.IntType(64)
            part = ir.VectorType(llvm_number(vector.element), count)
            loaded = []
            for i in range(count):
                place = builder.add(values[0], ir.Constant(word, i * VECTOR_BYTES))
                v = builder.load(pointer_to(builder, place, llvm_vector(vector)))
                v.align = VECTOR_BYTES
                loaded.append(v)
            blocks: list[Any] = [None] * count
            for j in range(e):
                for g, v in enumerate(_exchanged(builder, loaded[j::e], e, pieces, True)):
                    blocks[e * g + j] = v
            found: dict[int, Any] = {}
            for i, v in enumerate(_inner_transposed(builder, blocks, e)):
                for q in range(pieces):
                    lanes = list(range(q * count, (q + 1) * count))
                    found[e * (pieces * (i // e) + q) + i % e] = shuffled(builder, v, v, lanes)
            for row in sorted(found):
                place = builder.add(values[1], builder.mul(values[2], ir.Constant(word, row)))
                done = builder.store(found[row], pointer_to(builder, place, part))
                done.align = vector.element.bitwidth // 8
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, types.intp, like), code

    return to_rows


_BLOCKS = VECTOR_BYTES // 16
to_columns, to_rows = _to_columns(1), _to_rows(1)
to_columns_half, to_rows_half = _to_columns(min(2, _BLOCKS)), _to_rows(min(2, _BLOCKS))
to_columns_quarter, to_rows_quarter = _to_columns(_BLOCKS), _to_rows(_BLOCKS)
HALF, QUARTER = min(2, _BLOCKS), _BLOCKS  # into how many pieces these cut a vector
