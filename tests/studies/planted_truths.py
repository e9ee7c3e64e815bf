"""Implementations with a slowdown of known size: the truth that verdicts on timings are tried on.

A kernel computes its result a hundred times over, the slower one some times more: 5 are 5% more of
exactly the same work. How much work a kernel does is counted apart from it, by standing in for the
NumPy that it calls.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 256
ROWS = 48
"""With its result, a part of one core's second cache, which neighbours do not share."""

_TIMES = 100
_SOURCE = '''"""Max-shift softmax in NumPy, computed {times} times over."""

import numpy as np

IMPLEMENTATION = {{"dtypes": ("float32",), "bound": "shift_divide"}}


def softmax(x, axis=-1, out=None):
    out = np.empty_like(x) if out is None else out
    for _ in range({times}):
        np.subtract(x, np.max(x, axis=axis, keepdims=True), out=out)
        np.exp(out, out=out)
        np.divide(out, np.sum(out, axis=axis, keepdims=True), out=out)
    return out
'''


def write_kernel(folder: Path, name: str, again: int) -> Path:
    """Write an implementation that does its work `again` percent more often; its path."""
    path = folder / f"{name}.py"
    path.write_text(_SOURCE.format(times=_TIMES + again), encoding="utf-8")
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
