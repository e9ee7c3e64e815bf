"""A large randomised trial of the bounds of attention's operations and of a linear layer.

    python -m changed_campaign --seconds 300

Rows of all kinds from which searches begin, in every format, scaled, capped, masked and beside a
sink, the parameters by chance; layers of many sizes and magnitudes. Each result is set against what
is allowed with the declared bound and format of its implementation and an exponential of 8 u. The
number of results and the largest error over what is allowed are printed; exit code 1 if one is
above 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.bounds import over_bound
from harness.bounds.linear_layer import linear_allowance
from harness.bounds.tolerances import Arithmetic
from harness.experiments.attention.variants import Variant
from harness.experiments.profiles import DTYPES
from harness.experiments.worst_case.seeds import draw
from harness.numerics.formats import float_format, to_float64
from harness.numerics.ulps import ulp_error
from harness.reference import linear_cross_entropy_exact
from harness.worker.local import LocalImplementation, load

NAMES = ("max_shift", "online", "numba_cpu", "torch", "torch_fused", "jax", "onnxruntime")
CLASSES = (1, 2, 3, 5, 10, 17, 47, 48, 100, 257, 1000)
ELEMENTS = 1 << 12
FLUSHING = frozenset({"jax", "onnxruntime", "torch_fused"})
"""Subnormal results that they declare to be 0 are passed over."""


def variant(rng: np.random.Generator, dtype: str) -> Variant:
    """A parameter of the format: any size of scale, of cap and of sink; any share masked."""
    kind = float_format(dtype).dtype.type
    sign = rng.choice([-1.0, 1.0])
    made: dict[Any, float] = {
        "scale": sign * 10.0 ** rng.uniform(-2, 1.5),
        "cap": 10.0 ** rng.uniform(-1, 2),
        "sink": float(rng.normal(scale=30)),
        "mask": rng.uniform(0.05, 0.95),
    }
    parameter = rng.choice(list(made))
    return Variant(parameter, float(kind(made[parameter])))


def changed(one: LocalImplementation, dtype: str, seed: int) -> tuple[str, NDArray[Any]] | None:
    """Errors over what is allowed of one operation on some rows; None where it is not offered."""
    rng = np.random.default_rng(seed)
    classes = int(rng.choice(CLASSES))
    tried = variant(rng, dtype)
    if tried.operation not in one.metadata.operations:
        return None
    with np.errstate(all="ignore"):
        x, _ = draw(rng, max(2, min(256, ELEMENTS // classes)), classes, float_format(dtype))
        mask = tried.mask(*x.shape, seed)
        exact = tried.exact(x, mask)
        arrays = (x,) if mask is None else (x, mask)
        y = getattr(one, tried.operation)(*arrays, **tried.options)
        declared = one.metadata
        arithmetic = Arithmetic(declared.bound or "generic", declared.accumulator, 8.0)
        allowed = tried.allowed(x, mask, exact, dtype, arithmetic)
        ratio = over_bound(ulp_error(y, exact), allowed)
    # of a product beyond the format the onset search tells
    with np.errstate(all="ignore"):
        z = tried.change.approximate(to_float64(x), None)
    kept = (np.abs(z) <= float_format(dtype).max).all(axis=1)
    if mask is not None:
        kept &= mask.any(axis=1)
    ratio = ratio[kept]
    if one.metadata.name in FLUSHING:
        ratio = np.where(to_float64(y)[kept] == 0, 0.0, ratio)
    return tried.operation, ratio


def layer(one: LocalImplementation, dtype: str, seed: int) -> tuple[str, NDArray[Any]] | None:
    """The same of a linear layer."""
    if "linear_cross_entropy" not in one.metadata.operations:
        return None
    rng = np.random.default_rng(seed)
    kind = float_format(dtype).dtype
    rows, features, classes = (int(n) for n in rng.integers(1, 20, 3))
    h = rng.normal(size=(rows, features)).astype(kind)
    w = (10.0 ** rng.uniform(-2, 1.5) * rng.normal(size=(classes, features))).astype(kind)
    targets = rng.integers(0, classes, rows)
    exact = linear_cross_entropy_exact(h, w, targets)
    arithmetic = Arithmetic("generic", one.metadata.accumulator, 8.0)
    flushing = one.metadata.name in FLUSHING
    with np.errstate(all="ignore"):
        allowed = linear_allowance(
            (to_float64(h), to_float64(w), targets), exact, dtype, arithmetic
        )
        found = one.linear_cross_entropy(h, w, targets)
        ratios = [
            np.where(flushing & (to_float64(y) == 0), 0.0, over_bound(ulp_error(y, e), most))
            for y, e, most in zip(found, exact, allowed, strict=True)
        ]
    return "linear_cross_entropy", np.concatenate([r.ravel() for r in ratios])


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    subjects = [s for s in map(load, NAMES) if s.unavailable_reason is None]
    counts: dict[tuple[str, str], int] = defaultdict(int)
    worst: dict[tuple[str, str], tuple[float, str]] = defaultdict(lambda: (0.0, ""))
    end, seed = time.monotonic() + options.seconds, options.seed
    while time.monotonic() < end:
        for dtype in DTYPES:
            for one in subjects:
                if dtype not in (one.metadata.dtypes or DTYPES):
                    continue
                for trial in (changed, layer) if seed % 8 == 0 else (changed,):
                    found = trial(one, dtype, seed)
                    if found is None or not found[1].size:
                        continue
                    key = one.metadata.name, found[0]
                    counts[key] += found[1].size
                    largest = float(np.nan_to_num(found[1], nan=np.inf).max())
                    worst[key] = max(worst[key], (largest, f"{dtype}, seed {seed}"))
        seed += 1
    for (name, operation), (ratio, where) in sorted(worst.items()):
        count = counts[name, operation]
        print(f"{name:12} {operation:22} {count:12,} results, at most {ratio:.3g} ({where})")
    print(f"{sum(counts.values()):,} results, {seed - options.seed} seeds")
    return int(any(ratio > 1.0 for ratio, _ in worst.values()))


if __name__ == "__main__":
    sys.exit(main())
