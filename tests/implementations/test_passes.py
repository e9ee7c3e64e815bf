"""The published passes: how often each reads and writes a row, counted from its source.

The kernels are Python that Numba compiles. Here they are run as Python, with vectors that are
nothing but themselves, and loads and stores that count.
"""

from __future__ import annotations

import builtins
from collections import Counter
from types import FunctionType
from typing import Any

import numpy as np
import pytest

import harness
from harness.numerics.formats import float_format
from harness.numerics.metrics import ulp_error
from implementations._numba import passes

ROW, RESULT, APART = 0, 1 << 40, 1 << 39
WAYS = {
    "three_pass_numba": passes.THREE,
    "three_pass_reload_numba": passes.RELOAD,
    "two_pass_numba": passes.TWO,
    "online_numba": passes.EAGER,
    "online_lazy_numba": passes.ONLINE,
}
_SEVERAL = {"ends": 2, "reduce": 2, "halves_of_power": 2, "frame": 3}
"""How many vectors an operation on vectors gives, where that is not one."""


class Nothing:
    """A vector without numbers; every operation on it gives it again."""

    def __add__(self, other: object) -> Nothing:
        return self

    __radd__ = __sub__ = __mul__ = __add__


class Counting:
    """Runs a kernel as Python, counting vectors read and written by array."""

    def __init__(self) -> None:
        self.accesses: Counter[str] = Counter()

    def _touched(self, kind: str, address: int) -> None:
        self.accesses[f"{kind} {'result' if address >= APART else 'row'}"] += 1

    def load(self, address: int, like: object) -> Nothing:
        self._touched("read", address)
        return Nothing()

    def store(self, address: int, vector: object) -> None:
        self._touched("write", address)

    def _named(self, name: str, value: Any) -> Any:
        own = {"load": self.load, "store": self.store, "itemsize": lambda like: 4}
        if name in own:
            return own[name]
        if name in ("first_extremes", "extremes_with"):  # overloads: both of one load
            return lambda address, *rest: (self.load(address, None), Nothing())
        if name in ("all_less", "any_less"):
            return lambda *_: True
        if hasattr(value, "py_func") and value.py_func.__module__.endswith((".passes", ".row")):
            return self.python(value.py_func)
        if callable(value) and not hasattr(builtins, name):
            many = _SEVERAL.get(name, 1)
            return lambda *_: Nothing() if many == 1 else tuple(Nothing() for _ in range(many))
        return value

    def python(self, function: Any) -> FunctionType:
        """The function with names that count in place of those that compute."""
        known = vars(builtins) | function.__globals__
        names = {n: self._named(n, known[n]) for n in function.__code__.co_names if n in known}
        return FunctionType(function.__code__, names)


def accesses(way: int, vectors: int) -> Counter[str]:
    """Vectors read and written by a row of so many whole vectors."""
    counting = Counting()
    kernel = counting.python(passes.row_by.py_func)
    kernel(way, ROW, RESULT, vectors * passes.VECTOR_BYTES // 4, 0.0)
    return counting.accesses


@pytest.mark.parametrize("name", WAYS)
def test_a_kernel_accesses_a_row_as_often_as_it_declares(name: str) -> None:
    vectors = 4096
    found = accesses(WAYS[name], vectors)
    assert found.total() / vectors == pytest.approx(harness.load(name).metadata.passes, abs=0.01)
    assert "write row" not in found


def test_only_reloading_reads_what_it_wrote() -> None:
    found = {name: accesses(way, 1024) for name, way in WAYS.items()}
    assert [n for n, counts in found.items() if counts["read result"]] == [
        "three_pass_reload_numba"
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_reloaded_exponentials_are_those_that_are_computed_again(dtype: str) -> None:
    """At every length around whole vectors, in place too, within the bound of three passes."""
    once, again = (harness.load(n) for n in ("three_pass_reload_numba", "three_pass_numba"))
    rng = np.random.default_rng(1)
    for classes in (1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 1000):
        x = (20 * rng.normal(size=(3, classes))).astype(float_format(dtype).dtype)
        x[0, : classes // 2] = -np.inf
        exact = harness.reference.softmax_exact(x)
        y = once.softmax(x)
        assert ulp_error(y, exact).max() <= ulp_error(again.softmax(x), exact).max() + 1.0
        in_place = x.copy()
        once.softmax(in_place, out=in_place)
        assert in_place.tobytes() == y.tobytes()
