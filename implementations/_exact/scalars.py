"""Single numbers for the kernels of `numba_exact`."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from implementations._exact.exponential import exp_pair, finished
from implementations._exact.memory import Memory, is_array
from implementations._exact.vectors import Code

_PAIR = types.UniTuple(types.float64, 2)


@intrinsic  # type: ignore[misc]
def exp_of(typingctx: Any, d: Any, rest: Any) -> Any:
    """exp(d + rest) * 2**BIAS as a pair, of one number d <= 0."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        pair = exp_pair(code.spread(values[0]), code.spread(values[1]))
        found = [code.lanes(v)[0] for v in pair]
        return context.make_tuple(builder, signature.return_type, found)

    return _PAIR(types.float64, types.float64), emit


@intrinsic  # type: ignore[misc]
def product(typingctx: Any, high: Any, low: Any, factor: Any, rest: Any) -> Any:
    """(high + low) * (factor + rest), rounded once, subnormals included; high times 2**BIAS."""

    def emit(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        return code.lanes(finished(*(code.spread(v) for v in values)))[0]

    return types.float64(*[types.float64] * 4), emit


@intrinsic  # type: ignore[misc]
def fused(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c of float64, rounded once."""

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.fma(*values)

    return types.float64(types.float64, types.float64, types.float64), emit


@intrinsic  # type: ignore[misc]
def value_at(typingctx: Any, x: Any, index: Any) -> Any:
    """x[index] as float64."""
    if not is_array(x):
        return None

    def emit(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        return Memory(code, x, values[0]).load_one(values[1])

    return types.float64(x, types.intp), emit


@intrinsic  # type: ignore[misc]
def put(typingctx: Any, out: Any, index: Any, value: Any) -> Any:
    """out[index] = value, float64, rounded once."""
    if not is_array(out):
        return None

    def emit(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        Memory(code, out, values[0]).store_one(values[1], values[2])
        return context.get_dummy_value()

    return types.void(out, types.intp, types.float64), emit


@intrinsic  # type: ignore[misc]
def fence(typingctx: Any) -> Any:
    """Make stores past the caches visible before anything after."""

    def emit(context: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        Code(context, builder).fence()
        return context.get_dummy_value()

    return types.void(), emit
