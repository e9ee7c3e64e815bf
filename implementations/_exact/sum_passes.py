"""The passes of `numba_exact` over one row that end in numbers: the largest entry, and sums.

Whether exponentials are single or pairs follows from the row's format: pairs for float64, so that
the row's logic (`rows`) is the same for all. Sums come as (high, rest). Entries that
a vector has beyond the end of the row count as -inf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from implementations._exact.exponential import exponential, two_sum
from implementations._exact.memory import Memory, is_array
from implementations._exact.vectors import LANES, Code, Vec

NEVER = float("-inf")
_WIDE = 2 * LANES  # float32 in as many bytes
_PAIR = types.UniTuple(types.float64, 2)
_TRIPLE = types.UniTuple(types.float64, 3)


def added(a: Vec, b: Vec) -> tuple[Vec]:
    return (a + b,)


def larger(a: Vec, b: Vec) -> tuple[Vec]:
    """b where a is NaN."""
    return ((a > b).where(a, b),)


def _added_pairs(high: Vec, low: Vec, other: Vec, other_low: Vec) -> tuple[Vec, Vec]:
    s, lost = two_sum(high, other)
    return s, low + (lost + other_low)


class _Sum:
    """A sum in lanes: plain, or as pairs with the roundings added up (Ogita, Rump, Oishi 2005)."""

    def __init__(self, code: Code, wide: bool, unroll: int) -> None:
        self.code, self.wide = code, wide
        zero = code.constant(0.0)
        self.high = [code.variable(zero) for _ in range(unroll)]
        self.low = [code.variable(zero) for _ in range(unroll)] if wide else []

    def add(self, u: int, high: Vec, low: Vec | None) -> None:
        code = self.code
        if low is None:
            code.set(self.high[u], code.get(self.high[u]) + high)
            return
        old = (code.get(self.high[u]), code.get(self.low[u]))
        new = _added_pairs(*old, high, low)
        for place, v in zip((self.high[u], self.low[u]), new, strict=True):
            code.set(place, v)

    def result(self) -> tuple[Any, Any]:
        """The sum as two float64."""
        code = self.code
        high = [code.get(p) for p in self.high]
        if not self.wide:
            total = high[0]
            for v in high[1:]:
                total = total + v
            return code.joined((total,), added)[0], code.number(0.0)
        pair = high[0], code.get(self.low[0])
        for v, place in zip(high[1:], self.low[1:], strict=True):
            pair = _added_pairs(*pair, v, code.get(place))
        first, second = code.joined(pair, _added_pairs)
        return first, second


def _each(
    code: Code, size: Any, unroll: int, body: Callable[[int, Any, Any], None], done: Any = None
) -> None:
    """body(lane group, index, count) over `done` ... size: whole vectors, then the last masked.

    `done`, 0 if not given, is a multiple of the vectors taken at once.
    """
    b = code.builder
    width = unroll * LANES
    whole = b.and_(size, code.integer(-width))
    with code.steps(code.integer(0) if done is None else done, whole, width) as i:
        for u in range(unroll):
            body(u, b.add(i, code.integer(u * LANES)), None)
    with code.steps(whole, size, LANES) as i:
        body(0, i, b.sub(size, i))


def _unroll(wide: bool) -> int:
    return 2 if wide else 4


@intrinsic  # type: ignore[misc]
def largest(typingctx: Any, x: Any) -> Any:
    """The largest entry, as float64; NaN is passed over, and -inf where there is nothing else."""
    if not is_array(x):
        return None

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        row = Memory(code, x, values[0])
        tops = [code.variable(code.constant(NEVER)) for _ in range(4)]
        done = _largest_unlifted(code, row, tops[0]) if x.dtype == types.float32 else None

        def body(u: int, i: Any, count: Any) -> None:
            code.set(tops[u], larger(row.load(i, count, NEVER), code.get(tops[u]))[0])

        _each(code, row.size, 4, body, done)
        a, b, c, d = (code.get(t) for t in tops)
        return code.joined(larger(*larger(a, b), *larger(c, d)), larger)[0]

    return types.float64(x), emit


def _largest_unlifted(code: Code, row: Memory, top: Any) -> Any:
    """Of whole vectors of float32, compared as they are, into `top`; how many entries."""
    b = code.builder
    singles = ir.VectorType(ir.FloatType(), _WIDE)
    start = ir.Constant(singles, [ir.Constant(ir.FloatType(), NEVER)] * _WIDE)
    places = [cgutils.alloca_once_value(b, start) for _ in range(4)]
    whole = b.and_(row.size, code.integer(-4 * _WIDE))
    with code.steps(code.integer(0), whole, 4 * _WIDE) as i:
        for u, place in enumerate(places):
            source = row.place(b.add(i, code.integer(u * _WIDE)))
            v, old = b.load(b.bitcast(source, singles.as_pointer()), align=4), b.load(place)
            b.store(b.select(b.fcmp_ordered(">", v, old), v, old), place)
    for place in places:
        for half in (0, LANES):
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [*range(half, half + LANES)])
            v = b.load(place)
            code.set(top, larger(code.lifted(b.shuffle_vector(v, v, lanes)), code.get(top))[0])
    return whole


@intrinsic  # type: ignore[misc]
def exponentials(typingctx: Any, x: Any, m: Any, ahead: Any, high: Any, low: Any) -> Any:
    """exp(x - m) into `high` and `low`, float64 with room for whole vectors; their sum.

    `low` is left alone but for float64 rows, whose exponentials are times 2**BIAS. What lies
    `ahead` bytes further is asked for.
    """
    if not is_array(x):
        return None
    wide = x.dtype == types.float64

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        row, top = Memory(code, x, values[0]), code.spread(values[1])
        first, second = Memory(code, high, values[3]), Memory(code, low, values[4])
        sums = _Sum(code, wide, _unroll(wide))

        def body(u: int, i: Any, count: Any) -> None:
            if u * LANES * row.itemsize % 64 == 0:
                row.prefetch(i, values[2])
            _, e, rest = exponential(row.load(i, count, NEVER), top, wide)
            first.store(i, e)
            if rest is not None:
                second.store(i, rest)
            sums.add(u, e, rest)

        _each(code, row.size, _unroll(wide), body)
        return context.make_tuple(builder, signature.return_type, sums.result())

    return _PAIR(x, types.float64, types.intp, high, low), emit


def _without_storing(summed: Callable[[Any, bool], Callable[..., Any]], result: Any) -> Any:
    """A pass over `x` with the number `m`; `summed` gives its code, by type and width."""

    @intrinsic  # type: ignore[misc]
    def one_pass(typingctx: Any, x: Any, m: Any) -> Any:
        if not is_array(x):
            return None
        return result(x, types.float64), summed(x, x.dtype == types.float64)

    return one_pass


def _total(x: Any, wide: bool) -> Callable[..., Any]:
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        row, m = Memory(code, x, values[0]), code.spread(values[1])
        sums = _Sum(code, wide, _unroll(wide))

        def body(u: int, i: Any, count: Any) -> None:
            sums.add(u, *exponential(row.load(i, count, NEVER), m, wide)[1:])

        _each(code, row.size, _unroll(wide), body)
        return context.make_tuple(builder, signature.return_type, sums.result())

    return emit


def _others(x: Any, wide: bool) -> Callable[..., Any]:
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        row, m = Memory(code, x, values[0]), code.spread(values[1])
        unroll = _unroll(wide)
        sums = _Sum(code, wide, unroll)
        ties = [code.variable(code.constant(0.0)) for _ in range(unroll)]

        def body(u: int, i: Any, count: Any) -> None:
            d, e, rest = exponential(row.load(i, count, NEVER), m, wide)
            top = d.equals(0.0)
            if rest is not None:
                rest = top.where(0.0, rest)
            sums.add(u, top.where(0.0, e), rest)
            code.set(ties[u], code.get(ties[u]) + top.where(1.0, 0.0))

        _each(code, row.size, unroll, body)
        count = code.get(ties[0])
        for t in ties[1:]:
            count = count + code.get(t)
        found = (*sums.result(), *code.joined((count,), added))
        return context.make_tuple(builder, signature.return_type, found)

    return emit


total = _without_storing(_total, _PAIR)
"""total(x, m): the sum of exp(x - m)."""

others = _without_storing(_others, _TRIPLE)
"""others(x, m): the sum of exp(x - m) over entries other than m, and how many are m."""

others_wide = _without_storing(lambda x, _wide: _others(x, True), _TRIPLE)
"""As `others`, in pairs (times 2**BIAS) for every format."""


@intrinsic  # type: ignore[misc]
def dot(typingctx: Any, g: Any, y: Any) -> Any:
    """Sum of g * y as (high, rest), in twice the precision (Ogita, Rump, Oishi 2005)."""
    if not is_array(g) or g.dtype != y.dtype:
        return None
    wide = g.dtype == types.float64

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        a, b = Memory(code, g, values[0]), Memory(code, y, values[1])
        zero = code.constant(0.0)
        sums = _Sum(code, True, 4)

        def body(u: int, i: Any, count: Any) -> None:
            v, w = a.load(i, count), b.load(i, count)
            p = v * w  # exact where the factors have 24 bits
            sums.add(u, p, v.fma(w, zero - p) if wide else zero)

        _each(code, a.size, 4, body)
        return context.make_tuple(builder, signature.return_type, sums.result())

    return _PAIR(g, y), emit
