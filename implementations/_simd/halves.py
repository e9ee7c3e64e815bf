"""Numbers of 16 bits in memory, as vectors of float32: float16 and bfloat16.

Numba has neither on CPUs, so that a number of int16 stands for float16 and one of uint16 for
bfloat16: views of the same bytes. Lifted exactly, rounded once, to nearest, ties to even.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from implementations._simd.compilation import HAS_FMA, VECTOR_BYTES
from implementations._simd.memory import pointer_to
from implementations._simd.vectors import F32, LANES32, llvm_vector, shuffled

HAS_HALF = HAS_FMA
"""Whether the path converts float16 in vectors: F16C has come with fused multiply-adds."""

HALF_BYTES = VECTOR_BYTES // 2
"""Of as many numbers as `LANES32`."""

_BITS, _WORDS = (ir.VectorType(ir.IntType(b), LANES32) for b in (16, 32))
_HALVES = ir.VectorType(ir.HalfType(), LANES32)
_FORMATS = (types.int16, types.uint16)


def _words(value: int) -> Any:
    return ir.Constant(_WORDS, [value] * LANES32)


@intrinsic  # type: ignore[misc]
def load_half(typingctx: Any, source: Any, like: Any) -> Any:
    """The float32 vector of the numbers at an address, aligned to nothing in particular."""
    if like not in _FORMATS:
        return None

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        if like == types.int16:
            found = builder.load(pointer_to(builder, values[0], _HALVES))
            found.align = 2
            return builder.fpext(found, llvm_vector(F32))
        found = builder.load(pointer_to(builder, values[0], _BITS))
        found.align = 2
        wide = builder.shl(builder.zext(found, _WORDS), _words(16))
        return builder.bitcast(wide, llvm_vector(F32))

    return F32(types.intp, like), code


def _rounded(builder: Any, v: Any, like: Any) -> Any:
    if like == types.int16:
        return builder.fptrunc(v, _HALVES)
    bits = builder.bitcast(v, _WORDS)
    odd = builder.and_(builder.lshr(bits, _words(16)), _words(1))
    up = builder.add(bits, builder.add(odd, _words(0x7FFF)))
    quiet = builder.or_(bits, _words(0x400000))
    chosen = builder.select(builder.fcmp_unordered("uno", v, v), quiet, up)
    return builder.trunc(builder.lshr(chosen, _words(16)), _BITS)


@intrinsic  # type: ignore[misc]
def store_half(typingctx: Any, target: Any, v: Any, like: Any) -> Any:
    """A float32 vector to an address, rounded."""
    if like not in _FORMATS or v != F32:
        return None

    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        found = _rounded(builder, values[1], like)
        builder.store(found, pointer_to(builder, values[0], found.type), align=2)
        return context.get_dummy_value()

    return types.void(types.intp, v, like), code


@intrinsic  # type: ignore[misc]
def store_halves_past(typingctx: Any, target: Any, v: Any, w: Any, like: Any) -> Any:
    """Two vectors, rounded, past the caches to an address that is a multiple of VECTOR_BYTES."""
    if like not in _FORMATS or not v == w == F32:
        return None

    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        low, high = (_rounded(builder, value, like) for value in values[1:3])
        both = shuffled(builder, low, high, list(range(2 * LANES32)))
        done = builder.store(both, pointer_to(builder, values[0], both.type), align=VECTOR_BYTES)
        one = ir.Constant(ir.IntType(32), 1)
        done.set_metadata("nontemporal", builder.module.add_metadata([one]))
        return context.get_dummy_value()

    return types.void(types.intp, v, w, like), code


@intrinsic  # type: ignore[misc]
def copy_half(typingctx: Any, source: Any, target: Any) -> Any:
    """A number from one address to another."""

    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        word = ir.IntType(16)
        found = builder.load(pointer_to(builder, values[0], word))
        builder.store(found, pointer_to(builder, values[1], word))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), code
