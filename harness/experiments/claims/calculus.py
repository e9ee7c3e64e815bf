"""Claims about derivatives, shape and identities, certified in Arb balls.

Derivatives are taken by power series of the softmax itself, z + t e_j, and so don't presuppose
the formula under examination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from flint import arb, arb_series, ctx, fmpq

from harness.experiments.claims.claim import Evidence, Finding, Table
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array
from harness.numerics.ulps import ulp_error
from harness.reference import softmax_exact

_BITS = 256
_SEED = 20210812
_AGREE = 2.0**-200
"""Two balls of 256 bits that enclose one number differ by less, relative to values below 1."""


@contextmanager
def _precision(bits: int = _BITS) -> Iterator[None]:
    before, cap = ctx.prec, ctx.cap
    ctx.prec, ctx.cap = bits, 2
    try:
        yield
    finally:
        ctx.prec, ctx.cap = before, cap


def _softmax(z: Sequence[Any]) -> list[Any]:
    exponentials = [v.exp() for v in z]
    total = exponentials[0]
    for e in exponentials[1:]:
        total = total + e
    return [e / total for e in exponentials]


def _coefficient(series: Any, k: int) -> Any:
    return series[k] if len(series) > k else arb(0)


def derivatives(z: Sequence[float], j: int) -> list[Any]:
    """∂pᵢ/∂zⱼ for all i, balls."""
    series = [arb_series([arb(v), arb(int(i == j))]) for i, v in enumerate(z)]
    return [_coefficient(p, 1) for p in _softmax(series)]


def jacobian(z: Sequence[float]) -> list[list[Any]]:
    """[i][j] = ∂pᵢ/∂zⱼ, balls."""
    columns = [derivatives(z, j) for j in range(len(z))]
    return [[columns[j][i] for j in range(len(z))] for i in range(len(z))]


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


def _jacobian_finding(statement: str, entry: Entry, role: Any = "claim") -> Finding:
    """Does `entry(p, i, j)` give ∂pᵢ/∂zⱼ, for every i and j of seeded rows?"""
    cases = held = 0
    off = 0.0
    with _precision():
        for z in _rows():
            p = _softmax([arb(v) for v in z])
            true = jacobian(z)
            for i in range(len(z)):
                for j in range(len(z)):
                    formula = entry(p, i, j)
                    cases += 1
                    held += _same(formula, true[i][j])
                    off = max(off, abs(float((formula - true[i][j]).mid())))
    measured = f"largest difference {off:.3g}" if off > _AGREE else "equal to more than 60 digits"
    return Finding(statement, cases, held, measured, role, {"max_absolute_difference": off})


def _delta(i: int, j: int) -> int:
    return int(i == j)


def jacobian_diagonal_only() -> Evidence:
    """D2."""
    finding = _jacobian_finding(
        "∂σᵢ/∂zⱼ equals σᵢ(1−σᵢ)δᵢⱼ", lambda p, i, j: p[i] * (1 - p[i]) * _delta(i, j)
    )
    diagonal = _jacobian_finding(
        "∂σᵢ/∂zⱼ equals σᵢ(δᵢⱼ − σⱼ)", lambda p, i, j: p[i] * (_delta(i, j) - p[j]), "remark"
    )
    return Evidence(
        "∂σᵢ/∂zⱼ = σᵢ(δᵢⱼ − σⱼ): off the diagonal −σᵢσⱼ",
        "derivatives by power series in Arb, 40 seeded rows of 5 classes, every entry",
        findings=(finding, diagonal),
    )


def jacobian_with_sign() -> Evidence:
    """E3."""
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
        "pᵢ(1−pᵢ) and −pₖpᵢ; the sign matters in the table as well",
        "derivatives by power series in Arb, 40 seeded rows of 5 classes, every entry",
        findings=(signed, unsigned),
    )


def cross_entropy_gradient() -> Evidence:
    """E2."""
    cases = held = 0
    with _precision():
        for row, z in enumerate(_rows()):
            target = row % len(z)
            p = _softmax([arb(v) for v in z])
            for j in range(len(z)):
                series = [arb_series([arb(v), arb(_delta(i, j))]) for i, v in enumerate(z)]
                loss = -_softmax(series)[target].log()
                cases += 1
                held += _same(_coefficient(loss, 1), p[j] - _delta(j, target))
    return Evidence(
        "p − y",
        "derivative of −log p_t by power series in Arb, 40 seeded rows of 5 classes",
        findings=(
            Finding(
                "∂(−log p_t)/∂zⱼ equals pⱼ − yⱼ", cases, held, "compared to more than 60 digits"
            ),
        ),
    )


def gradient_against_gap() -> Evidence:
    """A3: two classes [gap, 0], and the Jacobian of several classes by the gap of the top two."""
    rows, previous, falling = [], None, 0
    gaps = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    with _precision():
        for gap in gaps:
            slope = derivatives([gap, 0.0], 0)[0]
            falling += previous is not None and bool(slope < previous)
            rows.append((f"{gap:g}", _text(slope), _text((-arb(gap)).exp())))
            previous = slope
        wide = _rows(40, 5, 10.0)
        held = 0
        for z in wide:
            ordered = sorted(z)
            largest = max(float(abs(e).upper()) for line in jacobian(z) for e in line)
            held += largest <= (len(z) - 1) * np.exp(ordered[-2] - ordered[-1]) * (1 + 1e-12)
    return Evidence(
        "∂p₁/∂z₁ = p₁(1−p₁) ≤ e^−gap: " + ", ".join(f"{g}: {v}" for g, v, _ in rows[::3]),
        "p(1−p) = 1/(4 cosh²(gap/2)); with n classes every entry is at most (n−1)e^−gap",
        findings=(
            Finding(
                "the gradient falls from one gap to the next larger one",
                len(gaps) - 1,
                falling,
                f"from {rows[0][1]} at gap 0 to {rows[-1][1]} at gap {rows[-1][0]}",
            ),
            Finding(
                "every entry of the Jacobian is at most (n−1)·e^−gap",
                len(wide),
                held,
                "40 seeded rows of 5 classes",
            ),
        ),
        tables=(
            Table(
                "Gradient ∂p₁/∂z₁ of softmax([gap, 0])", ("gap", "gradient", "e^−gap"), tuple(rows)
            ),
        ),
    )


def saturated_gradient() -> Evidence:
    """D4: all entries of the Jacobian, and p − y, as the largest output nears 1."""
    rows = []
    small = loss_kept = 0
    margins = [10.0**-k for k in range(1, 13)]
    with _precision():
        for margin in margins:
            top = float(np.log1p(-margin) - np.log(margin / 2))
            z = [top, 0.0, 0.0]
            p = _softmax([arb(v) for v in z])
            largest = max((abs(e) for line in jacobian(z) for e in line), key=lambda e: e.mid())
            small += bool(largest <= 1 - p[0])
            wrong = p[0]  # the gradient at the top class where the target is another one
            loss_kept += bool(wrong >= 1 - 2 * arb(margin))
            rows.append((_text(1 - p[0], 3), _text(largest, 3), _text(wrong, 6)))
    return Evidence(
        "every entry of the Jacobian is at most 1 − p_max; p − y of cross-entropy is not small "
        "where the saturated answer is wrong",
        "abs(pᵢ(δᵢⱼ − pⱼ)) ≤ 1 − p_max; rows [log odds, 0, 0] in Arb",
        findings=(
            Finding(
                "every entry of the Jacobian is at most 1 − p_max",
                len(margins),
                small,
                f"at 1 − p_max = {rows[-1][0]} the largest is {rows[-1][1]}",
            ),
            Finding(
                "with cross-entropy the gradient p − y stays near 1 for a saturated wrong answer",
                len(margins),
                loss_kept,
                f"at 1 − p_max = {rows[-1][0]} it is {rows[-1][2]}",
                "remark",
            ),
        ),
        tables=(
            Table(
                "Saturation of softmax([t, 0, 0])",
                ("1 − p_max", "largest Jacobian entry", "p − y at the wrong class"),
                tuple(rows),
            ),
        ),
    )


def bounded_slope() -> Evidence:
    """D1: σ(1−σ) over logits of −40 to 40."""
    above = 0
    largest: Any = None
    points = range(-320, 321)
    with _precision():
        quarter = arb(fmpq(1, 4))
        for k in points:
            slope = derivatives([k / 8.0, 0.0], 0)[0]
            above += bool(slope > quarter)
            if largest is None or bool(slope > largest):
                largest = slope
    return Evidence(
        "at most 1/4, at σ = 1/2; 0 as σ nears 0 or 1",
        "σ(1−σ) = 1/4 − (σ − 1/2)²; derivatives by power series in Arb at 641 logits",
        findings=(
            Finding(
                "the derivative exceeds 1/4",
                len(points),
                above,
                f"the largest is {_text(largest)}, at logit 0",
                "claim",
                {"max_derivative": float(largest.mid())},
            ),
        ),
    )


def diminishing_increments() -> Evidence:
    """B3: first and second differences of the output in its own logit, signs certified."""
    grows = shrinks = where_expected = cases = 0
    with _precision():
        for others in (1, 2, 9):
            for k in range(-80, 81):
                t = k / 4.0 + 1 / 16
                below, at, above = (
                    _softmax([arb(v), *[arb(0)] * others])[0] for v in (t - 0.25, t, t + 0.25)
                )
                cases += 1
                grows += bool(above > at)
                diminishing = bool(above - at < at - below)
                shrinks += diminishing
                where_expected += diminishing == bool(at > arb(fmpq(1, 2)))
    return Evidence(
        "∂²pᵢ/∂zᵢ² = pᵢ(1−pᵢ)(1−2pᵢ): increments grow below p = 1/2 and diminish above",
        "differences at steps of 1/4 of the logit from −20 to 20, beside 1, 2 and 9 zeros, in Arb",
        findings=(
            Finding("the output grows with its input", cases, grows, "signs certified"),
            Finding(
                "each increment is smaller than the one before",
                cases,
                shrinks,
                "the change is at p = 1/2",
            ),
            Finding(
                "the increment is smaller exactly where p > 1/2",
                cases,
                where_expected,
                "signs certified",
                "remark",
            ),
        ),
    )


def _identity(name: str, left: Callable[[Any], Any], right: Callable[[Any], Any]) -> Finding:
    points = [k / 16.0 for k in range(-640, 641)]
    with _precision():
        held = sum(_same(left(arb(x)), right(arb(x))) for x in points)
    return Finding(name, len(points), held, "logits of −40 to 40, to more than 60 digits")


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
    """E4: exactly, and what they cost in float64 as they are written."""
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
        Finding(
            "as written, each is within 4 ulp in float64",
            len(sizes),
            sum(v <= 4 for v in sizes.values()),
            "; ".join(f"{n}: {v} ulp" for n, v in rows),
            "remark",
            {"max_ulp": sizes},
        )
    )
    return Evidence(
        "all four hold; 2σ(2x)−1 cancels near 0 and is no way to compute tanh there",
        "both sides in Arb at 1281 points; float64 errors against the certified values at 4000",
        findings=tuple(findings),
        tables=(Table("Largest error in float64", ("as computed", "ulp"), rows),),
    )
