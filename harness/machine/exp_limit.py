"""What arithmetic allows at best: one exponential an element, in vectors, and nothing else.

The limit of a softmax in cache, where memory is no limit: every algorithm takes at least one
exponential of each logit, beside a maximum, a sum and a product, which this leaves out. Cody and
Waite's reduction and a polynomial of degree 5, eleven instructions for sixteen elements: about
what an error below 3 ulp costs. Code with a cheaper or a less accurate exponential may pass it.
float32 only. Like `copy_limit` it takes and gives arrays as an operation does.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

Array = NDArray[Any]

LANES = 16
_BYTES = 4 * LANES
_SERIAL_SIZE = 2**13  # below this, starting the threads takes longer than the work
_LOG2E = 1.44269504088896341
_LN2_HIGH, _LN2_LOW = 0.693145751953125, 1.42860682030941723e-6  # n times the first is exact
_MAGIC = 1.5 * 2.0**23  # a float32 of that size has no digits behind the point
_POLYNOMIAL = (  # of exp on [-ln 2 / 2, ln 2 / 2], least relative error 7.5e-8, highest power first
    0.008297624066472054, 0.04191562905907631, 0.16667576134204865,
    0.4999889135360718, 0.9999997019767761, 1.0000001192092896,
)  # fmt: skip


@intrinsic
def _exp_vector(typing_context, destination, source):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), LANES)
        bits = ir.VectorType(ir.IntType(32), LANES)
        # fused where the processor can, and never a call of a library where it cannot
        fma = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [vector] * 3),
            f"llvm.fmuladd.v{LANES}f32",
        )

        def constant(value: float) -> Any:
            return ir.Constant(vector, [float(np.float32(value))] * LANES)

        x = builder.load(builder.inttoptr(args[1], vector.as_pointer()))
        x.align = 4
        shifted = builder.call(fma, [x, constant(_LOG2E), constant(_MAGIC)])
        n = builder.fsub(shifted, constant(_MAGIC))
        r = builder.call(fma, [n, constant(-_LN2_HIGH), x])
        r = builder.call(fma, [n, constant(-_LN2_LOW), r])
        p = constant(_POLYNOMIAL[0])
        for coefficient in _POLYNOMIAL[1:]:
            p = builder.call(fma, [p, r, constant(coefficient)])
        # the last digits of `shifted` are n: to the exponent with them
        scale = builder.shl(builder.bitcast(shifted, bits), ir.Constant(bits, [23] * LANES))
        y = builder.bitcast(builder.add(builder.bitcast(p, bits), scale), vector)
        builder.store(y, builder.inttoptr(args[0], vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@numba.njit(cache=True)
def _span(destination, source, size):  # type: ignore[no-untyped-def]
    """`size` elements, at least a vector of them; the last vector may overlap the one before."""
    for i in range(size // LANES):
        _exp_vector(destination + i * _BYTES, source + i * _BYTES)
    last = 4 * (size - LANES)
    _exp_vector(destination + last, source + last)


@numba.njit(parallel=True, cache=True)
def _shares(destination, source, size, parts):  # type: ignore[no-untyped-def]
    for part in numba.prange(parts):
        first = size * part // parts
        _span(destination + 4 * first, source + 4 * first, size * (part + 1) // parts - first)


def exp_only(x: Array, out: Array | None = None) -> Array:
    """exp(x) for -87 <= x <= 88; the range is not checked, and results outside are meaningless.

    Args:
        x: C-contiguous float32 array of at least 16 elements.
        out: another one of that shape; allocated if None.

    Raises:
        ValueError: for arrays of another kind.
    """
    if out is None:
        out = np.empty_like(x)
    fits = x.dtype == out.dtype == np.float32 and x.shape == out.shape and x.size >= LANES
    if not (fits and x.flags.c_contiguous and out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(
            "exp_only: expected C-contiguous float32 x and out of one shape with at least "
            f"{LANES} elements; got {x.dtype} {x.shape} and {out.dtype} {out.shape}"
        )
    source, destination = x.__array_interface__["data"][0], out.__array_interface__["data"][0]
    threads = numba.get_num_threads()
    if threads == 1 or x.size < max(_SERIAL_SIZE, LANES * threads):
        _span(destination, source, x.size)
    else:
        _shares(destination, source, x.size, threads)
    return out
