"""What must stay the same: inputs, repeated calls, batches, permutations, shifts (51 to 57)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.experiments.conformance.call import Array, Step, alike
from harness.experiments.conformance.case import (
    ALONG_AXIS,
    ELEMENTWISE,
    OF_LOGITS,
    OPERATIONS,
    Case,
)  # fmt: skip
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.expected import largest_at
from harness.experiments.conformance.observation import Observation
from harness.numerics.formats import to_float64, to_hex


def _made(trial: Trial, shape: tuple[int, ...], *more: str) -> tuple[str, ...]:
    """How `Trial.normal` made an array: an expression that gives it to anybody who has NumPy."""
    seed = [trial.seed, trial.case_number or 0, 0, *shape]
    made = f"numpy.random.default_rng({seed}).normal(scale=2.0, size={shape})"
    return (f"{made}.astype({trial.dtype!r})", *more)


def repeated(trial: Trial) -> Iterator[Observation]:
    """The same call twice is bitwise equal, whatever was asked in between."""
    shapes = ((3,), (17,), (4, 5), (33, 64), (64, 1000), (257, 9), (1, 40_000))
    for shape in trial.chosen(shapes, 3):
        x, other = trial.normal(shape, 0), trial.normal(shape, 1)
        steps = [trial.step(v) for v in (x, x, other, x, x + 1, x)]
        pairs = [(0, 1), (0, 3), (0, 5)]
        for first in trial.columns(x) if len(shape) == 2 else ():
            steps += [first, trial.step(other), first]
            pairs.append((6, 8))
        results, observed = trial.all_observed(steps)
        yield from observed
        if any(r.error is not None for r in results):
            continue
        for a, b in pairs:
            if not alike(results[a], results[b]):
                text = f"call {b + 1} differs bitwise from call {a + 1} with the same input"
                yield trial.broken(steps[b], text, "wrong")


def fresh_values(trial: Trial) -> Iterator[Observation]:
    """New values in the same object, of the same shape, sum or ends: nothing may be remembered."""
    for shape in ((6,), (5, 8), (64, 100), (1, 5000)):
        x = trial.normal(shape, 2)
        flat = x.reshape(-1)
        middle = x.copy()
        middle.reshape(-1)[flat.size // 2] += trial.array(1.0)
        swapped = np.ascontiguousarray(x[..., ::-1])
        ends = trial.normal(shape, 3)
        ends.reshape(-1)[0], ends.reshape(-1)[-1] = flat[0], flat[-1]
        steps = [trial.step(x)]
        steps += [trial.step(v, same=0) for v in (middle, swapped, ends, trial.normal(shape, 4), x)]
        steps += [trial.step(v) for v in (middle, swapped, ends, -x)]
        yield from trial.values(steps)


def kept_results(trial: Trial) -> Iterator[Observation]:
    """A result that is kept does not change when the next call is made."""
    for shape in ((4,), (3, 7), (64, 64), (8, 1000), (2000, 3)):
        yield from trial.values([trial.step(trial.normal(shape, salt)) for salt in range(3)])
        if trial.operation != "cross_entropy" and len(shape) == 2:
            yield from trial.values([trial.step(trial.normal(shape, salt), 0) for salt in range(3)])
    shapes = ((64, 10), (10, 64), (640,), (64, 10))
    yield from trial.values([trial.step(trial.normal(s, 0)) for s in shapes])


@dataclass
class _Unlike:
    """How many elements of pairs of results differ, and the first of them.

    Attributes:
        first: the call, which pair of it, where in that, and both values; None for none.
    """

    count: int = 0
    total: int = 0
    first: tuple[Step, int, tuple[int, ...], Any, Any] | None = None

    def compare(self, step: Step, pair: int, a: Array, b: Array) -> None:
        places = np.argwhere(a != b)
        self.count += len(places)
        self.total += a.size
        if len(places) and self.first is None:
            place = tuple(map(int, places[0]))
            self.first = step, pair, place, a[place], b[place]

    def told(self) -> str:
        return f"{self.count} of {self.total} elements differ in the last bits"


def batches(trial: Trial) -> Sequence[Observation]:
    """A row alone, in a small batch and in a large one: within the bound, or better, bitwise."""
    found: list[Observation] = []
    unlike = _Unlike()
    for classes in trial.chosen((3, 16, 33, 100, 1000), 2):
        x = trial.normal((64, classes), 0)
        whole = trial.step(x)
        rows = (0, 1, 31, 62, 63)
        alone = [replace(whole, arrays=tuple(a[i : i + 1] for a in whole.arrays)) for i in rows]
        results, observed = trial.all_observed([whole, *alone])
        found += observed
        if any(o.grade == "failure" for o in found):
            continue
        for i, single in zip(rows, results[1:], strict=True):
            for a, b in zip(results[0].arrays, single.arrays, strict=True):
                unlike.compare(whole, i, np.atleast_1d(a[i]), np.atleast_1d(b[0]))
    if unlike.first is not None:
        step, i, _, together, single_result = unlike.first
        text = f"{unlike.told()} between batch sizes"
        made = _made(trial, step.arrays[0].shape, f"row {i}, in its batch and alone")
        found.append(trial.shown(step, text, "accurate", made, together, single_result))
    return found


def _unevenly(trial: Trial, a: Array, b: Array) -> tuple[int, ...] | None:
    """The element whose ratio to its counterpart is unlike that of the others of its row.

    Another order of the same terms changes their sum, and with it all results of a row alike;
    what changes some of them and not others is an exponential or a division that depends on the
    place. Allowed: that error twice, and some roundings.
    """
    old, new = to_float64(a), to_float64(b)
    normal = np.minimum(np.abs(old), np.abs(new)) > 2 * trial.fmt.smallest_normal
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(normal, new / old, np.nan)
        middle = np.nanmedian(ratio, axis=1, keepdims=True)
        off = np.where(normal, np.abs(ratio / middle - 1.0), 0.0) / trial.fmt.unit_roundoff
    place = largest_at(off)
    return None if off[place] <= 2.0 * trial.arithmetic.exp_error + 8.0 else place


def permuted(trial: Trial) -> Sequence[Observation]:
    """Every order within the bound; between orders, no more than the rounding of the sum."""
    found: list[Observation] = []
    unlike = _Unlike()
    for classes in trial.chosen((5, 17, 64, 100, 1000), 2):
        x = trial.normal((8, classes), 0)
        order = trial.rng(classes).permutation(classes)
        rising = np.sort(x, axis=-1)
        orders = (x, x[:, order], rising, rising[:, ::-1])
        steps = [trial.step(np.ascontiguousarray(v)) for v in orders]
        results, observed = trial.all_observed(steps)
        found += observed
        if trial.operation not in ELEMENTWISE or any(o.grade == "failure" for o in found):
            continue
        a, b = results[0].arrays[0], results[1].arrays[0]
        a = np.ascontiguousarray(a[:, order])
        unlike.compare(steps[1], 0, a, b)
        place = _unevenly(trial, a, b) if trial.operation == "softmax" else None
        if place is not None:
            seed = [trial.seed, trial.case_number or 0, classes]
            made = _made(
                trial, x.shape,
                f"[:, numpy.random.default_rng({seed}).permutation({classes})]",
                f"row {place[0]}, column {place[1]}",
            )  # fmt: skip
            text = f"out{list(place)} differs from itself in another order by more than the sum"
            found.append(trial.shown(steps[1], text, "inaccurate", made, b[place], a[place]))
    if unlike.count and all(o.grade == "pass" for o in found):
        # Sums are not associative: that is no weakness, and worth no more than this remark.
        text = f"{unlike.told()}, as the rounded sum does"
        found.insert(0, Observation("pass", "accurate", text))
    return found


def orders_of_memory(trial: Trial) -> Sequence[Observation]:
    """The same array in the orders C and F, along every axis."""
    found: list[Observation] = []
    unlike = _Unlike()
    for shape in trial.chosen(((5, 9), (33, 17), (64, 100), (6, 7, 8)), 2):
        x = trial.normal(shape, 0)
        for axis in range(len(shape)):
            steps = [trial.step(x, axis), trial.step(x, axis, layout="F")]
            results, observed = trial.all_observed(steps)
            found += observed
            if any(r.error is not None or not r.arrays for r in results):
                continue
            a, b = (np.ascontiguousarray(r.arrays[0]) for r in results)
            if a.shape != b.shape or any(o.grade == "failure" for o in found):
                continue
            unlike.compare(steps[1], 0, a, b)
    if unlike.first is not None:
        step, _, place, in_c, in_f = unlike.first
        text = f"{unlike.told()} between the orders C and F"
        shape = step.arrays[0].shape
        made = _made(trial, shape, f"axis {step.axis}, element {list(place)}")
        if int(np.prod(shape)) <= 64 and len(step.arrays) == 1:
            made = (*made, *(to_hex(v) for v in step.arrays[0].reshape(-1)))
        found.append(trial.shown(step, text, "accurate", made, in_f, in_c))
    return found


def shifted(trial: Trial) -> Iterator[Observation]:
    """Shifts that are exact in the format: each result within its bound."""
    for classes in trial.chosen((2, 9, 33, 100), 2):
        grid = trial.rng(classes).integers(-16, 16, size=(6, classes)) / 8.0
        for shift in (0.0, 8.0, -8.0, 32.0, 64.0):
            yield from trial.values([trial.step(trial.array(grid + shift))], every=True)


def sums(trial: Trial) -> Iterator[Observation]:
    """Probabilities: at least 0, at most 1, and of sum 1."""
    u = trial.fmt.unit_roundoff
    for classes in trial.chosen((1, 2, 10, 100, 1000), 3):
        x = trial.normal((16, classes), 5)
        step = trial.step(x)
        result, observed = trial.observed(step)
        yield observed
        if observed.grade != "pass":
            continue
        y = result.arrays[0].astype(np.float64)
        slack = (2 * classes + 4 * trial.arithmetic.exp_error + 60) * u
        residual = float(np.max(np.abs(y.sum(axis=-1) - 1.0)))
        if residual > slack or y.min() < 0 or y.max() > 1 + slack:
            text = f"a row sums to 1 within {residual:.3g}, {slack:.3g} allowed"
            yield trial.broken(step, text)


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
