"""Which classes and rows are off: one, a lane, a tail, a tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from harness.experiments.conformance.expected import axes_of
from harness.experiments.conformance.patterns.view import TILES, View, alike, noise_of
from harness.numerics.formats import Float64Array

_LANES = (64, 32, 16, 8, 4, 2)
_INDEX_BITS = (16, 15, 8, 12, 20)
_ENOUGH = 0.25
"""What part of a row must not vanish."""


def _columns(view: View) -> Float64Array | None:
    """How far the errors of each class are off those of the others, in u, over many rows.

    Means over the rows, to which no single row adds much: what is off in a few of them alone is no
    matter of the class. None where that cannot be told, or nothing stands out.
    """
    rows, n = view.error.shape
    if rows < 16 or n < 5 or not np.isfinite(view.error).all():
        return None
    residual = view.error / view.fmt.unit_roundoff
    residual = residual - np.median(residual, axis=1, keepdims=True)
    most = 10.0 * float(np.median(np.abs(residual)))
    residual = np.clip(residual, -most, most)
    for values in (residual, np.abs(residual)):
        mean, spread = values.mean(axis=0), values.std(axis=0) / np.sqrt(rows)
        off = np.abs(mean - np.median(mean))
        if off.max() > 1.0 + 6.0 * np.median(spread):
            return np.asarray(off)
    return None


def wrapped(view: View) -> str | None:
    """Results that are those of a power of two of classes before, as an index of few bits has."""
    n = view.got.shape[1]
    for bits in _INDEX_BITS:
        k = 1 << bits
        if k < n and view.bad[:, k:].any():
            same = alike(view.got[:, k:], view.got[:, : n - k]).all()
            if same and not alike(view.exact[:, k:], view.exact[:, : n - k]).all():
                return f"an index of {bits} bits wraps: from class {k:,} on, results repeat"
    return None


def every_nth(view: View) -> str | None:
    """Elements at equal distances in the whole array, across its rows."""
    if len(view.bad) == 1:
        return None  # those are places of a row
    places = np.flatnonzero(view.bad)
    steps = np.diff(places)
    if len(places) < 4 or np.ptp(steps) != 0 or steps[0] % view.bad.shape[1] == 0 or steps[0] < 2:
        return None
    return f"every {int(steps[0]):,}th element of the array is wrong, whatever its row"


def beside(view: View) -> str | None:
    """Along an axis that is not last, the places of the last one, which are lanes there."""
    step = view.step
    shape = step.arrays[0].shape
    axes = axes_of(step, len(shape))
    if len(axes) != 1 or axes[0] == len(shape) - 1 or view.error.shape != view.x.shape:
        return None
    moved = (*shape[: axes[0]], *shape[axes[0] + 1 :], shape[axes[0]])
    columns = np.moveaxis(view.error.reshape(moved), -2, -1).reshape(-1, shape[-1])
    off = _columns(replace(view, error=columns))
    text = None if off is None else _pattern(off, "column", "columns", 0.6)
    calls = f"calls along axis {axes[0]} of {len(shape)}"
    return None if text is None else f"{calls}: only {text} wrong"


def _outliers(view: View, rows: Any) -> Float64Array:
    """In what part of some rows each class is off beside what its row shares."""
    found = np.zeros(view.got.shape[1])
    for i in rows[:64]:
        usable = np.isfinite(view.exact[i]) & view.normal[i]
        if not usable.any():
            continue
        r = np.nan_to_num(view.error[i], nan=np.inf, posinf=np.inf, neginf=-np.inf)
        c = float(np.median(r[usable]))
        off = np.abs(r - (c if np.isfinite(c) else 0.0))
        noise = noise_of(view, off[usable])
        found += usable & ~(off <= noise + 0.5 * view.fmt.unit_roundoff)
    return found / len(rows[:64])


def positions(view: View) -> str | None:
    """Which classes of a row are off: one, a lane, a tail, a tile."""
    n = view.got.shape[1]
    if n < 5:
        return None
    rows = np.flatnonzero(view.bad.any(axis=1))
    rows = rows if len(rows) else np.array([view.row])
    # Where nearly all results vanish, those that are left say nothing of their places.
    rows = rows[view.normal.mean(axis=1)[rows] >= _ENOUGH]
    if not len(rows):
        return None
    columns = _columns(view)
    measures = [] if columns is None else [columns]
    for measure in (*measures, _outliers(view, rows), view.bad[rows].mean(axis=0)):
        largest = float(measure.max())
        if measure is not columns and largest < 0.5:
            continue  # another class in every row
        swapped = _swapped(view, np.flatnonzero(measure > 0.02 * largest))
        if swapped is not None:
            return swapped
        text = _pattern(measure, "class", "classes", 0.6 if measure is columns else 0.8)
        if text is not None:
            return f"only {text} wrong"
    return None


def _swapped(view: View, places: Any) -> str | None:
    if len(places) != 2:
        return None
    a, b = (int(j) for j in places)
    row = view.row
    if np.allclose(view.got[row, [b, a]], view.exact[row, [a, b]], rtol=1e-3):
        last = view.got.shape[1] - 1
        which = "the last two classes" if (a, b) == (last - 1, last) else f"classes {a} and {b}"
        return f"{which} hold each other's result"
    return None


def _groups(n: int, one: str, many: str) -> Iterator[tuple[str, slice]]:
    """Places that stand out together where code is wrong, in words, of n."""
    yield f"the last {one} is", slice(n - 1, n)
    for width in (4, 8, 16, 32, 64):
        if n > width and n % width > 1:
            text = f"the last {n % width} of {n} {many}, the rest of a loop over {width}, are"
            yield text, slice(n - n % width, n)
    for lanes in _LANES:
        for lane in range(lanes) if n >= 2 * lanes else ():
            places = f"the {many} {lane}, {lane + lanes}, ..."
            yield f"lane {lane} of {lanes} ({places}) is", slice(lane, n, lanes)
    for j in range(n - 1) if n <= 4096 else ():
        yield f"{one} {j} of {n} is", slice(j, j + 1)
    for k in (k for k in TILES if k < n):
        yield f"the {many} from {k} on are", slice(k, n)
        yield f"the first {k} of {n} {many} are", slice(0, k)


def _pattern(measure: Float64Array, one: str, many: str, part: float) -> str | None:
    """The places whose measure is unlike that of the others, and explains most of it."""
    n = len(measure)
    total = float(np.sum((measure - measure.mean()) ** 2))
    if not total > 0.0:
        return None
    best, found = part, None
    for text, places in _groups(n, one, many):
        inside = measure[places]
        if inside.size == n:
            continue
        rest = (measure.sum() - inside.sum()) / (n - inside.size)
        between = inside.size * (n - inside.size) / n * (inside.mean() - rest) ** 2
        if inside.mean() > rest and between / total > best * 1.001:
            best, found = between / total, text
    return found or _run(measure, one, many)


def _run(measure: Float64Array, one: str, many: str, most: float = 0.5) -> str | None:
    """A run of places that all are off, or a single one, where no others are."""
    n = len(measure)
    places = np.flatnonzero(measure > 0.02 * measure.max())
    if not 0 < len(places) <= most * n:
        return None
    low, high = int(places[0]), int(places[-1])
    if len(places) == 1:
        return f"the last {one} is" if low == n - 1 else f"{one} {low} of {n} is"
    if len(places) < 0.95 * (high - low + 1):
        return None
    if high == n - 1:
        return f"the {many} from {low} on are"
    return f"the {many} {low} to {high} are" if low else f"the first {high + 1} of {n} {many} are"


def rows_off(view: View) -> str | None:
    """Which rows of a batch are off."""
    rows = len(view.x)
    if rows < 4 or not np.isfinite(view.x).all() or np.ptp(np.ptp(view.x, axis=1)) > 100:
        return None  # rows of different kinds: which are off says nothing of their place
    measure = view.bad.any(axis=1).astype(float)
    if measure.any() and np.median(view.bad[measure > 0].mean(axis=1)) < 0.2:
        return None  # elements of rows, not rows
    if not measure.any():
        measure = np.abs(view.error).mean(axis=1) / view.fmt.unit_roundoff
        if not measure.max() > 3.0 * np.median(measure) + 3.0:
            return None
    text = _run(measure, "row", "rows", 0.9) or _pattern(measure, "row", "rows", 0.6)
    return None if text is None else f"only {text} wrong"
