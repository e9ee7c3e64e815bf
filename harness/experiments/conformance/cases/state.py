"""What earlier calls leave behind: other formats, shapes and operations in one process."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import Result, Step, alike
from harness.experiments.conformance.case import FLOATS, NATIVE, OPERATIONS, Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.observation import Grade, Observation, worst
from harness.experiments.conformance.target import Subject

_SHAPES = (((7,), -1), ((4, 9), -1), ((4, 9), 0), ((9, 4), -1), ((3, 4, 5), 1), ((16, 64), -1),
           ((2, 1000), -1))  # fmt: skip
_AT_LEAST = 16
"""So many calls are made however slow they are."""
_QUICK_S = 0.1
_EXAMINED = 3
"""So many results that differ are made again by processes that are new, until one differs again."""


@dataclass(frozen=True)
class _Call:
    """One call of some operation in some format, and the trial that holds its result against."""

    trial: Trial
    step: Step

    @property
    def text(self) -> str:
        x = self.step.arrays[0]
        return f"{self.step.call_text()} of {self.trial.dtype}{list(x.shape)}"


def _calls(trial: Trial) -> list[_Call]:
    """Every operation in every format on arrays of a few shapes, in a seeded order.

    Of each shape there are ordinary logits and partly masked ones, the same in every operation
    and format: what is kept of an array, a shape, a format or an operation has another one to be
    mistaken for. The first call is of another format than the trial's, which is what most calls
    before it were of.
    """
    metadata = trial.subject.metadata
    calls: list[_Call] = []
    for operation in (o for o in OPERATIONS if o in metadata.operations):
        for dtype in metadata.dtypes or FLOATS:
            arithmetic = trial.arithmetic
            if dtype != trial.dtype:  # the error of its exponential was measured in that format
                arithmetic = Arithmetic(arithmetic.bound, arithmetic.accumulator)
            own = replace(trial, operation=operation, dtype=dtype, arithmetic=arithmetic)
            for shape, axis in _SHAPES:
                if operation == "cross_entropy" and axis != -1:
                    continue
                x = trial.rng(*shape, axis + 1).normal(scale=2.0, size=shape)
                masked = x.copy()
                masked[..., ::3] = -np.inf
                masked[..., 1] = 3.0  # in every row, and along every axis, something is left
                for values in (x, masked if axis == -1 else -x):
                    calls.append(_Call(own, own.step(own.array(values), axis)))
    order = [calls[i] for i in trial.rng(len(calls)).permutation(len(calls))]
    other = next((i for i, c in enumerate(order) if c.trial.dtype != trial.dtype), 0)
    return order[other:] + order[:other]


def _made(
    trial: Trial, calls: Sequence[_Call], subject: Subject | None = None, budget_s: float = math.inf
) -> list[Result]:
    """The results of the calls, or of as many as there is time for.

    A request holds more of them the faster they are: the first of a kind may wait for a compiler.
    """
    results: list[Result] = []
    timed = trial if subject is None else replace(trial, subject=subject)
    began, count = timed.clock(), 1
    while len(results) < len(calls):
        started = timed.clock()
        steps = [call.step for call in calls[len(results) :][:count]]
        results += trial.perform(steps, subject)
        now = timed.clock()
        count = 2 * count if now - started < _QUICK_S else 1
        if len(results) >= _AT_LEAST and now - began > budget_s:
            break
    return results


def order_of_calls(trial: Trial) -> Iterator[Observation]:
    """The same calls in three orders and two processes; results are bitwise what they were.

    One process is new, and makes them in a seeded order and then backwards, so that of each two
    calls either comes after the other once. The other is that of the cases before.
    """
    order = _calls(trial)
    with trial.subject.fresh() as fresh:
        fresh.perform([], trial.timeout_s)  # it starts
        forwards = _made(trial, order, fresh, trial.budget_s / 3)
        order = order[: len(forwards)]
        backwards = _made(trial, order[::-1], fresh)[::-1]
    used = _made(trial, order)
    yield Observation("pass", "exact", f"{len(order)} calls, forwards and backwards")
    unlike: list[tuple[bool, int, int]] = []
    for i, call in enumerate(order):
        results = (forwards[i], backwards[i], used[i])
        if not (alike(results[0], results[1]) and alike(results[0], results[2])):
            observed = [call.trial.observe(call.step, r, _grade(call)) for r in results]
            right = all(o.grade == "pass" for o in observed)
            size = call.step.arrays[0].size
            unlike.append((right, -size if right else size, i))
    # First a small one that is wrong; or a large one, in which chance shows for certain.
    for _, _, i in sorted(unlike)[:_EXAMINED]:
        histories = [
            (order[:i], forwards[i]),
            ([*order, *order[:i:-1]], backwards[i]),
            (order[:i], used[i]),
        ]
        found = _examined(trial, order[i], histories, len(unlike))
        yield found
        if found.grade != "pass":
            return


def _alone(trial: Trial, calls: Sequence[_Call]) -> Result:
    """The result of the last of the calls, all in a process that made none before."""
    with trial.subject.fresh() as fresh:
        return _made(trial, calls, fresh)[-1]


def _examined(
    trial: Trial, call: _Call, histories: Sequence[tuple[Sequence[_Call], Result]], count: int
) -> Observation:
    """What is told of a call whose results differ: which of them, and after which other call.

    Args:
        histories: the calls that were made before it, and the result; the last of them in a
            process that other cases had used.
        count: how many calls have results that differ.
    """
    right = _alone(trial, [call])
    if not alike(right, _alone(trial, [call])):  # it needs no call before it: only bounds hold
        observed = [call.trial.observe(call.step, result, _grade(call)) for _, result in histories]
        return worst(observed)
    more = f" (so do {count - 1} others)" if count > 1 else ""
    for place, (before, result) in enumerate(histories):
        if alike(result, right):
            continue
        after = _culprit(trial, call, before, right)
        if after is None:
            after = "calls of other cases" if place == 2 else "other calls, though not each time"
        return _told(
            call, result, right, f"differs from that of a fresh process{more} after {after}"
        )
    return Observation("pass", "exact")


def _culprit(trial: Trial, call: _Call, before: Sequence[_Call], right: Result) -> str | None:
    """The call after which it differs, found by halving those that were made before it."""
    if alike(_alone(trial, [*before, call]), right):
        return None

    def harms(count: int) -> bool:
        return not alike(_alone(trial, [*before[:count], call]), right)

    harmful = 1 + bisect_left(range(1, len(before)), True, key=harms)
    last = before[harmful - 1]
    if harmful == 1 or not alike(_alone(trial, [last, call]), right):
        return last.text
    return f"{harmful} calls, the last of which was {last.text}"


def _grade(call: _Call) -> Grade:
    promised = call.trial.subject.metadata.dtypes or NATIVE
    return "failure" if call.trial.dtype in promised else "finding"


def _told(call: _Call, result: Result, right: Result, text: str) -> Observation:
    if right.error is not None:
        text = f"the result {text}: alone it raises {right.error}"
        return call.trial.broken(call.step, text, "raises", "finding")
    found = call.trial.observe(call.step, result, _grade(call))
    if found.grade != "pass":
        return replace(found, message=f"the result {text}: {found.message}")
    text = f"the result {text}, in its last bits"
    return call.trial.broken(call.step, text, "accurate", "finding")


CASES = (
    Case("state", None, "what a fresh process gives, whatever was called before", order_of_calls,
         whole=True),
)  # fmt: skip
