"""Makes a failing call as small as it gets while it still fails in the same way.

A call is changed step by step: plain memory, one row, fewer classes, rounder numbers. A change is
kept if the call still fails by the judge that found it, in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from harness.experiments.conformance.call import Array, Result, Step
from harness.experiments.conformance.expected import axes_of, step_rows
from harness.experiments.conformance.observation import Observation
from harness.experiments.conformance.python_line import (
    Failing,
    Template,
    classes_axis,
    evaluated,
    place_of,
    templates,
)
from harness.numerics.formats import FloatFormat, to_float64

LITERAL = 24
"""More numbers are not written out but made by an expression."""
_VALUES = 12
"""So many logits are made round one by one; of more, all together."""
_PLAIN: dict[str, Any] = {
    "scale": None, "second": None, "out": "none", "layout": "C", "same": None,
}  # fmt: skip


class Spent(Exception):
    """No time or no calls are left."""


@dataclass
class Budget:
    """What the search may still cost.

    Attributes:
        seconds: of this process's processor time; of the clock, three times as many, so that on a
            busy machine no less is found.
        calls: of the implementation.
    """

    seconds: float
    calls: int = 400
    started: tuple[float, float] = field(
        default_factory=lambda: (time.process_time(), time.perf_counter())
    )

    @property
    def spent(self) -> float:
        """Seconds since it was made."""
        own, clock = self.started
        return max(time.process_time() - own, (time.perf_counter() - clock) / 3.0)

    def extend(self, seconds: float, calls: int) -> None:
        """So much more from now on, if that is more than is left."""
        self.seconds = max(self.seconds, self.spent + seconds)
        self.calls = max(self.calls, calls)

    def charge(self) -> None:
        """One more call.

        Raises:
            Spent: it is one too many.
        """
        self.calls -= 1
        if self.calls < 0 or self.spent > self.seconds:
            raise Spent


Perform = Callable[[Sequence[Step]], list[Result]]
Judge = Callable[[Step, Result], Observation]


@dataclass
class Prober:
    """Asks whether a call fails, and keeps the smallest that did.

    Attributes:
        perform: makes calls. judge: what one of them shows.
        budget: what that may cost.
        found: the smallest failing call so far, None before one was found.
    """

    perform: Perform
    judge: Judge
    budget: Budget
    found: Failing | None = None

    @property
    def best(self) -> Failing:
        """The smallest failing call so far, of which there must be one."""
        assert self.found is not None
        return self.found

    def tried(self, step: Step, before: tuple[Step, ...] = ()) -> Failing | None:
        """The call, if it fails."""
        self.budget.charge()
        result = self.perform([*before, step])[-1]
        observed = self.judge(step, result)
        if observed.grade != "failure":
            return None
        return Failing(step, result, observed, before=before)

    def accepts(self, step: Step, made: tuple[str, ...] = ()) -> bool:
        """Whether the call fails as the best one does; it is the best one then."""
        found = self.tried(step, self.best.before)
        if found is None or _kind(found.observation) != _kind(self.best.observation):
            return False
        self.found = replace(found, made=made, narrower=self.best.narrower)
        return True


def _kind(observation: Observation) -> tuple[str, str]:
    """The way in which a call fails, which a smaller one must share."""
    if observation.outcome == "inaccurate" or observation.got is not None:
        odd = observation.outcome in ("nan", "inf", "raises")
        return observation.outcome if odd else "number", ""
    return observation.outcome, observation.message.split(" [")[0].split("(")[0][:24]


def smallest(prober: Prober, failing: Failing, fmt: FloatFormat) -> Failing:
    """The smallest call found that fails as `failing` does."""
    prober.found = failing
    try:
        for simplify in (_plain, _one_row, _tiny, partial(_alike, fmt), _fewer, _rounder):
            simplify(prober)
    except Spent:
        pass
    return prober.best


def _plain(prober: Prober) -> None:
    """Contiguous arrays, no out=, no further arguments: all at once, or one after the other."""
    step = prober.best.step
    wanted = {"keywords": step.numbers, **_PLAIN}
    unlike = {name: plain for name, plain in wanted.items() if getattr(step, name) != plain}
    if unlike and not prober.accepts(replace(prober.best.step, **unlike)):
        for name, plain in unlike.items():
            prober.accepts(replace(prober.best.step, **{name: plain}))


def _one_row(prober: Prober) -> None:
    """The row in question alone, along the last axis; else all rows along the last axis."""
    step = prober.best.step
    if step.arrays[0].ndim == 0:
        return
    row, rows = place_of(prober.best)[0], step_rows(step)
    if step.operation == "cross_entropy":
        alone = replace(step, arrays=tuple(r[row : row + 1] for r in rows))
        if not prober.accepts(alone) and step.arrays[0].ndim > 2:
            prober.accepts(replace(step, arrays=tuple(rows)))
        return
    ways: list[tuple[Array, ...]] = [
        tuple(r[row] for r in rows),
        tuple(r[row : row + 1] for r in rows),
        tuple(rows),
    ]
    for arrays in ways:
        changed = [a.shape for a in arrays] != [a.shape for a in step.arrays]
        if changed and prober.accepts(replace(step, arrays=arrays, axis="default")):
            return
        if prober.accepts(replace(step, arrays=arrays, axis=-1)):
            return


def _tiny(prober: Prober) -> None:
    """Two logits, or three: most faults show there."""
    step = prober.best.step
    one_row = step.arrays[0].ndim == 1
    if step.operation == "cross_entropy":
        one_row = len(step.arrays[1]) == 1
    if step.arrays[0].size <= 2 or not one_row:
        return
    for numbers in _few_numbers(prober.best):
        arrays = [np.array(v, np.float64).astype(a.dtype)
                  for v, a in zip(numbers, step.arrays, strict=True)]  # fmt: skip
        if prober.accepts(replace(step, arrays=tuple(arrays))):
            return


def _few_numbers(failing: Failing) -> list[tuple[Any, ...]]:
    """The numbers of the arrays of a call on one row of two classes, or of three."""
    operation, x = failing.step.operation, to_float64(failing.step.arrays[0])
    if operation == "cross_entropy":
        return [([[0, 1]], [0]), ([[0, 1]], [1]), ([[0, 20]], [0]), ([[0, 100]], [0])]
    if operation == "softmax_backward":
        return [([1, 0], [0.5, 0.5]), ([1, 0], [0.75, 0.25]), ([1, 1], [0.75, 0.25])]
    odd = list(dict.fromkeys(x[~np.isfinite(x)].tolist()))[:2]
    if operation == "masked_softmax":
        some, kept = [*odd, *([0, 1] if len(odd) < 2 else [])], [0, 1, 1]
        masks = [kept[: len(some)], [1, *kept[1 : len(some)]], [0] * len(some)]
        return [(row, mask) for row in (some, [1, *some[1:]]) for mask in masks]
    if odd:
        return [([*odd, 0],), ([0, *odd],)]
    rows = [[0, 1], [1, 0]]
    if np.ptp(x) > 8.0 or np.abs(x).max() > 8.0:
        top, own = x.max(), x[place_of(failing)[1]]
        rows += [[top, own], [own, top], [top, x.min()]]
    return [(row,) for row in rows]


def _taken(step: Step, axis: int, kept: Array) -> Step:
    """The call with some entries of one axis alone."""
    x = step.arrays[0]
    arrays = [np.ascontiguousarray(np.take(x, kept, axis)), *step.arrays[1:]]
    is_class = axis in axes_of(step, x.ndim)
    if step.operation == "softmax_backward":
        arrays[1] = np.take(arrays[1], kept, axis)
        if is_class:
            arrays[1] = _normalised(arrays[1], axis)
    if step.operation == "masked_softmax":
        arrays[1] = np.take(np.broadcast_to(arrays[1], x.shape), kept, axis)
    if step.operation == "cross_entropy":
        targets = step.arrays[1]
        if is_class:
            arrays[1] = np.clip(np.searchsorted(kept, targets), 0, len(kept) - 1)
        else:
            arrays[1] = np.take(targets, kept, axis)
    return replace(step, arrays=tuple(arrays))


def _normalised(y: Array, axis: int) -> Array:
    wide = to_float64(y)
    scaled = wide / wide.sum(axis=axis, keepdims=True)
    return scaled.astype(y.dtype) if np.all(np.isfinite(scaled)) else y


def _cut(prober: Prober, axis: int) -> None:
    """Leaves out entries of one axis: halves first, then smaller parts."""
    size = prober.best.step.arrays[0].shape[axis]
    kept = np.arange(size)
    part = (size + 1) // 2
    least = 1 if size <= 256 else size // 64
    while part >= least and len(kept) > 1:
        # The part at the end first: what is left keeps its place.
        for gone in [kept[i : i + part] for i in range(0, len(kept), part)][::-1]:
            rest = kept[~np.isin(kept, gone)]
            if len(rest) and prober.accepts(
                _taken(prober.best.step, axis, np.searchsorted(kept, rest))
            ):
                kept = rest
        part = part // 2


def _fewer(prober: Prober) -> None:
    """Fewer rows, then fewer classes, of the numbers themselves."""
    step = prober.best.step
    if prober.best.made:
        return
    axes = axes_of(step, step.arrays[0].ndim)
    for axis in sorted(range(step.arrays[0].ndim), key=lambda a: a in axes):
        step = prober.best.step
        size = step.arrays[0].shape[axis]
        if axis in axes and step.operation == "cross_entropy":
            kept = np.unique(np.append(step.arrays[1], place_of(prober.best)[1]))
            prober.accepts(_taken(step, axis, kept[(kept >= 0) & (kept < size)]))
            size = prober.best.step.arrays[0].shape[axis]
        if 1 < size <= 4096:
            _cut(prober, axis)


def _with(step: Step, made: tuple[str, ...]) -> Step:
    return replace(step, arrays=tuple(evaluated(text) for text in made))


def _alike(fmt: FloatFormat, prober: Prober) -> None:
    """Arrays that expressions make, and the fewest rows and classes at which they fail."""
    step = prober.best.step
    unwritten = isinstance(step.axis, tuple) or step.operation == "masked_softmax"
    if step.arrays[0].size <= 3 or unwritten:
        return
    for template in templates(prober.best, fmt):
        made = template(step.arrays[0].shape)
        if prober.accepts(_with(step, made), made):
            last = classes_axis(step)
            for axis in sorted(range(step.arrays[0].ndim), key=lambda a: a == last):
                _narrowest(prober, template, axis, axis == last)
            return


def _narrowest(prober: Prober, template: Template, axis: int, classes: bool) -> None:
    """Powers of two and their successors first, then what is between."""
    step = prober.best.step
    shape = step.arrays[0].shape
    low, high = 0, shape[axis]

    def halve(sizes: Sequence[int]) -> None:
        """The fewest of some sizes; what is known so far stands even if no time is left."""
        nonlocal low, high
        while sizes:
            middle = sizes[len(sizes) // 2]
            made = template((*shape[:axis], middle, *shape[axis + 1 :]))
            if prober.accepts(_with(step, made), made):
                high = middle
            else:
                low = middle
            sizes = [n for n in sizes if low < n < high]

    powers = [n for k in range(24) for n in ((1 << k), (1 << k) + 1)[: 2 if k else 1]]
    try:
        halve([n for n in powers if n < high])
        halve(range(low + 1, high))
    finally:
        if classes:
            prober.found = replace(prober.best, narrower=low if low > 0 else None)


def _rounder(prober: Prober) -> None:
    best = prober.best
    step = best.step
    if step.arrays[0].size > (LITERAL if best.made else 4096):
        return
    prober.found = replace(best, made=())
    for which in range(1 if step.operation != "softmax_backward" else 2):
        for change in _wholes(step, which):
            if _simpler(change, prober.best.step.arrays[which]) and _replaced(
                prober, which, change
            ):
                break
    values = prober.best.step.arrays[0]
    if values.size > _VALUES:
        return
    for i in range(values.size):
        now = float(to_float64(prober.best.step.arrays[0]).reshape(-1)[i])
        for value in _rounded(now):
            array = prober.best.step.arrays[0].copy()
            array.reshape(-1)[i] = value
            if _replaced(prober, 0, array):
                break


def _replaced(prober: Prober, which: int, array: Array) -> bool:
    step = prober.best.step
    arrays = tuple(array if i == which else a for i, a in enumerate(step.arrays))
    return prober.accepts(replace(step, arrays=arrays))


def _simpler(a: Array, b: Array) -> bool:
    """Whether the numbers of `a` take fewer characters."""
    x, y = to_float64(a), to_float64(b)
    return (len(str(x.tolist())), np.count_nonzero(x)) < (len(str(y.tolist())), np.count_nonzero(y))


def _wholes(step: Step, which: int) -> Iterator[Array]:
    """Arrays like that of the call, all of whose numbers are rounder; the simplest first."""
    array = step.arrays[which]
    wide = to_float64(array)
    axis = classes_axis(step)
    if which == 1:  # probabilities
        n = array.shape[axis]
        yield np.full(array.shape, 1.0 / n).astype(array.dtype)
        for parts in (2, 4, 8, 16):
            near = np.round(wide * parts) / parts
            if np.all(near.sum(axis=axis) == 1.0):
                yield near.astype(array.dtype)
        return
    yield np.zeros_like(array)
    for digits in (0, 1, 2):
        yield np.round(wide, digits).astype(array.dtype)
    for power in range(1, 5):
        least = 10.0**power
        yield (np.round(wide / least) * least).astype(array.dtype)


def _rounded(value: float) -> list[float]:
    """Rounder numbers than `value`, the roundest first."""
    found = [0.0, 1.0, -1.0]
    if np.isfinite(value):
        found += [float(f"{value:.{digits}g}") for digits in range(1, 5)]
        found += [float(np.trunc(value)), float(np.round(value)), float(np.round(value, 1))]
    elif value == -np.inf:
        found = [0.0]
    return [
        v for v in dict.fromkeys(found) if v != value and len(f"{v:.9g}") <= len(f"{value:.9g}")
    ]
