"""Magnitudes: overflow, underflow, offsets, saturation, subnormal results (cases 11 to 22)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from harness.experiments.conformance.call import Array, Step
from harness.experiments.conformance.case import (
    ALONG_AXIS,
    ELEMENTWISE,
    NATIVE,
    OF_LOGITS,
    PYTORCH,
    SCIPY,
    Case,
)  # fmt: skip
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.expected import first_beyond
from harness.experiments.conformance.observation import Broken, Observation, Skip
from harness.numerics.exact import Exact
from harness.numerics.formats import to_float64
from harness.numerics.ulps import ulp_error
from harness.reference import cross_entropy_exact, log_softmax_exact

_LOGITS = ("softmax", "log_softmax", "logsumexp", "cross_entropy")
_TOGETHER, _WIDEST = 64, 17
"""Rows of a batch, and classes, where each shape is compiled anew."""
_NO_SHIFT = ("overflow", "underflow", "flushes")
_UNDERFLOW = ("underflow", "overflow", "flushes")


def _embedded(trial: Trial, rows: Sequence[Sequence[float]]) -> list[Array]:
    """The rows as they are, and spread over wider ones among logits far below."""
    short = [trial.array(r) for r in rows]
    found: list[Array] = []
    for width in {len(r) for r in short}:
        group = np.array([r for r in short if len(r) == width])
        found.append(group)
        for classes in (8, 17, 71, 130):
            if width >= classes:
                continue
            low = np.minimum(to_float64(group).min(axis=1, keepdims=True), 0.0)
            with np.errstate(over="ignore"):
                low = np.maximum(low * 2 - 2000.0, -trial.fmt.max)
            wide = trial.array(np.broadcast_to(low, (len(group), classes)))
            places = np.linspace(0, classes - 1, width).astype(int)
            wide[:, places] = group
            found.append(wide)
    return found


def _judge_rows(trial: Trial, rows: Sequence[Sequence[float]]) -> list[Observation]:
    steps = []
    if trial.sparing:  # the same rows, in shapes that all cases have
        for x in _embedded(trial, rows):
            if x.shape[1] <= _WIDEST:
                count = -(-len(x) // _TOGETHER) * _TOGETHER
                steps.append(trial.step(np.resize(x, (count, x.shape[1]))))
        return trial.values(steps, every=True)
    for x in _embedded(trial, rows):
        steps.append(trial.step(x))
        if x.shape[1] <= 8:
            steps += [*(trial.step(row) for row in x), *trial.columns(x)]
    return trial.values(steps)


def _last_finite(trial: Trial) -> float:
    """The largest argument whose exponential is finite."""
    return float(np.log(trial.fmt.max))


def overflowing(trial: Trial) -> Sequence[Observation]:
    largest, t = trial.fmt.max, _last_finite(trial)
    beyond = [t + 0.1, t + 1, 1.3 * t, 3 * t, 20 * t, 1e3, 1e4, largest / 3]
    rows: list[list[float]] = []
    for b in (b for b in beyond if b <= largest):
        rows += [[b, 0.0], [0.0, b], [b, b], [b, b - 1.0], [b, b / 2]]
    return _judge_rows(trial, rows)


def underflowing(trial: Trial) -> Sequence[Observation]:
    largest, t = trial.fmt.max, _last_finite(trial)
    rows: list[list[float]] = []
    for b in (b for b in (1.2 * t, 2 * t, 10 * t, 1e3, 1e4, largest / 3) if b <= largest):
        rows += [[-b, -b], [-b, -b - 1.0], [-b, -1.1 * b], [-b, -b, -b]]
    return _judge_rows(trial, rows)


def both_signs(trial: Trial) -> Sequence[Observation]:
    rows = [[1000.0, -1000.0], [-1000.0, 1000.0, 0.0], [500.0, -500.0, 499.0], [88.0, -120.0, 88.5]]
    rows += [[300.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, -300.0, -300.0, -300.0, -300.0]]
    rows += [[float(40 * i) for i in range(12)], [-float(40 * i) for i in range(12)]]
    return _judge_rows(trial, rows)


def large_ties(trial: Trial) -> Sequence[Observation]:
    largest = trial.fmt.max
    rows: list[list[float]] = []
    for b in (b for b in (1e2, 1e4, 1e8, 1e15, largest) if b <= largest):
        rows += [[b, b], [b, b, b, b], [-b, -b], [b, b, 0.0], [b, -b, b], [b, b, b]]
    return _judge_rows(trial, rows)


def largest_values(trial: Trial) -> Sequence[Observation]:
    big = trial.fmt.max
    step = big * 2.0**-trial.fmt.precision * 2
    rows = [[big, -big], [-big, big], [big, 0.0], [0.0, -big], [big, big - step]]
    rows += [[-big, -big + step], [-big, -np.inf], [-np.inf, -big]]
    rows += [[-big, 0.0, big], [big, -big, big], [0.0, -big, 1.0]]
    rows += [[-big, -big, -np.inf], [-np.inf, -big + step, -big]]
    return _judge_rows(trial, rows)


def saturated_log(trial: Trial) -> Sequence[Observation]:
    """log p of the largest class is -e^-gap, not 0; judged relatively, as a finding."""
    u = trial.fmt.unit_roundoff
    least = -np.log(u)
    gaps = [least - 0.5, least + 0.1, least + 1, least + 4, 1.5 * least, 2.5 * least, 4 * least]
    rows = trial.array([[g, 0.0] for g in gaps] + [[0.0, -g] for g in gaps])
    step = trial.step(rows, targets=np.zeros(len(rows), np.int64))
    result = trial.sound(step)
    if trial.operation == "cross_entropy":
        loss = cross_entropy_exact(rows, step.arrays[1])[0]
        return [of_few_digits(trial, step, "loss[{}]", result.arrays[0], loss)]
    exact = log_softmax_exact(rows)[:, 0]
    return [of_few_digits(trial, step, "out[{}, 0]", result.arrays[0][:, 0], exact)]


def of_few_digits(trial: Trial, step: Step, name: str, got: Array, exact: Exact) -> Observation:
    """Numbers, one a row, that may be off by a sixteenth of themselves at most; else a finding."""
    error = ulp_error(got, exact, trial.fmt)
    bad = np.flatnonzero(error > 2.0 ** (trial.fmt.precision - 4))
    if not len(bad):
        return Observation("pass", "accurate", error=float(error.max()))
    i = int(bad[0])
    right, given, ulps = exact[i].round_to(trial.fmt), step.arrays[0][i], float(error[i])
    return trial.unlike(step, name.format(i), given, got[i], right, "inaccurate", error=ulps)


def subnormal_results(trial: Trial) -> Sequence[Observation]:
    lowest = np.log(trial.fmt.smallest_normal)
    end = np.log(trial.fmt.smallest_subnormal)
    gaps = np.linspace(-lowest - 2, -end - 1.2, 48)
    rows = [[float(g), 0.0] for g in gaps] + [[0.0, -float(g), 0.0] for g in gaps[::3]]
    rows += [[-float(g), 0.0, -float(g) - 0.3, -1.0] for g in gaps[::3]]
    rows += [[100.0, 0.0]]
    return _judge_rows(trial, rows)


def vanishing_results(trial: Trial) -> Sequence[Observation]:
    end = -float(np.log(trial.fmt.smallest_subnormal))
    rows = [[end + 0.75, 0.0], [end + 3, 0.0], [2 * end, 0.0], [0.0, -2 * end], [104.0, 0.0]]
    rows += [[0.0, -1.5 * end, -1.0], [300.0, 0.0, 299.0]]
    return _judge_rows(trial, rows)


def half_mask(trial: Trial) -> Sequence[Observation]:
    low = -trial.fmt.max
    with np.errstate(over="ignore"):
        lower = float(trial.array([low - 2.0**12])[0])  # bias on finfo.min: may round to -inf
    rows = [[low, 0.5, 1.0], [lower, 0.5, 1.0], [0.5, low, low], [-1e9, 0.0, 1.0]]
    rows += [[-1e9, -1e9, 0.0], [low, low, low], [low, low, 0.0]]
    return _judge_rows(trial, rows)


def cancelling_log(trial: Trial) -> Iterator[Observation]:
    for n in (2, 3, 10, 100, 1000):
        base = np.full((3, n), -np.log(n))
        base[1] += 2.0**-6
        base[2] -= 2.0**-6
        yield from trial.values([trial.step(trial.array(base))])


def offsets(trial: Trial) -> Iterator[Observation]:
    """Within the bound of the algorithm, or a failure; worse than max-shift, a finding."""
    shift = replace(trial, arithmetic=replace(trial.arithmetic, bound="shift_divide"))
    beyond: list[Observation] = []
    for offset in (1e2, 1e3, 1e4, 1e5, -1e3, -1e5):
        if abs(offset) > trial.fmt.max / 2:
            continue
        for classes in trial.chosen((2, 17, 128, 1000), 2):
            z = trial.rng(classes).normal(scale=2.0, size=(3, classes))
            step = trial.step(trial.array(z + offset))
            result, observed = trial.observed(step)
            yield observed
            if trial.operation == "softmax" and observed.grade == "pass":
                beyond.append(shift.observe(step, result, "finding", f"offset {offset:g}"))
    beyond = [o for o in beyond if o.grade != "pass"]
    if beyond:
        found = max(beyond, key=lambda o: (o.error or np.inf) / (o.allowed or 1.0))
        yield replace(found, message=f"beyond the bound of max-shift: {found.message}")


def unlike_rows(trial: Trial) -> Iterator[Observation]:
    """Rows of very different magnitude in one batch: each has its own maximum and sum."""
    top = min(1e5, trial.fmt.max / 4)
    for rows, classes in ((2, 2), (5, 3), (9, 8), (33, 17), (64, 10), (130, 33)):
        rng = trial.rng(rows)
        # rounded, as powers differ in their last bits from processor to processor
        shift = np.round(np.geomspace(1.0, top, rows), 6) * np.where(np.arange(rows) % 2, 1.0, -1.0)
        x = trial.array(rng.normal(size=(rows, classes)) + shift[:, None])
        steps = [trial.step(x), *trial.columns(x)]
        if trial.operation != "cross_entropy":
            steps.append(trial.step(x.reshape(1, rows, classes), 2))
        yield from trial.values(steps)


def contracted_caller(trial: Trial) -> Iterator[Observation]:
    """The same product within a caller that is compiled together with the operation.

    A compiler that contracts 0.3*x - max to a fused multiply-add subtracts the rounded maximum
    from unrounded products: the largest difference is no longer 0, and may overflow in exp.
    """
    for values in ([1e12, 9e11, 9.99999e11], [9e11, 1e12, 9.99999e11], [1e12, -1e12, 1.1e12]):
        x = trial.array(values)
        step = Step("softmax", (x,), scale=0.3)
        (result,) = trial.perform([step])
        if result.not_made is not None:
            raise Skip(result.not_made)
        if result.error is not None:
            raise Skip(f"could not be compiled within a caller: {result.error}")
        broken = trial.contract(step, result)
        if broken is not None:
            raise Broken(broken)
        right = np.zeros(3)
        right[int(np.argmax(values))] = 1.0
        got = to_float64(result.arrays[0])
        place = first_beyond(got, right, 0.0)
        if place is None:
            yield Observation("pass", "exact")
        else:
            name = f"out[{place[0]}]"
            yield trial.unlike(step, name, x, got[place], right[place], grade="failure")


def scaled_caller(trial: Trial) -> Sequence[Observation]:
    """0.3 * [1e12, 9e11, 9.99999e11], rounded once by the caller, must be [1, 0, 0]."""
    c = trial.array(0.3)
    x = (trial.array([1e12, 9e11, 9.99999e11]) * c).astype(trial.fmt.dtype)
    return trial.values([trial.step(x), trial.step(np.stack([x, x[::-1], x]))])


CASES = (
    Case("11-overflow", 11, "logits beyond the range of exp: finite and right", overflowing,
         _LOGITS, deviations=_NO_SHIFT),
    Case("12-underflow", 12, "all exponentials underflow: no 0/0", underflowing, _LOGITS,
         deviations=_UNDERFLOW),
    Case("both-signs", None, "large logits of both signs, and a range wider than that of exp",
         both_signs, deviations=_NO_SHIFT),
    Case("13-large-ties", 13, "[1e8, 1e8]: 1/2 each, log -ln 2", large_ties, _LOGITS,
         deviations=(*_NO_SHIFT, "offset"), upstream=(PYTORCH + "11752",)),
    Case("14-largest", 14, "the largest numbers of the format: [1, 0]", largest_values, _LOGITS,
         deviations=(*_NO_SHIFT, "offset")),
    Case("15-saturated-log", 15, "log p of a dominant class is -e^-gap, not 0", saturated_log,
         ("log_softmax", "cross_entropy"), kind="finding",
         deviations=("saturation", "offset", "overflow", "underflow"),
         upstream=(PYTORCH + "113708", SCIPY + "19521")),
    Case("16-subnormal", 16, "[100, 0] in float32: 3.8e-44, not flushed to 0", subnormal_results,
         ALONG_AXIS, deviations=_NO_SHIFT),
    Case("17-vanishing", 17, "[104, 0] in float32: 0", vanishing_results, _LOGITS,
         deviations=_NO_SHIFT),
    Case("18-contraction", 18, "softmax(c*x) under FMA contraction by the caller's compiler",
         contracted_caller, ("softmax",), NATIVE, deviations=("contraction",),
         upstream=(PYTORCH + "163932", PYTORCH + "101039", "https://github.com/jax-ml/jax/issues/37234")),
    Case("18-scaled", 18, "0.3*[1e12, 9e11, 9.99999e11]: [1, 0, 0]", scaled_caller, ELEMENTWISE,
         NATIVE, deviations=(*_NO_SHIFT, "offset")),
    Case("19-half-mask", 19, "masks of finfo.min with a bias, and of -1e9, in float16 (20 too)",
         half_mask, OF_LOGITS, ("float16", "bfloat16"), deviations=_NO_SHIFT),
    Case("22-cancelling", 22, "x near -ln n: log-sum-exp near 0", cancelling_log,
         ("logsumexp", "log_softmax", "softmax")),
    Case("offsets", None, "offsets of 1e2 to 1e5 at several tile sizes", offsets, _LOGITS,
         deviations=(*_NO_SHIFT, "offset")),
    Case("unlike-rows", None, "rows of different magnitude in one batch", unlike_rows,
         deviations=_NO_SHIFT),
)  # fmt: skip
