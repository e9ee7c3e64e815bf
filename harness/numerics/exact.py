"""Exact results as unevaluated sums: value = (hi + lo) * 2**exponent.

The pair carries about 106 bits, and the integer exponent keeps results of the subnormal range
(and far below it) at full precision, so that errors are measured against the *unrounded* value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from harness.numerics.formats import (
    Float64Array,
    FloatFormat,
    float_format,
    quantum_exponent,
    round_pair,
    scale_by_power,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Exact:
    """An array of real numbers known to about 100 bits.

    Attributes:
        hi: float64, the value scaled by 2**-exponent and rounded to nearest. NaN and infinities
            stand for themselves (lo is 0 there); an exact zero has hi = lo = 0.
        lo: float64, the remainder, abs(lo) <= ulp(hi) / 2.
        exponent: int32, 0 unless the value is too small (or large) for float64 to hold both parts.
    """

    hi: Float64Array
    lo: Float64Array
    exponent: NDArray[np.int32]

    def __post_init__(self) -> None:
        if not self.hi.shape == self.lo.shape == self.exponent.shape:
            raise ValueError(
                f"hi, lo, exponent: expected one shape; got "
                f"{self.hi.shape}, {self.lo.shape}, {self.exponent.shape}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.hi.shape

    @property
    def size(self) -> int:
        return self.hi.size

    def __getitem__(self, index: Any) -> Exact:
        return Exact(
            np.asarray(self.hi[index]), np.asarray(self.lo[index]), np.asarray(self.exponent[index])
        )

    def __iter__(self) -> Iterator[Exact]:
        return (self[i] for i in range(self.shape[0]))

    def reshape(self, *shape: int) -> Exact:
        if shape == self.shape:
            return self
        return Exact(self.hi.reshape(shape), self.lo.reshape(shape), self.exponent.reshape(shape))

    def round_to(self, dtype: DTypeLike | FloatFormat) -> NDArray[Any]:
        """Rounded once, to nearest even, to `dtype`."""
        fmt = float_format(dtype)
        return self.once(
            ("rounded", fmt.name), lambda: round_pair(self.hi, self.lo, self.exponent, fmt)
        )

    def to_float64(self) -> Float64Array:
        """The nearest float64, but subnormals may be rounded twice: for plots and weights."""
        return self.once("float64", lambda: scale_by_power(self.hi, self.exponent))

    def in_ulps(self, fmt: FloatFormat) -> tuple[NDArray[np.int64], Float64Array, Float64Array]:
        """q, hi and lo, such that one ulp of `fmt` is 2**q and the value is hi + lo ulps."""

        def scaled() -> tuple[NDArray[np.int64], Float64Array, Float64Array]:
            q = quantum_exponent(fmt, self.hi, self.lo, self.exponent)
            shift = self.exponent - q
            return q, scale_by_power(self.hi, shift), scale_by_power(self.lo, shift)

        return self.once(("ulps", fmt.name), scaled)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, which computes what `key` names; `Remembered` calls it once for each key."""
        return make()


@dataclass(frozen=True)
class Remembered(Exact):
    """An exact result that keeps what was computed from it, for judging many outputs.

    Arrays that it hands out are shared, and cannot be written to.
    """

    _known: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _locks: dict[Hashable, Lock] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._known:
            with self._locks.setdefault(key, Lock()):  # who comes second waits for the first
                if key not in self._known:
                    made = make()
                    for part in made if isinstance(made, tuple) else (made,):
                        if isinstance(part, np.ndarray):
                            part.flags.writeable = False
                    self._known[key] = made
        return self._known[key]  # type: ignore[no-any-return]


def remembered(exact: Exact) -> Remembered:
    """The same value as a `Remembered`."""
    return Remembered(exact.hi, exact.lo, exact.exponent)


def from_float64(x: Any) -> Exact:
    """A float64 array as an exact one."""
    hi = np.asarray(x, dtype=np.float64)
    return Exact(hi, np.zeros_like(hi), np.zeros(hi.shape, dtype=np.int32))
