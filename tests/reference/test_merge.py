"""Merged pairs: the certified sums against mpmath, and what cannot be merged."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from harness import reference


def _pairs(seed: int, count: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    m1 = rng.normal(size=count) * 10.0 ** rng.uniform(-3, 3, count)
    m2 = m1 + rng.normal(size=count) * 10.0 ** rng.uniform(-12, 3, count)
    s1, s2 = (np.exp(3 * rng.normal(size=count)) for _ in range(2))
    m2[:20], s2[20:30] = m1[:20], 0.0
    m1[30:40], s1[30:40] = -np.inf, 0.0
    m2[40:45], m2[45:50] = m1[40:45] - 1e5, m1[45:50] - 745.0
    m2[50:53] = m1[50:53] - 60.0
    s1[50:53], s2[50:53] = 1.0, 1e-3
    return m1, s1, m2, s2


def test_sums_are_those_of_mpmath() -> None:
    m1, s1, m2, s2 = _pairs(0, 300)
    maximum, total = reference.merge_logsumexp_exact(m1, s1, m2, s2)
    np.testing.assert_array_equal(maximum, np.maximum(m1, m2))
    rounded = total.round_to(np.float64)
    with mpmath.workprec(8000):
        for i, top in enumerate(maximum.tolist()):
            due = mpmath.mpf(0)
            for m, s in ((float(m1[i]), float(s1[i])), (float(m2[i]), float(s2[i]))):
                due += mpmath.mpf(s) * (mpmath.exp(mpmath.mpf(m) - top) if m > -np.inf else 0)
            got = mpmath.ldexp(
                mpmath.mpf(float(total.hi[i])) + mpmath.mpf(float(total.lo[i])),
                int(total.exponent[i]),
            )
            assert abs(got / due - 1) < mpmath.mpf(2) ** -90
            assert float(rounded[i]) == float(due)


def test_a_part_without_classes_changes_nothing() -> None:
    m, s = reference.merge_logsumexp([-np.inf, 2.0, -np.inf], [0.0, 1.5, 0.0],
                                     [3.0, -np.inf, -np.inf], [1.25, 0.0, 0.0])  # fmt: skip
    assert m.tolist() == [3.0, 2.0, -np.inf]
    assert s.tolist() == [1.25, 1.5, 0.0]


def test_either_order_gives_the_same() -> None:
    m1, s1, m2, s2 = _pairs(1, 100)
    one, other = (
        reference.merge_logsumexp_exact(*given) for given in ((m1, s1, m2, s2), (m2, s2, m1, s1))
    )
    np.testing.assert_array_equal(one[1].round_to(np.float64), other[1].round_to(np.float64))


@pytest.mark.parametrize(
    "given",
    [
        (np.nan, 1.0, 0.0, 1.0), (0.0, np.nan, 0.0, 1.0), (np.inf, 1.0, 0.0, 1.0),
        (0.0, -1.0, 0.0, 1.0), (0.0, 1.0, 0.0, np.inf),
    ],
)  # fmt: skip
def test_what_is_no_pair_has_no_sum(given: tuple[float, ...]) -> None:
    _, total = reference.merge_logsumexp_exact(*given)
    assert np.isnan(total.hi)


def test_shapes_broadcast_and_are_kept() -> None:
    m, s = reference.merge_logsumexp(np.zeros((2, 3)), 1.0, np.ones(3, np.float32), 2.0)
    assert m.shape == s.shape == (2, 3)
    assert reference.merge_logsumexp_exact([], [], [], [])[1].shape == (0,)
