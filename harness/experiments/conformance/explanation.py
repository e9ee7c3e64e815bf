"""For a failure of a case: the smallest call that shows it, and what is wrong, in a sentence.

Asked where a failure was just seen, with the implementation at hand; of what passes nothing is
asked, and it costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harness.experiments.conformance import diagnosis
from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.case import OF_LOGITS
from harness.experiments.conformance.case_run import Trial, row_around
from harness.experiments.conformance.expected import (
    expected_of,
    index_of,
    largest_at,
    result_rows,
    step_rows,
)
from harness.experiments.conformance.observation import FailingCall, Observation, Skip
from harness.experiments.conformance.python_line import (
    NATIVE,
    Failing,
    classes_axis,
    code,
    dtype_text,
    evaluated,
    literal,
    two_numbers,
    writable,
)
from harness.experiments.conformance.shrink import Budget, Prober, Spent, smallest
from harness.experiments.conformance.target import SubjectFault
from harness.numerics.formats import to_float64
from harness.numerics.ulps import ulp_error
from harness.records import Witness
from harness.registry.contract import RAGGED

_TOO_LARGE = 1 << 23
"""Elements of a call that is not made again."""
_LEAST_S = 0.03
"""Seconds below which nothing more is explained."""
_TIMEOUT_S = 2.0
"""The longest that a call may take that is made again."""
_LONGEST = 500
"""Characters of a line that anybody would paste."""
_FEW_ULPS = 1000.0

Explanation = tuple[Witness | None, str | None]


@dataclass
class Explainer:
    """Explains the failures of one implementation, operation and format.

    One failure of each kind is explained: of a group of cases, and an outcome. What makes the
    first one wrong makes most of the others wrong too.

    Attributes:
        seconds: left for all of them (see `Budget`); one has a third of that at most.
        explained: the kinds that have been.
    """

    seconds: float = 1.0
    explained: set[tuple[str, str]] = field(default_factory=set)

    def wants(self, group: str, outcome: str | None) -> bool:
        """Whether a failure of this kind would be explained: it is the first, and there is time."""
        return (group, outcome) not in self.explained and self.seconds > _LEAST_S

    def explain(self, trial: Trial, found: Observation, group: str) -> Explanation:
        """The smallest call and the diagnosis, each None where there is none."""
        if found.call is None or not self.wants(group, found.outcome):
            return None, None
        budget = Budget(self.seconds / 3.0)
        self.explained.add((group, found.outcome))
        try:
            return _guarded(explained, trial, found, found.call, budget)
        finally:
            self.seconds -= budget.spent

    def explain_fault(self, trial: Trial, status: str) -> Explanation:
        """The call of the last request that hung or ended the process; told once."""
        if ("", status) in self.explained or not trial.made:
            return None, None
        self.explained.add(("", status))
        return _guarded(of_fault, trial, status, trial.made[-1])


def _guarded(explain: Callable[..., Explanation], *arguments: Any) -> Explanation:
    """What is found; a defect of ours must not take the verdict along.

    NumPy's warnings are ignored here for the shrinking and the patterns too: results that are wrong
    overflow.
    """
    try:
        with np.errstate(all="ignore"):
            return explain(*arguments)
    except Skip:  # too much hung already, or the machine was too busy
        return None, None
    except Exception as e:
        return None, f"(no diagnosis: {type(e).__name__}: {e})"


def explained(trial: Trial, found: Observation, call: FailingCall, budget: Budget) -> Explanation:
    """See `Explainer.explain`."""
    step = call.step
    if math.prod(step.full_shape()) > _TOO_LARGE or step.tiled is not None:
        return None, None

    def perform(steps: Sequence[Step]) -> list[Result]:
        return trial.subject.perform(steps, min(trial.timeout_s, _TIMEOUT_S))

    prober = Prober(perform, call.judge or trial.observe, budget)
    try:
        failing = prober.tried(replace(step, same=None))
        if failing is None and step.operation == RAGGED:
            return None, None
        if failing is None:
            return _not_alone(trial, found, call, prober)
        if step.operation == RAGGED:
            return witness(trial, _few_rows(failing, prober)), None
        budget.extend(budget.seconds, budget.calls)  # what was seen costs what it costs
        small = smallest(prober, failing, trial.fmt)
        budget.extend(0.1, 20)
        told = diagnosis.diagnose(failing, small, prober, trial.fmt, trial.arithmetic)
        if told.kind is not None:
            return _of_state(trial, told, prober), told.text
        return witness(trial, small), told.text
    except (SubjectFault, Spent):
        return (None if prober.found is None else witness(trial, prober.found)), None


def _few_rows(failing: Failing, prober: Prober) -> Failing:
    """Of rows of unlike lengths the failing one, with as few of its neighbours as will do."""
    step, call = failing.step, failing.observation.call
    values, offsets = step.arrays
    if call is None or not call.place:
        return failing
    row = int(np.searchsorted(offsets, row_around(step, call.place[0]).start, "right")) - 1
    for before, after in ((0, 1), (1, 1), (0, 2), (0, len(offsets)), (row, 1)):
        kept = offsets[row - min(before, row) : row + after + 1]
        found = prober.tried(
            replace(step, arrays=(values[kept[0] : kept[-1]].copy(), kept - kept[0]))
        )
        if found is not None and found.observation.outcome == failing.observation.outcome:
            return found
    return failing


def _not_alone(trial: Trial, found: Observation, call: FailingCall, prober: Prober) -> Explanation:
    """A call in which nothing is wrong by itself: it needs others, or the limits of its case."""
    step = replace(call.step, same=None)
    failing = Failing(call.step, Result(), found, before=call.before)
    kept = diagnosis.state(failing, prober)
    if kept is not None:
        return _of_state(trial, kept, prober), kept.text
    (result,) = prober.perform([step])
    prober.judge = lambda step, result: found  # nothing further is asked of other calls
    failing = Failing(step, result, found)
    told = diagnosis.diagnose(failing, None, prober, trial.fmt, trial.arithmetic)
    return _typical(trial, failing, prober), told.text


def _of_state(trial: Trial, told: diagnosis.Diagnosis, prober: Prober) -> Witness | None:
    """Calls on small inputs that show that something is kept from call to call, or drawn."""
    if told.calls is not None:
        return witness(trial, told.calls)
    fmt, name = trial.fmt, trial.operation
    if name not in OF_LOGITS or fmt.name == "bfloat16":
        return None
    first, wrap = NATIVE.get(trial.subject.metadata.backend, ("", "{}"))
    if told.kind == "changed":
        small = [trial.array(v) for v in ([0.0, 1.0], [1.0, 0.0])]
        if not prober.perform([Step(name, (v,), "default") for v in small])[0].changed:
            return None
        a, b = (wrap.format(literal(v, fmt)) for v in small)
        text = f"{first}y = {name}({a}); z = np.array(y); {name}({b}); np.array_equal(y, z)"
        return Witness(
            text=f"{text}  # False, should be True", got="False", expected="True",
            difference="a kept result changes", rows=1, classes=2,
        )  # fmt: skip
    x = wrap.format(f"{diagnosis.STEADY}.astype({dtype_text(fmt)})")
    text = f"{first}x = {x}; len({{np.asarray({name}(x)).tobytes() for _ in range(12)}})"
    return Witness(
        text=f"{text}  # more than 1, should be 1", got="more than one result", expected="1",
        difference="calls differ", rows=3, classes=59,
    )  # fmt: skip


def of_fault(trial: Trial, status: str, steps: Sequence[Step]) -> Explanation:
    """For a request that never came back, or ended the process: the call that did it.

    Each try that hangs costs a second, and each that ends the process a new process.
    """
    if status == "timeout" and getattr(trial.subject, "first_s", 0.0) is None:
        return None, "the first calls never come back"  # each further try would take minutes
    what = "never comes back" if status == "timeout" else "ends the process"

    def fault(step: Step) -> str | None:
        try:
            trial.subject.perform([step], min(trial.timeout_s, 1.0))
        except SubjectFault as e:
            return str(e) if e.status == status else None
        return None

    made_again = (s for s in steps if s.same is None and s.arrays[0].size <= _TOO_LARGE)
    for step in made_again:
        reason = fault(step)
        if reason is None:
            continue
        small = _one_of_its_rows(step, fault) or step
        failing = Failing(small, Result(error=reason), Observation("failure", "crashed"))
        found = witness(trial, failing)
        if found is not None:
            comment = f"no answer within {trial.timeout_s:g} s" if status == "timeout" else reason
            line = found.text.split("  # ")[0]
            found = found.model_copy(update={"text": f"{line}  # {comment}", "got": comment})
        if status == "failed":  # it answered, and did beside that what the reason says
            what = reason.partition(": ")[2].partition(" (the worker")[0]
        return found, f"a call {what}{_on_what(small)}"
    if status == "failed":
        return None, None
    return None, f"a call {what} after others, and none of them alone does: something is kept"


def _one_of_its_rows(step: Step, fault: Callable[[Step], str | None]) -> Step | None:
    """The first row that does it alone, of those unlike the others; two are tried."""
    if step.operation == "cross_entropy" or step.arrays[0].ndim != 2:
        return None
    rows = step_rows(step)
    ordinary = np.isfinite(to_float64(rows[0])).all(axis=1)
    for i in np.argsort(ordinary, kind="stable")[:2]:
        alone = replace(step, arrays=tuple(r[i] for r in rows), axis=-1, layout="C", out="none")
        if fault(alone) is not None:
            return alone
    return None


def _on_what(step: Step) -> str:
    """What is special about an input, at the end of a sentence."""
    x, shape = to_float64(step.arrays[0]), step.full_shape()
    if 0 in shape:
        return f" on an empty array, of shape {shape}"
    for is_odd, name in ((np.isnan(x), "NaN"), (np.isposinf(x), "+inf"), (np.isneginf(x), "-inf")):
        if is_odd.any():
            return f" where a logit is {name}"
    return f" on an array of shape {shape}"


def _typical(trial: Trial, failing: Failing, prober: Prober) -> Witness | None:
    """Of many results that are off together, one that is off most, in a call that shows it."""
    step, call = failing.step, failing.observation.call
    part = 1 if step.operation == "cross_entropy" else 0
    column = call.place[1] if call is not None and len(call.place) == 2 else None
    worst = _worst(trial, step, failing.result, part, column=column)
    if worst is None or len(worst[0]) != 2:
        return None
    place, ulps = worst
    for alone, made in _shorter(trial, step, *place):
        (result,) = prober.perform([alone])
        found = _worst(trial, alone, result, part)
        if found is None or found[1] < 0.5 * ulps:
            continue
        at = FailingCall(alone, part=part, place=found[0])
        observation = replace(failing.observation, call=at, outcome="inaccurate")
        shown = witness(trial, Failing(alone, result, observation, made))
        if shown is not None:
            return shown
    return None


def _worst(
    trial: Trial, step: Step, result: Result, part: int, *, row: int | None = None,
    column: int | None = None,
) -> tuple[tuple[int, ...], float] | None:  # fmt: skip
    """Where one of the results is off most, and by how many ulps; None where its shape is another.

    Args:
        row, column: the only ones that are looked at, if given.
    """
    if len(result.arrays) <= part:
        return None
    exact = expected_of(step, trial.fmt, trial.arithmetic)[part].exact
    got = result_rows(result.arrays[part], step)
    if got.shape != exact.shape or not got.size:
        return None
    off = np.nan_to_num(ulp_error(got, exact, trial.fmt), nan=np.inf)
    if row is not None:
        off[np.arange(len(off)) != row] = -1.0
    if column is not None and off.ndim == 2:
        off[:, np.arange(off.shape[1]) != column] = -1.0
    place = largest_at(off)
    return place, float(off[place])


def _shorter(
    trial: Trial, step: Step, row: int, column: int
) -> Iterator[tuple[Step, tuple[str, ...]]]:
    """Calls in which the same element may be off as much, the shortest first."""
    rows = step_rows(step)
    if step.operation == "cross_entropy":
        yield replace(step, arrays=tuple(r[row : row + 1] for r in rows)), ()
        return
    n = rows[0].shape[1]
    if len(rows) == 1:
        pair = rows[0][row, [int(np.argmax(to_float64(rows[0][row]))), column]]
        yield replace(step, arrays=(pair,), axis="default"), ()
    yield replace(step, arrays=tuple(r[row] for r in rows), axis="default"), ()
    if len(rows) == 1:
        d = dtype_text(trial.fmt)
        for size in (f"{n}", f"({row + 1}, {min(n, 3)})", f"({row + 1}, {n})"):
            made = f"np.random.default_rng(0).normal(size={size}).astype({d})"
            yield replace(step, arrays=(evaluated(made),), axis="default"), (made,)


def _place(trial: Trial, failing: Failing) -> tuple[int, tuple[int, ...]] | None:
    """The result and the element in it that is worst."""
    call = failing.observation.call
    part, place = (0, ()) if call is None else (call.part, call.place)
    if len(failing.result.arrays) > part and len(place) == 2:
        return part, place
    row = place[0] if place else 0
    worst = _worst(trial, failing.step, failing.result, part, row=row)
    return None if worst is None else (part, worst[0])


def witness(trial: Trial, failing: Failing) -> Witness | None:
    """The call as a line of Python, with what it gives; None where it is no line."""
    step = failing.step
    if not writable(failing):
        return None
    shape = step.arrays[0].shape
    classes = shape[classes_axis(step)] if shape else 1
    rows = math.prod(shape) // max(classes, 1)
    index, place = "", None
    of_values = failing.observation.outcome in ("inaccurate", "nan", "inf", "zero")
    if failing.result.error is None and (of_values or failing.observation.got is not None):
        place = _place(trial, failing)
    if place is None:
        got, expected, difference = _in_words(failing.observation, failing.result)
        comment = f"{got}, should be {expected}" if expected else got
    else:
        part, at = place
        array = failing.result.arrays[part]
        exact = expected_of(step, trial.fmt, trial.arithmetic)[part].exact[at].reshape(1)
        one = np.asarray(result_rows(array, step)[at]).reshape(1)
        due, value = float(exact.round_to(trial.fmt)[0]), float(to_float64(one)[0])
        got, expected = two_numbers(value, due)
        difference = _difference(value, due, float(ulp_error(one, exact, trial.fmt)[0]))
        places = index_of(at, step, array.shape)
        index = f"[{part}]" if len(failing.result.arrays) > 1 else ""
        index += f"[{', '.join(map(str, places))}]" if places else ""
        comment = f"{got}, should be {expected} ({difference})"
    line = code(failing, trial.fmt, trial.subject.metadata.backend, index)
    if len(line) > _LONGEST:
        return None
    return Witness(
        text=f"{line}  # {comment}", got=got, expected=expected, difference=difference,
        rows=rows, classes=classes,
    )  # fmt: skip


def _difference(value: float, due: float, ulps: float) -> str:
    if not (np.isfinite(value) and np.isfinite(due)):
        return "a number, not NaN" if np.isnan(due) else "no number" if np.isnan(value) else "inf"
    if value != 0.0 and np.isfinite(ulps) and ulps <= _FEW_ULPS:
        return f"{ulps:.3g} ulp"
    if due == 0.0:
        return f"{abs(value):.2g} absolute"
    return f"{abs(value - due) / abs(due):.2g} relative"


def _in_words(observation: Observation, result: Result) -> tuple[str, str, str]:
    if result.error is not None:
        return f"raises {result.error}", "a result", "no result"
    got, _, expected = observation.message.rsplit(" [", 1)[0].partition(", but should be ")
    return got, expected, "of another kind"
