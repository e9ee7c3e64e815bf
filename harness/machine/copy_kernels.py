"""Copy kernels with chosen stores: ordinary ones, or non-temporal ones that bypass the caches.

The LLVM code behind `copy_limit`. Both kinds copy 64-byte vectors to aligned addresses and differ
in nothing but the ``!nontemporal`` mark of the store (LLVM Language Reference, "store"); LLVM
splits the vector into what the processor has: one ``vmovntps zmm`` with AVX-512, two ``ymm`` with
AVX2, four ``xmm`` without. Neither is turned into a call of memcpy, whose own choice of stores, by
size, would be unknown; the tests look at the assembly.

Intrinsics and kernels share this file because Numba's cache watches only the kernels' own file.
"""

from __future__ import annotations

import platform
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

VECTOR_BYTES = 64
IS_X86_64 = platform.machine().lower() in ("x86_64", "amd64")


def _move(what: Any, size: int, nontemporal: bool = False) -> Any:
    """Copies a `what` of `size` bytes from one address to another, a multiple of `size`."""

    @intrinsic
    def move(typing_context, destination, source):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = what.as_pointer()
            value = builder.load(builder.inttoptr(args[1], pointer))
            value.align = 1
            store = builder.store(value, builder.inttoptr(args[0], pointer), align=size)
            if nontemporal:
                one = ir.Constant(ir.IntType(32), 1)
                store.set_metadata("nontemporal", builder.module.add_metadata([one]))
            return context.get_dummy_value()

        return types.void(types.intp, types.intp), codegen

    return move


_VECTOR = ir.VectorType(ir.FloatType(), VECTOR_BYTES // 4)
_move_regular = _move(_VECTOR, VECTOR_BYTES)
_move_nontemporal = _move(_VECTOR, VECTOR_BYTES, nontemporal=True)
_move_byte = _move(ir.IntType(8), 1)


@intrinsic
def _store_fence(typing_context):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if IS_X86_64:
            void = ir.FunctionType(ir.VoidType(), [])
            fence = cgutils.get_or_insert_function(builder.module, void, "llvm.x86.sse.sfence")
            builder.call(fence, [])
        else:  # compiled, never run there: `copy_limit` refuses first
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@numba.njit(cache=True)
def regular_span(destination, source, vectors):  # type: ignore[no-untyped-def]
    """`vectors` times 64 bytes to a 64-byte-aligned address with ordinary stores."""
    for i in range(vectors):
        _move_regular(destination + i * VECTOR_BYTES, source + i * VECTOR_BYTES)


@numba.njit(cache=True)
def nontemporal_span(destination, source, vectors):  # type: ignore[no-untyped-def]
    """`vectors` times 64 bytes to a 64-byte-aligned address, bypassing the caches; x86-64 only.

    Non-temporal stores are weakly ordered: the fence makes them visible before the thread reports
    that it is done (Intel SDM, volume 1, "Cacheability Control Instructions").
    """
    for i in range(vectors):
        _move_nontemporal(destination + i * VECTOR_BYTES, source + i * VECTOR_BYTES)
    _store_fence()


@numba.njit(cache=True)
def _bytes(destination, source, size):  # type: ignore[no-untyped-def]
    for i in range(size):
        _move_byte(destination + i, source + i)


@numba.njit(cache=True)
def _edges(destination, source, size):  # type: ignore[no-untyped-def]
    """Copy head and tail; (bytes before the first aligned address, whole vectors from there)."""
    head = min(size, (VECTOR_BYTES - destination % VECTOR_BYTES) % VECTOR_BYTES)
    vectors = (size - head) // VECTOR_BYTES
    done = head + vectors * VECTOR_BYTES
    _bytes(destination, source, head)
    _bytes(destination + done, source + done, size - done)
    return head, vectors


@numba.njit(cache=True)
def copy_serial(destination, source, size, nontemporal):  # type: ignore[no-untyped-def]
    """`size` bytes between two addresses that do not overlap, on this thread."""
    head, vectors = _edges(destination, source, size)
    if nontemporal:
        nontemporal_span(destination + head, source + head, vectors)
    else:
        regular_span(destination + head, source + head, vectors)


@numba.njit(parallel=True, cache=True)
def copy_parallel(destination, source, size, nontemporal, parts):  # type: ignore[no-untyped-def]
    """As `copy_serial`, in `parts` equal shares of whole vectors, one per thread."""
    head, vectors = _edges(destination, source, size)
    for part in numba.prange(parts):
        first = vectors * part // parts
        count = vectors * (part + 1) // parts - first
        offset = head + first * VECTOR_BYTES
        if nontemporal:
            nontemporal_span(destination + offset, source + offset, count)
        else:
            regular_span(destination + offset, source + offset, count)
