"""Makes a failing call as small as it gets, and writes it as a line that anybody can run.

A call is changed step by step: plain memory, one row, fewer classes, rounder numbers. A change is
kept if the call still fails by the judge that found it, in the same way. Where a row stays too long
to be written out, its numbers are made by an expression in NumPy, and the text of that expression
is what is evaluated: what is shown is what was tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import ml_dtypes
import numpy as np

from harness.experiments.conformance.call import Array, Result, Step
from harness.experiments.conformance.expected import axes_of, rows_of
from harness.experiments.conformance.observation import Observation
from harness.numerics.formats import FloatFormat, float_format, to_float64

LITERAL = 24
"""More numbers are not written out but made by an expression."""
_VALUES = 12
"""So many logits are made round one by one; of more, all together."""
_PLAIN: dict[str, Any] = {
    "keywords": {}, "scale": None, "second": None, "out": "none", "layout": "C", "same": None,
}  # fmt: skip


class Spent(Exception):
    """No time or no calls are left."""


@dataclass
class Budget:
    """What the search may still cost.

    Attributes:
        seconds: of the clock. calls: of the implementation.
    """

    seconds: float
    calls: int = 400
    started: float = field(default_factory=time.perf_counter)

    @property
    def spent(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self.started

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


@dataclass(frozen=True, eq=False)
class Failing:
    """A call that fails.

    Attributes:
        step: the call. before: calls that must be made first.
        made: for each array the expression that makes it; None for one that is written out.
        result: what it gave. observation: what is wrong with that.
        narrower: the largest number of classes that was seen to pass, of rows made alike.
    """

    step: Step
    result: Result
    observation: Observation
    made: tuple[str | None, ...] = ()
    before: tuple[Step, ...] = ()
    narrower: int | None = None


Perform = Callable[[Sequence[Step]], list[Result]]
Judge = Callable[[Step, Result], Observation]


@dataclass
class Prober:
    """Asks whether a call fails, and keeps the smallest that did.

    Attributes:
        perform: makes calls. judge: what one of them shows.
        budget: what that may cost.
        best: the smallest failing call so far.
    """

    perform: Perform
    judge: Judge
    budget: Budget
    best: Failing | None = None

    def tried(self, step: Step, before: tuple[Step, ...] = ()) -> Failing | None:
        """The call, if it fails."""
        self.budget.charge()
        result = self.perform([*before, step])[-1]
        observed = self.judge(step, result)
        if observed.grade != "failure":
            return None
        return Failing(step, result, observed, (None,) * len(step.arrays), before)

    def accepts(self, step: Step, made: tuple[str | None, ...] | None = None) -> bool:
        """Whether the call fails as the best one does; it is the best one then."""
        assert self.best is not None
        found = self.tried(step, self.best.before)
        if found is None or _kind(found.observation) != _kind(self.best.observation):
            return False
        self.best = replace(
            found, made=made or (None,) * len(step.arrays), narrower=self.best.narrower
        )
        return True


def _kind(observation: Observation) -> tuple[str, str]:
    """The way in which a call fails, which a smaller one must share."""
    if observation.outcome == "inaccurate" or observation.got is not None:
        odd = observation.outcome in ("nan", "inf", "raises")
        return observation.outcome if odd else "number", ""
    return observation.outcome, observation.message.split(" [")[0].split("(")[0][:24]


def classes_axis(step: Step) -> int:
    """The axis of the classes, if it is one."""
    return axes_of(step, step.arrays[0].ndim)[-1]


def smallest(prober: Prober, failing: Failing, fmt: FloatFormat) -> Failing:
    """The smallest call found that fails as `failing` does."""
    prober.best = failing
    try:
        for simplify in (_plain, _one_row, _tiny, _alike, _fewer, _rounder):
            simplify(prober, fmt)
    except Spent:
        pass
    return prober.best


def _best(prober: Prober) -> Failing:
    assert prober.best is not None
    return prober.best


def _plain(prober: Prober, fmt: FloatFormat) -> None:
    """Contiguous arrays, no out=, no further arguments: all at once, or one after the other."""
    step = _best(prober).step
    unlike = {name: plain for name, plain in _PLAIN.items() if getattr(step, name) != plain}
    if step.shape is not None and np.prod(step.shape) <= 1 << 16:
        whole = np.broadcast_to(step.arrays[0], step.shape).copy()
        smaller = replace(step, arrays=(whole, *step.arrays[1:]), shape=None, take=None)
        prober.accepts(smaller)
    if unlike and not prober.accepts(replace(_best(prober).step, **unlike)):
        for name, plain in unlike.items():
            prober.accepts(replace(_best(prober).step, **{name: plain}))


def _place(failing: Failing) -> tuple[int, int]:
    """The row and the class at which something is seen; the last where that is not known."""
    evidence = failing.observation.evidence
    step = failing.step
    shape = step.arrays[0].shape if step.shape is None else step.shape
    n = shape[classes_axis(step)]
    row, *more = (evidence.place if evidence is not None else ()) or (0,)
    column = more[0] if more else _worst_class(failing, row)
    if column is None:
        column = n - 1
    return row, min(column, n - 1)


def _worst_class(failing: Failing, row: int) -> int | None:
    """Where results that are not finite or negative stand; None where all are ordinary."""
    step, result = failing.step, failing.result
    if not result.arrays or result.arrays[-1].shape != step.arrays[0].shape:
        return None
    values = to_float64(rows_of(result.arrays[-1], axes_of(step, step.arrays[0].ndim)))
    odd = np.flatnonzero(~np.isfinite(values[row])) if row < len(values) else []
    return int(odd[0]) if len(odd) else None


def _one_row(prober: Prober, fmt: FloatFormat) -> None:
    """The row in question alone, along the last axis; else all rows along the last axis."""
    step = _best(prober).step
    if step.shape is not None or step.arrays[0].ndim == 0:
        return
    row = _place(_best(prober))[0]
    if step.operation == "cross_entropy":
        x, targets = step.arrays
        x, targets = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
        alone = replace(step, arrays=(x[row : row + 1], targets[row : row + 1]))
        if not prober.accepts(alone) and step.arrays[0].ndim > 2:
            prober.accepts(replace(step, arrays=(x, targets)))
        return
    axes = axes_of(step, step.arrays[0].ndim)
    rows = [rows_of(a, axes) for a in step.arrays]
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


def _tiny(prober: Prober, fmt: FloatFormat) -> None:
    """Two logits, or three: most faults show there."""
    step = _best(prober).step
    if step.shape is not None or step.arrays[0].size <= 2:
        return
    if step.operation == "cross_entropy" and len(step.arrays[1]) == 1:
        for row, target in (([0.0, 1.0], 0), ([0.0, 1.0], 1), ([0.0, 20.0], 0), ([0.0, 100.0], 0)):
            logits = np.array([row]).astype(step.arrays[0].dtype)
            if prober.accepts(replace(step, arrays=(logits, np.array([target])))):
                return
        return
    if step.arrays[0].ndim != 1:
        return
    x = to_float64(step.arrays[0])
    place = _place(_best(prober))[1]
    odd = [float(v) for v in dict.fromkeys(x[~np.isfinite(x)].tolist())][:2]
    rows = [[0.0, 1.0], [1.0, 0.0]]
    if step.operation == "softmax_backward":
        for arrays in ([1, 0], [0.5, 0.5]), ([1, 0], [0.75, 0.25]), ([1, 1], [0.75, 0.25]):
            if prober.accepts(_of_lists(step, arrays)):
                return
        return
    if odd:
        rows = [[*odd, 0.0], [0.0, *odd]]
    elif np.ptp(x) > 8.0 or np.abs(x).max() > 8.0:
        top = float(x.max())
        rows += [[top, float(x[place])], [float(x[place]), top], [top, float(x.min())]]
    for row in rows:
        if prober.accepts(_of_lists(step, (row,))):
            return


def _of_lists(step: Step, lists: Sequence[Sequence[float]]) -> Step:
    """The call on these numbers."""
    pairs = zip(lists, step.arrays, strict=True)
    with np.errstate(over="ignore"):
        return replace(
            step, arrays=tuple(np.array(v, np.float64).astype(a.dtype) for v, a in pairs)
        )


def _taken(step: Step, axis: int, kept: Array) -> Step:
    """The call with some entries of one axis alone."""
    x = step.arrays[0]
    arrays = [np.ascontiguousarray(np.take(x, kept, axis)), *step.arrays[1:]]
    is_class = axis in axes_of(step, x.ndim)
    if step.operation == "softmax_backward":
        arrays[1] = np.take(arrays[1], kept, axis)
        if is_class:
            arrays[1] = _normalised(arrays[1], axis)
    if step.operation == "cross_entropy":
        targets = step.arrays[1]
        if is_class:
            arrays[1] = np.clip(np.searchsorted(kept, targets), 0, len(kept) - 1)
        else:
            arrays[1] = np.take(targets, kept, axis)
    return replace(step, arrays=tuple(arrays))


def _normalised(y: Array, axis: int) -> Array:
    wide = to_float64(y)
    with np.errstate(all="ignore"):
        scaled = wide / wide.sum(axis=axis, keepdims=True)
    return scaled.astype(y.dtype) if np.all(np.isfinite(scaled)) else y


def _cut(prober: Prober, axis: int) -> None:
    """Leaves out entries of one axis: halves first, then smaller parts."""
    size = _best(prober).step.arrays[0].shape[axis]
    kept = np.arange(size)
    part = (size + 1) // 2
    least = 1 if size <= 256 else size // 64
    while part >= least and len(kept) > 1:
        # The part at the end first: what is left keeps its place.
        for gone in [kept[i : i + part] for i in range(0, len(kept), part)][::-1]:
            rest = kept[~np.isin(kept, gone)]
            if len(rest) and prober.accepts(
                _taken(_best(prober).step, axis, np.searchsorted(kept, rest))
            ):
                kept = rest
        part = part // 2


def _fewer(prober: Prober, fmt: FloatFormat) -> None:
    """Fewer rows, then fewer classes, of the numbers themselves."""
    step = _best(prober).step
    if step.shape is not None or any(m is not None for m in _best(prober).made):
        return
    axes = axes_of(step, step.arrays[0].ndim)
    for axis in sorted(range(step.arrays[0].ndim), key=lambda a: a in axes):
        step = _best(prober).step
        size = step.arrays[0].shape[axis]
        if axis in axes and step.operation == "cross_entropy":
            kept = np.unique(np.append(step.arrays[1], _place(_best(prober))[1]))
            prober.accepts(_taken(step, axis, kept[(kept >= 0) & (kept < size)]))
            size = _best(prober).step.arrays[0].shape[axis]
        if 1 < size <= 4096:
            _cut(prober, axis)


# ---------------------------------------------------------------- rows made by an expression


def dtype_text(fmt: FloatFormat) -> str:
    return (
        repr(fmt.name)
        if fmt.name.startswith("float") and "_" not in fmt.name
        else (f"ml_dtypes.{fmt.name}")
    )


def evaluated(text: str) -> Array:
    """The array that an expression of `_templates` makes."""
    return np.asarray(eval(text, {"np": np, "ml_dtypes": ml_dtypes}))


def _shape_text(shape: tuple[int, ...]) -> str:
    return str(shape[0]) if len(shape) == 1 else str(shape)


Template = Callable[[tuple[int, ...]], tuple[str, ...]]
"""The expressions of the arrays of a call on logits of some shape."""


@dataclass(frozen=True)
class _Writer:
    """Writes expressions for logits of a format, whose classes lie along an axis.

    Attributes:
        d: the dtype as text. axis: of the classes.
        place: the class in question; counted from the end if negative.
    """

    d: str
    axis: int
    place: int

    def along(self, text: str, shape: tuple[int, ...]) -> str:
        """An expression of one number a class, in the shape."""
        n = shape[self.axis]
        if len(shape) == 1:
            return text
        lined = [n if i == self.axis else 1 for i in range(len(shape))]
        if list(shape) == lined:
            return f"{text}.reshape{shape}"
        put = "" if self.axis == len(shape) - 1 else f".reshape({', '.join(map(str, lined))})"
        return f"np.broadcast_to({text}{put}, {shape}).copy()"

    def full(self, value: str) -> Callable[[tuple[int, ...]], str]:
        if value == "0":
            return lambda shape: f"np.zeros({_shape_text(shape)}, {self.d})"
        return lambda shape: f"np.full({_shape_text(shape)}, {value}, {self.d})"

    def one(self, value: Callable[[int], str]) -> Callable[[tuple[int, ...]], str]:
        """Zeros but for the class in question."""

        def text(shape: tuple[int, ...]) -> str:
            n = shape[self.axis]
            at = self.place if self.place >= 0 else max(n + self.place, 0)
            made = f"np.where(np.arange({n}) == {min(at, n - 1)}, {value(n)}, 0).astype({self.d})"
            return self.along(made, shape)

        return text

    def first(self, part: float) -> Callable[[tuple[int, ...]], str]:
        """Zeros at the start, a part of the classes, and -inf."""
        return lambda shape: self.along(
            f"np.where(np.arange({shape[self.axis]}) < {max(int(part * shape[self.axis]), 1)}, 0, "
            f"-np.inf).astype({self.d})",
            shape,
        )

    def last(self, part: float) -> Callable[[tuple[int, ...]], str]:
        """-inf at the start, and zeros at the end, a part of the classes."""
        return lambda shape: self.along(
            f"np.where(np.arange({shape[self.axis]}) >= "
            f"{shape[self.axis] - max(int(part * shape[self.axis]), 1)}, 0, -np.inf)"
            f".astype({self.d})",
            shape,
        )

    def normal(self, scale: int) -> Callable[[tuple[int, ...]], str]:
        more = "" if scale == 1 else f"{scale} * "
        return lambda shape: (
            f"({more}np.random.default_rng(0).normal(size={_shape_text(shape)})).astype({self.d})"
        )

    def probabilities(self, shape: tuple[int, ...]) -> str:
        made = f"np.random.default_rng(1).exponential(size={_shape_text(shape)})"
        total = f"e.sum(axis={self.axis}, keepdims=True)"
        return f"(lambda e: e / {total})({made}).astype({self.d})"


def _templates(failing: Failing, fmt: FloatFormat) -> Iterator[Template]:
    """Ways to make arrays like those of the call, the simplest first."""
    step = failing.step
    axis = classes_axis(step)
    place, n = _place(failing)[1], step.arrays[0].shape[axis]
    write = _Writer(dtype_text(fmt), axis, place if 2 * place < n else place - n)
    values = to_float64(step.arrays[0])
    zeros = write.full("0")
    if step.operation == "softmax_backward":
        for grad in (write.one(lambda n: "1"), write.normal(1)):

            def uniform(shape: tuple[int, ...]) -> str:
                return write.full(f"1 / {shape[axis]}")(shape)

            for y in (uniform, write.probabilities):
                yield lambda shape, grad=grad, y=y: (grad(shape), y(shape))  # type: ignore[misc]
        return
    logits = [zeros, write.one(lambda n: str(round(np.log(n)))), write.normal(1), write.normal(4)]
    if values.size and np.all(values == values.flat[0]):
        logits.insert(0, write.full(number(values.flat[0], fmt)))
    if np.isnan(values).any():
        logits = [write.one(lambda n: "np.nan")]
    elif np.isposinf(values).any():
        logits = [write.one(lambda n: "np.inf")]
    elif np.isneginf(values).any():
        part = float(np.mean(np.isfinite(values)))
        logits = [
            write.one(lambda n: "-np.inf"), write.first(part), write.last(part), *logits
        ]  # fmt: skip
    for x in logits:
        if step.operation != "cross_entropy":
            yield lambda shape, x=x: (x(shape),)  # type: ignore[misc]
            continue
        for target in dict.fromkeys((0, place, n - 1)):

            def targets(shape: tuple[int, ...], target: int = target) -> str:
                last = shape[-1] - 1
                return f"np.full({shape[:-1]}, {last if target == n - 1 else min(target, last)})"

            yield lambda shape, x=x, targets=targets: (x(shape), targets(shape))  # type: ignore[misc]


def _with(step: Step, made: tuple[str, ...]) -> Step:
    return replace(step, arrays=tuple(evaluated(text) for text in made))


def _alike(prober: Prober, fmt: FloatFormat) -> None:
    """Arrays that expressions make, and the fewest rows and classes at which they fail."""
    step = _best(prober).step
    if step.arrays[0].size <= 3 or step.shape is not None or isinstance(step.axis, tuple):
        return
    for template in _templates(_best(prober), fmt):
        made = template(step.arrays[0].shape)
        if prober.accepts(_with(step, made), made):
            last = classes_axis(step)
            for axis in sorted(range(step.arrays[0].ndim), key=lambda a: a == last):
                _narrowest(prober, template, axis, axis == last)
            return


def _narrowest(prober: Prober, template: Template, axis: int, classes: bool) -> None:
    """Powers of two and their successors first, then what is between."""
    step = _best(prober).step
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
            prober.best = replace(_best(prober), narrower=low if low > 0 else None)


# ---------------------------------------------------------------- rounder numbers


def _rounder(prober: Prober, fmt: FloatFormat) -> None:
    best = _best(prober)
    if any(m is not None for m in best.made):
        if best.step.arrays[0].size > LITERAL:
            return
        prober.best = replace(best, made=(None,) * len(best.made))
    step = best.step
    if step.arrays[0].size > 4096 or step.shape is not None:
        return
    for which in range(1 if step.operation != "softmax_backward" else 2):
        for change in _wholes(step, which):
            if _simpler(change, _best(prober).step.arrays[which]) and _replaced(
                prober, which, change
            ):
                break
    values = _best(prober).step.arrays[0]
    if values.size > _VALUES:
        return
    for i in range(values.size):
        now = float(to_float64(_best(prober).step.arrays[0]).reshape(-1)[i])
        for value in _rounded(now):
            array = _best(prober).step.arrays[0].copy()
            with np.errstate(over="ignore"):
                array.reshape(-1)[i] = value
            if _replaced(prober, 0, array):
                break


def _replaced(prober: Prober, which: int, array: Array) -> bool:
    step = _best(prober).step
    arrays = tuple(array if i == which else a for i, a in enumerate(step.arrays))
    return prober.accepts(replace(step, arrays=arrays))


def _simpler(a: Array, b: Array) -> bool:
    """Whether the numbers of `a` take fewer characters."""
    x, y = to_float64(a), to_float64(b)
    lengths = len(str(x.tolist())), len(str(y.tolist()))
    return lengths[0] < lengths[1] or (
        lengths[0] == lengths[1] and np.count_nonzero(x) < np.count_nonzero(y)
    )


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
    with np.errstate(all="ignore"):
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


# ---------------------------------------------------------------- text


def number(value: Any, fmt: FloatFormat | None = None) -> str:
    """The shortest text that is read as this number of the format; ``np.nan``, ``-np.inf``."""
    v = float(value)
    if not np.isfinite(v):
        return f"{'-' if v == -np.inf else ''}np.{'nan' if np.isnan(v) else 'inf'}"
    fmt = fmt or float_format("float64")
    with np.errstate(over="ignore"):
        v = float(np.float64(v).astype(fmt.dtype))
    for digits in range(1, 18):
        text = f"{v:.{digits}g}"
        with np.errstate(over="ignore"):
            if float(np.float64(text).astype(fmt.dtype)) == v:
                break
    if v == int(v) and abs(v) < 1e6:
        return "-0.0" if v == 0.0 and np.signbit(v) else str(int(v))
    return text.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def two_numbers(got: float, expected: float, least: int = 3) -> tuple[str, str]:
    """Both in decimal, with as many digits as tell them apart and one more."""
    for digits in range(least, 18):
        a, b = f"{got:.{digits}g}", f"{expected:.{digits}g}"
        if a != b and f"{got:.{digits - 1}g}" != f"{expected:.{digits - 1}g}":
            break
    return a, b


def literal(array: Array, fmt: FloatFormat) -> str:
    """An array as an expression: ``np.float32([0, 104])``."""
    if array.dtype.kind in "iu":
        return f"np.array({array.tolist()})"

    def text(values: Array) -> str:
        if values.ndim == 0:
            return number(values, fmt)
        return f"[{', '.join(text(v) for v in values)}]"

    plain = array.dtype == np.float64 or fmt.name in ("float32", "float16")
    inside = text(array)
    return f"np.{array.dtype.name}({inside})" if plain else f"np.array({inside}, {dtype_text(fmt)})"


NATIVE = {
    "torch": ("import torch; ", "torch.from_numpy({})"),
    "jax": ("import jax; ", "jax.numpy.asarray({})"),
    "tensorflow": ("import tensorflow as tf; ", "tf.convert_to_tensor({})"),
    "cupy": ("import cupy; ", "cupy.asarray({})"),
}

_KNOWN = frozenset(
    ("operation", "arrays", "axis", "layout", "out", "cast", "shape", "same", "take", "second",
     "keywords")
)  # fmt: skip


def writable(step: Step) -> bool:
    """Whether `code` can write the call out: it has nothing that cannot be put in a line."""
    usual = {f.name: f for f in fields(Step) if f.name not in _KNOWN}
    return step.same in (None, 0) and all(
        getattr(step, name) == f.default for name, f in usual.items()
    )


def _arranged(text: str, array: Array, layout: str) -> tuple[str, str]:
    """An expression in the layout asked for, and a statement that must follow, about ``x``."""
    pad = ", ".join(["(0, 0)"] * (array.ndim - 1) + ["(2, 1)"])
    ways = {
        "F": f"np.asfortranarray({text})",
        "reversed": f"np.flip(np.flip({text}).copy())",
        "strided": f"np.repeat({text}, 2, axis=-1)[..., ::2]",
        "offset": f"np.pad({text}, [{pad}])[..., 2:-1]",
        "broadcast": f"np.broadcast_to({text}[:1], {array.shape})",
        "misaligned": f"np.frombuffer(bytearray(1) + {text}.tobytes(), {array.dtype.name!r}, "
        f"offset=1).reshape{array.shape}",
    }
    return ways.get(layout, text), "{}.flags.writeable = False; " if layout == "readonly" else ""


def code(failing: Failing, fmt: FloatFormat, backend: str, index: str) -> str:
    """The call as one line of Python; `index` is put behind it."""
    step = failing.step
    first, wrap = NATIVE.get(backend, ("", "{}"))
    names = {"softmax_backward": ("grad", "y"), "cross_entropy": ("logits", "targets")}
    arguments, statements = [], []
    half = fmt.name == "bfloat16"
    for i, (name, array) in enumerate(
        zip(names.get(step.operation, ("x",)), step.arrays, strict=False)
    ):
        text = (failing.made[i] if failing.made else None) or literal(array, fmt)
        if step.cast is not None and array.dtype.kind not in "iu":
            text = f"{text}.astype({step.cast!r})"
        if step.shape is not None and i == 0:
            text = f"np.broadcast_to({text}, {step.shape}).copy()"
        layout = step.second or step.layout if i == 1 else step.layout
        if step.operation == "cross_entropy" and i == 1:
            layout = step.second or "C"
        text, after = _arranged(text, array, layout)
        if half and backend == "torch" and array.dtype.kind not in "iu":
            text = f"torch.from_numpy({text}.astype('float32')).bfloat16()"
        else:
            text = wrap.format(text)
        if after or step.out != "none" or len(text) > 60:
            statements.append(f"{name} = {text}; {after.format(name)}")
            text = name
        arguments.append(text)
    if step.axis != "default" and step.operation != "cross_entropy":
        arguments.append(f"axis={step.axis}")
    if step.out != "none":
        shape, d = step.arrays[0].shape, dtype_text(fmt)
        made = {
            "alias": arguments[0],
            "strided": f"np.full({(*shape[:-1], shape[-1] + 3)}, 55, {d}, order='F')[..., 2:-1]",
        }.get(step.out, f"np.full({shape}, 55, {d})")
        arguments.append(f"out={made if step.out == 'alias' else wrap.format(made)}")
    arguments += [f"{k}={v!r}" for k, v in step.keywords.items()]
    call = f"{step.operation}({', '.join(arguments)})"
    if step.same == 0:  # new numbers in the array of the call before
        (old,) = failing.before
        names_used = list(names.get(step.operation, ("x",)))
        given = [literal(a, fmt) for a in (*old.arrays, *step.arrays)]
        count = len(step.arrays)
        made = "; ".join(
            f"{n} = {wrap.format(g)}" for n, g in zip(names_used, given[:count], strict=False)
        )
        renewed = "; ".join(
            f"{n}[...] = {wrap.format(g)}" for n, g in zip(names_used, given[count:], strict=False)
        )
        more = "" if step.axis == "default" else f", axis={step.axis}"
        call = f"{step.operation}({', '.join(names_used)}{more})"
        return f"{first}{made}; {call}; {renewed}; {call}{index}"
    earlier = "".join(
        code(replace(failing, step=s, made=(), before=()), fmt, backend, "") + "; "
        for s in failing.before
    )
    text = first + earlier + "".join(statements) + call + index
    return f"import ml_dtypes; {text}" if "ml_dtypes" in text else text
