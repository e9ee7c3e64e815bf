"""Shapes and memory: axes, dimensions, strides, alignment, empty arrays, out= (cases 32 to 41)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np

from harness.experiments.conformance.call import Array, Layout, Out, Step
from harness.experiments.conformance.case import ALONG_AXIS, OF_LOGITS, OPERATIONS, PYTORCH, Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.observation import Observation, Skip


def _x(trial: Trial, shape: tuple[int, ...]) -> Array:
    return trial.normal(shape, len(shape))


def axes_and_dimensions(trial: Trial) -> Sequence[Observation]:
    shapes: list[tuple[int, ...]] = [
        (7,), (1,), (257,), (5, 7), (7, 5), (1, 9), (9, 1), (64, 33), (33, 64), (4, 6, 5),
        (3, 1, 8), (1, 6, 4), (17, 2, 3), (1, 1, 5, 3), (2, 3, 4, 5), (5, 2, 1, 3), (2, 2, 3, 1, 2),
        (2, 1, 3, 2, 1, 2, 2, 3),
        (300, 40), (40, 300), (3, 130, 5), (16, 16, 16),
    ]  # fmt: skip
    steps = []
    for shape in shapes:
        axes = (-1,) if trial.operation == "cross_entropy" else range(-len(shape), len(shape))
        steps += [trial.step(_x(trial, shape), axis) for axis in axes]
    return trial.values(trial.chosen(steps, 20))


def layout(trial: Trial, *, which: tuple[Layout, ...]) -> Sequence[Observation]:
    """The same values in every layout: what they must give is evaluated once for all cases."""
    every = replace(trial, case_number=None)  # whose inputs are those of no case alone
    shapes: list[tuple[int, ...]] = [
        (9,), (1000,), (17, 33), (33, 17), (130, 67), (4, 9, 5), (6, 2, 40), (8, 64), (600, 70),
    ]  # fmt: skip
    steps = []
    for shape, name in product(shapes, which):
        for axis in trial.axes(len(shape)):
            step = every.step(_x(every, shape), axis, layout=name)
            if name == "broadcast":
                if axis == 0 and trial.operation == "softmax_backward":
                    continue
                arrays = [a if a.ndim == 0 else np.repeat(a[:1], len(a), 0) for a in step.arrays]
                step = replace(step, arrays=tuple(arrays))
            steps.append(step)
    return trial.values(steps)


def unlike_layouts(trial: Trial) -> Sequence[Observation]:
    """Gradients that lie unlike y, as broadcast and transposed ones do; strided targets."""
    first: tuple[Layout, ...] = ("C", "F")
    second: tuple[Layout, ...] = ("reversed", "strided", "readonly")
    if trial.operation == "softmax_backward":
        first, second = (*first, *second), (*first, "offset")
    steps = []
    for shape in ((9,), (17, 33), (64, 10), (4, 9, 5)):
        for axis in trial.axes(len(shape)):
            for a, b in product(first, second):
                if a != b:
                    step = trial.step(_x(trial, shape), axis, layout=a)
                    steps.append(replace(step, second=b))
            if trial.operation == "softmax_backward":
                grad = np.broadcast_to(_x(trial, (1, *shape[1:])), shape).copy()
                step = trial.step(_x(trial, shape), axis, layout="broadcast", grad=grad)
                steps.append(replace(step, second="C"))
    return trial.values(steps)


def output(trial: Trial) -> Sequence[Observation]:
    trial.need_out()
    steps = []
    outs: tuple[Out, ...] = ("fresh", "strided")
    orders: tuple[Layout, ...] = ("C", "F")
    for shape in ((5,), (4, 9), (33, 64), (3, 4, 5)):
        for axis, out, name in product(range(len(shape)), outs, orders):
            steps.append(trial.step(_x(trial, shape), axis, out=out, layout=name))
    return trial.values(steps)


def aliased(trial: Trial) -> Iterator[Observation]:
    trial.need_out()
    orders: tuple[Layout, ...] = ("C", "F")
    for shape, name in product(((5,), (1, 9), (33, 64), (3, 4, 5), (9, 2000)), orders):
        x, axes = _x(trial, shape), range(len(shape)) if shape[-1] < 2000 else (1,)
        yield from trial.values([trial.step(x, a, out="alias", layout=name) for a in axes])


def default_axis(trial: Trial) -> Sequence[Observation]:
    shapes = ((7,), (3, 5), (5, 3), (2, 3, 4), (4, 4), (2, 3, 2, 3))
    return trial.values([trial.step(_x(trial, s), "default") for s in shapes])


def _finding(trial: Trial, steps: Sequence[Step]) -> list[Observation]:
    """Shapes on which libraries differ: a refusal is a class of outcome, not a fault."""
    found = trial.values(steps, "finding")
    return [Observation("pass", "raises", o.message) if o.outcome == "raises" else o for o in found]


def no_rows(trial: Trial) -> Sequence[Observation]:
    shapes = ((0, 3), (0, 1), (2, 0, 3))
    return trial.values([trial.step(trial.array(np.zeros(s))) for s in shapes], "finding")


def no_classes(trial: Trial) -> Sequence[Observation]:
    if trial.operation == "cross_entropy":
        raise Skip("a target needs a class")
    shapes = ((3, 0), (0,), (0, 0))
    return _finding(trial, [trial.step(trial.array(np.zeros(s))) for s in shapes])


def scalar(trial: Trial) -> Sequence[Observation]:
    x = trial.array(1.5)
    step = Step(trial.operation, (x,), None)
    results = trial.perform([Step(trial.operation, (x,), -1), step])
    for r in results:
        if r.error is None:
            right = {"softmax": 1.0, "log_softmax": 0.0, "logsumexp": 1.5}[trial.operation]
            got = r.arrays[0].reshape(-1)
            if got.size == 1 and float(got[0]) == right:
                return [Observation("pass", "exact")]
            return [trial.broken(step, f"{got}, but should be {right}", "wrong", "finding")]
    return [Observation("pass", "raises", f"raised {results[0].error}")]


def several_axes(trial: Trial) -> Sequence[Observation]:
    x = _x(trial, (3, 4, 5))
    axes: tuple[tuple[int, ...] | None, ...] = (None, (0, 1), (1, 2), (0, 2))
    return _finding(trial, [Step(trial.operation, (x,), a) for a in axes])


CASES = (
    Case("32-no-rows", 32, "(0, 3): empty, as NumPy, SciPy and torch", no_rows, OPERATIONS,
         kind="finding", deviations=("empty-axis",)),
    Case("33-no-classes", 33, "(3, 0): empty; SciPy raises", no_classes, OPERATIONS,
         kind="finding", deviations=("empty-axis",)),
    Case("34-scalar", 34, "0-d: 1.0, or a refusal", scalar, OF_LOGITS, kind="convention"),
    Case("35-transposed", 35, "transposed, Fortran order", partial(layout, which=("F",))),
    Case("36-reversed", 36, "negative strides", partial(layout, which=("reversed",))),
    Case("36-gaps", 36, "strided views and windows",
         partial(layout, which=("strided", "offset"))),
    Case("37-broadcast", 37, "zero strides", partial(layout, which=("broadcast",)),
         deviations=("overflow", "underflow")),
    Case("38-misaligned", 38, "misaligned, and read-only",
         partial(layout, which=("misaligned", "readonly"))),
    Case("38-unlike-layouts", 38, "two arguments that lie unlike each other", unlike_layouts,
         ("softmax_backward", "cross_entropy")),
    Case("39-out", 39, "out=, contiguous or not", output, ("softmax", "log_softmax")),
    Case("40-default-axis", 40, "the default axis is the last", default_axis, ALONG_AXIS),
    Case("41-axes", 41, "one to eight dimensions, every axis", axes_and_dimensions,
         upstream=(PYTORCH + "147284",)),
    Case("41-several-axes", 41, "None and tuples of axes, or a refusal", several_axes, OF_LOGITS,
         kind="finding"),
    Case("52-alias", 52, "out=x", aliased, ("softmax", "log_softmax")),
)  # fmt: skip
