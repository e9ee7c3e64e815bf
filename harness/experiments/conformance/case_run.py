"""Runs one case on one implementation, operation and dtype: makes its calls, observes results."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import psutil

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import (
    PROBABILITIES,
    Array,
    AxisArgument,
    Layout,
    Out,
    Result,
    Step,
    plain_step,
)  # fmt: skip
from harness.experiments.conformance.expected import (
    BoolArray,
    Expected,
    axes_of,
    expect_all,
    expected_of,
    expected_shapes,
    index_of,
    largest_at,
    result_rows,
    rows_of,
    softmax_of,
    step_rows,
)
from harness.experiments.conformance.observation import (
    Broken,
    FailingCall,
    Grade,
    Observation,
    Skip,
    worst,
)  # fmt: skip
from harness.experiments.conformance.target import Subject, compiles_every_shape
from harness.experiments.judgement import half_of_the_digits
from harness.numerics.exact import Exact, from_float64
from harness.numerics.formats import Float64Array, FloatFormat, float_format, to_float64, to_hex
from harness.numerics.outcomes import outcome as class_of
from harness.numerics.ulps import ulp_error
from harness.records import Outcome
from harness.registry.contract import CHANGED, OPERATIONS, RAGGED
from harness.worker.isolation.scheduling import waited

T = TypeVar("T")
_USUAL = {"scale": 0.1, "sink": 0.5, "cap": 30.0}
"""Parameters of attention's operations where a case asks for none in particular."""
_ONE_IN = 6
"""Of the shapes of a case, how many are asked where each is compiled anew."""

_FAULTS = {
    "modified": "the input was modified",
    "overrun": "memory beside the arrays was written to",
    "shared": "the result shares memory with the input, and changes when that does",
    "changed": "the result changed after the call had returned",
    "out_ignored": "out= does not hold the result",
}
"""What is told of the flags of a `Result`, the first that is set."""

_TRIES, _HOPELESS = 6, 30.0
"""How often a small call is made to tell how long a large one takes; at most two of one that is so
many times too slow."""
_WHOLE = 64
"""Elements of an input that are shown one by one; of a longer one it is told how it was made."""
_CONVENTION_ULPS = 4.0
"""How near to the value of a convention counts as following it: room for rounding, while those of
different conventions are mostly far apart."""
_ROUNDED = 0.5 + 2.0**-20
"""No correctly rounded result is off by more ulps, and no error is known worse than that."""


@dataclass(frozen=True)
class Trial:
    """What a case's judge is given.

    Attributes:
        subject: the implementation.
        case_id, case_number: of the case, for messages and seeds.
        operation, dtype: what is judged.
        arithmetic: what the implementation computes with.
        seed: of every random input.
        budget_s: about how long one case may take; a slow implementation gets fewer points of a
            sweep, which is said.
        timeout_s: the longest that one request may take.
        thorough: every width, position and count, or a selection.
        made: the calls of the last requests, those of a request together.
    """

    subject: Subject
    case_id: str
    case_number: int | None
    operation: str
    dtype: str
    arithmetic: Arithmetic
    seed: int = 0
    budget_s: float = 5.0
    timeout_s: float = 60.0
    thorough: bool = True
    made: deque[tuple[Step, ...]] = field(default_factory=lambda: deque(maxlen=2), compare=False)
    _refused: dict[int, str | None] = field(default_factory=dict, init=False, compare=False)
    _asked: list[int] = field(default_factory=list, init=False, compare=False)

    @property
    def fmt(self) -> FloatFormat:
        return float_format(self.dtype)

    @property
    def roundings(self) -> tuple[FloatFormat, float, float, float]:
        """The format inside, its u, the error of an exponential in it, and that of rounding a
        result to another format: u of that, or 0."""
        inside = self.arithmetic.internal(self.fmt)
        out = self.fmt.unit_roundoff if inside != self.fmt else 0.0
        return inside, inside.unit_roundoff, self.arithmetic.exp_error, out

    def rng(self, *salt: int) -> np.random.Generator:
        """Seeded by the run's seed and the case, the same for every implementation."""
        number = self.case_number or 0
        return np.random.default_rng([self.seed, number, *salt])

    @cached_property
    def sparing(self) -> bool:
        """Whether few shapes are asked: a look at what compiles each anew.

        XLA takes a fifth of a second for every new shape, so that a few hundred are minutes.
        """
        if self.thorough:
            return False
        shapes = ((4, 7), (3, 11), (5, 13), (2, 17))
        steps = [self.step(self.array(np.zeros(shape))) for shape in shapes]
        return compiles_every_shape(self.subject, steps, self.timeout_s)

    def chosen(self, shapes: Sequence[T], most: int) -> list[T]:
        """All shapes; a seeded choice, and the last, where each is compiled anew (`sparing`)."""
        if len(shapes) <= most or not self.sparing:
            return list(shapes)
        others = self.rng(len(shapes), most).choice(len(shapes) - 1, most - 1, replace=False)
        return [*(shapes[i] for i in sorted(others)), shapes[-1]]

    def array(self, values: object) -> Array:
        """Values in the dtype under judgement, rounded once."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(values, dtype=np.float64).astype(self.fmt.dtype)

    def normal(self, shape: tuple[int, ...], *salt: int) -> Array:
        """Ordinary logits, seeded by their shape and the salt.

        They strain no algorithm: no probability vanishes in the format, or nearly.
        """
        scale = 1.0 if self.dtype == "float16" else 2.0
        return self.array(self.rng(*salt, *shape).normal(scale=scale, size=shape))

    def axes(self, ndim: int) -> range:
        """The axes along which the operation can be asked for, as non-negative integers."""
        return range(ndim - 1 if self.operation == "cross_entropy" else 0, ndim)

    def columns(self, x: Array) -> list[Step]:
        """The rows of `x` along the first axis; no call of a loss, whose axis is the last."""
        in_columns = self.operation != "cross_entropy"
        return [self.step(np.ascontiguousarray(x.T), 0)] if in_columns else []

    def step(
        self,
        x: Array,
        axis: AxisArgument = -1,
        *,
        layout: Layout = "C",
        out: Out = "none",
        same: int | None = None,
        targets: Array | None = None,
        grad: Array | None = None,
        mask: Array | None = None,
        number: float | None = None,
    ) -> Step:
        """The call of the operation on logits `x` (for softmax_backward, `x` gives y).

        Gradients, targets and masks that are not given are made from the values, seeded; a
        `number` (a scale, cap or sink), which is rounded to the format, is one that models use.
        """
        keywords = {
            name: float(self.array(usual if number is None else number))
            for name, usual in _USUAL.items()
            if name in OPERATIONS[self.operation]
        }
        if self.operation == "softmax_backward":
            if grad is None:
                grad = self.array(self.rng(x.size, 1).normal(size=x.shape))
            arrays: tuple[Array, ...] = grad, softmax_like(x, axis, self.fmt)
        elif self.operation == "cross_entropy":
            if targets is None:
                most = max(x.shape[-1], 1)
                targets = self.rng(x.size, 2).integers(0, most, size=x.shape[:-1])
            arrays, axis = (x, targets), -1
        elif self.operation == "masked_softmax":
            arrays = x, self._mask(x, axis) if mask is None else mask
        else:
            arrays = (x,)
        return Step(self.operation, arrays, axis, layout, out, same=same, keywords=keywords)

    def _mask(self, x: Array, axis: AxisArgument) -> Array:
        """A quarter of the classes masked by chance, the first never."""
        mask = self.rng(x.size, 3).random(x.shape) < 0.75
        if isinstance(axis, int) and x.ndim:
            np.moveaxis(mask, axis, 0)[:1] = True
        return mask

    def perform(self, steps: Sequence[Step], subject: Subject | None = None) -> list[Result]:
        """The results of the calls; losses of logits that it does not take are asked as (N, C).

        Args:
            subject: another process of the implementation, in place of the trial's own.
        """
        self.made.append(tuple(steps))
        made = [self._as_rows(step) for step in steps]
        results = (subject or self.subject).perform(made, self.timeout_s)
        return [
            result if step is asked else _shaped_as(result, step)
            for step, asked, result in zip(steps, made, results, strict=True)
        ]

    def refused_logits(self, ndim: int) -> str | None:
        """Why cross_entropy is not offered for logits of so many dimensions; None if it is."""
        if ndim not in self._refused:
            shape = (*range(2, ndim + 1), 5)  # no two alike
            step = plain_step("cross_entropy", shape, self.fmt.dtype)
            (result,) = self.subject.perform([step], self.timeout_s)
            got = tuple(a.shape for a in result.arrays)
            reason = None if result.error is None else f"raises {result.error}"
            if reason is None and got != expected_shapes(step):
                reason = f"gives {_many(got)} for logits {shape}"
            self._refused[ndim] = reason
        return self._refused[ndim]

    def _as_rows(self, step: Step) -> Step:
        """The step with its logits as (N, C), where it is a loss and not offered for others."""
        shape = step.arrays[0].shape
        taken = step.operation != "cross_entropy" or len(shape) in (0, 2)
        if taken or self.refused_logits(len(shape)) is None:
            return step
        logits, targets = step.arrays
        return replace(step, arrays=(logits.reshape(-1, shape[-1]), targets.reshape(-1)))

    def call_of(
        self, step: Step, judge: Callable[[Step, Result], Observation] | None = None,
        part: int = 0, place: tuple[int, ...] = (),
    ) -> FailingCall:  # fmt: skip
        """The call `step`, with those of the same request before it."""
        request = next((m for m in reversed(self.made) if step in m), (step,))
        return FailingCall(step, request[: request.index(step)], judge, part, place)

    def need_out(self) -> None:
        """Skip where the operation takes no ``out=``."""
        if self.operation not in self.subject.metadata.operations_with_out:
            raise Skip("takes no out=")

    def sound(self, step: Step) -> Result:
        """The result of one call that breaks no contract.

        Raises:
            Broken: it does.
        """
        (result,) = self.perform([step])
        broken = self.contract(step, result)
        if broken is not None:
            raise Broken(broken)
        return result

    def observed(self, step: Step) -> tuple[Result, Observation]:
        """The result of one call, held against what it must be."""
        (result,), (observation,) = self.all_observed([step])
        return result, observation

    def all_observed(self, steps: Sequence[Step]) -> tuple[list[Result], list[Observation]]:
        """The results of calls, held against what they must be."""
        results = self.perform(steps)
        return results, list(map(self.observe, steps, results))

    def refuse_what_is_too_large(
        self, step: Step, needed: float, seconds: float, part: int
    ) -> None:
        """Skip where a call would take more memory or time than there is, by one of a part of it.

        Args:
            step: repeats its arrays (`Step.tiled`).
            needed: bytes. seconds: given.
            part: the smaller call has so many times fewer repetitions.
        """
        axis, length = step.tiled or (0, 0)
        small = replace(step, tiled=(axis, max(1, length // part)))
        if step.operation == "cross_entropy":  # whose targets may be beyond
            small = replace(small, arrays=(step.arrays[0], np.zeros_like(step.arrays[1])))
        free, shape = psutil.virtual_memory().available, " x ".join(map(str, step.full_shape()))
        if needed > free:
            raise Skip(
                f"{shape} elements need {needed / 2**30:.0f} GiB of memory; "
                f"{free / 2**30:.1f} GiB are free"
            )
        expected = np.inf
        for i in range(_TRIES):  # the first may compile, and any may have to wait for a processor
            started = self.clock()
            self.perform([small])
            expected = min(expected, (self.clock() - started) * part)
            if expected <= seconds or (i > 0 and expected > _HOPELESS * seconds):
                break
        if expected > seconds:
            text = f"would take about {expected:.0f} s; {seconds:g} s are given"
            raise Skip(f"{shape} elements {text}")

    def clock(self) -> float:
        """Seconds, but for those in which we, or the implementation, waited for a processor.

        How much is judged must not depend on who else is busy.
        """
        return time.perf_counter() - waited("thread-self", getattr(self.subject, "pid", None))

    def in_time(
        self, items: Iterable[T], judge: Callable[[T], Iterable[Observation]], what: str,
        patience: float = 1.0,
    ) -> Iterator[Observation]:  # fmt: skip
        """What `judge` yields of one item after the other, and where time was not enough for all.

        Args:
            what: the items, in a word.
            patience: how many budgets of a case they may take.
        """
        started, wanted = self.clock(), list(items)
        for i, item in enumerate(wanted, 1):
            yield from judge(item)
            if self.clock() - started > patience * self.budget_s and i < len(wanted):
                text = f"judged at {i} of {len(wanted)} {what}: it is slow"
                yield Observation("pass", "accurate", text)
                return

    def values(
        self, steps: Sequence[Step], grade: Grade = "failure", *, every: bool = False
    ) -> list[Observation]:
        """Performs the steps and holds every result against what it must be.

        Where each shape is compiled anew, those of a part of the shapes, the same part in all
        cases; of a case that has none of that part, the first.

        Args:
            every: all of them: they are unlike in more than their shapes.
        """
        if not every and self.sparing and all(step.same is None for step in steps):
            kept = [i for i, step in enumerate(steps) if self._in_part(step)]
            if not kept and not self._asked:
                kept = [0]
            self._asked.extend(kept)
            steps = [steps[i] for i in kept]
        if not steps:
            return []
        results = self.perform(steps)
        expect_all(steps, self.fmt, self.arithmetic)
        return [self.observe(s, r, grade) for s, r in zip(steps, results, strict=True)]

    def _in_part(self, step: Step) -> bool:
        """Whether the shape and axis of a step are of the part that is asked."""
        told = repr((self.seed, step.full_shape(), step.axis)).encode()
        return zlib.crc32(told) % _ONE_IN == 0

    def where(self, step: Step, note: str = "") -> str:
        """The end of a message: the call that gave it, the dtype and the case."""
        shape = step.full_shape()
        layout = "" if step.layout == "C" else f", layout {step.layout}"
        layout += "" if step.second is None else f", second argument {step.second}"
        name = self.case_id if self.case_number is None else f"case {self.case_number}"
        more = f", {note}" if note else ""
        return f"[{step.call_text()}, {self.dtype}{list(shape)}{layout}{more}, {name}]"

    def broken(
        self, step: Step, text: str, outcome: Outcome = "wrong", grade: Grade = "failure",
        note: str = "", place: tuple[int, ...] = (),
    ) -> Observation:  # fmt: skip
        """An observation that is no matter of values; `place` as in `FailingCall`."""
        call = self.call_of(step, place=place)
        return self.shown(
            step, text, outcome, self.given(step), None, None, grade=grade, note=note,
            call=call,
        )  # fmt: skip

    def shown(
        self, step: Step, text: str, outcome: Outcome, given: Iterable[Any], got: Any,
        expected: Any, *, grade: Grade = "finding", note: str = "", error: float | None = None,
        allowed: float | None = None, call: FailingCall | None = None,
    ) -> Observation:  # fmt: skip
        """An observation with what stands behind it; numbers are told in hexadecimal.

        Args:
            given: the row in question, or how it was made.
            got, expected: the value in question, or words.
        """
        return Observation(
            grade, outcome, f"{text} {self.where(step, note)}", tuple(_told(v) for v in given),
            _told(got), _told(expected), error, allowed, call or self.call_of(step),
        )  # fmt: skip

    def unlike(
        self, step: Step, name: str, given: Iterable[Any], got: Any, right: Any,
        kind: Outcome = "wrong", more: str = "", **told: Any,
    ) -> Observation:  # fmt: skip
        """`shown` of one number that should be another.

        Args:
            name: of the number (``"out[0]"``). more: what else is told of it.
            kind: how it is off, where it is neither 0 nor without a number.
        """
        text = f"{name}={float(got):.9g}, but should be {float(right):.9g}{more}"
        return self.shown(step, text, kind_of(float(got), kind), given, got, right, **told)

    def contract(
        self, step: Step, result: Result, grade: Grade = "failure", note: str = ""
    ) -> Observation | None:
        """What breaks the contract, whatever the values; None if nothing does."""
        if result.error is not None:
            return self.broken(step, f"raised {result.error}", "raises", grade, note)
        shapes = tuple(map(tuple, result.shapes)) or tuple(a.shape for a in result.arrays)
        wanted = expected_shapes(step)
        if shapes != wanted:
            text = f"shape {_many(shapes)}, but should be {_many(wanted)}"
            return self.broken(step, text, "wrong", grade, note)
        if step.cast is None and any(d != self.dtype for d in result.dtypes):
            text = f"dtype {', '.join(result.dtypes)}, but should be {self.dtype}"
            return self.broken(step, text, "wrong", grade, note)
        for flag, text in _FAULTS.items():
            if getattr(result, flag):
                return self.broken(step, text, "wrong", "failure", note)
        return None

    def observe(
        self, step: Step, result: Result, grade: Grade = "failure", note: str = ""
    ) -> Observation:
        """The most serious thing about one result."""
        broken = self.contract(step, result, grade, note)
        if broken is not None:
            return broken
        parts = zip(result.arrays, expected_of(step, self.fmt, self.arithmetic), strict=True)
        return worst([self._compare(step, i, *p, grade, note) for i, p in enumerate(parts)])

    def _compare(
        self, step: Step, part: int, array: Array, expected: Expected, grade: Grade, note: str
    ) -> Observation:
        got = result_rows(array, step)
        if got.size == 0:
            return Observation("pass", "exact")
        exact, allowed, free = expected.exact, expected.allowed, expected.free
        error = ulp_error(got, exact, self.fmt)
        values = to_float64(got)
        bad = ~((error <= allowed) & np.isfinite(error)) & ~free
        if step.operation in PROBABILITIES:
            never = (values != 0) & vanishing(exact, self.fmt)
            if step.operation in CHANGED:  # where so much is allowed that no digit need be right
                some = allowed > half_of_the_digits(self.fmt)
                never |= some & (values > 1.0 + 4.0 * self.fmt.unit_roundoff)
            bad |= (values < 0) | (never & ~free)
            allowed = np.where(never, 0.0, allowed)
        if not bad.any() and not free.any():
            finite = error[np.isfinite(error)]
            largest = float(finite.max()) if finite.size else None
            exactly = (largest or 0.0) <= _ROUNDED and np.array_equal(  # else it cannot be
                values, expected.rounded, equal_nan=True
            )
            return Observation("pass", "exact" if exactly else "accurate", error=largest)
        if bad.any():
            over = np.where(bad, _excess(error, allowed), -1.0)
            place = largest_at(over)
            one = slice(place[0], place[0] + 1)
            kind = class_of(got[one], exact[one], tolerance=allowed[one])
            if kind in ("exact", "accurate"):
                kind = "wrong"
            return self._observation(
                step, part, got, exact, place, kind, grade, note,
                float(error[place]), float(allowed[place]),
            )  # fmt: skip
        return self._convention(step, part, got, values, expected, note)

    def _convention(
        self, step: Step, part: int, got: Array, values: Float64Array, expected: Expected, note: str
    ) -> Observation:
        """Elements that only a convention decides: NaN, or one of the alternatives."""
        free = expected.free
        accepted = np.isnan(values) | (values == expected.rounded)
        kinds: list[Outcome] = ["nan"]
        for alternative in expected.alternatives:
            if np.all(accepted[free]):
                break
            near = ulp_error(got, from_float64(alternative.copy()), self.fmt) <= _CONVENTION_ULPS
            if np.any(free & near & ~accepted):
                kinds.append("limit" if np.any(alternative[free] != 0) else "zero")
            accepted = accepted | near
        bad = free & ~accepted
        told = partial(self._observation, step, part, got, expected.exact, note=note)
        if bad.any():
            return told(largest_at(bad), "wrong", "failure")
        own = expected.rounded
        unlike = free & (np.isnan(values) != np.isnan(own))
        if not unlike.any():
            return Observation("pass", "nan" if np.isnan(own[free]).any() else "exact")
        found = told(largest_at(unlike), kinds[-1], "finding")
        message = found.message.replace("but should be", "where the convention here is")
        return replace(found, message=message, allowed=None)

    def _observation(
        self, step: Step, part: int, got: Array, exact: Exact, place: tuple[int, ...],
        kind: Outcome, grade: Grade, note: str, error: float = np.inf, allowed: float = 0.0,
    ) -> Observation:  # fmt: skip
        index = index_of(place, step, expected_shapes(step)[part])
        right = exact[place].round_to(self.fmt)
        name = named(step, part, index)
        text = f"{name}={float(got[place]):.9g}, but should be {float(right):.9g}"
        if np.isfinite(error):
            text += f" ({error:.3g} ulp, {allowed:.3g} allowed)"
        return self.shown(
            step, text, kind, self.given(step, place[0]), got[place], right, grade=grade,
            note=note, error=error if np.isfinite(error) else None, allowed=allowed,
            call=self.call_of(step, None, part, place),
        )  # fmt: skip

    def given(self, step: Step, row: int | None = None) -> tuple[str, ...]:
        """The rows in question in hexadecimal, or how the input was made.

        Args:
            row: one row; all of them where they are few, if None.
        """
        logits = [a for a in step.arrays if a.dtype == step.arrays[0].dtype]
        if step.tiled is not None:
            axis, length = step.tiled
            told = f", repeated along axis {axis} to {length}"
            return (self._recipe(step, logits[-1]) + told,)
        if row is None:
            rows, told = [a.reshape(-1) for a in logits], ""
        elif step.operation == RAGGED:
            own = row_around(step, row)
            rows, told = [logits[0][own]], f" entries {own.start} to {own.stop}"
        else:
            rows = [rows_of(a, axes_of(step, a.ndim))[row] for a in logits]
            told = f" row={row}"
        if sum(len(r) for r in rows) > _WHOLE:
            return (self._recipe(step, logits[-1]) + told,)
        shown: list[str] = []
        if step.operation == "cross_entropy":
            targets = step.arrays[1].reshape(-1)
            shown = [f"target={int(t)}" for t in (targets if row is None else [targets[row]])]
        elif step.operation == "masked_softmax":
            kept = step_rows(step)[1]
            bits = (kept if row is None else kept[row]).reshape(-1)
            shown = [f"mask={''.join('01'[int(b)] for b in bits)}"]
        return (*(to_hex(v) for r in rows for v in r), *shown)

    def _recipe(self, step: Step, array: Array) -> str:
        """An input too large to be shown: its value where it has but one, else its identity."""
        shape = f"shape={array.shape}"
        flat = np.ascontiguousarray(array).reshape(-1)
        if flat.size and flat.tobytes() == flat[:1].tobytes() * flat.size:
            return f"{to_hex(flat[0])} in every place, {shape}, axis {step.axis}"
        digest = hashlib.sha256(flat.tobytes()).hexdigest()[:16]
        return f"{self.case_id} seed={self.seed} {shape} sha256={digest}"


def row_around(step: Step, entry: int) -> slice:
    """The row of unlike lengths in which an entry is."""
    offsets = step.arrays[1]
    last = int(np.searchsorted(offsets, entry, "right"))
    return slice(int(offsets[last - 1]), int(offsets[last]))


def named(step: Step, part: int, index: Sequence[int]) -> str:
    """An element of a result, in messages: ``out[3, 0]``, ``loss[3]``."""
    name = "out" if step.operation != "cross_entropy" else ("loss", "gradient")[part]
    return f"{name}[{', '.join(map(str, index))}]"


def _shaped_as(result: Result, step: Step) -> Result:
    """A result for logits of (N, C) in the shapes of the step, where it has as many elements."""
    wanted = expected_shapes(step)
    sizes = [int(np.prod(shape)) for shape in wanted]
    if [a.size for a in result.arrays] != sizes:
        return result
    arrays = (a.reshape(shape) for a, shape in zip(result.arrays, wanted, strict=True))
    return replace(result, arrays=tuple(arrays), shapes=wanted)


def kind_of(value: float, otherwise: Outcome) -> Outcome:
    """The outcome of a number that should be another."""
    if np.isnan(value):
        return "nan"
    return "inf" if np.isinf(value) else "zero" if value == 0.0 else otherwise


def _told(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else to_hex(value)


def _excess(error: Float64Array, allowed: Float64Array) -> Float64Array:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.nan_to_num(error / np.maximum(allowed, 0.25), nan=np.inf, posinf=1e300)


def vanishing(exact: Exact, fmt: FloatFormat) -> BoolArray:
    """Where a probability is so far below the least number of `fmt` that it can only be 0.

    The absolute error of an exponential in the subnormal range is no excuse there: whatever
    rounds to nearest gives 0 long before a millionth of the least number.
    """
    _, power = np.frexp(exact.hi)
    least = fmt.emin - fmt.precision + 1
    return np.asarray((exact.hi == 0) | (power + exact.exponent.astype(np.int64) < least - 20))


def _many(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(str(s) for s in shapes)


def softmax_like(x: Array, axis: AxisArgument, fmt: FloatFormat) -> Array:
    """A softmax of `x` in `fmt`, for inputs of the backward pass: any y will do, it is given."""
    if x.size == 0:
        return x
    y = softmax_of(to_float64(x), -1 if axis == "default" else axis)
    with np.errstate(all="ignore"):
        return y.astype(fmt.dtype)
