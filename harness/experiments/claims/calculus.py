"""Claims about derivatives, shape and identities, certified in Arb balls.

Derivatives are taken by power series of the softmax itself, z + t e_j, and so don't presuppose
the formula under examination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from flint import arb, arb_series, ctx, fmpq

from harness.experiments.claims.claim import Evidence, counted
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array
from harness.numerics.ulps import ulp_error
from harness.records.claims import EvidenceTable, Finding, Role
from harness.reference import softmax_exact

_BITS = 256
_SEED = 20210812
_AGREE = 2.0**-200
"""Two balls of 256 bits that enclose one number differ by less, relative to values below 1."""


@contextmanager
def _precision() -> Iterator[None]:
    before, cap = ctx.prec, ctx.cap
    ctx.prec, ctx.cap = _BITS, 2
    try:
        yield
    finally:
        ctx.prec, ctx.cap = before, cap


def _softmax(z: Sequence[Any]) -> list[Any]:
    first, *others = exponentials = [v.exp() for v in z]
    total = sum(others, first)
    return [e / total for e in exponentials]


def _slope(series: Any) -> Any:
    return series[1] if len(series) > 1 else arb(0)


def derivatives(z: Sequence[float], j: int) -> list[Any]:
    """∂pᵢ/∂zⱼ for all i, balls."""
    series = [arb_series([arb(v), arb(int(i == j))]) for i, v in enumerate(z)]
    return [_slope(p) for p in _softmax(series)]


def jacobian(z: Sequence[float]) -> list[list[Any]]:
    """[i][j] = ∂pᵢ/∂zⱼ, balls."""
    columns = [derivatives(z, j) for j in range(len(z))]
    return [list(line) for line in zip(*columns, strict=True)]


def _same(a: Any, b: Any) -> bool:
    """Both balls enclose one number, to the precision that was worked with."""
    return bool(abs(a - b) < _AGREE)


def _rows(count: int = 40, classes: int = 5, scale: float = 2.0) -> list[list[float]]:
    rng = np.random.default_rng(_SEED)
    drawn: list[list[float]] = np.round(rng.normal(0.0, scale, (count, classes)), 3).tolist()
    return drawn


def _text(value: Any, digits: int = 5) -> str:
    return f"{float(value.mid()) if hasattr(value, 'mid') else float(value):.{digits}g}"


Entry = Callable[[list[Any], int, int], Any]


def _jacobian_finding(statement: str, entry: Entry, role: Role = "claim") -> Finding:
    """Does `entry(p, i, j)` give ∂pᵢ/∂zⱼ, for every i and j of seeded rows?"""
    differences = []
    with _precision():
        for z in _rows():
            p = _softmax([arb(v) for v in z])
            differences += [
                entry(p, i, j) - true
                for i, line in enumerate(jacobian(z))
                for j, true in enumerate(line)
            ]
        held = [_same(d, 0) for d in differences]
    off = max(abs(float(d.mid())) for d in differences)
    measured = f"largest difference {off:.3g}" if off > _AGREE else "equal to more than 60 digits"
    return counted(statement, held, measured, role, {"max_absolute_difference": off})


def _delta(i: int, j: int) -> int:
    return int(i == j)


_JACOBIANS = "derivatives by power series in Arb, 40 seeded rows of 5 classes, every entry"


def jacobian_diagonal_only() -> Evidence:
    """D2: is the Jacobian σᵢ(1−σᵢ) on the diagonal and 0 elsewhere?"""
    claimed = _jacobian_finding(
        "∂σᵢ/∂zⱼ equals σᵢ(1−σᵢ)δᵢⱼ", lambda p, i, j: p[i] * (1 - p[i]) * _delta(i, j)
    )
    true = _jacobian_finding(
        "∂σᵢ/∂zⱼ equals σᵢ(δᵢⱼ − σⱼ)", lambda p, i, j: p[i] * (_delta(i, j) - p[j]), "remark"
    )
    return Evidence(
        "∂σᵢ/∂zⱼ = σᵢ(δᵢⱼ − σⱼ): off the diagonal −σᵢσⱼ", _JACOBIANS, findings=(claimed, true)
    )


def jacobian_with_sign() -> Evidence:
    """E3: the Jacobian pᵢ(1−pᵢ), −pₖpᵢ of the text, and with the +pₖpᵢ of the article's table."""
    signed = _jacobian_finding(
        "∂pₖ/∂zᵢ is pᵢ(1−pᵢ) on the diagonal and −pₖpᵢ off it",
        lambda p, k, i: p[i] * (1 - p[i]) if k == i else -p[k] * p[i],
    )
    unsigned = _jacobian_finding(
        "as the article's table has it, +pₖpᵢ off the diagonal",
        lambda p, k, i: p[i] * (1 - p[i]) if k == i else p[k] * p[i],
        "remark",
    )
    return Evidence(
        "pᵢ(1−pᵢ) and −pₖpᵢ; the sign matters in the table as well", _JACOBIANS,
        findings=(signed, unsigned),
    )  # fmt: skip


def cross_entropy_gradient() -> Evidence:
    """E2: is the gradient of cross-entropy in the logits p − y?"""
    held = []
    with _precision():
        for row, z in enumerate(_rows()):
            target = row % len(z)
            p = _softmax([arb(v) for v in z])
            for j in range(len(z)):
                series = [arb_series([arb(v), arb(_delta(i, j))]) for i, v in enumerate(z)]
                loss = -_softmax(series)[target].log()
                held.append(_same(_slope(loss), p[j] - _delta(j, target)))
    statement = "∂(−log p_t)/∂zⱼ equals pⱼ − yⱼ"
    return Evidence(
        "p − y",
        "derivative of −log p_t by power series in Arb, 40 seeded rows of 5 classes",
        findings=(counted(statement, held, "compared to more than 60 digits"),),
    )


def gradient_against_gap() -> Evidence:
    """A3: two classes [gap, 0], and the Jacobian of several classes by the gap of the top two."""
    gaps = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    small = []
    with _precision():
        slopes = [derivatives([gap, 0.0], 0)[0] for gap in gaps]
        rows = [
            (f"{gap:g}", _text(slope), _text((-arb(gap)).exp()))
            for gap, slope in zip(gaps, slopes, strict=True)
        ]
        falling = [bool(after < before) for before, after in pairwise(slopes)]
        for z in _rows(40, 5, 10.0):
            ordered = sorted(z)
            largest = max(float(abs(e).upper()) for line in jacobian(z) for e in line)
            allowed = (len(z) - 1) * np.exp(ordered[-2] - ordered[-1]) * (1 + 1e-12)
            small.append(largest <= allowed)
    return Evidence(
        "∂p₁/∂z₁ = p₁(1−p₁) ≤ e^−gap: " + ", ".join(f"{g}: {v}" for g, v, _ in rows[::3]),
        "p(1−p) = 1/(4 cosh²(gap/2)); with n classes every entry is at most (n−1)e^−gap",
        findings=(
            counted(
                "the gradient falls from one gap to the next larger one",
                falling,
                f"from {rows[0][1]} at gap 0 to {rows[-1][1]} at gap {rows[-1][0]}",
            ),
            counted(
                "every entry of the Jacobian is at most (n−1)·e^−gap",
                small,
                "40 seeded rows of 5 classes",
            ),
        ),
        tables=(
            EvidenceTable(
                "Gradient ∂p₁/∂z₁ of softmax([gap, 0])", ("gap", "gradient", "e^−gap"), tuple(rows)
            ),
        ),
    )


def saturated_gradient() -> Evidence:
    """D4: all entries of the Jacobian, and p − y, as the largest output nears 1."""
    rows, small, kept = [], [], []
    with _precision():
        for margin in (10.0**-k for k in range(1, 13)):
            top = float(np.log1p(-margin) - np.log(margin / 2))
            z = [top, 0.0, 0.0]
            p = _softmax([arb(v) for v in z])
            largest = max((abs(e) for line in jacobian(z) for e in line), key=lambda e: e.mid())
            small.append(bool(largest <= 1 - p[0]))
            wrong = p[0]  # the gradient at the top class where the target is another one
            kept.append(bool(wrong >= 1 - 2 * arb(margin)))
            rows.append((_text(1 - p[0], 3), _text(largest, 3), _text(wrong, 6)))
    return Evidence(
        "every entry of the Jacobian is at most 1 − p_max; p − y of cross-entropy is not small "
        "where the saturated answer is wrong",
        "abs(pᵢ(δᵢⱼ − pⱼ)) ≤ 1 − p_max; rows [log odds, 0, 0] in Arb",
        findings=(
            counted(
                "every entry of the Jacobian is at most 1 − p_max",
                small,
                f"at 1 − p_max = {rows[-1][0]} the largest is {rows[-1][1]}",
            ),
            counted(
                "with cross-entropy the gradient p − y stays near 1 for a saturated wrong answer",
                kept,
                f"at 1 − p_max = {rows[-1][0]} it is {rows[-1][2]}",
                "remark",
            ),
        ),
        tables=(
            EvidenceTable(
                "Saturation of softmax([t, 0, 0])",
                ("1 − p_max", "largest Jacobian entry", "p − y at the wrong class"),
                tuple(rows),
            ),
        ),
    )


def bounded_slope() -> Evidence:
    """D1: σ(1−σ) over logits of −40 to 40."""
    with _precision():
        slopes = [derivatives([k / 8.0, 0.0], 0)[0] for k in range(-320, 321)]
        above = [bool(slope > arb(fmpq(1, 4))) for slope in slopes]
        largest = max(slopes, key=lambda slope: slope.mid())
    exceeds = counted(
        "the derivative exceeds 1/4", above, f"the largest is {_text(largest)}, at logit 0",
        figures={"max_derivative": float(largest.mid())},
    )  # fmt: skip
    return Evidence(
        "at most 1/4, at σ = 1/2; 0 as σ nears 0 or 1",
        "σ(1−σ) = 1/4 − (σ − 1/2)²; derivatives by power series in Arb at 641 logits",
        findings=(exceeds,),
    )


def diminishing_increments() -> Evidence:
    """B3: first and second differences of the output in its own logit, signs certified."""
    grows, shrinks, where_expected = [], [], []
    with _precision():
        for others in (1, 2, 9):
            for k in range(-80, 81):
                t = k / 4.0 + 1 / 16
                below, at, above = (
                    _softmax([arb(v), *[arb(0)] * others])[0] for v in (t - 0.25, t, t + 0.25)
                )
                grows.append(bool(above > at))
                shrinks.append(bool(above - at < at - below))
                where_expected.append(shrinks[-1] == bool(at > arb(fmpq(1, 2))))
    return Evidence(
        "∂²pᵢ/∂zᵢ² = pᵢ(1−pᵢ)(1−2pᵢ): increments grow below p = 1/2 and diminish above",
        "differences at steps of 1/4 of the logit from −20 to 20, beside 1, 2 and 9 zeros, in Arb",
        findings=(
            counted("the output grows with its input", grows, "signs certified"),
            counted(
                "each increment is smaller than the one before",
                shrinks,
                "the change is at p = 1/2",
            ),
            counted(
                "the increment is smaller exactly where p > 1/2",
                where_expected,
                "signs certified",
                "remark",
            ),
        ),
    )


def _identity(name: str, left: Callable[[Any], Any], right: Callable[[Any], Any]) -> Finding:
    with _precision():
        points = [arb(k / 16.0) for k in range(-640, 641)]
        held = [_same(left(x), right(x)) for x in points]
    return counted(name, held, "logits of −40 to 40, to more than 60 digits")


def _sigma(x: Any) -> Any:
    return 1 / (1 + (-x).exp())


def _max_ulp(computed: Float64Array, exact: Exact) -> float:
    return float(ulp_error(computed, exact).max())


def _exact_tanh(x: Float64Array) -> Exact:
    """tanh from balls, as pairs."""
    hi, lo = np.empty_like(x), np.empty_like(x)
    with _precision():
        for i, v in enumerate(x):
            ball = arb(v).tanh()
            hi[i] = float(ball.mid())
            lo[i] = float((ball - arb(hi[i])).mid())
    return Exact(hi, lo, np.zeros(x.shape, np.int32))


def identities() -> Evidence:
    """E4: σ, tanh, ReLU and softmax([x, 0]) exactly, and their errors in float64 as written."""
    zero = arb(0)
    findings = [
        _identity(
            "σ(x) = 1/(1+e⁻ˣ) is the first entry of softmax([x,0])",
            _sigma,
            lambda x: _softmax([x, zero])[0],
        ),
        _identity("σ(−x) is the second", lambda x: _sigma(-x), lambda x: _softmax([x, zero])[1]),
        _identity("tanh(x) = 2σ(2x) − 1", lambda x: x.tanh(), lambda x: 2 * _sigma(2 * x) - 1),
        _identity(
            "ReLU(x) = max(0, x) is (x + |x|)/2",
            lambda x: x if bool(x > 0) else zero,
            lambda x: (x + abs(x)) / 2,
        ),
    ]
    rng = np.random.default_rng(_SEED)
    x = np.concatenate([rng.uniform(-40, 40, 2000), np.exp2(-rng.uniform(0, 40, 2000))])
    pairs = np.stack([x, np.zeros_like(x)], axis=1)
    exact = softmax_exact(pairs)
    shifted = np.exp(pairs - pairs.max(axis=1, keepdims=True))
    shifted /= shifted.sum(axis=1, keepdims=True)
    logistic = 1 / (1 + np.exp(-x))
    written = 2 / (1 + np.exp(-2 * x)) - 1
    sizes = {
        "softmax([x,0]), shifted": _max_ulp(shifted[:, 0], exact[:, 0]),
        "1/(1+exp(−x))": _max_ulp(logistic, exact[:, 0]),
        "2σ(2x)−1 for tanh": _max_ulp(written, _exact_tanh(x)),
        "np.tanh": _max_ulp(np.tanh(x), _exact_tanh(x)),
    }
    rows = tuple((name, f"{value:.3g}") for name, value in sizes.items())
    findings.append(
        counted(
            "as written, each is within 4 ulp in float64",
            [v <= 4 for v in sizes.values()],
            "; ".join(f"{n}: {v} ulp" for n, v in rows),
            "remark",
            {"max_ulp": sizes},
        )
    )
    return Evidence(
        "all four hold; 2σ(2x)−1 cancels near 0 and is no way to compute tanh there",
        "both sides in Arb at 1281 points; float64 errors against the certified values at 4000",
        findings=tuple(findings),
        tables=(EvidenceTable("Largest error in float64", ("as computed", "ulp"), rows),),
    )
