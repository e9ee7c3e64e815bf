"""Callers as they are: threads, forks, targets of every integer type, positional axes, overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from harness.experiments.conformance.call import Array, AxisArgument, Caller, Result, Step, alike
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


def _x(trial: Trial, shape: tuple[int, ...], salt: int = 0) -> Array:
    return trial.array(trial.rng(salt, *shape).normal(scale=2.0, size=shape))


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
    broken = trial.contract(step, result, grade, "")
    if broken is not None or alike(result, own):
        return broken or Observation("pass", "exact")
    return trial.observe(step, result, grade)


def _also_by(trial: Trial, steps: Sequence[Step], caller: Caller) -> list[Observation]:
    """The calls as always, then by another caller: the same results are expected."""
    others = [replace(step, caller=caller) for step in steps]
    try:
        results = trial.perform([*steps, *others])
    except SubjectFault as fault:
        return [trial.broken(others[0], str(fault), "crashed", "finding")]
    own, theirs = results[: len(steps)], results[len(steps) :]
    return [_held(trial, s, r, o) for s, r, o in zip(others, theirs, own, strict=True)]


def positional(trial: Trial) -> Iterator[Observation]:
    calls: tuple[tuple[tuple[int, ...], int], ...] = (
        ((3, 5), 0), ((3, 5), -1), ((2, 3, 4), 1), ((5,), 0),
    )  # fmt: skip
    steps = [trial.step(_x(trial, shape), axis) for shape, axis in calls]
    others = [replace(step, positional=True) for step in steps]
    results = trial.perform([*steps, *others])
    for step, own, result in zip(others, results[: len(steps)], results[len(steps) :], strict=True):
        yield _held(trial, step, result, own)


def second_thread(trial: Trial) -> Sequence[Observation]:
    steps = [trial.step(_x(trial, shape)) for shape in ((5,), (4, 9), (64, 100))]
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
        steps = [trial.step(_x(trial, s, i), axis) for i, (s, axis) in enumerate(pair)]
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
        found = _also_by(own, [own.step(_x(trial, s)) for s in ((4, 9), (64, 1000))], "fork")
        yield from found
        if any(o.outcome == "raises" for o in found):  # perhaps after seconds: told once
            return


def targets_of_every_width(trial: Trial) -> Iterator[Observation]:
    """More elements than 16 bits count, so that an index made in the targets' type wraps."""
    x = _x(trial, (250, 300))
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
    x = _x(trial, (4, 5))
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
        from_the_end = False
        if -5 <= target < 0:
            again = trial.sound(Step("cross_entropy", (x, targets % 5)))
            from_the_end = alike(result, again)
            text += ", as counted from the last class" if from_the_end else ""
        compiled = metadata.backend in ("jax", "jax_cuda", "tensorflow")
        grade: Grade = "finding" if from_the_end or compiled else "failure"
        yield trial.shown(step, text, "wrong", x[2], loss, "an exception, or NaN", grade=grade)
    yield Observation("pass", "raises")


def dimensions(trial: Trial) -> Sequence[Observation]:
    """Logits that are not (N, C): optional, and told once where they are not taken."""
    kinds = {1: "(C,)", 3: "(A, B, C)"}
    refused = {name: trial.refused_logits(ndim) for ndim, name in kinds.items()}
    told = [f"logits {name} are not offered: {why}" for name, why in refused.items() if why]
    if told:
        raise Skip(f"{'; '.join(told)}; judged as (N, C)")
    return [Observation("pass", "accurate")]


def overlapping(trial: Trial) -> Iterator[Observation]:
    if trial.operation not in trial.subject.metadata.operations_with_out:
        raise Skip("takes no out=")
    for shape in ((5,), (33, 64), (9, 2000)):
        plain = trial.step(_x(trial, shape))
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
