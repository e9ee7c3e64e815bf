"""Explicit vectors for Numba: their types and arithmetic.

LLVM vectorises plain loops in vectors of its own choice; here they are said outright. What is
offered, inside compiled functions:

- a vector is `VECTOR_BYTES` of float32 or float64 (`LANES32`, `LANES64`), a value like any other;
- `broadcast(s)`, `v + w`, `-`, `*`, `fma(a, b, c)`, `divide(a, b)`, `larger(a, b)`, which keeps b
  where a is NaN, `smaller(a, b)`, `larger_size(v, size)`, `all_less(a, b)`, `any_less(a, b)`,
  `where_less(a, b, x, y)` (y where either is NaN), `where_equal(a, b, x, y)`,
  `joined_at(v, w, first)` (v in the lanes before), `power(t, t_top)`, `times_power(p, t)`,
  `below_power(t, t_top)`, `halves_of_power(t, t_top)`, `to_float64(v)` (a pair),
  `to_float32(low, high)`, `sum_lanes(v)`, `largest_lane(v)`, `smallest_lane(v)`, `zero(v)`.

The path, which says how long a vector is, and the decorators of compiled functions are of
`compilation`; loads and stores are in `memory`, transposes in `transpose`, streams of
whole lines in `line_stores`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.extending import intrinsic, register_model

from implementations._simd.compilation import HAS_FMA, VECTOR_BYTES, specialised

LANES32, LANES64 = VECTOR_BYTES // 4, VECTOR_BYTES // 8


class Vector(types.Type):  # type: ignore[misc]
    """`localised` numbers of one format in a register."""

    def __init__(self, element: Any) -> None:
        self.element = element
        self.lanes = VECTOR_BYTES * 8 // element.bitwidth
        super().__init__(name=f"vector({element}, {self.lanes})")


@register_model(Vector)
class _VectorModel(PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, llvm_vector(fe_type))


F32, F64 = Vector(types.float32), Vector(types.float64)
_INTEGER = {types.float32: (32, 23, 127), types.float64: (64, 52, 1023)}
BIAS = 64  # `power` is times 2**64, so that no exponential that matters is subnormal


def llvm_number(element: Any) -> Any:
    return ir.FloatType() if element == types.float32 else ir.DoubleType()


def llvm_vector(vector: Vector) -> Any:
    return ir.VectorType(llvm_number(vector.element), vector.lanes)


def _integers(vector: Vector) -> Any:
    return ir.VectorType(ir.IntType(vector.element.bitwidth), vector.lanes)


def _all(llvm: Any, value: Any) -> Any:
    return ir.Constant(llvm, [value] * llvm.count)


def shuffled(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(a, b, mask)


def _splat(builder: Any, scalar: Any, llvm: Any) -> Any:
    one = builder.insert_element(
        ir.Constant(llvm, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
    )
    return shuffled(builder, one, one, [0] * llvm.count)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c in LLVM, rounded once where the path has the instruction."""
    if not HAS_FMA:
        return builder.fadd(builder.fmul(a, b), c)
    kind = a.type
    number = "f32" if "float" in str(kind) else "f64"
    name = f"llvm.fma.v{kind.count}{number}" if hasattr(kind, "count") else f"llvm.fma.{number}"
    signature = ir.FunctionType(kind, [kind, kind, kind])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), [a, b, c])


def vector_of(scalar: Any) -> Vector | None:
    """The vector that a scalar `like` stands for."""
    return {types.float32: F32, types.float64: F64}.get(scalar)


@intrinsic  # type: ignore[misc]
def broadcast(typingctx: Any, scalar: Any) -> Any:
    """A vector of one number."""
    vector = vector_of(scalar)
    if vector is None:
        return None

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return _splat(builder, values[0], llvm_vector(vector))

    return vector(scalar), code


@intrinsic  # type: ignore[misc]
def zero(typingctx: Any, v: Any) -> Any:
    """0 in the type of `v`, a number or a vector."""

    def code(context: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        return cgutils.get_null_value(context.get_value_type(v))

    return v(v), code


def _binary(instruction: str, symbol: Any = None) -> Any:
    @intrinsic  # type: ignore[misc]
    def operation(typingctx: Any, a: Any, b: Any) -> Any:
        if not isinstance(a, Vector) or a != b:
            return None

        def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            return getattr(builder, instruction)(*values)

        return a(a, b), code

    if symbol is not None:

        @specialised(symbol)
        def _symbol(a, b):  # type: ignore[no-untyped-def]
            if isinstance(a, Vector) and a == b:
                return lambda a, b: operation(a, b)
            return None

    return operation


_binary("fadd", operator.add)
_binary("fsub", operator.sub)
_binary("fmul", operator.mul)
divide = _binary("fdiv")


@intrinsic  # type: ignore[misc]
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once but on the generic path of x86-64."""
    if not isinstance(a, Vector) or not a == b == c:
        return None

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return multiply_add(builder, *values)

    return a(a, b, c), code


def _choice(relation: str) -> Any:
    @intrinsic  # type: ignore[misc]
    def choice(typingctx: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
        if not isinstance(a, Vector) or a != b or x != y or x.lanes != a.lanes:
            return None

        def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            a, b, x, y = values
            return builder.select(builder.fcmp_ordered(relation, a, b), x, y)

        return x(a, b, x, y), code

    return choice


where_less = _choice("<")
where_equal = _choice("==")


def _extreme(relation: str) -> Any:
    @intrinsic  # type: ignore[misc]
    def extreme(typingctx: Any, a: Any, b: Any) -> Any:
        if not isinstance(a, Vector) or a != b:
            return None

        def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            return builder.select(builder.fcmp_ordered(relation, *values), *values)

        return a(a, b), code

    return extreme


larger = _extreme(">")
smaller = _extreme("<")


@intrinsic  # type: ignore[misc]
def joined_at(typingctx: Any, v: Any, w: Any, first: Any) -> Any:
    """`v` in the lanes before `first`, `w` from there on."""
    if not isinstance(v, Vector) or v != w:
        return None

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        word = ir.VectorType(ir.IntType(32), v.lanes)
        lane = ir.Constant(word, list(range(v.lanes)))
        bound = _splat(builder, builder.trunc(values[2], ir.IntType(32)), word)
        return builder.select(builder.icmp_signed(">=", lane, bound), values[1], values[0])

    return v(v, w, types.intp), code


@intrinsic  # type: ignore[misc]
def exponent_base(typingctx: Any, t_top: Any) -> Any:
    """What `power` subtracts: the sum that holds k_top, less the exponents' bias and BIAS."""
    if not isinstance(t_top, Vector):
        return None
    bias = _INTEGER[t_top.element][2] + BIAS

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        word = _integers(t_top)
        less = builder.sub(builder.bitcast(values[0], word), _all(word, bias))
        return builder.bitcast(less, llvm_vector(t_top))

    return t_top(t_top), code


@intrinsic  # type: ignore[misc]
def power(typingctx: Any, t: Any, base: Any) -> Any:
    """2**(k - k_top + BIAS), `t` holding k in its low bits, `base` of the top; wraps silently."""
    if not isinstance(t, Vector) or t != base:
        return None
    mantissa = _INTEGER[t.element][1]

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        word = _integers(t)
        a, b = (builder.bitcast(v, word) for v in values)
        shifted = builder.shl(builder.sub(a, b), _all(word, mantissa))
        return builder.bitcast(shifted, llvm_vector(t))

    return t(t, base), code


@intrinsic  # type: ignore[misc]
def times_power(typingctx: Any, p: Any, t: Any) -> Any:
    """p * 2**k, `t` holding k in its low bits; p and the product normal numbers.

    In integers: the exponent is added to.
    """
    if not isinstance(t, Vector) or p != t:
        return None
    mantissa = _INTEGER[t.element][1]

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        word = _integers(t)
        number, k = (builder.bitcast(v, word) for v in values)
        raised = builder.add(number, builder.shl(k, _all(word, mantissa)))
        return builder.bitcast(raised, llvm_vector(t))

    return t(p, t), code


def _power_below(halved: bool) -> Any:
    """2**(k - k_top) from the sums that hold k <= k_top in their low bits, 0 where not normal; or,
    `halved`, two factors of it."""

    @intrinsic  # type: ignore[misc]
    def powers(typingctx: Any, t: Any, t_top: Any) -> Any:
        if not isinstance(t, Vector) or t != t_top:
            return None
        _, mantissa, bias = _INTEGER[t.element]

        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            word, number = _integers(t), llvm_vector(t)
            k = builder.sub(*(builder.bitcast(v, word) for v in values))

            def power_of(k: Any) -> Any:
                least = _all(word, -bias)
                k = builder.select(builder.icmp_signed("<", k, least), least, k)
                raised = builder.shl(builder.add(k, _all(word, bias)), _all(word, mantissa))
                return builder.bitcast(raised, number)

            if not halved:
                return power_of(k)
            half = builder.ashr(k, _all(word, 1))
            both = [power_of(half), power_of(builder.sub(k, half))]
            return context.make_tuple(builder, signature.return_type, both)

        return (types.UniTuple(t, 2) if halved else t)(t, t_top), code

    return powers


below_power, halves_of_power = _power_below(False), _power_below(True)


@intrinsic  # type: ignore[misc]
def larger_size(typingctx: Any, v: Any, size: Any) -> Any:
    """The larger of abs(v) and `size`, which is not negative; NaN is larger than any number."""
    if not isinstance(v, Vector) or v != size:
        return None

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        word = _integers(v)
        number, other = (builder.bitcast(value, word) for value in values)
        own = builder.and_(number, _all(word, (1 << (v.element.bitwidth - 1)) - 1))
        chosen = builder.select(builder.icmp_signed(">", own, other), own, other)
        return builder.bitcast(chosen, llvm_vector(v))

    return v(v, size), code


def _less(relation: str, bits: int) -> Any:
    @intrinsic  # type: ignore[misc]
    def compared(typingctx: Any, a: Any, b: Any) -> Any:
        if not isinstance(a, Vector) or a != b:
            return None

        def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            lanes = ir.IntType(a.lanes)
            less = builder.bitcast(builder.fcmp_ordered("<", *values), lanes)
            return builder.icmp_unsigned(relation, less, ir.Constant(lanes, bits))

        return types.boolean(a, b), code

    return compared


all_less = _less("==", -1)
"""Whether each lane of `a` is less than that of `b`; not where one is NaN."""

any_less = _less("!=", 0)
"""Whether any lane of `a` is less than that of `b`."""


@intrinsic  # type: ignore[misc]
def to_float64(typingctx: Any, v: Any) -> Any:
    """The lower and the upper half of a float32 vector as two of float64."""
    if v != F32:
        return None

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        n = LANES64
        halves = [
            builder.fpext(
                shuffled(builder, values[0], values[0], list(range(i, i + n))), llvm_vector(F64)
            )
            for i in (0, n)
        ]
        return context.make_tuple(builder, signature.return_type, halves)

    return types.UniTuple(F64, 2)(v), code


@intrinsic  # type: ignore[misc]
def to_float32(typingctx: Any, low: Any, high: Any) -> Any:
    """Two float64 vectors, rounded, as one of float32."""
    if low != F64 or high != F64:
        return None

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        half = ir.VectorType(ir.FloatType(), LANES64)
        a, b = (builder.fptrunc(v, half) for v in values)
        return shuffled(builder, a, b, list(range(LANES32)))

    return F32(low, high), code


def _fold(step: Callable[[Any, Any, Any], Any]) -> Any:
    @intrinsic  # type: ignore[misc]
    def folded(typingctx: Any, v: Any) -> Any:
        if not isinstance(v, Vector):
            return None

        def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            (left,) = values
            width = v.lanes
            while width > 1:
                width //= 2
                a = shuffled(builder, left, left, list(range(width)))
                b = shuffled(builder, left, left, list(range(width, 2 * width)))
                left = step(builder, a, b)
            return builder.extract_element(left, ir.Constant(ir.IntType(32), 0))

        return v.element(v), code

    return folded


sum_lanes = _fold(lambda builder, a, b: builder.fadd(a, b))
smallest_lane = _fold(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
largest_lane = _fold(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))
