"""A failing call as a line of Python that anybody can run who has NumPy.

Where a row is too long to be written out, its numbers are made by an expression, and the text of
that expression is what is evaluated: what is shown is what was tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import ml_dtypes
import numpy as np

from harness.experiments.conformance.call import Array, Result, Step
from harness.experiments.conformance.expected import axes_of, rows_of
from harness.experiments.conformance.observation import Observation
from harness.numerics.formats import FloatFormat, float_format, to_float64


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


def classes_axis(step: Step) -> int:
    """The axis of the classes, if it is one."""
    return axes_of(step, step.arrays[0].ndim)[-1]


def place_of(failing: Failing) -> tuple[int, int]:
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
    if row >= len(values) or np.isfinite(values[row]).all():
        return None
    return int(np.argmin(np.isfinite(values[row])))


def dtype_text(fmt: FloatFormat) -> str:
    """The dtype of a format, in NumPy: ``'float32'``, ``ml_dtypes.bfloat16``."""
    return (
        repr(fmt.name) if fmt.name in ("float64", "float32", "float16") else f"ml_dtypes.{fmt.name}"
    )


def evaluated(text: str) -> Array:
    """The array that an expression of `templates` makes."""
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


def templates(failing: Failing, fmt: FloatFormat) -> Iterator[Template]:
    """Ways to make arrays like those of the call, the simplest first."""
    step = failing.step
    axis = classes_axis(step)
    place, n = place_of(failing)[1], step.arrays[0].shape[axis]
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

_WRITTEN = 64
"""More numbers are not written out."""
_KNOWN = frozenset(
    ("operation", "arrays", "axis", "layout", "out", "cast", "shape", "same", "take", "second",
     "keywords")
)  # fmt: skip


def writable(failing: Failing) -> bool:
    """Whether `code` can write the call out: it has nothing that cannot be put in a line."""
    step = failing.step
    usual = {f.name: f for f in fields(Step) if f.name not in _KNOWN}
    if step.same not in (None, 0) or any(
        getattr(step, name) != f.default for name, f in usual.items()
    ):
        return False
    written = [a for a, m in zip(step.arrays, failing.made, strict=True) if m is None]
    return all(
        a.size <= _WRITTEN for a in (*written, *(a for s in failing.before for a in s.arrays))
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
