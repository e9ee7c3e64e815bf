"""Cases on callers: threads, forks, integer targets, positional axes, overlapping `out=`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.experiments.conformance.call import AxisArgument, Caller, Result, Step, alike
from harness.experiments.conformance.case import ALONG_AXIS, OPERATIONS, Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.forked import CHILD
from harness.experiments.conformance.observation import Grade, Observation, Skip
from harness.experiments.conformance.target import SubjectFault
from harness.numerics.formats import to_float64

_WIDTHS = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64", ">i4", ">i8")
_LIMIT_S = 10.0
"""Two threads that wait for each other do so for ever."""
_NO_FORK = ("jax", "jax_cuda", "tensorflow")
"""Backends whose threads do not survive a fork, as their documentation says."""


def _held(
    trial: Trial, step: Step, result: Result, own: Result, grade: Grade = "failure"
) -> Observation:
    """A result that must be that of the ordinary call, or else within its bound.

    Args:
        own: that of the ordinary call, which other cases judge.
        grade: of another result; an exception is a finding.
    """
    if own.error is not None:
        return Observation("pass", "raises", "so does the ordinary call")
    if result.error is not None:
        text = result.error if result.error.startswith(CHILD) else f"raised {result.error}"
        return trial.broken(step, text, "raises", "finding")
    broken = trial.contract(step, result, grade)
    if broken is not None or alike(result, own):
        return broken or Observation("pass", "exact")
    return trial.observe(step, result, grade)


def _also(trial: Trial, steps: Sequence[Step], **how: Any) -> list[Observation]:
    """The calls as always, then in another way: the same results are expected."""
    others = [replace(step, **how) for step in steps]
    results = trial.perform([*steps, *others])
    own, theirs = results[: len(steps)], results[len(steps) :]
    return [_held(trial, s, r, o) for s, r, o in zip(others, theirs, own, strict=True)]


def _also_by(trial: Trial, steps: Sequence[Step], caller: Caller) -> list[Observation]:
    """The calls as always, then by another caller, who may end the process."""
    try:
        return _also(trial, steps, caller=caller)
    except SubjectFault as fault:
        other = replace(steps[0], caller=caller)
        return [trial.broken(other, str(fault), "crashed", "finding")]


def positional(trial: Trial) -> Sequence[Observation]:
    calls = (((3, 5), 0), ((3, 5), -1), ((2, 3, 4), 1), ((5,), 0))
    steps = [trial.step(trial.normal(shape, 0), axis) for shape, axis in calls]
    return _also(trial, steps, positional=True)


def second_thread(trial: Trial) -> Sequence[Observation]:
    steps = [trial.step(trial.normal(shape, 0)) for shape in ((5,), (4, 9), (64, 100))]
    return _also_by(trial, steps, "thread")


def two_threads(trial: Trial) -> Iterator[Observation]:
    """The same shape, so that what is kept by shape is shared; other axes; other shapes."""
    first: tuple[tuple[int, ...], AxisArgument] = ((64, 1000), -1)
    pairs: list[tuple[tuple[tuple[int, ...], AxisArgument], ...]] = [
        (first, first), (first, ((3, 7), -1)),
    ]  # fmt: skip
    if trial.operation != "cross_entropy":
        pairs.append((((40, 40), 0), ((40, 40), -1)))
    limited = replace(trial, timeout_s=min(trial.timeout_s, _LIMIT_S))
    for pair in pairs:
        steps = [trial.step(trial.normal(s, i), axis) for i, (s, axis) in enumerate(pair)]
        yield from _also_by(limited, steps, "together")


def after_fork(trial: Trial) -> Iterator[Observation]:
    """A child that was forked after calls were made; its end is no answer, and a finding."""
    metadata = trial.subject.metadata
    if metadata.backend in _NO_FORK:
        raise Skip(f"the threads of {metadata.backend} do not survive a fork")
    if metadata.device != "cpu":
        raise Skip("a device cannot be used in a forked child")
    for operation in (o for o in OPERATIONS if o in metadata.operations):
        own = replace(trial, operation=operation)
        found = _also_by(own, [own.step(trial.normal(s, 0)) for s in ((4, 9), (64, 1000))], "fork")
        yield from found
        if any(o.outcome == "raises" for o in found):  # perhaps after seconds: told once
            return


def targets_of_every_width(trial: Trial) -> Iterator[Observation]:
    """More elements than 16 bits count, so that an index made in the targets' type wraps."""
    x = trial.normal((250, 300), 0)
    for width in _WIDTHS:
        most = min(np.iinfo(width).max, x.shape[1] - 1)
        targets = trial.rng(most).integers(0, most, len(x), endpoint=True)
        targets[:3] = most, 0, most - 1
        plain = trial.step(x, targets=targets)
        step = trial.step(x, targets=targets.astype(width))
        own, result = trial.perform([plain, step])
        if result.error is not None and own.error is None:
            yield Observation("pass", "raises", f"targets of {width}: raised {result.error}")
            continue
        found = _held(trial, step, result, own)
        more = f"targets of {width}: " if found.message else ""
        yield replace(found, message=more + found.message)


def no_class(trial: Trial) -> Iterator[Observation]:
    """Targets at and beyond the class count and below 0: an exception, or no number as loss."""
    metadata = trial.subject.metadata
    if metadata.device != "cpu":
        raise Skip("an index out of range ends the process of a device")
    x = trial.normal((4, 5), 0)
    for target in (5, -1, 6, 9, -5, -6, 1000):
        targets = np.array([0, 3, target, 1])
        step = Step("cross_entropy", (x, targets))
        try:
            (result,) = trial.perform([step])
        except SubjectFault as fault:
            text = f"target {target} of 5 classes: {fault}"
            yield trial.broken(step, text, "crashed", "finding")
            return
        if result.error is not None or not result.arrays or result.arrays[0].shape != (4,):
            continue
        loss = float(to_float64(result.arrays[0])[2])
        if np.isnan(loss):
            continue
        text = f"target {target} of 5 classes gives the loss {loss:.9g}"
        wrapped = Step("cross_entropy", (x, targets % 5))
        from_the_end = -5 <= target < 0 and alike(result, trial.sound(wrapped))
        text += ", as counted from the last class" if from_the_end else ""
        compiled = metadata.backend in ("jax", "jax_cuda", "tensorflow")
        grade: Grade = "finding" if from_the_end or compiled else "failure"
        yield trial.shown(step, text, "wrong", x[2], loss, "an exception, or NaN", grade=grade)
    yield Observation("pass", "raises")


def dimensions(trial: Trial) -> Sequence[Observation]:
    """Logits that are not (N, C): optional, and told once where they are not taken."""
    refused = {"(C,)": trial.refused_logits(1), "(A, B, C)": trial.refused_logits(3)}
    told = [f"logits {name} are not offered: {why}" for name, why in refused.items() if why]
    if told:
        raise Skip(f"{'; '.join(told)}; judged as (N, C)")
    return [Observation("pass", "accurate")]


def overlapping(trial: Trial) -> Iterator[Observation]:
    trial.need_out()
    for shape in ((5,), (33, 64), (9, 2000)):
        plain = trial.step(trial.normal(shape, 0))
        step = replace(plain, out="overlap")
        own, result = trial.perform([plain, step])
        if result.error is None:
            yield _held(trial, step, result, own, "finding")
        else:
            yield Observation("pass", "raises", f"raised {result.error}")


CASES = (
    Case("positional-axis", None, "softmax(x, 0): the axis is the argument after the arrays",
         positional, ALONG_AXIS),
    Case("second-thread", None, "a thread that did not import the module gets the same",
         second_thread),
    Case("two-threads", None, "two threads that call at the same time get what each gets alone",
         two_threads),
    Case("after-fork", None, "a forked child gets the same", after_fork, whole=True),
    Case("targets-of-every-width", None, "targets of every integer type, or an exception",
         targets_of_every_width, ("cross_entropy",)),
    Case("targets-that-are-no-class", None, "a target that is no class has no loss",
         no_class, ("cross_entropy",), deviations=("ignored-target",)),
    Case("logits-of-other-dimensions", None, "cross_entropy of (C,) and (A, B, C), if offered",
         dimensions, ("cross_entropy",), ("float32",)),
    Case("52-overlap", None, "out= that overlaps the input in part", overlapping,
         ("softmax", "log_softmax"), kind="finding"),
)  # fmt: skip
