"""The passes of `numba_exact` over one row that write its results, rounded once.

Whole lines where a row is long enough, past the caches where asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic

from implementations._exact.exponential import exponential, finished, two_sum
from implementations._exact.memory import Memory, is_array
from implementations._exact.sum_passes import NEVER
from implementations._exact.vectors import LANES, Code, Vec

_LONG = 256  # entries from which it pays to begin with those before a multiple of 64 bytes

Value = Callable[[Any, Any], Vec]


def _written(code: Code, out: Memory, stream: Any, value: Value, unroll: int) -> None:
    """out[i] = value(i, count) in whole lines; where `stream` holds, past the caches."""
    b, size = code.builder, out.size
    width = unroll * LANES
    item = code.integer(out.itemsize)
    misplaced = b.and_(b.sub(code.integer(0), out.address()), code.integer(63))
    head = b.sdiv(misplaced, item)
    aligned = b.icmp_signed("==", b.mul(head, item), misplaced)
    stream = b.and_(stream, aligned)
    worth = b.and_(aligned, b.icmp_signed(">=", size, code.integer(_LONG)))
    start = b.select(worth, head, code.integer(0))
    stream = b.and_(stream, worth)
    with code.steps(code.integer(0), start, LANES) as i:
        left = b.sub(start, i)
        out.store(i, value(i, left), left)
    whole = b.add(start, b.and_(b.sub(size, start), code.integer(-width)))
    with code.steps(start, whole, width) as i:
        indices = [b.add(i, code.integer(u * LANES)) for u in range(unroll)]
        results = [value(j, None) for j in indices]
        with b.if_else(stream) as (past, through):
            for branch, bypass in ((past, True), (through, False)):
                with branch:
                    for j, v in zip(indices, results, strict=True):
                        out.store(j, v, stream=bypass)
    with code.steps(whole, size, LANES) as i:
        left = b.sub(size, i)
        out.store(i, value(i, left), left)


def _writer(values: Callable[..., Value], wide_unroll: int = 2) -> Any:
    """A pass that writes to `out` what `values` says.

    `values` has the code, the two arguments first and second (arrays or numbers in all lanes), the
    pair of numbers (factor, rest), and whether the format is float64. `stream`: past the caches.
    """

    @intrinsic  # type: ignore[misc]
    def one_pass(
        typingctx: Any, first: Any, second: Any, factor: Any, rest: Any, out: Any, stream: Any
    ) -> Any:
        if not is_array(first) or not is_array(out):
            return None
        wide = out.dtype == types.float64
        kinds = (first, second if is_array(second) else types.float64)

        def emit(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            code = Code(context, builder)
            a = Memory(code, first, given[0])
            b = Memory(code, second, given[1]) if is_array(second) else code.spread(given[1])
            value = values(code, a, b, code.spread(given[2]), code.spread(given[3]), wide)
            unroll = wide_unroll if wide else 2
            _written(code, Memory(code, out, given[4]), given[5], value, unroll)
            return context.get_dummy_value()

        return types.void(*kinds, types.float64, types.float64, out, types.boolean), emit

    return one_pass


def _scaled(_code: Code, high: Memory, low: Memory, factor: Vec, rest: Vec, wide: bool) -> Value:
    def value(i: Any, _count: Any) -> Vec:
        return finished(high.load(i), low.load(i) if wide else None, factor, rest)

    return value


def _direct(_code: Code, x: Memory, m: Vec, factor: Vec, rest: Vec, wide: bool) -> Value:
    def value(i: Any, count: Any) -> Vec:
        _, high, low = exponential(x.load(i, count, NEVER), m, wide)
        return finished(high, low, factor, rest)

    return value


def _shifted(code: Code, x: Memory, m: Vec, log_sum: Vec, log_rest: Vec, wide: bool) -> Value:
    zero = code.constant(0.0)

    def value(i: Any, count: Any) -> Vec:
        v = x.load(i, count, NEVER)
        if not wide:
            return (v - m) - log_sum
        d, d_rest = two_sum(v, zero - m)
        y, lost = two_sum(d, zero - log_sum)
        rest = lost + (d_rest - log_rest)
        return (d < -1e300).where(y, y + rest)  # the rests of an infinite d are NaN

    return value


def _pulled_back(code: Code, g: Memory, y: Memory, mean: Vec, mean_rest: Vec, wide: bool) -> Value:
    zero = code.constant(0.0)

    def value(i: Any, count: Any) -> Vec:
        p = y.load(i, count)
        d, lost = two_sum(g.load(i, count), zero - mean)
        lost = lost - mean_rest
        lost = lost.equals(lost).where(lost, 0.0)  # NaN beside an infinite d
        v = d + lost
        v_rest = (d - v) + lost
        v_rest = v_rest.equals(v_rest).where(v_rest, 0.0)
        return p.fma(v, p * v_rest) if wide else p * v

    return value


scaled = _writer(_scaled)
"""scaled(high, low, factor, rest, out, stream): (high + low) * (factor + rest).

`low` and `rest` count for float64 alone.
"""

direct = _writer(_direct, 1)
"""direct(x, m, factor, rest, out, stream): exp(x - m) * (factor + rest), as `exponentials` and
`scaled`, to the bit."""

shifted = _writer(_shifted)
"""shifted(x, m, log_sum, rest, out, stream): (x - m) - (log_sum + rest)."""

pulled_back = _writer(_pulled_back)
"""pulled_back(g, y, s, rest, out, stream): y * (g - (s + rest)); but for underflow in float64."""
