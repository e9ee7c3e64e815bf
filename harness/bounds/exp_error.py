"""The measured error E of an exponential, which the bounds are built on.

Against double-double values with a proven error far below one u^2, so the measurement adds
nothing visible. Exhaustive for 16-bit formats: a true maximum. For wider ones a seeded sample: a
lower bound on the maximum, and said to be one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from harness.numerics.exact import Exact
from harness.numerics.formats import (
    FloatFormat,
    float_format,
    from_ordinal,
    to_float64,
    to_hex,
    to_ordinal,
)
from harness.numerics.ulps import ulp_error
from harness.reference.cache import cached_exp_exact

Function = Callable[[NDArray[Any]], NDArray[Any]]
_LN2 = float(np.log(2.0))


@dataclass(frozen=True)
class ExpError:
    """The largest errors found of an exponential (in tests, of a logarithm too) in one format.

    Attributes:
        error_u: largest relative error in u, where the exact result is normal: E. A correctly
            rounded function has at most 1. Infinite if a finite result came out non-finite.
        underflow_eta: largest absolute error where the exact result is subnormal, in units of
            the smallest subnormal (0.5 at most if correctly rounded); 0 if there is no such
            result. A function that flushes subnormals to zero has about 2**(p - 1).
        points: arguments tried.
        worst_input: argument of the largest relative error, hexadecimal.
        exhaustive: True if every argument in the range was tried: a true maximum.
    """

    error_u: float
    underflow_eta: float
    points: int
    worst_input: str
    exhaustive: bool


def exp_arguments(
    fmt: DTypeLike | FloatFormat, points: int = 2**20, seed: int = 0
) -> tuple[NDArray[Any], bool]:
    """Arguments on which to try exp, of the format, and whether they are all there are.

    From ln(smallest subnormal) - 1 to just below ln(largest number). Every number of the format
    where it has at most 16 bits; else a seeded sample: two thirds uniform below zero, a sixth
    above, a sixth log-uniform around zero (shifted logits near the maximum), with both ends.
    """
    fmt = float_format(fmt)
    low = fmt.dtype.type(_LN2 * (fmt.emin - fmt.precision + 1) - 1.0)
    top = to_ordinal(np.array([np.log(fmt.max)], dtype=fmt.dtype))[0] - 2
    if fmt.bits <= 16:
        every = np.arange(to_ordinal(np.array([low], dtype=fmt.dtype))[0], top + 1)
        return from_ordinal(every, fmt), True
    high = float(from_ordinal(top, fmt))
    rng = np.random.default_rng(seed)
    near = points // 6
    magnitude = np.exp2(-rng.uniform(0.0, fmt.precision + 1.0, near))
    parts = [
        rng.uniform(float(low), 0.0, points - 2 * near - 3),
        rng.uniform(0.0, high, near),
        magnitude * rng.choice([-1.0, 1.0], near),
        np.array([float(low), 0.0, high]),
    ]
    return np.minimum(np.concatenate(parts), high).astype(fmt.dtype), False


def measure_exp_error(
    exp: Function, fmt: DTypeLike | FloatFormat, *, points: int = 2**20, seed: int = 0
) -> ExpError:
    """The largest error of `exp`, a function from an array of the format to one like it.

    Args:
        exp: called once with a 1-d array; must return the same shape and dtype.
        fmt: the format.
        points, seed: of the sample, for formats of more than 16 bits.

    Raises:
        TypeError: if `exp` returns another shape or dtype.
    """
    fmt = float_format(fmt)
    x, exhaustive = exp_arguments(fmt, points, seed)
    return largest_error(exp, "exp", x, cached_exp_exact(to_float64(x)), fmt, exhaustive)


def largest_error(
    function: Function,
    name: str,
    x: NDArray[Any],
    exact: Exact,
    fmt: FloatFormat,
    exhaustive: bool,
) -> ExpError:
    """The largest error of a function of `name` on `x`, where its results are `exact`."""
    with np.errstate(all="ignore"):
        computed = np.asarray(function(x.copy()))
    if computed.shape != x.shape or computed.dtype != fmt.dtype:
        raise TypeError(
            f"{name}: expected an array of {fmt.name} {x.shape} like its argument, "
            f"got {computed.dtype.name} {computed.shape}"
        )
    error = ulp_error(computed, exact, fmt)
    in_ulp = np.abs(exact.in_ulps(fmt)[1])
    normal = in_ulp >= 2.0 ** (fmt.precision - 1) * (1.0 - 2.0**-50)
    exact_zero = exact.hi == 0  # log(1): no relative error but 0, or infinite
    with np.errstate(over="ignore"):
        relative = error / (np.where(normal, in_ulp, 1.0) * fmt.unit_roundoff)
    relative = np.where(normal, relative, 0.0)
    relative = np.where(exact_zero & (error > 0), np.inf, relative)
    underflow = np.where(normal | exact_zero, -1.0, error)
    return ExpError(
        error_u=float(relative.max()),
        underflow_eta=max(float(underflow.max()), 0.0),
        points=int(x.size),
        worst_input=to_hex(x[int(np.argmax(relative))]),
        exhaustive=exhaustive,
    )
