"""One call that a case asks for, and its result, both as data.

A step travels to the process that holds the implementation: its arrays as bytes, the rest as
plain data. How the arrays lie in memory is built there, beside the implementation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.registry.contract import CHANGED, NUMBERS, OPERATIONS, RAGGED

Array = NDArray[Any]
AxisArgument = int | tuple[int, ...] | None | Literal["default"]
Layout = Literal["C", "F", "reversed", "strided", "offset", "broadcast", "misaligned", "readonly"]
Out = Literal["none", "fresh", "strided", "alias", "overlap"]
Caller = Literal["own", "thread", "together", "fork"]

PROBABILITIES = ("softmax", *CHANGED, RAGGED)
_BY: Mapping[Caller, str] = {
    "own": "",
    "thread": " in another thread",
    "together": " beside a call of another thread",
    "fork": " in a forked child",
}


@dataclass(frozen=True, eq=False)
class Step:
    """One call of an operation.

    Attributes:
        operation: its name.
        arrays: the arguments; targets of cross_entropy are the second.
        axis: the axis passed; ``"default"`` passes none.
        layout: how the arrays lie in memory when the implementation sees them (targets are
            contiguous).
        out: ``out=`` is not given, a fresh array, a non-contiguous one, the input itself, or one
            that begins at the second element of the input.
        cast: dtype (as NumPy spells it) to which the arrays are converted, for dtypes that are
            no format: ``">f4"``, ``"int8"``, ``"complex64"``, ...
        same: the array object of this earlier step is filled with the new values and passed
            again, which a cache keyed by identity does not survive.
        tiled: (axis, length): the arrays are repeated along this axis until it is so long, so that
            many rows need not travel. Of each result come back, for every element of the arrays as
            they are here, the least and the greatest of what its repetitions gave, on a new first
            axis; and after all results, for each of them in turn, which repetitions those were.
        scale: the caller multiplies the first argument by this number, in a function that the
            library traces or compiles together with the operation; not made where none does.
        second: how the second array lies, where it is unlike the first, or targets that are not
            contiguous; None for no difference.
        keywords: further arguments. A ``dtype`` is a name here, and the library's own dtype in
            the call. Of those that the operation does not have (`numbers` it has), the call is
            not made where its signature lacks one.
        positional: the axis is passed by position.
        caller: who calls: the thread that called before, another thread, one of several threads
            that call again and again at the same time, or a forked child. Neighbours in a list
            with the same caller share the thread, the time, or the child.
    """

    operation: str
    arrays: tuple[Array, ...]
    axis: AxisArgument = -1
    layout: Layout = "C"
    out: Out = "none"
    cast: str | None = None
    same: int | None = None
    tiled: tuple[int, int] | None = None
    scale: float | None = None
    second: Layout | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)
    positional: bool = False
    caller: Caller = "own"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arguments: ``("x",)``."""
        parameters = OPERATIONS[self.operation]
        return tuple(p for p in parameters if p not in NUMBERS and p not in ("axis", "out"))

    @property
    def numbers(self) -> dict[str, Any]:
        """Those of the keywords that the operation cannot do without: ``{"scale": 0.5}``."""
        return {k: v for k, v in self.keywords.items() if k in NUMBERS}

    def call_text(self) -> str:
        """The call, for messages: ``softmax(x, axis=-1)``."""
        axis = f", {self.axis}" if self.positional else f", axis={self.axis}"
        if self.axis == "default" or self.operation == "cross_entropy":
            axis = ""
        outs = {"none": "", "alias": ", out=x", "overlap": ", out=one element after x"}
        out = outs.get(self.out, f", out={self.out}")
        more = "".join(f", {k}={v}" for k, v in self.keywords.items())
        text = f"{self.operation}({', '.join(self.names)}{axis}{out}{more}){_BY[self.caller]}"
        return text if self.scale is None else f"compiled {text} of {self.scale:g}*x"

    def full_shape(self) -> tuple[int, ...]:
        """The shape of the first argument as the implementation sees it."""
        shape = list(self.arrays[0].shape)
        if self.tiled is not None:
            axis, length = self.tiled
            shape[axis] = length
        return tuple(shape)


def plain_step(operation: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Step:
    """The operation on equal numbers, where it matters only whether the call can be made."""
    x = np.ones(shape, dtype)
    if operation == RAGGED:
        return Step(operation, (x.reshape(-1), np.array([0, x.size])), "default")
    second = {
        "softmax_backward": (x / x.dtype.type(shape[-1]),),
        "cross_entropy": (np.zeros(shape[:-1], np.int64),),
        "masked_softmax": (np.ones(shape, np.bool_),),
    }
    numbers = {p: 1.0 for p in OPERATIONS[operation] if p in NUMBERS}
    return Step(operation, (x, *second.get(operation, ())), keywords=numbers)


@dataclass(frozen=True, eq=False)
class Result:
    """What a step gave.

    Attributes:
        arrays: the results as they were when the call returned; dtypes that are no format come
            as float64 (complex as its real part). Empty where the call raised.
        dtypes: their dtypes as they came.
        shapes: their shapes as they came; empty where those of the arrays are meant.
        error: the exception in one line, or None.
        modified: an argument was changed (other than through ``out=``).
        overrun: memory beside an argument or ``out=`` was changed, which a view leaves out.
        shared: the result lies in the memory of an argument that is not ``out=``, so that it
            changes with it.
        changed: a result changed after the call had returned.
        out_ignored: ``out=`` was given, and does not hold the result.
        out_left: and it holds what it held before.
        not_made: why the call cannot be asked of this implementation, or None.
    """

    arrays: tuple[Array, ...] = ()
    dtypes: tuple[str, ...] = ()
    shapes: tuple[Sequence[int], ...] = ()
    error: str | None = None
    modified: bool = False
    overrun: bool = False
    shared: bool = False
    changed: bool = False
    out_ignored: bool = False
    out_left: bool = False
    not_made: str | None = None


def same_bytes(a: Array, b: Array) -> bool:
    """Whether two arrays are alike to the last bit, shape and dtype included."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def alike(a: Result, b: Result) -> bool:
    """Whether two calls gave the same to the last bit; of two that raised, whether both did."""
    if (a.error is None) != (b.error is None) or len(a.arrays) != len(b.arrays):
        return False
    return all(map(same_bytes, a.arrays, b.arrays))


StepOrResult = TypeVar("StepOrResult", Step, Result)


def packed(items: Sequence[Step] | Sequence[Result]) -> tuple[list[dict[str, Any]], list[Array]]:
    """The items fit for JSON, with the number of their arrays, and the arrays of all in order."""
    plain = [{**vars(item), "arrays": len(item.arrays)} for item in items]
    for item, described in zip(items, plain, strict=True):
        if isinstance(item, Step):  # JSON has no infinities
            numbers = {k: float(v).hex() for k, v in item.numbers.items()}
            described["keywords"] = {**item.keywords, **numbers}
    return plain, [a for item in items for a in item.arrays]


def unpacked(
    kind: type[StepOrResult], plain: Sequence[Mapping[str, Any]], arrays: Iterable[Array]
) -> list[StepOrResult]:
    """The inverse of `packed`; JSON has made lists of their tuples."""
    rest = iter(arrays)
    items: list[StepOrResult] = []
    for described in plain:
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in described.items()
        }
        if "keywords" in fields:
            given = fields["keywords"].items()
            fields["keywords"] = {k: float.fromhex(v) if k in NUMBERS else v for k, v in given}
        items.append(kind(**fields | {"arrays": tuple(islice(rest, fields["arrays"]))}))
    return items


def owner(array: Array) -> Array:
    """The array in whose memory a view made here lies; itself where it is no view."""
    return array.base if isinstance(array.base, np.ndarray) else array


def repeated(array: Array, axis: int, length: int) -> Array:
    """`array` over and over along an axis until it is so long; a view of what was made."""
    times = [1] * array.ndim
    times[axis] = -(-length // array.shape[axis])
    every: Any = [slice(None)] * array.ndim
    every[axis] = slice(0, length)
    return np.asarray(np.tile(array, times)[tuple(every)])


def extremes(array: Array, axis: int, period: int) -> tuple[Array, Array]:
    """The least and the greatest over the repetitions of a period, on a new first axis; and which.

    NaN is both. Repetitions of the same bytes are not looked at more closely.
    """
    moved = np.moveaxis(array, axis, 0)
    short = -len(moved) % period
    if short:  # what the last repetition lacks is taken from the first
        moved = np.concatenate([moved, moved[period - short : period]])
    body = moved.reshape(-1, period, *moved.shape[1:])
    bits = np.dtype(f"u{array.dtype.itemsize}")
    if np.all(body.view(bits) == body[0].view(bits)):
        value = np.moveaxis(body[0], 0, axis)
        return np.stack([value, value]), np.zeros((2, *value.shape), np.int64)
    which = np.stack([body.argmin(axis=0), body.argmax(axis=0)])
    values = np.take_along_axis(body, which, axis=0)
    return np.moveaxis(values, 1, axis + 1), np.moveaxis(which, 1, axis + 1).astype(np.int64)


def arranged(array: Array, layout: Layout) -> Array:
    """A copy of `array` with the layout asked for; equal values, own memory."""
    if layout == "F":
        return np.array(array, order="F", copy=True)
    if layout == "reversed":
        every: Any = (..., *(slice(None, None, -1) for _ in array.shape))
        return np.asarray(np.array(array[every], order="C", copy=True)[every])
    if layout in ("strided", "offset") and array.ndim:
        n, gaps = array.shape[-1], layout == "strided"
        wide = np.full((*array.shape[:-1], 2 * n if gaps else n + 3), 77, dtype=array.dtype)
        view = wide[..., ::2] if gaps else wide[..., 2:-1]
        view[...] = array
        return view
    if layout == "broadcast" and array.ndim:
        return np.broadcast_to(array[:1].copy(), array.shape)
    if layout == "misaligned":
        raw = np.empty(array.nbytes + 1, np.uint8)
        view = np.ndarray(array.shape, array.dtype, buffer=raw.data, offset=1)
        view[...] = array
        return view
    copy = np.array(array, order="C", copy=True)
    if layout == "readonly":
        copy.flags.writeable = False
    return copy
