"""Arrays as the kernels of `numba_exact` see them: numbers of a format, eight at a time.

Elements in memory are float64, float32, int16 for float16 and uint16 for bfloat16 (Numba has no
16-bit floats on CPUs): views of the same bytes. They are lifted exactly, and rounded once.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from implementations._exact.vectors import LANES, Code, Vec

_F64, _F32, _I64, _I32 = ir.DoubleType(), ir.FloatType(), ir.IntType(64), ir.IntType(32)
_I16, _I8 = ir.IntType(16), ir.IntType(8)
_V64, _W64 = ir.VectorType(_F64, LANES), ir.VectorType(_I64, LANES)
_SINGLE, _WORDS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_POINTER = _I8.as_pointer()

SIZE = {types.float64: 8, types.float32: 4, types.int16: 2, types.uint16: 2}
"""Bytes of an element, by the type of the array that holds it."""

_IN_MEMORY = {types.float64: _F64, types.float32: _F32, types.int16: _I16, types.uint16: _I16}
_SUFFIX = {8: "f64", 4: "f32", 2: "i16"}


def is_array(t: Any) -> bool:
    """Whether a Numba type is an array that `Memory` can stand for."""
    return isinstance(t, types.Array) and t.ndim == 1 and t.layout == "C" and t.dtype in SIZE


class Memory:
    """A one-dimensional contiguous array argument of an intrinsic."""

    def __init__(self, code: Code, array_type: Any, value: Any) -> None:
        self.code, self.element = code, array_type.dtype
        self.itemsize = SIZE[self.element]
        struct = code.context.make_array(array_type)(code.context, code.builder, value)
        self.data = code.builder.bitcast(struct.data, _IN_MEMORY[self.element].as_pointer())
        self.size = cgutils.unpack_tuple(code.builder, struct.shape)[0]
        self._raw = ir.VectorType(_IN_MEMORY[self.element], LANES)

    def place(self, index: Any) -> Any:
        return self.code.builder.gep(self.data, [index])

    def address(self) -> Any:
        return self.code.builder.ptrtoint(self.data, _I64)

    def load(self, index: Any, count: Any = None, absent: float = 0.0) -> Vec:
        """Elements from `index` on, lifted to float64; of the first `count` if given."""
        b = self.code.builder
        place = b.bitcast(self.place(index), self._raw.as_pointer())
        if count is None:
            return _lifted(self.code, b.load(place, align=self.itemsize), self.element)
        mask = self._mask(count)
        arguments = (b.bitcast(place, _POINTER), _I32(self.itemsize), mask, self._raw(None))
        name = f"llvm.masked.load.v8{_SUFFIX[self.itemsize]}.p0"
        got = self.code.call(name, self._raw, *arguments)
        return Vec(self.code, mask).where(_lifted(self.code, got, self.element), absent)

    def store(self, index: Any, v: Vec, count: Any = None, stream: bool = False) -> None:
        """Rounded to the element's format, once; the first `count` if given.

        `stream` bypasses the caches; the address must then be a multiple of the vector's size.
        """
        b, size = self.code.builder, self.itemsize
        raw = _rounded(v, self.element)
        place = b.bitcast(self.place(index), self._raw.as_pointer())
        if count is None:
            store = b.store(raw, place, align=size * LANES if stream else size)
            if stream:
                store.set_metadata("nontemporal", b.module.add_metadata([_I32(1)]))
            return
        arguments = (raw, b.bitcast(place, _POINTER), _I32(size), self._mask(count))
        name = f"llvm.masked.store.v8{_SUFFIX[size]}.p0"
        self.code.call(name, ir.VoidType(), *arguments)

    def load_one(self, index: Any) -> Any:
        """One element, as a float64."""
        b = self.code.builder
        raw = b.insert_element(self._raw(None), b.load(self.place(index)), _I32(0))
        return self.code.lanes(_lifted(self.code, raw, self.element))[0]

    def store_one(self, index: Any, value: Any) -> None:
        """A float64 to one element, rounded once.

        No masked store: LLVM 22.1 writes 32 bits for a constant mask of one lane of 16.
        """
        b = self.code.builder
        raw = _rounded(self.code.spread(value), self.element)
        b.store(b.extract_element(raw, _I32(0)), self.place(index))

    def prefetch(self, index: Any, ahead: Any) -> None:
        """Ask for what lies `ahead` bytes further than an element."""
        b = self.code.builder
        place = b.gep(b.bitcast(self.place(index), _POINTER), [ahead])
        self.code.call("llvm.prefetch.p0", ir.VoidType(), place, _I32(0), _I32(3), _I32(1))

    def _mask(self, count: Any) -> Any:
        """The first `count` lanes."""
        b = self.code.builder
        one = b.insert_element(ir.Constant(_W64, ir.Undefined), count, _I32(0))
        everywhere = b.shuffle_vector(one, one, ir.Constant(_WORDS, [0] * LANES))
        return b.icmp_signed("<", ir.Constant(_W64, list(range(LANES))), everywhere)


def _words(value: int) -> Any:
    return ir.Constant(_WORDS, [value] * LANES)


def _singles(value: float) -> Any:
    return ir.Constant(_SINGLE, [ir.Constant(_F32, value)] * LANES)


def _lifted(code: Code, raw: Any, element: Any) -> Vec:
    """Elements as they are in memory as float64."""
    b = code.builder
    if element == types.float64:
        return Vec(code, raw)
    if element == types.uint16:
        raw = b.bitcast(b.shl(b.zext(raw, _WORDS), _words(16)), _SINGLE)
    elif element == types.int16:
        raw = _half_to_single(b, raw)
    return Vec(code, b.fpext(raw, _V64))


def _half_to_single(b: Any, raw: Any) -> Any:
    """float16 patterns to float32: the exponent rebiased by an exact product, 2**112."""
    wide = b.zext(raw, _WORDS)
    magnitude = b.shl(b.and_(wide, _words(0x7FFF)), _words(13))
    finite = b.bitcast(b.fmul(b.bitcast(magnitude, _SINGLE), _singles(2.0**112)), _WORDS)
    special = b.icmp_unsigned(">=", b.and_(wide, _words(0x7FFF)), _words(0x7C00))
    value = b.select(special, b.or_(magnitude, _words(0x7F800000)), finite)
    sign = b.shl(b.and_(wide, _words(0x8000)), _words(16))
    return b.bitcast(b.or_(value, sign), _SINGLE)


def _rounded(v: Vec, element: Any) -> Any:
    """float64 as they are in memory, rounded once."""
    code, b = v.code, v.code.builder
    if element == types.float64:
        return v.value
    if element == types.float32:
        return b.fptrunc(v.value, _SINGLE)
    # To eleven (eight) bits in float64 first, by adding 1.5 * 2**(52 - 10) of the binade (at
    # least that of the smallest normal number): one rounding, subnormals included. What
    # comes out is a number of the format, so that what follows is exact.
    bits, least = (10, -14) if element == types.int16 else (7, -126)
    exponent = b.and_(v.bits(), code.integers(0x7FF << 52))
    floor = code.integers((1023 + least) << 52)
    exponent = b.select(b.icmp_signed(">", exponent, floor), exponent, floor)
    ceiling = code.integers((1023 + 200) << 52)  # beyond every format: infinite, and NaN
    exponent = b.select(b.icmp_signed("<", exponent, ceiling), exponent, ceiling)
    big = code.from_bits(b.add(exponent, code.integers(((52 - bits) << 52) | (1 << 51))))
    rounded = (v + big) - big
    sign = b.and_(v.bits(), code.integers(1 << 63))  # of a zero, the sum loses it
    single = b.fptrunc(code.from_bits(b.or_(rounded.bits(), sign)).value, _SINGLE)
    if element == types.uint16:
        pattern = b.lshr(b.bitcast(single, _WORDS), _words(16))
    else:
        pattern = _half_pattern(b, single)
    return b.trunc(pattern, ir.VectorType(_I16, LANES))


def _half_pattern(b: Any, exact: Any) -> Any:
    """The patterns of numbers of float16 that are given in float32; too large is infinite."""
    pattern = b.bitcast(exact, _WORDS)
    sign = b.and_(b.lshr(pattern, _words(16)), _words(0x8000))
    magnitude = b.and_(pattern, _words(0x7FFFFFFF))
    normal = b.sub(b.lshr(magnitude, _words(13)), _words(112 << 10))
    small = b.icmp_signed("<", magnitude, _words(113 << 23))
    within = b.select(small, magnitude, _words(0))
    tiny = b.fptosi(b.fmul(b.bitcast(within, _SINGLE), _singles(2.0**24)), _WORDS)
    value = b.select(small, tiny, normal)
    value = b.select(b.icmp_signed(">=", magnitude, _words(143 << 23)), _words(0x7C00), value)
    value = b.select(b.icmp_signed(">", magnitude, _words(255 << 23)), _words(0x7E00), value)
    return b.or_(value, sign)
