"""Where a search begins: rows of the kinds on which errors are known to grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.numerics.formats import FloatFormat, from_ordinal, to_ordinal
from harness.workloads.families import underflow_gap

Array = NDArray[Any]
Draw = Callable[[np.random.Generator, int, FloatFormat], NDArray[np.float64]]
TILES = (8, 16, 64, 128, 256, 512, 1024, 2048)
"""Lengths of vector lanes and blocks, at whose edges a loop changes."""


def _scaled(scale: float) -> Draw:
    def draw(rng: np.random.Generator, classes: int, fmt: FloatFormat) -> NDArray[np.float64]:
        return rng.normal(0.0, scale, classes)

    return draw


def _deep(rng: np.random.Generator, classes: int, fmt: FloatFormat) -> NDArray[np.float64]:
    """Results down to the smallest subnormal."""
    x = -rng.uniform(0.0, underflow_gap(fmt, classes), classes)
    x[rng.integers(classes)] = 0.0
    return x


def _subnormal(rng: np.random.Generator, classes: int, fmt: FloatFormat) -> NDArray[np.float64]:
    """One maximum; all others give subnormal results."""
    edge = -fmt.emin * np.log(2.0)
    deepest = edge + (fmt.precision - 1) * np.log(2.0)
    x = -rng.uniform(edge, deepest, classes)
    x[rng.integers(classes)] = 0.0
    return x


def _ascending(rng: np.random.Generator, classes: int, fmt: FloatFormat) -> NDArray[np.float64]:
    """Ascending: every entry is a new maximum, for which an online sum is rescaled."""
    return np.sort(rng.normal(0.0, float(rng.choice([0.1, 1.0, 10.0])), classes))


def _near_ties(rng: np.random.Generator, classes: int, fmt: FloatFormat) -> NDArray[np.float64]:
    """All within a few ulps of one number."""
    centre = np.array([rng.normal(0.0, 10.0)]).astype(fmt.dtype)
    steps = rng.integers(-4, 5, classes)
    return from_ordinal(to_ordinal(centre) + steps, fmt).astype(np.float64)


def _offset(rng: np.random.Generator, classes: int, fmt: FloatFormat) -> NDArray[np.float64]:
    """Far from zero, where x − max and max + log Σ round."""
    largest = min(5.0, np.log10(fmt.max) - 0.5)
    centre = float(rng.choice([-1, 1])) * 10 ** rng.uniform(1.0, largest)
    return rng.normal(centre, 3.0, classes)


def _tile_edge(rng: np.random.Generator, classes: int, fmt: FloatFormat) -> NDArray[np.float64]:
    """The maximum just before, at or after the edge of a tile."""
    x = rng.normal(0.0, 2.0, classes)
    edges = [t for t in TILES if t < classes] or [classes]
    place = int(rng.choice(edges)) + int(rng.integers(-1, 2))
    x[min(max(place, 0), classes - 1)] = x.max() + rng.uniform(0.0, 20.0)
    return x


SEEDS: Mapping[str, Draw] = {
    "normal": _scaled(1.0),
    "wide normal": _scaled(10.0),
    "deep": _deep,
    "subnormal outputs": _subnormal,
    "ascending": _ascending,
    "near ties": _near_ties,
    "offset": _offset,
    "tile edge": _tile_edge,
}
"""By name, what the record of a search says it began with."""


def draw(
    rng: np.random.Generator, rows: int, classes: int, fmt: FloatFormat
) -> tuple[Array, list[str]]:
    """Rows of all kinds in turn, rounded to the format and finite, and the kind of each."""
    names = [list(SEEDS)[i % len(SEEDS)] for i in range(rows)]
    values = np.stack([SEEDS[name](rng, classes, fmt) for name in names])
    return np.clip(values, -fmt.max, fmt.max).astype(fmt.dtype), names


def mutate(rng: np.random.Generator, row: Array, count: int, fmt: FloatFormat) -> Array:
    """Neighbours of a row: some entries moved by some ulps, or swapped, or made equal.

    Args:
        row: (classes,). count: neighbours.

    Returns:
        (count, classes), finite.
    """
    classes = row.size
    ordinals = np.repeat(to_ordinal(row)[np.newaxis, :], count, axis=0)
    top = int(to_ordinal(np.array([fmt.max]), fmt)[0])
    for line in ordinals:
        kind = rng.random()
        width = int(rng.choice([1, 1, 2, max(1, classes // 4), classes]))
        places = rng.choice(classes, min(width, classes), replace=False)
        if kind < 0.85 or classes < 2:
            reach = 1 << int(rng.integers(0, fmt.precision))
            line[places] += rng.integers(-reach, reach + 1, places.size)
        elif kind < 0.95:
            i, j = rng.choice(classes, 2, replace=False)
            line[i], line[j] = line[j], line[i]
        else:
            i, j = rng.choice(classes, 2, replace=False)
            line[i] = line[j]
    return from_ordinal(np.clip(ordinals, -top, top), fmt)
