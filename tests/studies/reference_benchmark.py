"""How long certification takes: ``python -m reference_benchmark``.

Prints, for each operation and shape, the time of the first call in this process (imports
excluded) and the best of five, on one core, without the disk cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from harness import reference

SHAPES = ((1, 10**6), (100, 1000), (10_000, 10), (50_000, 2))
FAMILIES: tuple[tuple[str, float, float], ...] = (
    ("normal", 1.0, 0.0),
    ("wide", 100.0, 0.0),
    ("offset", 1.0, 1e4),
)


def best_of(function: Callable[[], object], repeats: int = 5) -> float:
    """The least wall time of `repeats` calls, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Prints the table."""
    print(f"{'operation':<18}{'dtype':<10}{'workload':<9}{'shape':<16}{'first s':>9}{'best s':>9}")
    for shape in SHAPES:
        for family, scale, offset in FAMILIES:
            for dtype in ("float32", "float64"):
                _rows(shape, family, scale, offset, dtype)


def _rows(shape: tuple[int, int], family: str, scale: float, offset: float, dtype: str) -> None:
    rng = np.random.default_rng(20240531)
    x = (rng.normal(size=shape) * scale + offset).astype(dtype)
    targets = rng.integers(0, shape[1], size=shape[0])
    y = reference.softmax(x)
    grad = rng.normal(size=shape).astype(dtype)
    calls: dict[str, Callable[[], object]] = {
        "softmax": lambda: reference.softmax_exact(x).round_to(dtype),
        "log_softmax": lambda: reference.log_softmax_exact(x).round_to(dtype),
        "logsumexp": lambda: reference.logsumexp_exact(x).round_to(dtype),
        "softmax_backward": lambda: reference.softmax_backward_exact(grad, y).round_to(dtype),
        "cross_entropy": lambda: reference.cross_entropy_exact(x, targets),
    }
    for name, call in calls.items():
        first = best_of(call, 1)
        best = min(first, best_of(call))
        size = f"{shape[0]}x{shape[1]}"
        print(f"{name:<18}{dtype:<10}{family:<9}{size:<16}{first:>9.3f}{best:>9.3f}", flush=True)


if __name__ == "__main__":
    main()
