"""What scaling and masking cost `numba_cpu`, and what they cost PyTorch in two steps.

    python -m fused_logits --threads 1

float32, preallocated results, calls of all in turn in one process: the median of the ratios of
neighbouring calls, of times of the changed softmax over that of the plain one, and of PyTorch's
two steps over ours. A table in Markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numba
import numpy as np
import torch

from implementations import numba_cpu

CLASSES = (8, 32, 64, 128, 1000, 4096, 32768)
SCALE = 128.0**-0.5


def _timed(call: Callable[[], object]) -> float:
    call()  # the arrays are where it finds them
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def row(elements: int, classes: int, repetitions: int) -> list[float]:
    """The four ratios of one shape."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((elements // classes, classes)).astype(np.float32)
    kept, out = rng.random(x.shape) >= 0.25, np.empty_like(x)
    kept[:, 0] = True
    given, mask = torch.from_numpy(x), torch.from_numpy(kept)
    calls: dict[str, Callable[[], object]] = {
        "plain": lambda: numba_cpu.softmax(x, out=out),
        "scaled": lambda: numba_cpu.scaled_softmax(x, SCALE, out=out),
        "masked": lambda: numba_cpu.masked_softmax(x, kept, out=out),
        "torch scaled": lambda: torch.softmax(given * SCALE, -1),
        "torch masked": lambda: torch.softmax(given.masked_fill(~mask, -torch.inf), -1),
    }
    times = np.array([[_timed(call) for call in calls.values()] for _ in range(repetitions)])
    of = dict(zip(calls, times.T, strict=True))
    pairs = (("scaled", "plain"), ("masked", "plain"), ("torch scaled", "scaled"),
             ("torch masked", "masked"))  # fmt: skip
    return [float(np.median(of[a] / of[b])) for a, b in pairs]


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    print(
        "| elements | classes | scaled ÷ plain | masked ÷ plain | PyTorch ÷ ours, scaled | masked |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for elements, repetitions in ((1 << 17, 300), (1 << 24, 15)):
        for classes in CLASSES:
            found = " | ".join(f"{r:.2f}" for r in row(elements, classes, repetitions))
            print(f"| 2^{elements.bit_length() - 1} | {classes} | {found} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
