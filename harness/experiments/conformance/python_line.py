"""A failing call as a line of Python that anybody can run who has NumPy.

Where a row is too long to be written out, its numbers are made by an expression, and the text of
that expression is what is evaluated: what is shown is what was tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
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
        made: the expressions that make its arrays; none where their numbers are written out.
        result: what it gave. observation: what is wrong with that.
        narrower: the largest number of classes that was seen to pass, of rows made alike.
    """

    step: Step
    result: Result
    observation: Observation
    made: tuple[str, ...] = ()
    before: tuple[Step, ...] = ()
    narrower: int | None = None


def classes_axis(step: Step) -> int:
    """The axis of the classes, if it is one."""
    return axes_of(step, step.arrays[0].ndim)[-1]


def place_of(failing: Failing) -> tuple[int, int]:
    """The row and the class at which something is seen; the last where that is not known."""
    call = failing.observation.call
    step = failing.step
    last = step.arrays[0].shape[classes_axis(step)] - 1
    row, *more = (call.place if call is not None else ()) or (0,)
    column = more[0] if more else _worst_class(failing, row)
    return row, last if column is None else min(column, last)


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
    return f"ml_dtypes.{fmt.name}" if fmt.name == "bfloat16" else repr(fmt.name)


def evaluated(text: str) -> Array:
    """The array that an expression of `templates` makes."""
    return np.asarray(eval(text, {"np": np, "ml_dtypes": ml_dtypes}))


Template = Callable[[tuple[int, ...]], tuple[str, ...]]
"""The expressions of the arrays of a call on logits of some shape."""

_ZEROS, _SAME = "np.zeros({shape}, {d})", "np.full({shape}, %s, {d})"
_NORMAL = "(%snp.random.default_rng(0).normal(size={shape})).astype({d})"
_ONE = "np.where(np.arange({n}) == {at}, %s, 0).astype({d})"
_START = "np.where(np.arange({n}) < {some}, 0, -np.inf).astype({d})"
_END = "np.where(np.arange({n}) >= {rest}, 0, -np.inf).astype({d})"
_PROBABILITIES = (
    "(lambda e: e / e.sum(axis={axis}, keepdims=True))"
    "(np.random.default_rng(1).exponential(size={shape})).astype({d})"
)
_TARGETS = ("np.full({rows}, 0)", "np.full({rows}, {target})", "np.full({rows}, {last})")


def templates(failing: Failing, fmt: FloatFormat) -> Iterator[Template]:
    """Ways to make arrays like those of the call, the simplest first."""
    step = failing.step
    axis = classes_axis(step)
    place, count = place_of(failing)[1], step.arrays[0].shape[axis]
    values = to_float64(step.arrays[0])
    finite = float(np.mean(np.isfinite(values)))

    def written(recipe: str, shape: tuple[int, ...]) -> str:
        n = shape[axis]
        at = place if 2 * place < count else max(place - count + n, 0)  # from the nearer end
        some = max(int(finite * n), 1)
        text = recipe.format(
            shape=shape[0] if len(shape) == 1 else shape, d=dtype_text(fmt), axis=axis, n=n,
            at=min(at, n - 1), some=some, rest=n - some, log=round(np.log(n)),
            rows=shape[:-1], target=min(place, n - 1), last=n - 1,
        )  # fmt: skip
        return _along(text, axis, shape) if "np.arange" in recipe else text

    logits = [_ZEROS, _ONE % "{log}", _NORMAL % "", _NORMAL % "4 * "]
    if values.size and np.all(values == values.flat[0]):
        value = number(values.flat[0], fmt)
        logits.insert(0, _ZEROS if value == "0" else _SAME % value)
    if np.isnan(values).any():
        logits = [_ONE % "np.nan"]
    elif np.isposinf(values).any():
        logits = [_ONE % "np.inf"]
    elif np.isneginf(values).any():
        logits = [_ONE % "-np.inf", _START, _END, *logits]
    arrays: Iterable[tuple[str, ...]] = product(logits)
    if step.operation == "softmax_backward":
        arrays = product((_ONE % "1", _NORMAL % ""), (_SAME % "1 / {n}", _PROBABILITIES))
    if step.operation == "cross_entropy":
        targets = dict(zip((0, place, count - 1), _TARGETS, strict=True))
        arrays = product(logits, targets.values())
    for recipes in arrays:
        yield lambda shape, recipes=recipes: tuple(written(r, shape) for r in recipes)  # type: ignore[misc]


def _along(text: str, axis: int, shape: tuple[int, ...]) -> str:
    """An expression of one number a class, in the shape."""
    if len(shape) == 1:
        return text
    lined = tuple(n if i == axis else 1 for i, n in enumerate(shape))
    if shape == lined:
        return f"{text}.reshape{shape}"
    put = "" if axis == len(shape) - 1 else f".reshape{lined}"
    return f"np.broadcast_to({text}{put}, {shape}).copy()"


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
            if float(np.float64(text).astype(fmt.dtype)) == v:
                break
    if v == int(v) and abs(v) < 1e6:
        return "-0.0" if v == 0.0 and np.signbit(v) else str(int(v))
    return text.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def two_numbers(got: float, expected: float) -> tuple[str, str]:
    """Both in decimal, with as many digits as tell them apart and one more, three at least."""
    for digits in range(3, 18):
        a, b = f"{got:.{digits}g}", f"{expected:.{digits}g}"
        if a != b and f"{got:.{digits - 1}g}" != f"{expected:.{digits - 1}g}":
            break
    return a, b


def literal(array: Array, fmt: FloatFormat) -> str:
    """An array as an expression: ``np.float32([0, 104])``."""
    if array.dtype.kind in "iub":
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
    "paddle": ("import paddle; ", "paddle.to_tensor({})"),
    "tinygrad": ("import tinygrad; ", "tinygrad.Tensor({})"),
}

_WRITTEN = 64
"""More numbers are not written out."""
_KNOWN = frozenset(
    ("operation", "arrays", "axis", "layout", "out", "cast", "same", "second", "keywords")
)  # fmt: skip


def writable(failing: Failing) -> bool:
    """Whether `code` can write the call out: it has nothing that cannot be put in a line."""
    step = failing.step
    usual = {f.name: f for f in fields(Step) if f.name not in _KNOWN}
    if step.same not in (None, 0) or any(
        getattr(step, name) != f.default for name, f in usual.items()
    ):
        return False
    written = [*failing.before, *(() if failing.made else (step,))]
    return all(a.size <= _WRITTEN for s in written for a in s.arrays)


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
    names = step.names
    if step.same == 0:  # new numbers in the array of the call before
        (old,) = failing.before
        more = "" if step.axis == "default" else f", axis={step.axis}"
        call = f"{step.operation}({', '.join(names)}{more})"
        made, renewed = (
            "; ".join(f"{n}{into} = {wrap.format(literal(a, fmt))}"
                      for n, a in zip(names, arrays, strict=True))
            for into, arrays in (("", old.arrays), ("[...]", step.arrays))
        )  # fmt: skip
        return f"{first}{made}; {call}; {renewed}; {call}{index}"
    arguments, statements = [], []
    half = fmt.name == "bfloat16"
    for i, (name, array) in enumerate(zip(names, step.arrays, strict=False)):
        text = failing.made[i] if failing.made else literal(array, fmt)
        if step.cast is not None and array.dtype.kind not in "iub":
            text = f"{text}.astype({step.cast!r})"
        layout = step.second or step.layout if i == 1 else step.layout
        if step.operation == "cross_entropy" and i == 1:
            layout = step.second or "C"
        text, after = _arranged(text, array, layout)
        if half and backend == "torch" and array.dtype.kind not in "iub":
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
    arguments += [f"{k}={number(v) if k in step.numbers else repr(v)}"
                  for k, v in step.keywords.items()]  # fmt: skip
    call = f"{step.operation}({', '.join(arguments)})"
    earlier = "".join(
        code(replace(failing, step=s, made=(), before=()), fmt, backend, "") + "; "
        for s in failing.before
    )
    text = first + earlier + "".join(statements) + call + index
    return f"import ml_dtypes; {text}" if "ml_dtypes" in text else text
