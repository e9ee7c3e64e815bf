"""Vectors of eight float64 for the kernels of `numba_exact`, as LLVM code under construction.

The room of what is not mathematics: a `Vec` has the operators of a number and emits one
instruction each, in eight lanes; `Code` holds the builder, constants, loops and memory. LLVM cuts
the eight lanes to what the processor has (one register with AVX-512, two with AVX2, four with
SSE2 or NEON), so that one source, and one error analysis, serves every machine, and all of them
give the same bits. Only the look-up in a table of sixteen has a form of its own for AVX-512.

Elements in memory are float64, float32, int16 for float16 and uint16 for bfloat16 (Numba has no
16-bit floats on CPUs): views of the same bytes. They are lifted exactly, and rounded once.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.caching import FunctionCache

from implementations._simd_path import IS_X86_64, PATH

LANES = 8
_F64, _F32, _I64, _I32 = ir.DoubleType(), ir.FloatType(), ir.IntType(64), ir.IntType(32)
_I16, _I8, _I1 = ir.IntType(16), ir.IntType(8), ir.IntType(1)
_V64, _W64 = ir.VectorType(_F64, LANES), ir.VectorType(_I64, LANES)

SIZE = {types.float64: 8, types.float32: 4, types.int16: 2, types.uint16: 2}
"""Bytes of an element, by the type of the array that holds it."""

_MEMORY = {types.float64: _F64, types.float32: _F32, types.int16: _I16, types.uint16: _I16}


def _stamp() -> str:
    digest = hashlib.sha256(PATH.encode())
    for file in sorted(Path(__file__).parent.glob("_numba_exact*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


_STAMP = _stamp()


class _Cache(FunctionCache):  # type: ignore[misc]
    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), _STAMP)


def compiled(
    function: Any = None, *, cache: bool = False, makes_arrays: bool = False, **options: Any
) -> Any:
    """njit without fast-math; a cached one's key knows the path and the text of these modules.

    Numba's own key knows neither. What a cached function calls need not be cached itself.
    """

    def decorate(f: Callable[..., Any]) -> Any:
        # Views without reference counts (the caller holds the arrays), but where arrays are made.
        dispatcher = njit(error_model="numpy", nogil=True, _nrt=makes_arrays, **options)(f)
        if cache:
            dispatcher._cache = _Cache(f)
        return dispatcher

    return decorate if function is None else decorate(function)


class Vec:
    """Eight numbers (float64, or int64 for bit patterns), or eight truth values."""

    __slots__ = ("code", "value")

    def __init__(self, code: Code, value: Any) -> None:
        self.code, self.value = code, value

    def _with(self, other: Vec | float) -> Any:
        return other.value if isinstance(other, Vec) else self.code.constant(other).value

    def __add__(self, other: Vec | float) -> Vec:
        return Vec(self.code, self.code.builder.fadd(self.value, self._with(other)))

    def __sub__(self, other: Vec | float) -> Vec:
        return Vec(self.code, self.code.builder.fsub(self.value, self._with(other)))

    def __mul__(self, other: Vec | float) -> Vec:
        return Vec(self.code, self.code.builder.fmul(self.value, self._with(other)))

    def __lt__(self, other: Vec | float) -> Vec:
        return self._compare("<", other)

    def __gt__(self, other: Vec | float) -> Vec:
        return self._compare(">", other)

    def equals(self, other: Vec | float) -> Vec:
        return self._compare("==", other)

    def _compare(self, relation: str, other: Vec | float) -> Vec:
        """False where either is NaN."""
        b = self.code.builder
        return Vec(self.code, b.fcmp_ordered(relation, self.value, self._with(other)))

    def __and__(self, other: Vec) -> Vec:
        return Vec(self.code, self.code.builder.and_(self.value, other.value))

    def __or__(self, other: Vec) -> Vec:
        return Vec(self.code, self.code.builder.or_(self.value, other.value))

    def fma(self, factor: Vec | float, term: Vec | float) -> Vec:
        """self * factor + term, rounded once."""
        values = (self.value, self._with(factor), self._with(term))
        return Vec(self.code, self.code.call("llvm.fma.v8f64", _V64, *values))

    def where(self, chosen: Vec | float, otherwise: Vec | float) -> Vec:
        """`chosen` where this truth value holds."""
        c = self.code
        a, b = (v if isinstance(v, Vec) else c.constant(v) for v in (chosen, otherwise))
        return Vec(c, c.builder.select(self.value, a.value, b.value))

    def bits(self) -> Any:
        """The bit patterns as an LLVM vector of int64."""
        return self.code.builder.bitcast(self.value, _W64)


class Code:
    """Where instructions go: a Numba intrinsic's builder, with the constants of the kernels."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context, self.builder = context, builder

    def constant(self, value: float) -> Vec:
        return Vec(self, ir.Constant(_V64, [ir.Constant(_F64, float(value))] * LANES))

    def integers(self, value: int) -> Any:
        return ir.Constant(_W64, [value] * LANES)

    def spread(self, value: Any) -> Vec:
        """A float64 value in all lanes."""
        b = self.builder
        one = b.insert_element(ir.Constant(_V64, ir.Undefined), value, ir.Constant(_I32, 0))
        mask = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
        return Vec(self, b.shuffle_vector(one, one, mask))

    def from_bits(self, bits: Any) -> Vec:
        return Vec(self, self.builder.bitcast(bits, _V64))

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        """A call of an LLVM intrinsic."""
        kind = ir.FunctionType(result, [a.type for a in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, arguments)

    def lanes(self, v: Vec) -> list[Any]:
        return [self.builder.extract_element(v.value, ir.Constant(_I32, i)) for i in range(LANES)]

    def joined(
        self, parts: tuple[Vec, ...], join: Callable[..., tuple[Vec, ...]]
    ) -> tuple[Any, ...]:
        """Of numbers in eight lanes one float64 each: join(*parts, *parts) of halves, thrice."""
        b = self.builder
        for half in (4, 2, 1):
            mask = [i + half if i < half else i for i in range(LANES)]
            order = ir.Constant(ir.VectorType(_I32, LANES), mask)
            moved = [Vec(self, b.shuffle_vector(v.value, v.value, order)) for v in parts]
            parts = join(*parts, *moved)
        return tuple(self.lanes(v)[0] for v in parts)

    def everywhere(self, v: Vec, join: Callable[[Vec, Vec], tuple[Vec]]) -> Vec:
        """As `joined`, in all lanes."""
        b = self.builder
        for half in (4, 2, 1):
            order = ir.Constant(ir.VectorType(_I32, LANES), [i ^ half for i in range(LANES)])
            v = join(v, Vec(self, b.shuffle_vector(v.value, v.value, order)))[0]
        return v

    def look_up(self, table: Sequence[Any], low_bits: Any) -> Vec:
        """Entry number `low_bits` mod 16 of a table of sixteen numbers (or their bits)."""
        b = self.builder
        if isinstance(table[0], int):
            entries = [ir.Constant(_F64, _float_of(v)) for v in table]
        else:
            entries = [ir.Constant(_F64, v) for v in table]
        if PATH == "avx512":
            halves = [ir.Constant(_V64, entries[:LANES]), ir.Constant(_V64, entries[LANES:])]
            name = "llvm.x86.avx512.vpermi2var.pd.512"
            return Vec(self, self.call(name, _V64, halves[0], low_bits, halves[1]))
        array = ir.Constant(ir.ArrayType(_F64, 16), entries)
        memory = cgutils.global_constant(b, "table", array)
        index = b.and_(low_bits, self.integers(15))
        result: Any = ir.Constant(_V64, ir.Undefined)
        for i in range(LANES):
            lane = ir.Constant(_I32, i)
            place = b.gep(memory, [ir.Constant(_I64, 0), b.extract_element(index, lane)])
            result = b.insert_element(result, b.load(place), lane)
        return Vec(self, result)

    # Variables and loops

    def variable(self, initial: Vec) -> Any:
        """A mutable vector; LLVM keeps it in a register."""
        place = cgutils.alloca_once(self.builder, initial.value.type)
        self.builder.store(initial.value, place)
        return place

    def get(self, place: Any) -> Vec:
        return Vec(self, self.builder.load(place))

    def set(self, place: Any, v: Vec) -> None:
        self.builder.store(v.value, place)

    @contextmanager
    def steps(self, start: Any, stop: Any, step: int) -> Iterator[Any]:
        """Over start, start + step, ... below stop; the index is an int64."""
        b = self.builder
        place = cgutils.alloca_once(b, _I64)
        b.store(start, place)
        head, body, after = (b.append_basic_block(n) for n in ("head", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        i = b.load(place)
        b.cbranch(b.icmp_signed("<", i, stop), body, after)
        b.position_at_end(body)
        yield i
        b.store(b.add(i, self.integer(step), flags=("nsw",)), place)
        b.branch(head)
        b.position_at_end(after)

    def fence(self) -> None:
        """Make stores past the caches visible before anything after: they are weakly ordered."""
        if IS_X86_64:
            self.call("llvm.x86.sse.sfence", ir.VoidType())
        else:
            self.builder.fence("seq_cst")

    def integer(self, value: int) -> Any:
        return ir.Constant(_I64, value)

    # Memory

    def _mask(self, count: Any) -> Any:
        """The first `count` lanes."""
        b = self.builder
        one = b.insert_element(ir.Constant(_W64, ir.Undefined), count, ir.Constant(_I32, 0))
        zeros = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
        numbers = ir.Constant(_W64, list(range(LANES)))
        return b.icmp_signed("<", numbers, b.shuffle_vector(one, one, zeros))

    def load(self, array: Memory, index: Any, count: Any = None, absent: float = 0.0) -> Vec:
        """Elements from `index` on, lifted to float64; of the first `count` if given."""
        raw = ir.VectorType(_MEMORY[array.element], LANES)
        place = self.builder.bitcast(array.place(self, index), raw.as_pointer())
        size = SIZE[array.element]
        if count is None:
            return self._lift(self.builder.load(place, align=size), array.element)
        name = f"llvm.masked.load.v8{_suffix(array.element)}.p0"
        pointer = self.builder.bitcast(place, _I8.as_pointer())
        kind = ir.FunctionType(raw, [_I8.as_pointer(), _I32, ir.VectorType(_I1, LANES), raw])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        mask = self._mask(count)
        default = ir.Constant(raw, None)
        got = self.builder.call(function, [pointer, ir.Constant(_I32, size), mask, default])
        return Vec(self, mask).where(self._lift(got, array.element), absent)

    def store(
        self, array: Memory, index: Any, v: Vec, count: Any = None, stream: bool = False
    ) -> None:
        """Rounded to the element's format, once; the first `count` if given.

        `stream` bypasses the caches; the address must then be a multiple of the vector's size.
        """
        b, size = self.builder, SIZE[array.element]
        raw = self._round(v, array.element)
        place = b.bitcast(array.place(self, index), raw.type.as_pointer())
        if count is None:
            store = b.store(raw, place, align=size * LANES if stream else size)
            if stream:
                one = ir.Constant(_I32, 1)
                store.set_metadata("nontemporal", b.module.add_metadata([one]))
            return
        name = f"llvm.masked.store.v8{_suffix(array.element)}.p0"
        pointer = b.bitcast(place, _I8.as_pointer())
        arguments = [raw.type, _I8.as_pointer(), _I32, ir.VectorType(_I1, LANES)]
        kind = ir.FunctionType(ir.VoidType(), arguments)
        function = cgutils.get_or_insert_function(b.module, kind, name)
        b.call(function, [raw, pointer, ir.Constant(_I32, size), self._mask(count)])

    def load_one(self, array: Memory, index: Any) -> Any:
        """One element, as a float64."""
        one = self.builder.load(array.place(self, index))
        raw = ir.Constant(ir.VectorType(_MEMORY[array.element], LANES), None)
        raw = self.builder.insert_element(raw, one, ir.Constant(_I32, 0))
        return self.lanes(self._lift(raw, array.element))[0]

    def store_one(self, array: Memory, index: Any, value: Any) -> None:
        """A float64 to one element, rounded once.

        No masked store: LLVM 22.1 writes 32 bits for a constant mask of one lane of 16.
        """
        raw = self._round(self.spread(value), array.element)
        one = self.builder.extract_element(raw, ir.Constant(_I32, 0))
        self.builder.store(one, array.place(self, index))

    def _lift(self, raw: Any, element: Any) -> Vec:
        b = self.builder
        if element == types.float64:
            return Vec(self, raw)
        single, words = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
        if element == types.uint16:
            shifted = b.shl(b.zext(raw, words), ir.Constant(words, [16] * LANES))
            raw = b.bitcast(shifted, single)
        elif element == types.int16:
            raw = self._half_to_single(raw)
        return Vec(self, b.fpext(raw, _V64))

    def _half_to_single(self, raw: Any) -> Any:
        """float16 patterns to float32: the exponent rebiased by an exact product, 2**112."""
        b = self.builder
        single, words = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)

        def c(value: int) -> Any:
            return ir.Constant(words, [value] * LANES)

        wide = b.zext(raw, words)
        magnitude = b.shl(b.and_(wide, c(0x7FFF)), c(13))
        factor = ir.Constant(single, [ir.Constant(_F32, 2.0**112)] * LANES)
        finite = b.bitcast(b.fmul(b.bitcast(magnitude, single), factor), words)
        special = b.icmp_unsigned(">=", b.and_(wide, c(0x7FFF)), c(0x7C00))
        value = b.select(special, b.or_(magnitude, c(0x7F800000)), finite)
        return b.bitcast(b.or_(value, b.shl(b.and_(wide, c(0x8000)), c(16))), single)

    def _round(self, v: Vec, element: Any) -> Any:
        b = self.builder
        if element == types.float64:
            return v.value
        single, words = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
        if element == types.float32:
            return b.fptrunc(v.value, single)
        # To eleven (eight) bits in float64 first, by adding 1.5 * 2**(52 - 10) of the binade (at
        # least that of the smallest normal number): one rounding, subnormals included. What
        # comes out is a number of the format, so that what follows is exact.
        bits, least = (10, -14) if element == types.int16 else (7, -126)
        exponent = b.and_(v.bits(), self.integers(0x7FF << 52))
        floor = self.integers((1023 + least) << 52)
        exponent = b.select(b.icmp_signed(">", exponent, floor), exponent, floor)
        ceiling = self.integers((1023 + 200) << 52)  # beyond every format: infinite, and NaN
        exponent = b.select(b.icmp_signed("<", exponent, ceiling), exponent, ceiling)
        magic = b.add(exponent, self.integers(((52 - bits) << 52) | (1 << 51)))
        big = self.from_bits(magic)
        rounded = (v + big) - big
        sign = b.and_(v.bits(), self.integers(1 << 63))  # of a zero, the sum loses it
        rounded = self.from_bits(b.or_(rounded.bits(), sign))
        if element == types.uint16:
            pattern = b.bitcast(b.fptrunc(rounded.value, single), words)
            pattern = b.lshr(pattern, ir.Constant(words, [16] * LANES))
        else:
            pattern = self._half_pattern(b.fptrunc(rounded.value, single))
        return b.trunc(pattern, ir.VectorType(_I16, LANES))

    def _half_pattern(self, exact: Any) -> Any:
        """The patterns of numbers of float16 that are given in float32; too large is infinite."""
        b = self.builder
        single, words = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)

        def c(value: int) -> Any:
            return ir.Constant(words, [value] * LANES)

        pattern = b.bitcast(exact, words)
        sign = b.and_(b.lshr(pattern, c(16)), c(0x8000))
        magnitude = b.and_(pattern, c(0x7FFFFFFF))
        normal = b.sub(b.lshr(magnitude, c(13)), c(112 << 10))
        scale = ir.Constant(single, [ir.Constant(_F32, 2.0**24)] * LANES)
        small = b.icmp_signed("<", magnitude, c(113 << 23))
        within = b.select(small, magnitude, c(0))
        tiny = b.fptosi(b.fmul(b.bitcast(within, single), scale), words)
        value = b.select(small, tiny, normal)
        value = b.select(b.icmp_signed(">=", magnitude, c(143 << 23)), c(0x7C00), value)
        value = b.select(b.icmp_signed(">", magnitude, c(255 << 23)), c(0x7E00), value)
        return b.or_(value, sign)


class Memory:
    """A one-dimensional contiguous array argument of an intrinsic."""

    def __init__(self, code: Code, array_type: Any, value: Any) -> None:
        self.element = array_type.dtype
        struct = code.context.make_array(array_type)(code.context, code.builder, value)
        self.data = code.builder.bitcast(struct.data, _MEMORY[self.element].as_pointer())
        self.size = cgutils.unpack_tuple(code.builder, struct.shape)[0]

    def place(self, code: Code, index: Any) -> Any:
        return code.builder.gep(self.data, [index])

    def address(self, code: Code) -> Any:
        return code.builder.ptrtoint(self.data, _I64)


def _suffix(element: Any) -> str:
    return {8: "f64", 4: "f32", 2: "i16"}[SIZE[element]]


def _float_of(bits: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<Q", bits & ((1 << 64) - 1)))[0]
    return value
