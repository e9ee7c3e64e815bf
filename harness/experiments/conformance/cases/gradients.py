"""Gradients: cancellation at saturation, cross terms, bias, ignored rows (cases 59 to 63)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.case import JAX, NATIVE, PYTORCH, Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.cases.magnitude import of_few_digits
from harness.experiments.conformance.observation import Observation, Skip
from harness.numerics.formats import to_float64
from harness.numerics.ulps import signed_ulp_error
from harness.records import Outcome
from harness.reference import cross_entropy_exact, softmax


def saturated_gradient(trial: Trial) -> Sequence[Observation]:
    """p_t - 1 near saturation is -(sum of the others); judged relatively, as a finding."""
    least = -np.log(trial.fmt.unit_roundoff)
    gaps = np.array([0.5 * least, least - 1, least + 0.3, least + 4, 2 * least])
    x = trial.array(np.stack([gaps, np.zeros(5), -np.ones(5)], axis=1))
    step = trial.step(x, targets=np.zeros(5, np.int64))
    result = trial.sound(step)
    exact = cross_entropy_exact(x, step.arrays[1])[1][:, 0]
    return [of_few_digits(trial, step, "gradient[{}, 0]", result.arrays[1][:, 0], exact)]


def random_backward(trial: Trial) -> Iterator[Observation]:
    """Gradients of many kinds at few classes: cross term, unit vectors, constant ones."""
    for classes in (1, 2, 3, 5, 8, 17, 33, 64):
        rng = trial.rng(classes)
        x = trial.array(rng.normal(scale=2.0, size=(12, classes)))
        kinds = [
            rng.normal(size=x.shape), np.ones(x.shape), rng.uniform(1, 2, x.shape),
            1e3 * rng.normal(size=x.shape), -np.ones(x.shape), np.zeros(x.shape),
        ]  # fmt: skip
        steps = [trial.step(x, grad=trial.array(g)) for g in kinds]
        steps.append(trial.step(np.ascontiguousarray(x.T), 0, grad=trial.array(kinds[0].T)))
        yield from trial.values(steps)


def jacobian(trial: Trial) -> Iterator[Observation]:
    """The full Jacobian diag(p) - p pᵀ, a unit vector at a time."""
    for classes in (2, 3, 6, 17):
        x = trial.array(trial.rng(classes).normal(size=classes))
        rows = np.ascontiguousarray(np.broadcast_to(x, (classes, classes)))
        yield from trial.values([trial.step(rows, grad=trial.array(np.eye(classes)))])


def unlike_arguments(trial: Trial) -> Sequence[Observation]:
    """y that is no softmax, and gradients of another magnitude: taken as given."""
    rng = trial.rng(4)
    y = trial.array(rng.uniform(0.1, 0.9, size=(5, 7)))
    grad = trial.array(rng.normal(size=(5, 7)))
    return trial.values([Step("softmax_backward", (grad, y), axis) for axis in (-1, 0)])


def gradient_of_logits(trial: Trial) -> Sequence[Observation]:
    """VJP of [37.43, 0] with cotangent [1, 0]: from the rounded y it is 0, in truth 5.5e-17."""
    gap = 37.43 if trial.dtype == "float64" else 17.4
    y = softmax(trial.array([gap, 0.0]))
    step = Step("softmax_backward", (trial.array([1.0, 0.0]), y))
    got = float(to_float64(trial.sound(step).arrays[0])[0])
    right = float(np.exp(-gap) / (1 + np.exp(-gap)) ** 2)
    if abs(got - right) <= 1e-3 * right:
        return [Observation("pass", "accurate")]
    more = " in the logits: y=1 has lost it"
    return [trial.unlike(step, "out[0]", y, got, right, "inaccurate", more)]


def long_half(trial: Trial) -> Sequence[Observation]:
    x = trial.array(np.zeros((1, 65_536)))
    return trial.values([trial.step(x, targets=np.zeros(1, np.int64))])


def bias(trial: Trial) -> Sequence[Observation]:
    """The mean signed error of gradients: rounding to nearest has none."""
    x = trial.array(trial.rng(62).normal(size=(64, 100)))
    step = trial.step(x)
    result, observed = trial.observed(step)
    if observed.grade != "pass":
        return [observed]
    exact = cross_entropy_exact(x, step.arrays[1])[1]
    mean = float(np.mean(signed_ulp_error(result.arrays[1], exact, trial.fmt)))
    if abs(mean) <= 0.1:
        return [observed]
    text = f"gradients are off by {mean:.3g} ulp on average"
    return [trial.broken(step, text, "inaccurate", "finding")]


def masked_target_row(trial: Trial) -> Iterator[Observation]:
    """Masked classes that are not the target: finite loss, gradient 0 there."""
    for classes in (2, 3, 8, 17, 100):
        x = trial.array(trial.rng(classes).normal(size=(6, classes)))
        x[1, 1:] = x[2, -1] = x[3, classes // 2 or 1] = -np.inf
        targets = np.zeros(6, np.int64)
        targets[0] = classes - 1
        yield from trial.values([trial.step(x, targets=targets)])


def ignored_row(trial: Trial) -> Iterator[Observation]:
    """Target -100 on a row of -inf and on an ordinary one: loss 0, gradient 0, the rest unharmed.

    Asked where the signature has ``ignore_index``, and of torch, whose loss ignores -100.
    """
    meta = trial.subject.metadata
    x = trial.array([[-np.inf] * 3, [1.0, 2.0, 3.0], [0.5, -1.0, 2.0]])
    targets = np.array([-100, 1, -100])
    by_default = meta.backend == "torch" and meta.device == "cpu"
    keywords = {} if by_default else {"ignore_index": -100}
    step = Step("cross_entropy", (x, targets), keywords=keywords)
    (result,) = trial.perform([step])
    if result.not_made is not None:
        raise Skip(f"has no ignored targets: {result.not_made}")
    if result.error is not None:
        yield Observation("pass", "raises", f"target -100: raised {result.error}")
        return
    broken = trial.contract(step, result, "finding")
    if broken is not None:
        yield broken
        return
    one = Step("cross_entropy", (x[1:2], targets[1:2]))
    kept = Result(tuple(a[1:2] for a in result.arrays), result.dtypes)
    yield trial.observe(one, kept, "finding", "beside ignored rows")
    for row in (0, 2):
        values = np.concatenate([np.atleast_1d(to_float64(a[row])) for a in result.arrays])
        if not np.array_equal(values, np.zeros(4)):
            text = f"loss and gradient of ignored row {row} are {values.tolist()}, but should be 0"
            kind: Outcome = "nan" if np.isnan(values).any() else "wrong"
            yield trial.shown(step, text, kind, x[row], None, None)


def targets_everywhere(trial: Trial) -> Iterator[Observation]:
    """Every target, in one and in several dimensions; the gradient sums to 0."""
    for shape in ((9,), (17, 17), (3, 4, 5), (64, 3)):
        x = trial.array(trial.rng(*shape).normal(scale=2.0, size=shape))
        for offset in range(0, shape[-1], max(1, shape[-1] // 4)):
            count = int(np.prod(shape[:-1], dtype=int))
            targets = ((np.arange(count) + offset) % shape[-1]).reshape(shape[:-1])
            step = trial.step(x, targets=targets)
            result, observed = trial.observed(step)
            yield observed
            if observed.grade == "pass":
                residual = float(np.max(np.abs(to_float64(result.arrays[1]).sum(axis=-1))))
                slack = 2 * shape[-1] + 4 * trial.arithmetic.exp_error + 60
                if residual > slack * trial.fmt.unit_roundoff:
                    text = f"a gradient sums to {residual:.3g}, but should to 0"
                    yield trial.broken(step, text)


_B, _C = ("softmax_backward",), ("cross_entropy",)
CASES = (
    Case("59-saturated-gradient", 59, "p_t - 1 is -(sum of the others) at saturation",
         saturated_gradient, _C, kind="finding",
         deviations=("gradient", "saturation", "overflow", "underflow", "offset")),
    Case("backward", None, "y_i (g_i - sum g_j y_j) at few classes", random_backward, _B),
    Case("jacobian", None, "the full Jacobian diag(p) - p pT", jacobian, _B),
    Case("backward-as-given", None, "y that is no softmax is taken as given", unlike_arguments, _B),
    Case("60-gradient-of-logits", 60, "VJP of [37.43, 0] with cotangent [1, 0]: 5.5e-17",
         gradient_of_logits, _B, NATIVE, kind="finding", upstream=(JAX + "40386",),
         deviations=("from-output",)),
    Case("61-long-half", 61, "float16 gradient at n = 2**16", long_half, _C, ("float16",),
         upstream=(JAX + "40409",), deviations=("stalled-sum", "float16-sum")),
    Case("62-bias", 62, "gradients in bfloat16 are rounded without bias", bias, _C, ("bfloat16",),
         kind="finding", deviations=("stalled-sum", "saturation")),
    Case("63-masked", 63, "masked classes beside the target", masked_target_row, _C,
         upstream=(PYTORCH + "11551",)),
    Case("63-ignored-row", 63, "an ignored row with -inf", ignored_row, _C,
         kind="finding", upstream=(PYTORCH + "11551",)),
    Case("targets", None, "every target; the gradient sums to 0", targets_everywhere, _C),
)  # fmt: skip
