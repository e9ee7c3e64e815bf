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
    if observation.outcome in ("inaccurate", "wrong", "zero") and observation.got is not None:
        return "number", ""
    if observation.outcome == "inaccurate":
        return "number", ""
    return observation.outcome, observation.message.split(" [")[0].split("(")[0][:24]


def classes_axis(step: Step) -> int:
    """The axis of the classes, if it is one."""
    return axes_of(step, step.arrays[0].ndim)[-1]


def smallest(prober: Prober, failing: Failing, fmt: FloatFormat) -> Failing:
    """The smallest call found that fails as `failing` does."""
    prober.best = failing
    try:
        for simplify in (_plain, _one_row, _fewer_rows, _fewer_classes, _rounder, _default_axis):
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
    if step.operation == "cross_entropy":
        x, targets = step.arrays
        x, targets = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
        row = _place(_best(prober))[0]
        alone = replace(step, arrays=(x[row : row + 1], targets[row : row + 1]))
        if not prober.accepts(alone) and step.arrays[0].ndim > 2:
            prober.accepts(replace(step, arrays=(x, targets)))
        return
    axes = axes_of(step, step.arrays[0].ndim)
    rows = [rows_of(a, axes) for a in step.arrays]
    row = _place(_best(prober))[0]
    if step.arrays[0].ndim > 1:
        one = replace(step, arrays=tuple(r[row] for r in rows), axis=-1)
        if prober.accepts(one):
            return
        one = replace(step, arrays=tuple(r[row : row + 1] for r in rows), axis=-1)
        if prober.accepts(one):
            return
        last = step.arrays[0].ndim - 1
        if step.arrays[0].ndim > 2 or axes != (last,):
            prober.accepts(replace(step, arrays=tuple(rows), axis=-1))


def _taken(step: Step, axis: int, kept: Array, place: int) -> Step:
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


def _cut(prober: Prober, axis: int, place: int) -> None:
    """Leaves out entries of one axis: halves first, then smaller parts."""
    size = _best(prober).step.arrays[0].shape[axis]
    kept = np.arange(size)
    part = (size + 1) // 2
    least = 1 if size <= 256 else size // 64
    while part >= least and len(kept) > 1:
        start = 0
        # The part at the end first: what is left keeps its place.
        parts = [kept[i : i + part] for i in range(0, len(kept), part)][::-1]
        for gone in parts:
            rest = np.setdiff1d(kept, gone)
            if len(rest) and prober.accepts(
                _taken(_best(prober).step, axis, np.searchsorted(kept, rest), place)
            ):
                kept = rest
            start += 1
        part = part // 2


def _fewer_rows(prober: Prober, fmt: FloatFormat) -> None:
    step = _best(prober).step
    if step.shape is not None:
        return
    axes = axes_of(step, step.arrays[0].ndim)
    for axis in range(step.arrays[0].ndim):
        if axis not in axes and step.arrays[0].shape[axis] > 1:
            _cut(prober, axis, 0)


def _fewer_classes(prober: Prober, fmt: FloatFormat) -> None:
    step = _best(prober).step
    if step.shape is not None:
        return
    for axis in axes_of(step, step.arrays[0].ndim):
        size = step.arrays[0].shape[axis]
        if step.operation == "cross_entropy":
            kept = np.unique(np.append(step.arrays[1], _place(_best(prober))[1]))
            prober.accepts(_taken(step, axis, kept[(kept >= 0) & (kept < size)], 0))
            size = _best(prober).step.arrays[0].shape[axis]
        if 1 < size <= 4096:
            _cut(prober, axis, _place(_best(prober))[1])
    if _best(prober).step.arrays[0].size > LITERAL:
        _recipes(prober, fmt)


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


def _templates(failing: Failing, fmt: FloatFormat) -> Iterator[Callable[[int], tuple[str, ...]]]:
    """Ways to make arrays of n classes like those of the call, the simplest first."""
    step = failing.step
    shape, axis, d = step.arrays[0].shape, classes_axis(step), dtype_text(fmt)
    _, place = _place(failing)
    values = to_float64(step.arrays[0])
    classes = shape[axis]

    def sized(n: int) -> tuple[int, ...]:
        return (*shape[:axis], n, *shape[axis + 1 :])

    def at(n: int) -> int:
        return place if 2 * place < classes else max(n - (classes - place), 0)

    def along(text: str, n: int) -> str:
        """An expression of n numbers, in the call's shape."""
        if len(shape) == 1:
            return text
        if sized(n) == (1, n):
            return f"{text}.reshape(1, {n})"
        return f"np.broadcast_to({text}{'[:, None]' if axis == 0 else ''}, {sized(n)}).copy()"

    def zeros(n: int) -> str:
        return f"np.zeros({_shape_text(sized(n))}, {d})"

    def constant(n: int) -> str:
        return f"np.full({_shape_text(sized(n))}, {number(values.flat[0], fmt)}, {d})"

    def one(value: Callable[[int], str]) -> Callable[[int], str]:
        return lambda n: along(f"np.where(np.arange({n}) == {at(n)}, {value(n)}, 0).astype({d})", n)

    def some(n: int) -> str:
        k = max(int(np.count_nonzero(values == 0.0)) * n // max(values.size, 1), 1)
        return along(f"np.where(np.arange({n}) < {k}, 0, -np.inf).astype({d})", n)

    def normal(scale: int, seed: int = 0) -> Callable[[int], str]:
        more = "" if scale == 1 else f"{scale} * "
        return lambda n: (
            f"({more}np.random.default_rng({seed}).normal(size={_shape_text(sized(n))}))"
            f".astype({d})"
        )

    def counted(n: int) -> str:
        return along(f"-(np.arange({n}) % 4).astype({d})", n)

    simple = [zeros, one(lambda n: str(round(np.log(n)))), one(lambda n: "-np.inf")]
    if values.size and np.all(values == values.flat[0]):
        simple.insert(0, constant)
    logits = [*simple, normal(1), normal(4), counted]
    if np.isinf(values).any():
        logits = [some, *logits]
    if step.operation == "softmax_backward":
        axis_text = f"axis={axis}, keepdims=True"

        def uniform(n: int) -> str:
            return f"np.full({_shape_text(sized(n))}, {number(1.0 / n, fmt)}, {d})"

        def peaked(n: int) -> str:
            made = f"np.random.default_rng(1).exponential(size={_shape_text(sized(n))})"
            return f"(lambda e: e / e.sum({axis_text}))({made}).astype({d})"

        for grad in (one(lambda n: "1"), normal(1)):
            for y in (uniform, peaked):
                yield lambda n, grad=grad, y=y: (grad(n), y(n))  # type: ignore[misc]
    elif step.operation == "cross_entropy":
        rows = step.arrays[1].size
        for x in logits:
            for target in dict.fromkeys((0, place, classes - 1)):
                yield lambda n, x=x, target=target: (  # type: ignore[misc]
                    x(n),
                    f"np.full({rows}, {target if target < classes - 1 else n - 1})",
                )
    else:
        for x in logits:
            yield lambda n, x=x: (x(n),)  # type: ignore[misc]


def _with(step: Step, made: tuple[str, ...]) -> Step:
    return replace(step, arrays=tuple(evaluated(text) for text in made))


def _recipes(prober: Prober, fmt: FloatFormat) -> None:
    """A row that an expression makes, and the fewest classes at which it fails."""
    best = _best(prober)
    classes = best.step.arrays[0].shape[classes_axis(best.step)]
    for template in _templates(best, fmt):
        made = template(classes)
        if prober.accepts(_with(best.step, made), made):
            _narrowest(prober, template, classes)
            return


def _narrowest(prober: Prober, template: Callable[[int], tuple[str, ...]], classes: int) -> None:
    """Powers of two and their successors first, then what is between; fails at `classes`."""
    step = _best(prober).step

    def fails(n: int) -> bool:
        made = template(n)
        return prober.accepts(_with(step, made), made)

    low, high = 1, classes
    powers = [n for k in range(1, 24) for n in (1 << k, (1 << k) + 1) if n < classes]
    while powers:
        middle = powers[len(powers) // 2]
        if fails(middle):
            high = middle
        else:
            low = middle
        powers = [n for n in powers if low < n < high]
    while high - low > 1:
        middle = (low + high) // 2
        if fails(middle):
            high = middle
        else:
            low = middle
    prober.best = replace(_best(prober), narrower=low if low > 1 else None)


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
            array.reshape(-1)[i] = value
            if _replaced(prober, 0, array):
                break


def _replaced(prober: Prober, which: int, array: Array) -> bool:
    step = _best(prober).step
    arrays = tuple(array if i == which else a for i, a in enumerate(step.arrays))
    return prober.accepts(replace(step, arrays=arrays))


def _simpler(a: Array, b: Array) -> bool:
    """Whether the numbers of `a` take fewer characters."""
    return len(str(to_float64(a).tolist())) < len(str(to_float64(b).tolist()))


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


def _default_axis(prober: Prober, fmt: FloatFormat) -> None:
    best = _best(prober)
    last = best.step.arrays[0].ndim - 1
    if best.step.operation == "cross_entropy" or axes_of(best.step, last + 1) != (last,):
        return
    if best.step.axis != "default":
        prober.accepts(replace(best.step, axis="default"), best.made)


# ---------------------------------------------------------------- text


def number(value: Any, fmt: FloatFormat | None = None) -> str:
    """The shortest text that is read as this number of the format; ``np.nan``, ``-np.inf``."""
    v = float(value)
    if not np.isfinite(v):
        return f"{'-' if v == -np.inf else ''}np.{'nan' if np.isnan(v) else 'inf'}"
    fmt = fmt or float_format("float64")
    for digits in range(1, 18):
        text = f"{v:.{digits}g}"
        with np.errstate(over="ignore"):
            if float(np.float64(text).astype(fmt.dtype)) == v:
                break
    return text.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def two_numbers(got: float, expected: float, least: int = 3) -> tuple[str, str]:
    """Both in decimal, with as many digits as tell them apart and one more."""
    for digits in range(least, 18):
        a, b = f"{got:.{digits}g}", f"{expected:.{digits}g}"
        if f"{got:.{digits - 1}g}" != f"{expected:.{digits - 1}g}":
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


_NATIVE = {
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
    return step.same is None and all(getattr(step, name) == f.default for name, f in usual.items())


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
    first, wrap = _NATIVE.get(backend, ("", "{}"))
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
    earlier = "".join(
        code(replace(failing, step=s, made=(), before=()), fmt, backend, "") + "; "
        for s in failing.before
    )
    text = first + earlier + "".join(statements) + call + index
    return f"import ml_dtypes; {text}" if "ml_dtypes" in text else text
