"""What gives several results: pairs of parts that are merged, and a linear layer's cross-entropy.

Held against exact merges and exact dot products (docs/attention.md). A failing call is shown as it
was: it is neither shrunk nor explained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harness.bounds import over_bound
from harness.bounds.linear_layer import linear_allowance
from harness.bounds.tolerances import merge_allowance
from harness.experiments.conformance.call import Array, Step
from harness.experiments.conformance.case import Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.observation import Observation
from harness.numerics.exact import Exact, from_float64
from harness.numerics.formats import Float64Array, to_float64, to_hex
from harness.numerics.outcomes import outcome
from harness.numerics.ulps import ulp_error
from harness.reference import linear_cross_entropy_exact, merge_logsumexp_exact
from harness.registry.contract import IN_PARTS

MERGED, LAYER = ((o,) for o in IN_PARTS)
_NAMES = {MERGED[0]: ("m", "s"), LAYER[0]: ("loss", "in_hidden", "in_weight")}
Due = Sequence[tuple[Exact, Float64Array]]
"""What each result has to be, and ulps allowed."""


def _observed(trial: Trial, operation: str, arrays: tuple[Array, ...], due: Due) -> Observation:
    """One call: the worst of its results."""
    step = Step(operation, arrays, "default")
    (result,) = trial.perform([step])
    where = trial.where(step)
    if result.error is not None:
        return Observation("failure", "raises", f"raised {result.error} {where}")
    shapes = [(a.shape, a.dtype) for a in result.arrays]
    if shapes != [(e.shape, trial.fmt.dtype) for e, _ in due]:
        told = " and ".join(f"{dtype} {list(shape)}" for shape, dtype in shapes)
        return Observation("failure", "wrong", f"gives {told} {where}")
    found = Observation("pass", "accurate")
    for name, y, (exact, allowed) in zip(_NAMES[operation], result.arrays, due, strict=True):
        error = ulp_error(y, exact)
        ratio = np.nan_to_num(over_bound(error, allowed), nan=np.inf)
        place = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        if not ratio[place] <= 1.0 and found.grade == "pass":
            got, right = y[place], exact.round_to(trial.fmt)[place]
            index = ", ".join(str(i) for i in place)
            found = Observation(
                "failure", outcome(y, exact, tolerance=np.minimum(allowed, 1e9)),
                f"{name}[{index}]={to_float64(got):.9g}, but should be {to_float64(right):.9g} "
                f"{where}",
                tuple(to_hex(v) for a in arrays[:2] for v in a.reshape(-1)[:8]), to_hex(got),
                to_hex(right), float(error[place]), float(allowed[place]),
            )  # fmt: skip
    return found


# Pairs.


def _merge(trial: Trial, *pairs: object) -> Iterator[Observation]:
    """Of the pairs m1, s1, m2, s2, and the other way round."""
    m1, s1, m2, s2 = np.broadcast_arrays(*(trial.array(np.asarray(p, float)) for p in pairs))
    for given in ((m1, s1, m2, s2), (m2, s2, m1, s1)):
        arrays = tuple(a.copy() for a in given)
        top, total = merge_logsumexp_exact(*arrays)
        wide = tuple(to_float64(a) for a in arrays)
        allowed = merge_allowance(wide, total, trial.arithmetic.exp_error)  # type: ignore[arg-type]
        none = np.zeros(top.shape)
        due = ((from_float64(top), none), (total, np.broadcast_to(allowed, total.shape)))
        yield _observed(trial, MERGED[0], arrays, due)


def parts(trial: Trial) -> Iterator[Observation]:
    """Maxima near one another and far apart, sums from 1 to 100; equal maxima."""
    rng = trial.rng(0)
    m = rng.normal(scale=(1.0, 10.0, 100.0), size=(2, 32, 3))
    s = rng.uniform(1.0, 100.0, (2, 32, 3))
    yield from _merge(trial, m[0], s[0], m[1], s[1])
    yield from _merge(trial, m[0], s[0], m[0], s[1])


def empty_parts(trial: Trial) -> Iterator[Observation]:
    """(-inf, 0) is neutral, on either side and on both."""
    m, s = [3.0, -3.0, 0.0, -np.inf], [2.0, 1.0, 7.0, 0.0]
    yield from _merge(trial, m, s, -np.inf, 0.0)


def far_parts(trial: Trial) -> Iterator[Observation]:
    """Parts that do not count beside the other, at both ends of the format."""
    most = trial.fmt.max
    yield from _merge(trial, [most, 0.0, 1000.0], [3.0, 2.0, 1.0], [-most, -most, -1000.0], 5.0)
    yield from _merge(trial, [most, -most], [3.0, 2.0], [most, -most], [1.0, 5.0])


def parts_of_nan(trial: Trial) -> Iterator[Observation]:
    """NaN on one side is NaN, and ordinary pairs beside it are what they are."""
    step = Step(MERGED[0], tuple(
        trial.array(np.array(v)) for v in ([0.0, 1.0], [np.nan, 2.0], [1.0, 1.0], [1.0, 3.0])
    ), "default")  # fmt: skip
    (result,) = trial.perform([step])
    if result.error is not None:
        yield Observation("failure", "raises", f"raised {result.error} {trial.where(step)}")
        return
    sums = to_float64(result.arrays[1])
    right = np.isnan(sums[0]) and sums[1] == 5.0
    text = "" if right else f"s is {sums.tolist()}, but should be [nan, 5] {trial.where(step)}"
    yield Observation("pass" if right else "failure", "exact" if right else "wrong", text)


# The last layer.


def _layer(
    trial: Trial, hidden: Float64Array, weight: Float64Array, targets: Array | None = None
) -> Observation:
    """Of targets that are not given every second one has the largest logit, the others are 0."""
    h, w = trial.array(hidden), trial.array(weight)
    wide = to_float64(h), to_float64(w)
    if targets is None:
        top = (wide[0] @ wide[1].T).argmax(axis=1)
        targets = np.where(np.arange(len(h)) % 2, top, 0)
    exact = linear_cross_entropy_exact(h, w, targets)
    allowed = linear_allowance((*wide, targets), exact, trial.fmt, trial.arithmetic)
    return _observed(trial, LAYER[0], (h, w, targets), tuple(zip(exact, allowed, strict=True)))


def layers(trial: Trial) -> Iterator[Observation]:
    """Layers of several sizes, one row and one feature among them."""
    for k, (rows, features, classes) in enumerate(((4, 8, 10), (1, 3, 17), (7, 1, 5), (3, 16, 33))):
        rng = trial.rng(k)
        yield _layer(trial, rng.normal(size=(rows, features)), rng.normal(size=(classes, features)))


def peaked_layers(trial: Trial) -> Iterator[Observation]:
    """One class far above the others, the target or not: losses of 0 and of 40, tiny gradients."""
    hidden, weight = np.ones((2, 1)), np.array([[0.0], [40.0], [-3.0], [1.0]])
    for targets in (np.array([1, 1]), np.array([0, 3])):
        yield _layer(trial, hidden, weight, targets)


def layers_at_an_offset(trial: Trial) -> Iterator[Observation]:
    """1000 and -1000 common to all logits."""
    rng = trial.rng(9)
    for offset in (1000.0, -1000.0):
        hidden, weight = rng.normal(size=(5, 6)), rng.normal(size=(12, 6))
        hidden[:, 0], weight[:, 0] = 1.0, offset
        yield _layer(trial, hidden, weight)


def equal_layers(trial: Trial) -> Iterator[Observation]:
    """One class, whose loss is 0; and weights that are all equal: the mean is the target's."""
    yield _layer(trial, np.ones((2, 3)), np.ones((1, 3)))
    yield _layer(trial, trial.rng(10).normal(size=(3, 4)), np.ones((8, 4)))


CASES = (
    Case("merge", None, "pairs of two parts, equal maxima among them, in either order", parts,
         MERGED),
    Case("merge-empty", None, "(-inf, 0) is neutral, exactly", empty_parts, MERGED),
    Case("merge-far", None, "a part that does not count beside the other", far_parts, MERGED),
    Case("merge-nan", None, "NaN in one pair stays there", parts_of_nan, MERGED),
    Case("layer", None, "loss and gradients of linear layers", layers, LAYER),
    Case("layer-peaked", None, "one class far above the others, the target or not", peaked_layers,
         LAYER, deviations=("flushes",)),
    Case("layer-offset", None, "logits of 1000 and of -1000 in common", layers_at_an_offset, LAYER),
    Case("layer-equal", None, "one class; and classes that are all alike", equal_layers, LAYER),
)  # fmt: skip
