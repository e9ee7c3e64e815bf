"""The claimed a-priori bounds of the fast filter, against Arb at 200 bits, and its constants."""

from __future__ import annotations

import flint
import mpmath
import numpy as np
import pytest

from harness import reference
from harness.reference import double_double as dd
from harness.reference import elementary
from harness.reference.certificate import certified, certify_triple
from harness.reference.operations import log_bound, softmax_bound
from harness.reference.tails import row_tails


@pytest.fixture(autouse=True)
def _two_hundred_bits():
    old = flint.ctx.prec
    flint.ctx.prec = 200
    yield
    flint.ctx.prec = old


def _arb(hi: float, lo: float, k: int = 0) -> flint.arb:
    return (flint.arb(float(hi)) + flint.arb(float(lo))) * flint.arb(2) ** int(k)


def _relative(got: flint.arb, truth: flint.arb) -> float:
    return abs(float(got / truth - 1))


def test_ln2_is_ln2() -> None:
    with mpmath.workprec(400):
        expected = int(mpmath.floor(mpmath.log(2) * mpmath.mpf(2) ** 320))
    assert expected == elementary._LN2


def test_table_of_powers() -> None:
    worst = max(
        _relative(
            _arb(elementary._TABLE_HI[j], elementary._TABLE_LO[j]),
            flint.arb(2) ** (flint.arb(j) / 1024),
        )
        for j in range(1024)
    )
    assert worst < dd.U2


def test_exp_keeps_its_bound() -> None:
    rng = np.random.default_rng(1)
    hi = np.concatenate(
        [
            -(10.0 ** rng.uniform(-20, 5.7, 15_000)),
            # next to the reduction's breakpoints
            (rng.integers(-(2**28), 0, 3000) + 0.5) * (np.log(2) / 1024),
            [-elementary.EXP_RANGE, 0.0, -5e-324],
        ]
    )
    lo = np.spacing(hi) * rng.uniform(-0.5, 0.5, hi.size)
    mh, ml, k = elementary.exp(hi, lo)
    worst = max(
        _relative(_arb(*m), _arb(h, low).exp())
        for h, low, *m in zip(hi, lo, mh, ml, k, strict=True)
    )
    assert worst < elementary.EXP_BOUND
    assert worst > elementary.EXP_BOUND / 64  # a bound far from what is seen is no measurement


def test_log_keeps_its_bound() -> None:
    rng = np.random.default_rng(2)
    r = np.concatenate([10.0 ** rng.uniform(-110, 6, 8000), [0.25, np.nextafter(0.25, 0)]])
    count = np.where(rng.random(r.size) < 0.6, 1.0, np.floor(10 ** rng.uniform(0, 6, r.size)))
    low = np.spacing(r) * rng.uniform(-0.5, 0.5, r.size)
    hi, lo = elementary.log_count_plus(count, (r, low))
    worst = 0.0
    for c, a, b, h, e in zip(count, r, low, hi, lo, strict=True):
        flint.ctx.prec = 600  # log1p of 1e-110
        worst = max(worst, _relative(_arb(h, e), (_arb(a, b) + (int(c) - 1)).log1p()))
    assert worst < elementary.LOG_BOUND


@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("classes", [2, 10, 3000])
def test_softmax_and_log_keep_their_bounds(scale: float, classes: int) -> None:
    rng = np.random.default_rng([int(scale * 1e6), classes])
    x = rng.normal(size=(max(1, 3000 // classes), classes)) * scale
    tails = row_tails(x)
    result, logs = reference.softmax_exact(x), reference.logsumexp_exact(x)
    worst = worst_log = 0.0
    for i, row in enumerate(x):
        m = flint.arb(row.max())
        terms = [(flint.arb(float(v)) - m).exp() for v in row]
        tail = sum((t for t, v in zip(terms, row, strict=True) if v != row.max()), flint.arb(0))
        for j, term in enumerate(terms):
            got = _arb(result.hi[i, j], result.lo[i, j], result.exponent[i, j])
            worst = max(worst, _relative(got, term / (1 + tail)))
        log_total = tail.log1p()
        got = _arb(logs.hi[i], logs.lo[i], logs.exponent[i])
        error = abs(float(got - (m + log_total)))
        # hi and lo hold 106 bits of the whole, however accurate the logarithm is
        allowed = log_bound(tails) * float(log_total) + 2 * dd.U2 * abs(float(logs.hi[i]))
        worst_log = max(worst_log, error / allowed)
    assert worst < softmax_bound(tails)
    assert worst_log < 1


@pytest.mark.parametrize(
    ("operation", "bound"),
    [(dd.add, 3), (dd.multiply, 7), (dd.divide, 15), (dd.add_same_sign, 3)],
)
def test_double_double_arithmetic_keeps_its_bounds(operation, bound: int) -> None:
    rng = np.random.default_rng(3)
    pairs = []
    for _ in range(2):
        hi = rng.uniform(1, 2, 5000) * 2.0 ** rng.integers(-60, 60, 5000)
        pairs.append((hi, np.spacing(hi) * rng.uniform(-0.5, 0.5, 5000)))
    a, b = pairs
    hi, lo = operation(a, b)
    symbol = {dd.multiply: "__mul__", dd.divide: "__truediv__"}.get(operation, "__add__")
    worst = max(
        _relative(
            _arb(hi[i], lo[i]), getattr(_arb(a[0][i], a[1][i]), symbol)(_arb(b[0][i], b[1][i]))
        )
        for i in range(5000)
    )
    assert worst <= bound * dd.U2 * 1.001


@pytest.mark.parametrize(
    ("lo", "error", "expected"),
    [
        (2.0**-60, 2.0**-99, True),
        (2.0**-100, 2.0**-99, False),  # might lie on the other side of hi
        (2.0**-53 - 2.0**-100, 2.0**-99, False),  # might lie beyond the midpoint
        (2.0**-53 - 2.0**-90, 2.0**-99, True),
        (-(2.0**-54) + 2.0**-100, 2.0**-99, False),  # below a power of two spacing is halved
        (0.0, 2.0**-99, False),
    ],
)
def test_certificate(lo: float, error: float, expected: bool) -> None:
    assert certified(np.array([1.0]), np.array([lo]), np.array([error]))[0] == expected


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("head", [1.0, 1.0 + 2.0**-52])
def test_a_tie_is_broken_by_the_third_part(head: float, sign: float) -> None:
    parts = tuple(np.array([v]) for v in (head, 2.0**-53, sign * 2.0**-120))
    if head + 2.0**-53 != head:
        parts = (np.array([head + 2.0**-52]), -parts[1], parts[2])
    hi, lo, sure = certify_triple(parts, np.array([2.0**-140]))
    assert sure[0]
    assert hi[0] == head + (2.0**-52 if sign > 0 else 0.0)
    assert hi[0] + lo[0] == hi[0]
    assert abs(lo[0]) < 2.0**-53
    undecided = certify_triple(parts, np.array([2.0**-110]))
    assert not undecided[2][0]
