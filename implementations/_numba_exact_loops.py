"""The loops of `numba_exact` over one row, as functions for Numba: each one pass over memory.

Whether exponentials are single or pairs follows from the row's format: pairs for float64, so that
the row's logic (`_numba_exact_rows`) is the same for all. Sums come as (high, rest). Entries that
a vector has beyond the end of the row count as -inf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from implementations._numba_exact_exp import (
    TINY,
    exp_pair,
    exp_single,
    finish_pair,
    finish_tiny,
    two_sum,
)
from implementations._numba_exact_vectors import LANES, SIZE, Code, Memory, Vec

_NEVER = float("-inf")
_LONG = 256  # entries from which it pays to begin with those before a multiple of 64 bytes


def _float(code: Code, value: float) -> Any:
    return ir.Constant(ir.DoubleType(), value)


def _is_array(t: Any) -> bool:
    return isinstance(t, types.Array) and t.ndim == 1 and t.layout == "C" and t.dtype in SIZE


def _each(code: Code, size: Any, unroll: int, body: Callable[[int, Any, Any], None]) -> None:
    """body(lane group, index, count) over 0 ... size: whole vectors, then the last ones masked."""
    b = code.builder
    width = unroll * LANES
    whole = b.and_(size, code.integer(-width))
    with code.steps(code.integer(0), whole, width) as i:
        for u in range(unroll):
            body(u, b.add(i, code.integer(u * LANES)), None)
    with code.steps(whole, size, LANES) as i:
        body(0, i, b.sub(size, i))


def _written(
    code: Code, out: Memory, stream: Any, value: Callable[[Any, Any], Vec], unroll: int = 2
) -> None:
    """out[i] = value(i, count) in whole lines; where `stream` holds, past the caches."""
    b, size = code.builder, out.size
    width = unroll * LANES
    item = code.integer(SIZE[out.element])
    misplaced = b.and_(b.sub(code.integer(0), out.address(code)), code.integer(63))
    head = b.sdiv(misplaced, item)
    aligned = b.icmp_signed("==", b.mul(head, item), misplaced)
    stream = b.and_(stream, aligned)
    worth = b.and_(aligned, b.icmp_signed(">=", size, code.integer(_LONG)))
    start = b.select(worth, head, code.integer(0))
    stream = b.and_(stream, worth)
    with code.steps(code.integer(0), start, LANES) as i:
        left = b.sub(start, i)
        code.store(out, i, value(i, left), left)
    whole = b.add(start, b.and_(b.sub(size, start), code.integer(-width)))
    with code.steps(start, whole, width) as i:
        indices = [b.add(i, code.integer(u * LANES)) for u in range(unroll)]
        results = [value(j, None) for j in indices]
        with b.if_else(stream) as (past, through):
            for branch, bypass in ((past, True), (through, False)):
                with branch:
                    for j, v in zip(indices, results, strict=True):
                        code.store(out, j, v, stream=bypass)
    with code.steps(whole, size, LANES) as i:
        left = b.sub(size, i)
        code.store(out, i, value(i, left), left)


def _add(high: Vec, other: Vec) -> tuple[Vec]:
    return (high + other,)


def _add_pairs(high: Vec, low: Vec, other: Vec, other_low: Vec) -> tuple[Vec, Vec]:
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
        for place, v in zip((self.high[u], self.low[u]), _add_pairs(*old, high, low), strict=True):
            code.set(place, v)

    def result(self) -> tuple[Any, Any]:
        """The sum as two float64."""
        code = self.code
        high = [code.get(p) for p in self.high]
        if not self.wide:
            total = high[0]
            for v in high[1:]:
                total = total + v
            return code.joined((total,), _add)[0], _float(code, 0.0)
        pair = high[0], code.get(self.low[0])
        for v, place in zip(high[1:], self.low[1:], strict=True):
            pair = _add_pairs(*pair, v, code.get(place))
        first, second = code.joined(pair, _add_pairs)
        return first, second


def _exponential(x: Vec, m: Vec, wide: bool) -> tuple[Vec, Vec, Vec | None]:
    """(d, high, low) with d = x - m rounded."""
    if not wide:
        d = x - m
        return d, exp_single(d), None
    d, rest = two_sum(x, x.code.constant(0.0) - m)
    return d, *exp_pair(d, rest)


def _prefetch(code: Code, x: Memory, index: Any, ahead: Any) -> None:
    byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
    function = cgutils.get_or_insert_function(code.builder.module, kind, "llvm.prefetch.p0")
    b = code.builder
    place = b.gep(b.bitcast(x.place(code, index), byte), [ahead])
    b.call(function, [place, *(ir.Constant(word, i) for i in (0, 3, 1))])


def _unroll(wide: bool) -> int:
    return 2 if wide else 4


@intrinsic  # type: ignore[misc]
def largest(typingctx: Any, x: Any) -> Any:
    """The largest entry, as float64; NaN is passed over, and -inf where there is nothing else."""
    if not _is_array(x):
        return None

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        row = Memory(code, x, values[0])
        tops = [code.variable(code.constant(_NEVER)) for _ in range(4)]

        def body(u: int, i: Any, count: Any) -> None:
            v, top = code.load(row, i, count, _NEVER), code.get(tops[u])
            code.set(tops[u], (v > top).where(v, top))

        _each(code, row.size, 4, body)
        a, b, c, d = (code.get(t) for t in tops)
        top = _larger(*_larger(a, b), *_larger(c, d))
        return code.joined(top, _larger)[0]

    return types.float64(x), emit


def _larger(a: Vec, b: Vec) -> tuple[Vec]:
    return ((a > b).where(a, b),)


def _total(x: Any, high: Any, low: Any, wide: bool) -> Callable[..., Any]:
    """Code for `exponentials` and `total`: what they share, with `high` None for the latter."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        row, m, ahead = Memory(code, x, values[0]), code.spread(values[1]), values[2]
        stored = [Memory(code, t, v) for t, v in zip((high, low), values[3:], strict=False)]
        unroll = _unroll(wide)
        sums = _Sum(code, wide, unroll)

        def body(u: int, i: Any, count: Any) -> None:
            if stored and u * LANES * SIZE[row.element] % 64 == 0:
                _prefetch(code, row, i, ahead)
            _, e, rest = _exponential(code.load(row, i, count, _NEVER), m, wide)
            if stored:
                code.store(stored[0], i, e)
                if rest is not None:
                    code.store(stored[1], i, rest)
            sums.add(u, e, rest)

        _each(code, row.size, unroll, body)
        return context.make_tuple(builder, signature.return_type, sums.result())

    return emit


_PAIR = types.UniTuple(types.float64, 2)
_TRIPLE = types.UniTuple(types.float64, 3)


@intrinsic  # type: ignore[misc]
def exponentials(typingctx: Any, x: Any, m: Any, ahead: Any, high: Any, low: Any) -> Any:
    """exp(x - m) into `high` and `low`, float64 with room for whole vectors; their sum.

    `low` is left alone but for float64 rows, whose exponentials are times 2**BIAS. What lies
    `ahead` bytes further is asked for.
    """
    if not _is_array(x):
        return None
    wide = x.dtype == types.float64
    return _PAIR(x, types.float64, types.intp, high, low), _total(x, high, low, wide)


@intrinsic  # type: ignore[misc]
def total(typingctx: Any, x: Any, m: Any) -> Any:
    """The sum of exp(x - m), nothing stored."""
    if not _is_array(x):
        return None
    wide = x.dtype == types.float64

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        ahead = ir.Constant(ir.IntType(64), 0)
        return _total(x, None, None, wide)(context, builder, signature, (*values, ahead))

    return _PAIR(x, types.float64), emit


SHORT = 64
"""Classes up to which `short_rows` takes a row in registers."""


def _short(code: Code, row: Memory, out: Memory, classes: Any, base: Any, vectors: int) -> None:
    """Softmax of the row at `base` in so many vectors; those of the lower half are full."""
    b = code.builder
    places = []
    for v in range(vectors):
        left = None if v < vectors // 2 else b.sub(classes, code.integer(v * LANES))
        places.append((b.add(base, code.integer(v * LANES)), left))
    x = [code.load(row, i, left, _NEVER) for i, left in places]
    top = x[0]
    for v in x[1:]:
        top = _larger(v, top)[0]
    m = code.everywhere(top, _larger)
    e = [exp_single(v - m) for v in x]
    total = e[0]
    for v in e[1:]:
        total = total + v
    s = code.joined((total,), _add)[0]
    factor = code.spread(b.fdiv(_float(code, 1.0), s))
    for (i, left), v in zip(places, e, strict=True):
        code.store(out, i, v * factor, left)


@intrinsic  # type: ignore[misc]
def short_rows(typingctx: Any, x: Any, out: Any, classes: Any, first: Any, last: Any) -> Any:
    """Softmax of rows `first` to `last` of at most SHORT classes, one after the other in `x`.

    Not for float64. Rows in registers: what a pass costs beside its vectors is most of the work
    for few classes.
    """
    if not _is_array(x) or x.dtype == types.float64 or x.dtype != out.dtype:
        return None

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        row, result = Memory(code, x, values[0]), Memory(code, out, values[1])
        classes, first, last = values[2:]
        below = 0
        for vectors in (1, 2, 4, 8):
            fits = builder.icmp_signed("<=", classes, code.integer(vectors * LANES))
            more = builder.icmp_signed(">", classes, code.integer(below))
            with builder.if_then(builder.and_(fits, more)), code.steps(first, last, 1) as r:
                _short(code, row, result, classes, builder.mul(r, classes), vectors)
            below = vectors * LANES
        return context.get_dummy_value()

    return types.void(x, out, types.intp, types.intp, types.intp), emit


def _others(x: Any, wide: bool) -> Callable[..., Any]:
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        row, m = Memory(code, x, values[0]), code.spread(values[1])
        unroll = _unroll(wide)
        sums = _Sum(code, wide, unroll)
        ties = [code.variable(code.constant(0.0)) for _ in range(unroll)]

        def body(u: int, i: Any, count: Any) -> None:
            d, e, rest = _exponential(code.load(row, i, count, _NEVER), m, wide)
            top = d.equals(0.0)
            if rest is not None:
                rest = top.where(0.0, rest)
            sums.add(u, top.where(0.0, e), rest)
            code.set(ties[u], code.get(ties[u]) + top.where(1.0, 0.0))

        _each(code, row.size, unroll, body)
        count = code.get(ties[0])
        for t in ties[1:]:
            count = count + code.get(t)
        found = (*sums.result(), *code.joined((count,), _add))
        return context.make_tuple(builder, signature.return_type, found)

    return emit


@intrinsic  # type: ignore[misc]
def others(typingctx: Any, x: Any, m: Any) -> Any:
    """The sum of exp(x - m) over entries other than m, and how many are m."""
    if not _is_array(x):
        return None
    return _TRIPLE(x, types.float64), _others(x, x.dtype == types.float64)


@intrinsic  # type: ignore[misc]
def others_wide(typingctx: Any, x: Any, m: Any) -> Any:
    """As `others`, in pairs (times 2**BIAS) for every format."""
    return (_TRIPLE(x, types.float64), _others(x, True)) if _is_array(x) else None


def _finished(code: Code, high: Vec, low: Vec | None, factor: Vec, factor_rest: Vec) -> Vec:
    if low is None:
        return high * factor
    b = code.builder
    y = finish_pair(high, low, factor, factor_rest)
    place = code.variable(y)
    tiny = (y < TINY) & (high > 0.0)
    some = b.icmp_unsigned("!=", b.bitcast(tiny.value, ir.IntType(8)), ir.IntType(8)(0))
    with b.if_then(some, likely=False):
        exact = finish_tiny(high, low, factor, factor_rest)
        code.set(place, tiny.where(exact, y))
    return code.get(place)


@intrinsic  # type: ignore[misc]
def scaled(
    typingctx: Any, high: Any, low: Any, factor: Any, rest: Any, out: Any, stream: Any
) -> Any:
    """out = (high + low) * (factor + rest), rounded once (but for the plain product's rounding).

    `low` and `rest` count for float64 alone. `stream`: past the caches.
    """
    if not _is_array(out):
        return None
    wide = out.dtype == types.float64

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        first, second = Memory(code, high, values[0]), Memory(code, low, values[1])
        f, f_rest = code.spread(values[2]), code.spread(values[3])

        def value(i: Any, _count: Any) -> Vec:
            rest = code.load(second, i) if wide else None
            return _finished(code, code.load(first, i), rest, f, f_rest)

        _written(code, Memory(code, out, values[4]), values[5], value)
        return context.get_dummy_value()

    return types.void(high, low, types.float64, types.float64, out, types.boolean), emit


@intrinsic  # type: ignore[misc]
def direct(typingctx: Any, x: Any, m: Any, factor: Any, rest: Any, out: Any, stream: Any) -> Any:
    """out = exp(x - m) * (factor + rest): as `exponentials` and `scaled`, to the bit."""
    if not _is_array(x) or x.dtype != out.dtype:
        return None
    wide = x.dtype == types.float64

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        row, top = Memory(code, x, values[0]), code.spread(values[1])
        f, f_rest = code.spread(values[2]), code.spread(values[3])

        def value(i: Any, count: Any) -> Vec:
            _, e, rest = _exponential(code.load(row, i, count, _NEVER), top, wide)
            return _finished(code, e, rest, f, f_rest)

        _written(code, Memory(code, out, values[4]), values[5], value, 1 if wide else 2)
        return context.get_dummy_value()

    return types.void(x, types.float64, types.float64, types.float64, out, types.boolean), emit


@intrinsic  # type: ignore[misc]
def shifted(typingctx: Any, x: Any, m: Any, log_sum: Any, rest: Any, out: Any, stream: Any) -> Any:
    """out = (x - m) - (log_sum + rest), rounded once (but for float64's, where out is narrower)."""
    if not _is_array(x) or x.dtype != out.dtype:
        return None
    wide = x.dtype == types.float64

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        row, top = Memory(code, x, values[0]), code.spread(values[1])
        log, log_rest = code.spread(values[2]), code.spread(values[3])
        zero = code.constant(0.0)

        def value(i: Any, count: Any) -> Vec:
            v = code.load(row, i, count, _NEVER)
            if not wide:
                return (v - top) - log
            d, d_rest = two_sum(v, zero - top)
            y, lost = two_sum(d, zero - log)
            rest = lost + (d_rest - log_rest)
            return (d < -1e300).where(y, y + rest)  # the rests of an infinite d are NaN

        _written(code, Memory(code, out, values[4]), values[5], value)
        return context.get_dummy_value()

    return types.void(x, types.float64, types.float64, types.float64, out, types.boolean), emit


@intrinsic  # type: ignore[misc]
def dot(typingctx: Any, g: Any, y: Any) -> Any:
    """Sum of g * y as (high, rest), in twice the precision (Ogita, Rump, Oishi 2005)."""
    if not _is_array(g) or g.dtype != y.dtype:
        return None
    wide = g.dtype == types.float64

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        a, b = Memory(code, g, values[0]), Memory(code, y, values[1])
        zero = code.constant(0.0)
        sums = _Sum(code, True, 4)

        def body(u: int, i: Any, count: Any) -> None:
            v, w = code.load(a, i, count), code.load(b, i, count)
            p = v * w  # exact where the factors have 24 bits
            sums.add(u, p, v.fma(w, zero - p) if wide else zero)

        _each(code, a.size, 4, body)
        return context.make_tuple(builder, signature.return_type, sums.result())

    return _PAIR(g, y), emit


@intrinsic  # type: ignore[misc]
def pulled_back(typingctx: Any, g: Any, y: Any, s: Any, rest: Any, out: Any, stream: Any) -> Any:
    """out = y * (g - (s + rest)), rounded once; but for underflow in float64."""
    if not _is_array(g) or not g.dtype == y.dtype == out.dtype:
        return None
    wide = g.dtype == types.float64

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        a, b = Memory(code, g, values[0]), Memory(code, y, values[1])
        mean, mean_rest = code.spread(values[2]), code.spread(values[3])
        zero = code.constant(0.0)

        def value(i: Any, count: Any) -> Vec:
            p = code.load(b, i, count)
            d, lost = two_sum(code.load(a, i, count), zero - mean)
            lost = lost - mean_rest
            lost = lost.equals(lost).where(lost, 0.0)  # NaN beside an infinite d
            v = d + lost
            v_rest = (d - v) + lost
            v_rest = v_rest.equals(v_rest).where(v_rest, 0.0)
            return p.fma(v, p * v_rest) if wide else p * v

        _written(code, Memory(code, out, values[4]), values[5], value)
        return context.get_dummy_value()

    return types.void(g, y, types.float64, types.float64, out, types.boolean), emit


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
        return code.lanes(_finished(code, *(code.spread(v) for v in values)))[0]

    return types.float64(*[types.float64] * 4), emit


@intrinsic  # type: ignore[misc]
def fused(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c of float64, rounded once."""

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.fma(*values)

    return types.float64(types.float64, types.float64, types.float64), emit


@intrinsic  # type: ignore[misc]
def as_rows(typingctx: Any, address: Any, rows: Any, classes: Any, like: Any) -> Any:
    """The memory at an address as a contiguous array (rows, classes) of `like`'s type."""
    result = types.Array(like, 2, "C")

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(result)(context, builder)
        size = SIZE.get(like, 8)
        item = context.get_constant(types.intp, size)
        data = builder.inttoptr(values[0], context.get_data_type(like).as_pointer())
        populate_array(
            array,
            data=data,
            shape=[values[1], values[2]],
            strides=[builder.mul(values[2], item), item],
            itemsize=item,
            meminfo=None,
        )
        return array._getvalue()

    return result(types.intp, types.intp, types.intp, like), emit


@intrinsic  # type: ignore[misc]
def value_at(typingctx: Any, x: Any, index: Any) -> Any:
    """x[index] as float64."""
    if not _is_array(x):
        return None

    def emit(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        return code.load_one(Memory(code, x, values[0]), values[1])

    return types.float64(x, types.intp), emit


@intrinsic  # type: ignore[misc]
def put(typingctx: Any, out: Any, index: Any, value: Any) -> Any:
    """out[index] = value, float64, rounded once."""
    if not _is_array(out):
        return None

    def emit(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        code = Code(context, builder)
        memory = Memory(code, out, values[0])
        code.store_one(memory, values[1], values[2])
        return context.get_dummy_value()

    return types.void(out, types.intp, types.float64), emit


@intrinsic  # type: ignore[misc]
def fence(typingctx: Any) -> Any:
    """Make stores past the caches visible before anything after."""

    def emit(context: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        Code(context, builder).fence()
        return context.get_dummy_value()

    return types.void(), emit
