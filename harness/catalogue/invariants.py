"""What must stay the same: inputs, repeated calls, batches, permutations, shifts (51 to 57)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.catalogue.case import ALONG_AXIS, ELEMENTWISE, OF_LOGITS, OPERATIONS, Case, Observation
from harness.catalogue.step import Array, Result, Step
from harness.catalogue.trial import Trial


def _x(trial: Trial, shape: tuple[int, ...], salt: int = 0) -> Array:
    return trial.array(trial.rng(salt, *shape).normal(scale=2.0, size=shape))


def _bits(a: Result, b: Result) -> bool:
    return all(p.tobytes() == q.tobytes() for p, q in zip(a.arrays, b.arrays, strict=True))


def repeated(trial: Trial) -> Sequence[Observation]:
    """The same call twice is bitwise equal, whatever was asked in between."""
    found: list[Observation] = []
    for shape in ((3,), (17,), (4, 5), (33, 64), (64, 1000), (257, 9), (1, 40_000)):
        x, other = _x(trial, shape), _x(trial, shape, 1)
        steps = [trial.step(v) for v in (x, x, other, x, x + 1, x)]
        if trial.operation != "cross_entropy" and len(shape) == 2:
            first = trial.step(np.ascontiguousarray(x.T), 0)
            steps += [first, trial.step(other), first]
        results = trial.perform(steps)
        found += [trial.observe(s, r) for s, r in zip(steps, results, strict=True)]
        if any(r.error is not None for r in results):
            continue
        pairs = [(0, 1), (0, 3), (0, 5), (6, 8)] if len(steps) > 6 else [(0, 1), (0, 3), (0, 5)]
        for a, b in pairs:
            if not _bits(results[a], results[b]):
                text = f"call {b + 1} differs bitwise from call {a + 1} with the same input"
                found.append(trial.broken(steps[b], text, "wrong"))
    return found


def fresh_values(trial: Trial) -> Sequence[Observation]:
    """New values in the same object, of the same shape, sum or ends: nothing may be remembered."""
    found: list[Observation] = []
    for shape in ((6,), (5, 8), (64, 100), (1, 5000)):
        x = _x(trial, shape, 2)
        flat = x.reshape(-1)
        middle = x.copy()
        middle.reshape(-1)[flat.size // 2] += trial.array(1.0)
        swapped = np.ascontiguousarray(x[..., ::-1])
        ends = _x(trial, shape, 3)
        ends.reshape(-1)[0], ends.reshape(-1)[-1] = flat[0], flat[-1]
        steps = [trial.step(x)]
        steps += [trial.step(v, same=0) for v in (middle, swapped, ends, _x(trial, shape, 4), x)]
        steps += [trial.step(v) for v in (middle, swapped, ends, -x)]
        found += trial.values(steps)
    return found


def kept_results(trial: Trial) -> Sequence[Observation]:
    """A result that is kept does not change when the next call is made."""
    found: list[Observation] = []
    for shape in ((4,), (3, 7), (64, 64), (8, 1000), (2000, 3)):
        found += trial.values([trial.step(_x(trial, shape, salt)) for salt in range(3)])
        if trial.operation != "cross_entropy" and len(shape) == 2:
            found += trial.values([trial.step(_x(trial, shape, salt), 0) for salt in range(3)])
    mixed = [trial.step(_x(trial, s)) for s in ((64, 10), (10, 64), (640,), (64, 10))]
    return found + trial.values(mixed)


def batches(trial: Trial) -> Sequence[Observation]:
    """A row alone, in a small batch and in a large one: within the bound, or better, bitwise."""
    found: list[Observation] = []
    differing = total = 0
    last: Step | None = None
    for classes in (3, 16, 33, 100, 1000):
        x = _x(trial, (64, classes))
        whole = trial.step(x)
        rows = (0, 1, 31, 62, 63)
        singles: list[Step] = []
        for i in rows:
            more: dict[str, Any] = {}
            if trial.operation == "softmax_backward":
                more["grad"] = whole.arrays[0][i : i + 1]
            elif trial.operation == "cross_entropy":
                more["targets"] = whole.arrays[1][i : i + 1]
            singles.append(trial.step(x[i : i + 1], **more))
        results = trial.perform([whole, *singles])
        steps = [whole, *singles]
        found += [trial.observe(s, r) for s, r in zip(steps, results, strict=True)]
        if any(o.grade == "failure" for o in found):
            continue
        for i, single in zip(rows, results[1:], strict=True):
            for a, b in zip(results[0].arrays, single.arrays, strict=True):
                differing += int(np.count_nonzero(np.atleast_1d(a[i]) != np.atleast_1d(b[0])))
                total += int(b.size)
        last = whole
    if differing and last is not None:
        text = f"{differing} of {total} elements differ in the last bits between batch sizes"
        found.append(trial.broken(last, text, "accurate", "finding"))
    return found


def _same_bits(
    trial: Trial, found: list[Observation], steps: Sequence[Step], a: Array, b: Array, what: str
) -> None:
    if not any(o.grade == "failure" for o in found) and a.tobytes() != b.tobytes():
        count = int(np.count_nonzero(a != b))
        if count:
            text = f"{count} of {a.size} elements differ in the last bits {what}"
            found.append(trial.broken(steps[0], text, "accurate", "finding"))


def permuted(trial: Trial) -> Sequence[Observation]:
    found: list[Observation] = []
    for classes in (5, 17, 64, 100, 1000):
        x = _x(trial, (8, classes))
        order = trial.rng(classes).permutation(classes)
        steps = [trial.step(x), trial.step(np.ascontiguousarray(x[:, order]))]
        steps.append(trial.step(np.sort(x, axis=-1)))
        steps.append(trial.step(np.ascontiguousarray(np.sort(x, axis=-1)[:, ::-1])))
        results = trial.perform(steps)
        found += [trial.observe(s, r) for s, r in zip(steps, results, strict=True)]
        if trial.operation in ELEMENTWISE and all(r.error is None for r in results):
            a, b = results[0].arrays[0], results[1].arrays[0]
            if a.shape == b.shape == x.shape:
                _same_bits(trial, found, steps, np.ascontiguousarray(a[:, order]), b, "permuted")
    return found


def orders_of_memory(trial: Trial) -> Sequence[Observation]:
    found: list[Observation] = []
    for shape in ((33, 17), (64, 100), (6, 7, 8)):
        x = _x(trial, shape)
        for axis in range(len(shape)):
            steps = [trial.step(x, axis), trial.step(x, axis, layout="F")]
            results = trial.perform(steps)
            found += [trial.observe(s, r) for s, r in zip(steps, results, strict=True)]
            if all(r.error is None and r.arrays for r in results):
                a, b = (np.ascontiguousarray(r.arrays[0]) for r in results)
                if a.shape == b.shape:
                    _same_bits(trial, found, steps, a, b, "between the orders C and F")
    return found


def shifted(trial: Trial) -> Sequence[Observation]:
    """Shifts that are exact in the format: each result within its bound."""
    found: list[Observation] = []
    for classes in (2, 9, 33, 100):
        grid = trial.rng(classes).integers(-16, 16, size=(6, classes)) / 8.0
        for shift in (0.0, 8.0, -8.0, 32.0, 64.0):
            found += trial.values([trial.step(trial.array(grid + shift))])
    return found


def sums(trial: Trial) -> Sequence[Observation]:
    """Probabilities: at least 0, at most 1, and of sum 1."""
    found: list[Observation] = []
    u = trial.fmt.unit_roundoff
    for classes in (1, 2, 10, 100, 1000):
        x = _x(trial, (16, classes), 5)
        step = trial.step(x)
        (result,) = trial.perform([step])
        found.append(trial.observe(step, result))
        if found[-1].grade != "pass":
            continue
        y = result.arrays[0].astype(np.float64)
        slack = (2 * classes + 4 * trial.arithmetic.exp_error + 60) * u
        residual = float(np.max(np.abs(y.sum(axis=-1) - 1.0)))
        if residual > slack or y.min() < 0 or y.max() > 1 + slack:
            text = f"a row sums to 1 within {residual:.3g}, {slack:.3g} allowed"
            found.append(trial.broken(step, text))
    return found


CASES = (
    Case("51-input-unchanged", 51, "the input is not modified, a kept result does not change",
         kept_results, OPERATIONS, deviations=("log-of-p",)),
    Case("53-repeatable", 53, "the same call twice is bitwise equal", repeated, OPERATIONS,
         deviations=("stalled-sum", "log-of-p")),
    Case("fresh-values", None, "nothing is remembered from an earlier call", fresh_values,
         OPERATIONS, deviations=("log-of-p",)),
    Case("54-batches", 54, "a row's result does not depend on its batch", batches, OPERATIONS,
         kind="finding", deviations=("log-of-p", "last-bit")),
    Case("55-permutation", 55, "permuted logits have permuted results", permuted, OF_LOGITS,
         kind="finding", deviations=("last-bit",)),
    Case("56-memory-order", 56, "C and F order agree", orders_of_memory, ALONG_AXIS,
         kind="finding", deviations=("last-bit", "strided-sum")),
    Case("57-shift", 57, "exactly representable shifts change nothing", shifted,
         ("softmax", "log_softmax", "logsumexp", "cross_entropy"),
         deviations=("overflow", "underflow", "offset")),
    Case("58-distribution", 58, "results are at least 0, at most 1 and sum to 1", sums,
         ("softmax",)),
)  # fmt: skip
