"""The measured error of a logarithm, as `harness.bounds.exp_error` measures exponentials."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from harness.bounds.exp_error import ExpError, Function, largest_error
from harness.numerics.exact import Exact
from harness.numerics.formats import float_format, from_ordinal, to_float64, to_ordinal
from harness.reference import elementary

LOG_RANGE = (1.0, 2.0**20)
"""The sums of max-shifted exponentials of up to 2**20 classes lie here."""


def measure_log_error(
    log: Function, fmt: DTypeLike, *, points: int = 2**18, seed: int = 0
) -> ExpError:
    """The largest error of `log` on `LOG_RANGE` (or up to the largest number of the format).

    Args and raises as `measure_exp_error`. A sample of 1, dense above it, where the logarithm is
    small, and log-uniform beyond; exhaustive for 16-bit formats.
    """
    fmt = float_format(fmt)
    high = min(LOG_RANGE[1], fmt.max)
    ends = to_ordinal(np.array([LOG_RANGE[0], high], dtype=fmt.dtype))
    exhaustive = fmt.bits <= 16
    if exhaustive:
        x = from_ordinal(np.arange(ends[0], ends[1] + 1), fmt)
    else:
        rng = np.random.default_rng(seed)
        near = 1.0 + np.exp2(-rng.uniform(0.0, fmt.precision - 1.0, points // 2))
        wide = np.exp2(rng.uniform(0.0, np.log2(high), points - points // 2 - 1))
        x = np.clip(np.concatenate([[1.0], near, wide]), 1.0, high).astype(fmt.dtype)
    values = to_float64(x)
    count = np.floor(values)
    rest = values - count
    hi, lo = elementary.log_count_plus(count, (rest, np.zeros_like(rest)))
    return largest_error(
        log, "log", x, Exact(hi, lo, np.zeros(hi.shape, np.int32)), fmt, exhaustive
    )
