"""Vectors of eight float64 for the kernels of `numba_exact`, as LLVM code under construction.

Nothing here is mathematics: a `Vec` has the operators of a number and emits one
instruction each, in eight lanes; `Code` holds the builder, constants and loops. LLVM cuts
the eight lanes to what the processor has (one register with AVX-512, two with AVX2, four with
SSE2 or NEON), so that one source, and one error analysis, serves every machine, and all of them
give the same bits. Only the look-up in a table of sixteen has a form of its own for AVX-512.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from implementations._simd.compilation import IS_X86_64, PATH, internal

LANES = 8
_F64, _I64, _I32 = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
_V64, _W64 = ir.VectorType(_F64, LANES), ir.VectorType(_I64, LANES)


def compiled(function: Any = None, *, makes_arrays: bool = False) -> Any:
    """njit without fast-math, for what a kernel calls, which is compiled into it."""

    def decorate(f: Callable[..., Any]) -> Any:
        # Views without reference counts (the caller holds the arrays), but where arrays are made.
        return internal(f, _nrt=makes_arrays)

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

    def lifted(self, singles: Any) -> Vec:
        """Eight float32 as float64."""
        return Vec(self, self.builder.fpext(singles, _V64))

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

    def number(self, value: float) -> Any:
        return ir.Constant(_F64, value)


def _float_of(bits: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<Q", bits & ((1 << 64) - 1)))[0]
    return value
