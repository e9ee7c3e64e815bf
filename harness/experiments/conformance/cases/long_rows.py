"""The ends of long rows: counts around powers of two, around tiles, and those of vocabularies.

A vector loop, a tile or a thread's share leaves a remainder, and indices of 16 bits end. The bound
of a long row is too wide to see an element lost in it, so the last one is made to matter: it has
half of the mass, or all of it, or none. What must come is then known well enough in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from harness.experiments.conformance.call import Array, Step
from harness.experiments.conformance.case import NATIVE, OPERATIONS, PYTORCH, Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.cases.wide_rows import evaluated
from harness.experiments.conformance.expected import first_beyond
from harness.experiments.conformance.observation import Observation
from harness.numerics.formats import Float64Array, float_format, to_float64
from harness.workloads.class_counts import NAMED

_FIRST = (8193, 65_537, 32_769, 16_385, 131_073, 12_289, 50_257, 4097)
_BESIDE = tuple(2**k + d for k in range(13, 18) for d in (-1, 0))
_OTHERS = (5121, 9215, 10_000, 20_000, 24_577, 30_522, 40_961, 49_153, 98_305, 100_000)
_VOCABULARIES = tuple(c.classes for c in NAMED if 4096 < c.classes < 200_000)
COUNTS = tuple(dict.fromkeys((*_FIRST, *_VOCABULARIES, *_BESIDE, *_OTHERS)))
"""The likeliest to be wrong first: a slow implementation is asked as many as its time allows."""
_STRIDED = (8193, 65_537, 16_384, 50_257)
_SLACK = 600.0
"""In u, beside the n of the sum: many times what else the bounds of `generic` add up to here."""

_KINDS = (
    "the last logit has half of the mass",
    "the last logit has all of the mass",
    "the last logit is -inf",
    "the sum is beyond the range of exp",
)


@lru_cache(maxsize=2)
def _plain(dtype: str, seed: int) -> Array:
    z = np.random.default_rng([seed, 31, 7]).normal(size=max(COUNTS))
    return np.asarray(np.clip(z, -3.0, 3.0), dtype=float_format(dtype).dtype)


def _rows(trial: Trial, n: int) -> Array:
    """The last logit with half of the mass, all of it, none of it; and a sum beyond the range."""
    x = np.repeat(_plain(trial.dtype, trial.seed)[None, :n], 4, axis=0)
    x[0, -1] = np.log(np.sum(np.exp(to_float64(x[0, :-1]))))
    x[1, -1] = 2.0 * np.log(trial.fmt.max)
    x[2, -1] = -np.inf
    # Exponentials that are finite each, and not in sum: the least offset at which a shift matters.
    x[3] = np.log(trial.fmt.max) - np.log(n) + 1.0
    return x


def _right(operation: str, *arrays: Array) -> list[Float64Array]:
    with np.errstate(invalid="ignore"):  # what an infinity rounds off
        return [e.hi for e in evaluated(np.dtype(np.float64), operation, *arrays)]


def _expected(
    trial: Trial, step: Step, x: Float64Array, room: float
) -> list[tuple[Float64Array, Float64Array]]:
    """Of each result what it must be and how far it may be off, rows first."""
    if trial.operation == "softmax_backward":
        grad, y = (to_float64(a.T if step.axis == 0 else a) for a in step.arrays)
        total = np.abs(grad * y).sum(axis=1, keepdims=True)
        off = room * np.abs(y) * (np.abs(grad) + total) + trial.fmt.smallest_normal
        return [(*_right(trial.operation, grad, y), off)]
    right, *more = _right(trial.operation, x, *step.arrays[1:])
    if trial.operation == "softmax":
        return [(right, room * right + trial.fmt.smallest_subnormal * (right > 0))]
    (lse,) = _right("logsumexp", x)
    size = 1.0 + np.abs(lse) + np.abs(np.where(np.isfinite(x), x, 0.0)).max(axis=1)
    size = np.broadcast_to(size if right.ndim == 1 else size[:, None], right.shape)
    found = [(right, room * size)]
    for gradient in more:
        at_target = np.arange(x.shape[1]) == step.arrays[1][:, None]
        p = gradient + at_target
        found.append((gradient, room * (p + at_target) + trial.fmt.smallest_subnormal * (p > 0)))
    return found


def _step(trial: Trial, x: Array, axis: int) -> Step:
    def along(rows: Array) -> Array:
        return rows if axis == -1 else np.ascontiguousarray(rows.T)

    if trial.operation == "softmax_backward":
        (p,) = _right("softmax", to_float64(x))
        grad = np.full(x.shape, 0.25)
        grad[:, -1], grad[:, 0] = 3.0, -2.0
        arrays = along(trial.array(grad)), along(trial.array(p))
        return Step("softmax_backward", arrays, axis)
    last = x.shape[1] - 1
    return trial.step(along(x), axis, targets=np.array([last, last, 0, last]))


def _judged(trial: Trial, n: int, axis: int) -> Observation:
    x = _rows(trial, n)
    step = _step(trial, x, axis)
    (result,) = trial.perform([step])
    broken = trial.contract(step, result, "failure", f"n={n}")
    if broken is not None:
        return broken
    room = 1.1 * (n + _SLACK) * trial.fmt.unit_roundoff
    expected = _expected(trial, step, to_float64(x), room)
    for array, (right, off) in zip(result.arrays, expected, strict=True):
        got = to_float64(array)
        got = got.T if axis == 0 and got.ndim == 2 else got
        place = first_beyond(got, right, off)
        if place is not None:
            index = ", ".join(map(str, place[::-1] if axis == 0 else place))
            return trial.unlike(
                step, f"out[{index}]", trial.given(step, place[0]), got[place], right[place],
                more=f"; {_KINDS[place[0]]}", grade="failure", note=f"n={n}",
            )  # fmt: skip
    return Observation("pass", "accurate")


def tails(trial: Trial) -> Iterator[Observation]:
    """Each count in a call of its own, four rows; some along the first axis."""
    counts = trial.chosen(COUNTS if trial.operation == "softmax" else COUNTS[:14], 4)
    asked = [(n, -1) for n in counts]
    if trial.operation != "cross_entropy":
        places = range(2, 2 + 2 * len(_STRIDED), 2)
        strided = trial.chosen(_STRIDED, 1)
        for place, n in zip(places, strided, strict=False):
            asked.insert(place, (n, 0))
    return trial.in_time(asked, lambda one: [_judged(trial, *one)], "long class counts")


CASES = (
    Case("31-tails", 31, "long rows whose last logit matters, at the counts of tiles and "
         "vocabularies", tails, OPERATIONS, NATIVE, upstream=(PYTORCH + "147284",),
         deviations=("overflow", "underflow", "flushes", "offset", "log-of-p", "saturation")),
)  # fmt: skip
