"""What is wrong with an implementation, in a sentence: from where its results are off, and how.

Nothing here decides whether a result is right: that was decided. A sentence is said only where the
results fit it, most of their error being explained by the fault that it names; else nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import Result, Step, alike
from harness.experiments.conformance.expected import softmax_of
from harness.experiments.conformance.observation import FailingCall
from harness.experiments.conformance.patterns.mistakes import digits, known_mistake, temperature
from harness.experiments.conformance.patterns.places import (
    beside,
    every_nth,
    positions,
    rows_off,
    wrapped,
)
from harness.experiments.conformance.patterns.sums import cross_term, mixed, one_factor, summed
from harness.experiments.conformance.patterns.values import (
    cut_off,
    flushed,
    of_exponentials,
    special,
)
from harness.experiments.conformance.patterns.view import View, view_of
from harness.experiments.conformance.python_line import Failing, classes_axis
from harness.experiments.conformance.shrink import Prober, Spent
from harness.numerics.formats import FloatFormat, to_float64

_USUAL = ((48, 127), (24, 3))
"""Rows and classes of ordinary numbers: what is left over is another number for every loop; and
few, whose sum is small."""
_CONTRACT = {
    "modified": "the argument is written to: it must stay as it was",
    "overrun": "memory beyond the end of the argument or of out= is written to",
    "shared": "the result is a view of the argument, and changes when that does",
    "changed": "the result lies in memory that the next call uses again: it changes afterwards",
}
_LAYOUTS = {
    "F": "arrays in Fortran order",
    "reversed": "arrays with negative strides",
    "strided": "arrays with gaps between the elements",
    "offset": "rows cut out of wider ones",
    "broadcast": "broadcast arrays, whose strides are 0",
    "misaligned": "arrays at an odd address",
    "readonly": "read-only arrays",
}
_OUTS = {
    "fresh": "calls with out=",
    "strided": "calls whose out= has gaps between its rows",
    "alias": "calls whose out= is the input",
}
_NUMBERS = (
    known_mistake, summed, one_factor, cross_term, mixed, temperature, digits, cut_off, every_nth,
    positions, of_exponentials,
)  # fmt: skip
"""What may be wrong with the numbers of a result, the likeliest first."""


def _what(view: View) -> str | None:
    """What is wrong with the numbers of a result."""
    return next((text for pattern in _NUMBERS if (text := pattern(view)) is not None), None)


def _where(small: Failing, prober: Prober) -> str | None:
    """Which calls are wrong, from what could not be taken out of the smallest one."""
    step = small.step
    shape = step.arrays[0].shape
    ndim = len(shape)

    def passes(changed: Step) -> bool:
        try:
            return prober.tried(changed, small.before) is None
        except Spent:
            return False

    if step.layout != "C":
        return _LAYOUTS[step.layout]
    if step.second is not None and step.second != step.layout:
        return f"arguments of unlike layout ({step.second} beside {step.layout})"
    if step.out != "none":
        return _OUTS[step.out]
    if further := [k for k in step.keywords if k not in step.numbers]:
        return "calls with " + ", ".join(f"{k}=" for k in further)
    if step.operation == "cross_entropy":
        return _where_wide(small, passes)
    if step.axis == "default" and ndim > 1 and passes(replace(step, axis=-1)):
        return "calls without axis="
    axis = classes_axis(step) if ndim else 0
    if isinstance(step.axis, int) and step.axis < -1 and passes(replace(step, axis=axis)):
        return f"negative axes (axis={step.axis}; axis={axis} is right)"
    if ndim > 2:
        return f"arrays of {ndim} dimensions along axis {axis} (here of shape {shape})"
    if isinstance(step.axis, int) and axis != ndim - 1:
        return "calls along the first axis"
    one_row = replace(step, arrays=tuple(a.reshape(1, -1) for a in step.arrays))
    if ndim == 1 and shape[0] > 1 and passes(one_row):
        return "one-dimensional arrays"
    return _where_wide(small, passes)


def _where_wide(small: Failing, passes: Any) -> str | None:
    step = small.step
    shape = step.arrays[0].shape
    rows = int(np.prod(shape[:-1]))
    n = shape[-1] if shape else 1
    if rows > 2:
        return f"arrays of {rows:,} rows of {n:,} classes (none smaller was seen to be wrong)"
    if n == 1 and rows == 1 and step.operation != "softmax_backward":
        two = np.repeat(step.arrays[0], 2, axis=-1)
        if passes(replace(step, arrays=(two, *step.arrays[1:]))):
            return "rows of one class"
    if small.narrower is None or n < 8:
        return None
    if n != small.narrower + 1:
        return f"rows of {n:,} classes, not of {small.narrower:,}"
    wider = [_wider(step, k) for k in (1, 2)]
    if not passes(wider[0]):
        return f"rows of more than {small.narrower:,} classes"
    if passes(wider[1]):
        return f"rows of {n:,} classes"
    return f"rows of an {'odd' if n % 2 else 'even'} number of classes, from {n:,} on"


def _wider(step: Step, by: int) -> Step:
    """The call with more classes, of numbers as there are."""
    x, *second = step.arrays
    arrays = [
        np.concatenate([x, np.resize(x[..., : x.shape[-1] // 2 or 1], (*x.shape[:-1], by))], -1)
    ]
    if step.operation == "softmax_backward":
        wide = to_float64(second[0])
        more = np.concatenate([wide, np.full((*wide.shape[:-1], by), wide.mean())], -1)
        second = [(more / more.sum(axis=-1, keepdims=True)).astype(second[0].dtype)]
    if step.operation == "masked_softmax":
        second = [np.concatenate([*second, np.ones((*x.shape[:-1], by), np.bool_)], -1)]
    return replace(step, arrays=(*arrays, *second))


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What is wrong, in a sentence; None where that cannot be told.

    Attributes:
        kind: of a fault in what is kept from call to call (``"changed"``, ``"unsteady"``,
            ``"kept"``); else None.
        calls: those that show such a fault, where there are some.
    """

    text: str | None
    kind: str | None = None
    calls: Failing | None = None


def diagnose(
    found: Failing, small: Failing | None, prober: Prober, fmt: FloatFormat, arithmetic: Arithmetic
) -> Diagnosis:
    """What is wrong.

    Args:
        found: the call as it was found. small: the smallest one like it, None if there is none.
        prober: asks whether further calls fail.
    """
    where, text = None, None
    if small is not None:
        where, text = _where(small, prober), _broken_contract(small)
        if text is None and unsteady(found.step, prober):
            return Diagnosis(UNSTEADY, "unsteady")
    seen = [found] if small is None else [found, small]
    views = [v for f in seen if text is None and (v := view_of(f, fmt, arithmetic)) is not None]
    if text is None and (where is None or found.step.layout == "C"):
        text = _generic(found, small is None, prober, fmt, arithmetic)
        where = where if text is None else None
    text = text or _first(views, wrapped) or _first(views, special) or _first(views, flushed)
    text = text or _first(views[:1], known_mistake)
    if text is None and small is not None:
        calls = _remembered(small, prober)
        if calls is not None:
            return Diagnosis(_REMEMBERED, "kept", calls)
        text = _of_zero(small, prober)
    if text is None and small is None:
        text = _first(views, beside)
        if text is None and (what := _first(views, _what)) is not None:
            text = f"rows of {views[0].x.shape[1]} classes: {what}"
    elif text is None and views:
        text = _of_rows(found, views[0], prober, arithmetic) or _first(views, _what)
    if text is None:
        return Diagnosis(None if where is None else f"only {where} were seen to be wrong")
    return Diagnosis(text if where is None else f"{where}: {text}")


def _generic(
    found: Failing, always: bool, prober: Prober, fmt: FloatFormat, arithmetic: Arithmetic
) -> str | None:
    """What is wrong with ordinary calls, if they are; `always`: even where each is in its bound."""
    for shape in _USUAL:
        probe = _usual(found, prober, shape)
        usual = None if probe is None else view_of(probe, fmt, arithmetic)
        if probe is None or usual is None or not (always or usual.bad.any()):
            continue
        usual = replace(usual, row=int(np.argmax(usual.bad.any(axis=1))))
        text = flushed(usual) or _of_rows(probe, usual, prober, arithmetic) or _what(usual)
        if text is not None:
            return text
    return None


def _of_rows(failing: Failing, view: View, prober: Prober, arithmetic: Arithmetic) -> str | None:
    """Which rows of a batch are wrong, whatever is in them: the same ones if rows are exchanged."""
    text, step = rows_off(view), failing.step
    if text is None or step.arrays[0].ndim != 2 or classes_axis(step) != 1:
        return None
    rolled = replace(step, same=None, arrays=tuple(np.roll(a, 3, axis=0) for a in step.arrays))
    (result,) = prober.perform([rolled])
    again = view_of(replace(failing, step=rolled, result=result), view.fmt, arithmetic)
    return text if again is not None and rows_off(again) == text else None


def _first(views: Sequence[View], patterns: Callable[[View], str | None]) -> str | None:
    return next((text for v in views if (text := patterns(v)) is not None), None)


def _on_ordinary(step: Step, shape: tuple[int, int], scale: float, seed: int) -> Step:
    """The operation of a step on random logits, or on their softmax and a random gradient."""
    rng, dtype = np.random.default_rng(seed), step.arrays[0].dtype
    x = (scale * rng.normal(size=shape)).astype(dtype)
    if step.operation == "softmax_backward":
        y = softmax_of(to_float64(x)).astype(dtype)
        return Step(step.operation, (rng.normal(size=shape).astype(dtype), y))
    if step.operation == "cross_entropy":
        return Step(step.operation, (x, rng.integers(0, shape[1], shape[0])))
    masks = [rng.random(shape) < 0.75] if step.operation == "masked_softmax" else []
    return Step(step.operation, (x, *masks), keywords=step.numbers)


def _usual(found: Failing, prober: Prober, shape: tuple[int, int]) -> Failing | None:
    """The operation on ordinary numbers, many enough to tell how they are off."""
    usual = _on_ordinary(found.step, shape, 2.0, 0)
    (result,) = prober.perform([usual])
    if result.error is not None:
        return None
    call = found.observation.call
    at = FailingCall(usual, part=0 if call is None else call.part)
    return Failing(usual, result, replace(found.observation, call=at))


def _broken_contract(small: Failing) -> str | None:
    result = small.result
    if result.error is not None:
        x = to_float64(small.step.arrays[0])
        why = " at an infinite logit" if np.isinf(x).any() else ""
        return f"it raises{' at a NaN' if np.isnan(x).any() else why}: {result.error}"
    if result.out_ignored:
        return "out= is never written" if result.out_left else "out= does not hold the result"
    for name, text in _CONTRACT.items():
        if getattr(result, name):
            return text
    message = small.observation.message.split(" [")[0]
    return message if message.startswith(("shape ", "dtype ")) else None


UNSTEADY = "the same call gave another result before: it depends on more than its arguments"
STEADY = "np.random.default_rng(3).normal(size=(3, 59))"
"""An input of a shape that is asked for nowhere else."""


def unsteady(step: Step, prober: Prober) -> bool:
    """Whether calls on the same numbers, of a shape that is asked for the first time, differ."""
    return _differ(prober.perform([_on_ordinary(step, (3, 59), 1.0, 3)] * 12))


def _differ(results: Sequence[Result]) -> bool:
    """Whether some results are not those of the first call, bit by bit."""
    return not all(alike(results[0], later) for later in results[1:])


def _of_zero(small: Failing, prober: Prober) -> str | None:
    """A negative zero that is no zero, and a sum that grows no more."""
    step = small.step
    x = to_float64(step.arrays[0])
    if np.any(np.signbit(x) & (x == 0)):
        positive = np.where(x == 0, 0.0, x).astype(step.arrays[0].dtype)
        changed = replace(step, arrays=(positive, *step.arrays[1:]))
        if prober.tried(changed, small.before) is None:
            return "-0 among the logits is not taken for 0"
    if step.operation == "softmax" and x.ndim == 1 and x.size > 64 and np.ptp(x) == 0:
        twice = np.full(2 * x.size, x[0]).astype(step.arrays[0].dtype)
        (longer,) = prober.perform([replace(step, arrays=(twice,))])
        if longer.error is None and longer.arrays[0].shape == twice.shape:
            a, b = (float(to_float64(v.arrays[0])[0]) for v in (small.result, longer))
            if a == b and a > 0:
                return f"the sum stalls: it does not grow beyond {1.0 / a:.6g}"
    return None


_REMEMBERED = (
    "another input of the same shape, with other numbers between its ends, gives the same result "
    "bit by bit: results are remembered, or some logits are not read"
)


def _remembered(small: Failing, prober: Prober) -> Failing | None:
    """Two calls whose results are the same bits, though numbers in the middle are not."""
    step = small.step
    x = to_float64(step.arrays[0])
    if step.layout != "C" or len(step.arrays) > 1 or x.ndim != 1 or not np.isfinite(x).all():
        return None
    for n in (5, 7, 11, 13):  # a shape of which nothing may be known yet
        first, second = np.zeros(n), np.zeros(n)
        first[1:-1], second[1:-1] = 2.0, 1.0
        a, b = (replace(step, arrays=(v.astype(step.arrays[0].dtype),)) for v in (first, second))
        if not _differ(prober.perform([a, b])):
            return prober.tried(b, (a,))
    return None


def state(found: Failing, prober: Prober) -> Diagnosis | None:
    """What else than its arguments decides what a call gives; None where nothing was seen to."""
    step, before = found.step, found.before
    alone = replace(step, same=None)
    other = (to_float64(step.arrays[0]) * 0.5 + 1.0).astype(step.arrays[0].dtype)
    later = replace(alone, arrays=(other, *step.arrays[1:]))
    if prober.perform([alone, later])[0].changed:
        return Diagnosis(_CONTRACT["changed"], "changed")
    if unsteady(step, prober) or _differ(prober.perform([alone] * 6)):
        return Diagnosis(UNSTEADY, "unsteady")
    for count in range(1, min(len(before), 8) + 1):
        last = tuple(replace(s, same=None) for s in before[-count:])
        again = prober.tried(alone, last)
        if again is not None:
            shape = last[0].arrays[0].shape
            what = "call" if count == 1 else f"{count} calls"
            after = f"right when called alone, wrong after another {what} (of shape {shape})"
            return Diagnosis(f"{after}: something is kept from call to call", "kept", again)
    if step.same is not None and 0 <= step.same < len(before):
        pairs = [(before[step.same], step)]
        if len(step.arrays) == 1:
            tiny = [np.array(v).astype(step.arrays[0].dtype) for v in ([0, 0, 1], [1, 0, 0])]
            old, new = (Step(step.operation, (x,), "default") for x in tiny)
            pairs.insert(0, (old, new))
        for first, second in pairs:
            again = prober.tried(replace(second, same=0), (replace(first, same=None),))
            if again is not None:
                text = "new numbers in the same array give the old result: it is remembered"
                return Diagnosis(text, "kept", again)
    return None
