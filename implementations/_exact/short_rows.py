"""Softmax of few classes in registers, for `numba_exact`: what a pass costs beside its vectors is
most of the work there.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from implementations._exact.exponential import exp_single
from implementations._exact.memory import Memory, is_array
from implementations._exact.sum_passes import NEVER, added, larger
from implementations._exact.vectors import LANES, Code
from implementations._simd.compilation import LINE

_AHEAD = 2048  # bytes before it is read that memory is asked for

SHORT = 64
"""Classes up to which `short_rows` takes a row in registers."""


def _short(code: Code, row: Memory, out: Memory, classes: Any, base: Any, vectors: int) -> None:
    """Softmax of the row at `base` in so many vectors; those of the lower half are full."""
    b = code.builder
    places = []
    for v in range(vectors):
        left = None if v < vectors // 2 else b.sub(classes, code.integer(v * LANES))
        places.append((b.add(base, code.integer(v * LANES)), left))
    for i, _ in places[:: max(1, LINE // (LANES * row.itemsize))]:
        row.prefetch(i, code.integer(_AHEAD))
    x = [row.load(i, left, NEVER) for i, left in places]
    top = x[0]
    for v in x[1:]:
        top = larger(v, top)[0]
    m = code.everywhere(top, larger)
    e = [exp_single(v - m) for v in x]
    total = e[0]
    for v in e[1:]:
        total = total + v
    s = code.joined((total,), added)[0]
    factor = code.spread(b.fdiv(code.number(1.0), s))
    for (i, left), v in zip(places, e, strict=True):
        out.store(i, v * factor, left)


@intrinsic  # type: ignore[misc]
def short_rows(typingctx: Any, x: Any, out: Any, classes: Any, first: Any, last: Any) -> Any:
    """Softmax of rows `first` to `last` of at most SHORT classes, one after the other in `x`.

    Not for float64.
    """
    if not is_array(x) or x.dtype == types.float64 or x.dtype != out.dtype:
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
