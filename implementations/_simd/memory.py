"""Memory of explicit vectors for Numba: loads, stores past the caches or not, prefetch.

Memory is an address, an integer, since rows need not be aligned; `like` is any scalar of the
format. LLVM never stores past the caches by itself.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from implementations._simd.compilation import IS_X86_64, LINE, VECTOR_BYTES
from implementations._simd.vectors import Vector, llvm_number, llvm_vector, vector_of

_FLOATS = (types.float32, types.float64)


def pointer_to(builder: Any, address: Any, llvm: Any) -> Any:
    return builder.inttoptr(address, llvm.as_pointer())


@intrinsic  # type: ignore[misc]
def load(typingctx: Any, source: Any, like: Any) -> Any:
    """The vector at an address, aligned to nothing in particular."""
    vector = vector_of(like)
    if vector is None or not isinstance(source, types.Integer):
        return None

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        found = builder.load(pointer_to(builder, values[0], llvm_vector(vector)))
        found.align = vector.element.bitwidth // 8
        return found

    return vector(types.intp, like), code


@intrinsic  # type: ignore[misc]
def store(typingctx: Any, target: Any, v: Any) -> Any:
    """`v` to an address, aligned to nothing in particular."""
    if not isinstance(v, Vector):
        return None

    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        done = builder.store(values[1], pointer_to(builder, values[0], llvm_vector(v)))
        done.align = v.element.bitwidth // 8
        return context.get_dummy_value()

    return types.void(types.intp, v), code


@intrinsic  # type: ignore[misc]
def store_past(typingctx: Any, target: Any, v: Any) -> Any:
    """`v` past the caches to an address that is a multiple of VECTOR_BYTES."""
    if not isinstance(v, Vector):
        return None

    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        pointer = pointer_to(builder, values[0], llvm_vector(v))
        done = builder.store(values[1], pointer, align=VECTOR_BYTES)
        one = ir.Constant(ir.IntType(32), 1)
        done.set_metadata("nontemporal", builder.module.add_metadata([one]))
        return context.get_dummy_value()

    return types.void(types.intp, v), code


@intrinsic  # type: ignore[misc]
def prefetch(typingctx: Any, source: Any) -> Any:
    """Ask for the line of an address, which need not be mapped."""

    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        name = "llvm.prefetch." + ("p0" if str(byte) == "ptr" else "p0i8")
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        constants = [ir.Constant(word, i) for i in (0, 3, 1)]  # to read, all levels, data
        builder.call(function, [builder.inttoptr(values[0], byte), *constants])
        return context.get_dummy_value()

    return types.void(types.intp), code


@intrinsic  # type: ignore[misc]
def fence(typingctx: Any) -> Any:
    """Make stores past the caches visible before anything after (they are weakly ordered)."""

    def code(context: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        if IS_X86_64:
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse.sfence"
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        else:
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), code


@intrinsic  # type: ignore[misc]
def take(typingctx: Any, place: Any) -> Any:
    """The integer at an address, which is one more after it, whatever other threads do."""

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        one = ir.Constant(ir.IntType(64), 1)
        place = pointer_to(builder, values[0], one.type)
        return builder.atomic_rmw("add", place, one, "seq_cst")

    return types.intp(types.intp), code


@intrinsic  # type: ignore[misc]
def seen(typingctx: Any, place: Any) -> Any:
    """The integer at an address, and what whoever wrote it had written before."""

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.load_atomic(pointer_to(builder, values[0], ir.IntType(64)), "acquire", 8)

    return types.intp(types.intp), code


@intrinsic  # type: ignore[misc]
def pause(typingctx: Any) -> Any:
    """In a loop that waits: the processor's other thread goes first, where it has one."""

    def code(context: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        if IS_X86_64:
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), code


@intrinsic  # type: ignore[misc]
def load_one(typingctx: Any, source: Any, like: Any) -> Any:
    """The number at an address."""
    if like not in _FLOATS:
        return None

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.load(pointer_to(builder, values[0], llvm_number(like)))

    return like(types.intp, like), code


@intrinsic  # type: ignore[misc]
def load_byte(typingctx: Any, source: Any) -> Any:
    """Whether the byte at an address is not 0."""

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        found = builder.load(pointer_to(builder, values[0], ir.IntType(8)))
        return builder.icmp_unsigned("!=", found, ir.Constant(found.type, 0))

    return types.boolean(types.intp), code


def chosen(builder: Any, mask: Any, v: Any, w: Any) -> Any:
    """The code of `where_kept`."""
    kind = ir.VectorType(ir.IntType(8), v.type.count)
    found = builder.load(pointer_to(builder, mask, kind))
    found.align = 1
    kept = builder.icmp_unsigned("!=", found, ir.Constant(kind, [0] * v.type.count))
    return builder.select(kept, v, w)


@intrinsic  # type: ignore[misc]
def where_kept(typingctx: Any, mask: Any, v: Any, w: Any) -> Any:
    """`v` where the bytes at an address, one for each lane, are not 0, `w` elsewhere."""
    if not isinstance(v, Vector) or v != w:
        return None

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return chosen(builder, *values)

    return v(types.intp, v, v), code


@intrinsic  # type: ignore[misc]
def store_one(typingctx: Any, target: Any, number: Any) -> Any:
    """A number to an address."""
    if number not in _FLOATS:
        return None

    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        builder.store(values[1], pointer_to(builder, values[0], llvm_number(number)))
        return context.get_dummy_value()

    return types.void(types.intp, number), code


@intrinsic  # type: ignore[misc]
def number_of(typingctx: Any, bits: Any) -> Any:
    """The float64 of which an integer has the bits."""

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], ir.DoubleType())

    return types.float64(types.intp), code


@intrinsic  # type: ignore[misc]
def itemsize(typingctx: Any, like: Any) -> Any:
    """Bytes of a number in memory."""

    def code(_context: Any, _builder: Any, _signature: Any, _values: Any) -> Any:
        return ir.Constant(ir.IntType(64), like.bitwidth // 8)

    return types.intp(like), code


def stack(size: int) -> Any:
    """A function whose result is the address of so many bytes, a multiple of 64, of its caller's.

    They are the caller's until it returns. For what would be allocated again for every small input.
    """

    @intrinsic  # type: ignore[misc]
    def address_of_room(typingctx: Any) -> Any:
        def code(context: Any, builder: Any, _signature: Any, _values: Any) -> Any:
            with builder.goto_entry_block():
                room = builder.alloca(ir.ArrayType(ir.IntType(8), size))
                room.align = LINE
            return builder.ptrtoint(room, ir.IntType(64))

        return types.intp(), code

    return address_of_room
