"""Where a softmax finds its logits: in memory as they are, scaled, or masked.

The loops over rows take a place instead of an address. An address is a place of plain logits;
`scaled_logits` and `masked_logits` make places whose numbers are changed in registers, so that
changed logits are nowhere in memory. A place moves by bytes: `place + bytes`. For each kind the
functions here are compiled apart, and those of plain logits are what they would be without them.

A product s * x is not rounded, but for a shift of 2**23 and more: the exponential subtracts its
multiple of ln 2 in the same fused multiply-add.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import StructModel
from numba.extending import intrinsic, overload, register_model

from implementations._numba.exponential import (
    as_like,
    exact_shift_below,
    exponential,
    infinity,
    mild,
    mild_exponential,
    near_exponential,
    reduce_product,
    scale_of,
    small,
    unit,
)
from implementations._simd.compilation import inner, specialised
from implementations._simd.memory import itemsize, load, load_byte, load_one, prefetch, where_kept
from implementations._simd.vectors import (
    broadcast,
    divide,
    fma,
    larger,
    larger_size,
    power,
    smaller,
    times_power,
    where_equal,
    where_less,
    zero,
)


class Place(types.Type):  # type: ignore[misc]
    """An address and a second number: the scale, or the address of the mask."""

    def __init__(self, kind: str, element: Any) -> None:
        self.kind = kind
        self.element = element
        self.second = element if kind == "scaled" else types.intp
        super().__init__(name=f"{kind}({element})")


@register_model(Place)
class _PlaceModel(StructModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        members = [("address", types.intp), ("second", fe_type.second)]
        super().__init__(dmm, fe_type, members)


def _maker(kind: str) -> Any:
    @intrinsic  # type: ignore[misc]
    def make(typingctx: Any, address: Any, second: Any, like: Any) -> Any:
        made = Place(kind, like)

        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            place = cgutils.create_struct_proxy(made)(context, builder)
            place.address, place.second = values[:2]
            return place._getvalue()

        return made(types.intp, made.second, like), code

    return make


scaled_logits, masked_logits = _maker("scaled"), _maker("masked")
"""(address, scale, like) and (address, mask's address, like); a mask has a byte for each logit."""


def _part(name: str) -> Any:
    @intrinsic  # type: ignore[misc]
    def part(typingctx: Any, place: Any) -> Any:
        result = types.intp if name == "address" else place.second

        def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            proxy = cgutils.create_struct_proxy(place)(context, builder, value=values[0])
            return getattr(proxy, name)

        return result(place), code

    return part


_address, _second = _part("address"), _part("second")


@intrinsic  # type: ignore[misc]
def _moved(typingctx: Any, place: Any, distance: Any) -> Any:
    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        proxy = cgutils.create_struct_proxy(place)(context, builder, value=values[0])
        proxy.address = builder.add(proxy.address, values[1])
        if place.kind == "masked":
            size = ir.Constant(ir.IntType(64), place.element.bitwidth // 8)
            proxy.second = builder.add(proxy.second, builder.sdiv(values[1], size))
        return proxy._getvalue()

    return place(place, types.intp), code


@specialised(operator.add)
def _add(place, distance):  # type: ignore[no-untyped-def]
    if isinstance(place, Place) and isinstance(distance, types.Integer):
        return lambda place, distance: _moved(place, distance)
    return None


def _by_kind(plain: Any, scaled: Any, masked: Any) -> Any:
    """A function of a place and more, compiled from that of the place's kind."""

    def of_place(*arguments: Any) -> Any:
        raise NotImplementedError("only within Numba")

    def chosen(place, *_more):  # type: ignore[no-untyped-def]
        if not isinstance(place, Place):
            return plain
        return scaled if place.kind == "scaled" else masked

    options = {"error_model": "numpy", "forceinline": True}
    overload(of_place, jit_options=options, strict=False)(chosen)
    return of_place


address = _by_kind(lambda x: x, lambda x: _address(x), lambda x: _address(x))
"""Where the logits are in memory."""

mask_of = _by_kind(lambda x: None, lambda x: None, lambda x: _second(x))
"""Where the mask is in memory, or None."""

has_masked = _by_kind(lambda x: False, lambda x: False, lambda x: True)

copied = _by_kind(
    lambda x, to: to, lambda x, to: scaled_logits(to, _second(x), _second(x)), lambda x, to: to
)
"""The place at another address where `number` and `logits` of this one were written to."""


ask_for_mask = _by_kind(lambda x: None, lambda x: None, lambda x: prefetch(_second(x)))
"""Ask for the line of the mask."""


def _masked_number(x, like):  # type: ignore[no-untyped-def]
    if load_byte(_second(x)):
        return load_one(_address(x), like)
    return as_like(-np.inf, like)


number = _by_kind(
    lambda x, like: load_one(x, like),
    lambda x, like: load_one(_address(x), like),
    _masked_number,
)
"""The number at a place, not yet scaled; -inf where it is masked."""


def _masked_logits(x, like):  # type: ignore[no-untyped-def]
    v = load(_address(x), like)
    return where_kept(_second(x), v, zero(v) - infinity(v))


logits = _by_kind(
    lambda x, like: load(x, like), lambda x, like: load(_address(x), like), _masked_logits
)
"""A vector of them."""


def _masked_from_below(x, like):  # type: ignore[no-untyped-def]
    v = load(_address(x), like)
    return where_kept(_second(x), v, infinity(v))


_from_below = _by_kind(
    lambda x, like: load(x, like), lambda x, like: load(_address(x), like), _masked_from_below
)


unmasked = _by_kind(
    lambda x, v: v,
    lambda x, v: v,
    lambda x, v: where_equal(v, zero(v) - infinity(v), infinity(v), v),
)
"""Of a vector of copied logits, +inf where they are masked."""


@inner
def first_extremes(x, like):  # type: ignore[no-untyped-def]
    """A vector of logits twice, where masked -inf and +inf: the largest and smallest so far."""
    return logits(x, like), _from_below(x, like)


@inner
def extremes_with(x, top, bottom, like):  # type: ignore[no-untyped-def]
    """The largest and smallest so far, lane by lane, with a vector more; NaN is passed over."""
    return larger(logits(x, like), top), smaller(_from_below(x, like), bottom)


def _scaled_ends(x, top, bottom):  # type: ignore[no-untyped-def]
    scale = broadcast(_second(x))
    a, b = scale * top, scale * bottom
    return where_less(b, a, a, b), where_less(b, a, b, a)


def _masked_ends(x, top, bottom):  # type: ignore[no-untyped-def]
    nothing = zero(top)
    return where_equal(top, nothing - infinity(top), nothing, top), bottom


ends = _by_kind(lambda x, top, bottom: (top, bottom), _scaled_ends, _masked_ends)
"""The largest and the smallest logit of those that count, from the numbers at the place.

Where none counts the largest is 0, so that all exponentials are.
"""


def _masked_scale(x, a, b, like):  # type: ignore[no-untyped-def]
    one, nothing = broadcast(1.0), broadcast(0.0)
    if itemsize(like) == 4:
        b = where_equal(b, nothing, one, b)
    return scale_of(where_equal(a, nothing, one, a), b, like)


scale_at = _by_kind(
    lambda x, a, b, like: scale_of(a, b, like),
    lambda x, a, b, like: scale_of(a, b, like),
    _masked_scale,
)
"""`scale_of` of a row's sum; a sum of 0, where nothing counts, divides by 1."""


@inner
def _exponential(v, framed, close):  # type: ignore[no-untyped-def]
    if close:
        return near_exponential(v, framed[2])
    return exponential(v, framed[0], framed[1], framed[2])


def _plain_exponential(x, framed, close, like):  # type: ignore[no-untyped-def]
    return _exponential(load(x, like), framed, close)


def _scaled_exponential(x, framed, close, like):  # type: ignore[no-untyped-def]
    v, scale = load(_address(x), like), broadcast(_second(x))
    if close:
        p, t = reduce_product(v, scale)
        return p * power(t, framed[2])
    shift, nothing = framed[0], zero(v)
    size, limit = larger(shift, nothing - shift), exact_shift_below(shift)
    # Beyond, the largest product is so far from the shift, which is rounded, that all overflow.
    z = where_less(size, limit, fma(scale, v, nothing - shift), scale * v - shift)
    v = where_equal(shift, nothing, v, z)
    p, t = reduce_product(v, where_equal(shift, nothing, scale, unit(v)))
    return where_less(z, framed[1], nothing, p * power(t, framed[2]))


def _masked_exponential(x, framed, close, like):  # type: ignore[no-untyped-def]
    e = _exponential(load(_address(x), like), framed, close)
    return where_kept(_second(x), e, zero(e))


exponential_at = _by_kind(_plain_exponential, _scaled_exponential, _masked_exponential)
"""Exponentials of a vector of logits in a row's frame; `close` is the shorter way, to the same
bits. 0 where they are masked, whatever is there."""


def _plain_mild(x, size, like):  # type: ignore[no-untyped-def]
    v = load(x, like)
    return mild_exponential(v), larger_size(v, size)


def _scaled_mild(x, size, like):  # type: ignore[no-untyped-def]
    v = load(_address(x), like)
    p, t = reduce_product(v, broadcast(_second(x)))
    return times_power(p, t), larger_size(v, size)


def _masked_mild(x, size, like):  # type: ignore[no-untyped-def]
    v = load(_address(x), like)
    nothing = zero(v)
    v = where_kept(_second(x), v, nothing)
    return where_kept(_second(x), mild_exponential(v), nothing), larger_size(v, size)


mild_at = _by_kind(_plain_mild, _scaled_mild, _masked_mild)
"""`exponential_at` of mild logits in no frame, and their largest size so far, lane by lane.

The exponentials are those of a row's frame but for a power of two; what they are where the logits
are not mild is nothing to use.
"""


def _scaled_limit(x, v):  # type: ignore[no-untyped-def]
    scale = broadcast(_second(x))
    return divide(v, larger(scale, zero(scale) - scale))


_limit = _by_kind(lambda x, v: v, _scaled_limit, lambda x, v: v)


@inner
def mild_below(x, like):  # type: ignore[no-untyped-def]
    """What the sizes of a row's numbers are to be below for its logits to be mild."""
    return _limit(x, mild(broadcast(like)))


@inner
def small_below(x, like):  # type: ignore[no-untyped-def]
    """The same for a mild row to be near."""
    return _limit(x, small(broadcast(like)))


FAR, NEAR, MILD = range(3)
"""Ways to take a row, each the shorter and to the same bits: any row; one that `is_near`; one whose
logits are all mild, which shows only when all were looked at."""


@inner
def exponential_by(x, framed, way, size, like):  # type: ignore[no-untyped-def]
    """`exponential_at` the one way or the other, and the largest size so far of mild ones."""
    if way == MILD:
        return mild_at(x, size, like)
    return exponential_at(x, framed, way == NEAR, like), size
