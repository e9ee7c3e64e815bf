"""Implementations with a slowdown of known size: the truth that verdicts on timings are tried on.

A kernel works through a hundred equal blocks of rows. The slower one does some of them twice:
5 of 100 are 5% more of exactly the same work. How much work a kernel does is counted apart from
it, by standing in for the NumPy that it calls.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np

BLOCKS = 100
CLASSES = 256
ROWS = 4 * BLOCKS

_SOURCE = '''"""Max-shift softmax in NumPy, block by block; {again} of {blocks} blocks twice."""

import numpy as np

IMPLEMENTATION = {{"dtypes": ("float32",), "bound": "shift_divide"}}
BLOCKS, AGAIN = {blocks}, {again}


def softmax(x, axis=-1, out=None):
    out = np.empty_like(x) if out is None else out
    size = max(1, len(x) // BLOCKS)
    whole = -(-len(x) // size)
    again = AGAIN * whole // BLOCKS
    for block in (*range(whole), *(whole * k // again for k in range(again))):
        rows, result = x[block * size : (block + 1) * size], out[block * size : (block + 1) * size]
        np.subtract(rows, np.max(rows, axis=1, keepdims=True), out=result)
        np.exp(result, out=result)
        np.divide(result, np.sum(result, axis=1, keepdims=True), out=result)
    return out
'''


def write_kernel(folder: Path, name: str, again: int) -> Path:
    """Write an implementation that does `again` of its hundred blocks twice; its path."""
    path = folder / f"{name}.py"
    path.write_text(_SOURCE.format(blocks=BLOCKS, again=again), encoding="utf-8")
    return path


class _Counting:
    """NumPy, counting the elements that pass through each of its functions."""

    def __init__(self) -> None:
        self.elements: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)

        def counted(x: Any, *arguments: Any, **options: Any) -> Any:
            self.elements[name] = self.elements.get(name, 0) + int(np.size(x))
            return function(x, *arguments, **options)

        return counted


def count_work(path: Path) -> dict[str, int]:
    """Elements that one call of a kernel passes through each function of NumPy."""
    softmax = runpy.run_path(str(path))["softmax"]
    counting = _Counting()
    x = np.zeros((ROWS, CLASSES), np.float32)
    out = np.empty_like(x)
    softmax.__globals__["np"] = counting
    softmax(x, out=out)
    return counting.elements


def planted_slowdown(base: Path, new: Path) -> float:
    """How much more work `new` does, by count, the same in every function: 0.05 is 5%.

    Raises:
        ValueError: the functions disagree.
    """
    a, b = count_work(base), count_work(new)
    ratios = {b[name] / a[name] for name in a}
    if len(ratios) != 1:
        raise ValueError(f"planted slowdown: expected one ratio of all work; got {a} and {b}")
    return ratios.pop() - 1.0
