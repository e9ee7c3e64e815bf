"""Claims about what a formula does in floating point: stability, and the code that was printed."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from harness import workloads
from harness.bounds import error_over_bound, evaluate_bound
from harness.bounds.exp_error import measure_exp_error
from harness.experiments.claims.claim import Evidence, counted
from harness.numerics.metrics import ulp_error
from harness.records.claims import EvidenceTable, Finding
from harness.reference import softmax_exact

Array = NDArray[np.float32]
_SEED = 20210812
_FAMILIES = ("normal(scale=1)", "normal(scale=30)", "uniform", "constant", "ascending")


def naive(x: Array) -> Array:
    """The code of claim C2, as printed: the sum is over all elements."""
    with np.errstate(all="ignore"):
        return np.asarray(np.exp(x) / np.sum(np.exp(x)))


def shifted(x: Array) -> Array:
    """The formula of claim D6: exp(x − max) / sum over axis 1."""
    with np.errstate(all="ignore"):
        e = np.exp(x - np.max(x, axis=1, keepdims=True))
        return np.asarray(e / np.sum(e, axis=1, keepdims=True))


def _accurate(computed: Array, x: Array) -> bool:
    """Within the largest bound of the usual algorithms: no overflow, no lost mass."""
    exact = softmax_exact(x)
    allowed = evaluate_bound("generic", x, exact, "float32", exp_error=8.0).ulp
    return bool(np.all(ulp_error(computed.reshape(x.shape), exact) <= allowed))


def _seeded(rows: int, classes: int, offset: float) -> Array:
    rng = np.random.default_rng(_SEED)
    return (rng.normal(0.0, 1.0, (rows, classes)) + offset).astype(np.float32)


def _largest_finite(sign: int) -> float:
    """The largest t for which the formula is finite on [±t, ±t] in float32, by bisection."""

    def lost(bits: int) -> bool:
        t = np.int32(bits).view(np.float32)
        return not np.isfinite(naive(np.full(2, sign * t, np.float32))).all()

    first_lost = bisect_left(range(int(np.float32(1e4).view(np.int32))), True, key=lost)
    return float(np.int32(first_lost - 1).view(np.float32))


def negative_inputs() -> Evidence:
    """A2: certified softmax of negative rows against the same rows, shifted by a power of two."""
    offset = 64.0
    rng = np.random.default_rng(_SEED)
    # Multiples of 2**-10, so that the shift is exact
    x = -np.round(rng.uniform(0.0, 60.0, (200, 8)) * 1024) / 1024
    negative, positive = softmax_exact(x), softmax_exact(x + offset)
    differs = np.any(
        (negative.hi != positive.hi) | (np.abs(negative.lo - positive.lo) > 2.0**-90), axis=1
    )
    limit = _largest_finite(-1)
    lost = [not np.isfinite(naive(_seeded(1, 4, -o)[0])).all() for o in (50.0, 80.0, 200.0, 1000.0)]
    return Evidence(
        "softmax(x) = softmax(x + c): the sign of the logits means nothing to it",
        "certified softmax of 200 negative rows against the same rows plus 64, exactly shifted",
        findings=(
            counted(
                "a row of negative logits has another softmax than the same row made positive",
                differs,
                "equal to 27 digits in every row",
            ),
            counted(
                "code without a shift fails where all logits are very negative",
                lost,
                f"exp(x)/sum(exp(x)) in float32 is finite on [−t, −t] up to t = {limit:.6g}, "
                f"and 0/0 beyond",
                "remark",
                {"largest_finite_t": limit},
            ),
        ),
    )


def outputs_in_unit_interval() -> Evidence:
    """B2: the premise, and the conclusion tried on the formula as written."""
    offsets = (0.0, 20.0, 40.0, 80.0, 100.0, 1000.0)
    good, within = [], []
    for offset in offsets:
        x = _seeded(1, 8, offset)
        y = naive(x[0])
        good.append(bool(np.isfinite(y).all()) and _accurate(y, x))
        exact = softmax_exact(x).to_float64()
        within.append(np.all((exact >= 0) & (exact <= 1)))
    rows = tuple(
        (f"{offset:g}", "accurate" if right else "not finite, or wrong")
        for offset, right in zip(offsets, good, strict=True)
    )
    limit = _largest_finite(1)
    return Evidence(
        f"in float32 exp(x)/sum(exp(x)) is finite on [t, t] up to t = {limit:.6g} only",
        "eight normal logits plus an offset, against the certified result",
        findings=(
            counted(
                "the formula as written is finite and accurate",
                good,
                f"it overflows above t = {limit:.6g}",
                figures={"largest_finite_t": limit},
            ),
            counted("outputs lie within [0,1]", within, "certified values", "premise"),
        ),
        tables=(EvidenceTable("Formula as written, by offset", ("offset", "result"), rows),),
    )


def printed_naive_code() -> Evidence:
    """C2: on vectors in range, on vectors out of range, and on batches."""
    offsets = (0.0, 20.0, 80.0, 100.0, 1000.0)
    vectors = [_seeded(1, 8, o)[0] for o in offsets]
    good = [_accurate(naive(v), v.reshape(1, -1)) for v in vectors]
    batches = [_seeded(r, 8, 0.0) for r in (2, 4, 16)]
    good_batches = [_accurate(naive(b), b) for b in batches]
    total = float(naive(batches[0])[0].sum())
    return Evidence(
        "for one vector below the overflow; a batch needs axis=−1, keepdims=True, and a shift",
        "eight normal float32 logits plus an offset, and batches of rows, against the reference",
        findings=(
            counted(
                "it gives the softmax of a vector",
                good,
                "offsets " + ", ".join(f"{o:g}" for o in offsets),
            ),
            counted(
                "it gives the softmax of each row of a batch",
                good_batches,
                f"the sum runs over the whole array: a row of two sums to {total:.4g}",
            ),
        ),
    )


def shifted_code() -> Evidence:
    """D6: every element against the bound of shift and divide."""
    cases = held = 0
    worst_ulp = worst_ratio = 0.0
    exp = measure_exp_error(np.exp, "float32", points=2**14)
    for family in _FAMILIES:
        for classes in (2, 10, 1000):
            logits = workloads.parse(family, classes, 20, "float32", _SEED).generate()
            exact = softmax_exact(logits)
            y = shifted(logits)
            bound = evaluate_bound(
                "shift_divide",
                logits,
                exact,
                "float32",
                exp_error=max(8.0, exp.error_u),
                exp_underflow=max(1.0, exp.underflow_eta),
            )
            ratio = error_over_bound(y, exact, bound)
            cases += y.size
            held += int(np.count_nonzero(ratio <= 1.0))
            worst_ratio = max(worst_ratio, float(ratio.max()))
            worst_ulp = max(worst_ulp, float(ulp_error(y, exact).max()))
    large = np.array([[3.4e38, -3.4e38], [1e4, 1e4 - 1]], np.float32)
    finite = bool(np.isfinite(shifted(large)).all())
    return Evidence(
        f"exp(x − max)/sum is softmax; at most {worst_ulp:.3g} ulp in float32 here",
        "NumPy in float32 against the certified reference and the bound of the algorithm, "
        f"{len(_FAMILIES)} families of logits, 2, 10 and 1000 classes, 20 rows each",
        findings=(
            Finding(
                "every element is within the error bound of shift and divide",
                cases,
                held,
                f"largest error {worst_ulp:.3g} ulp, {worst_ratio:.2g} of the bound",
                "claim",
                {"max_ulp": worst_ulp, "max_error_over_bound": worst_ratio},
            ),
            Finding(
                "rows near the largest float32 stay finite", 1, int(finite), "±3.4e38", "remark"
            ),
        ),
    )
