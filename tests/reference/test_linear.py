"""Cross-entropy of a linear layer: losses and gradients against mpmath, which shares no code."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from harness import reference
from harness.numerics.exact import Exact
from harness.numerics.formats import FORMATS

Array = NDArray[Any]
PRECISION = 2000


def oracle(
    h: Array, w: Array, targets: Array
) -> tuple[list[Any], list[list[Any]], list[list[Any]]]:
    """Losses, and the gradients of their sum, at far more digits than anything here needs."""
    with mpmath.workprec(PRECISION):
        rows = [[mpmath.mpf(v) for v in row] for row in h.tolist()]
        weights = [[mpmath.mpf(v) for v in row] for row in w.tolist()]
        losses = []
        in_hidden = [[mpmath.mpf(0)] * h.shape[1] for _ in rows]
        in_weight = [[mpmath.mpf(0)] * h.shape[1] for _ in weights]
        for r, row in enumerate(rows):
            z = [mpmath.fdot(row, column) for column in weights]
            top, t = max(z), int(targets[r])
            e = [mpmath.exp(v - top) for v in z]
            total = mpmath.fsum(e)
            losses.append(top + mpmath.log(total) - z[t])
            for k, column in enumerate(weights):
                g = e[k] / total - (k == t)
                for j in range(h.shape[1]):
                    in_hidden[r][j] += g * column[j]
                    in_weight[k][j] += g * row[j]
        return losses, in_hidden, in_weight


def agree(got: Exact, due: Any, places: float = 2.0**-85) -> None:
    with mpmath.workprec(PRECISION):
        for at, hi in np.ndenumerate(got.hi):
            expected = due
            for i in at:
                expected = expected[i]
            value = mpmath.ldexp(
                mpmath.mpf(float(hi)) + mpmath.mpf(float(got.lo[at])), int(got.exponent[at])
            )
            if abs(expected) < mpmath.mpf(2) ** -1500:  # what cancels, at this precision
                assert value == 0, (at, expected, value)
            else:
                assert abs(value / expected - 1) < places, (at, expected, value)


@pytest.mark.parametrize("magnitude", [0.1, 1.0, 20.0, 300.0])
def test_losses_and_gradients_are_those_of_mpmath(magnitude: float) -> None:
    rng = np.random.default_rng(int(10 * magnitude))
    for rows, features, classes in ((3, 4, 5), (1, 1, 2), (2, 7, 3), (4, 3, 1)):
        h = rng.normal(size=(rows, features)) * magnitude
        w = rng.normal(size=(classes, features))
        t = rng.integers(classes, size=rows)
        for part, due in zip(
            reference.linear_cross_entropy_exact(h, w, t), oracle(h, w, t), strict=True
        ):
            agree(part, due)


def test_a_common_offset_of_all_logits_changes_nothing() -> None:
    """What a fused loss in chunks lost: a feature that is alike in all classes, and large."""
    rng = np.random.default_rng(3)
    h, w, t = rng.normal(size=(3, 4)), rng.normal(size=(5, 4)), np.array([0, 4, 2])
    shifted = np.concatenate([h, np.full((3, 1), 1e8)], axis=1)
    wider = np.concatenate([w, np.full((5, 1), 3.0)], axis=1)
    plain = reference.linear_cross_entropy(h, w, t)
    offset = reference.linear_cross_entropy(shifted, wider, t)
    np.testing.assert_array_equal(plain[0], offset[0])
    np.testing.assert_array_equal(plain[1], offset[1][:, :4])
    assert (offset[1][:, 4] == 0).all()  # all classes have that weight: exactly nothing


def test_equal_logits_are_seen_as_equal() -> None:
    """Of dot products that no rounding gives alike: the tie is found in fractions."""
    h = np.array([[0.1, 0.2, 0.3]])
    w = np.array([[0.3, 0.2, 0.1], [0.1, 0.5, 0.1], [0.3, 0.2, 0.1]])
    t = np.array([0])
    exact = reference.linear_cross_entropy_exact(h, w, t)
    for part, due in zip(exact, oracle(h, w, t), strict=True):
        agree(part, due)
    twins = np.array([[0.3, 0.2, 0.1], [0.3, 0.2, 0.1]])
    loss, in_hidden, in_weight = reference.linear_cross_entropy(h, twins, t)
    assert loss[0] == np.log(2.0)
    assert (in_hidden == 0).all()
    np.testing.assert_array_equal(in_weight[0], -h[0] / 2)


def test_what_cancels_between_rows_is_exactly_nothing() -> None:
    """Rows with the same logits whose last feature, which no class weighs, has opposite signs."""
    h = np.array([[0.3, 0.7, 1.0], [0.3, 0.7, -1.0], [0.1, -0.2, 0.0]])
    w = np.array([[0.5, 0.1, 0.0], [-0.4, 0.3, 0.0], [0.2, 0.9, 0.0]])
    t = np.array([1, 1, 0])
    exact = reference.linear_cross_entropy_exact(h, w, t)
    assert (exact[2].hi[:, 2] == 0).all()
    for part, due in zip(exact, oracle(h, w, t), strict=True):
        agree(part, due)


@pytest.mark.parametrize("gap", [700.0, 740.0, 760.0])
def test_probabilities_below_the_normal_range_keep_their_digits(gap: float) -> None:
    """Times an input so large that what they lose as floats would be seen."""
    h = np.array([[1.0, 2.0**200, 2.0**-300], [0.5, 0.0, 1.0]])
    w = np.array([[0.0, 0.0, 0.0], [-gap, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    t = np.array([0, 2])
    exact = reference.linear_cross_entropy_exact(h, w, t)
    due = oracle(h, w, t)
    for part, expected in zip(exact[:2], due[:2], strict=True):
        agree(part, expected)
    for k, j in ((1, 0), (1, 1), (0, 1), (2, 1)):
        agree(exact[2][k, j], due[2][k][j])


def test_every_format_is_rounded_once() -> None:
    rng = np.random.default_rng(4)
    h, w = rng.normal(size=(2, 3)), rng.normal(size=(4, 3))
    t = np.array([1, 3])
    exact = reference.linear_cross_entropy_exact(h, w, t)
    for fmt in FORMATS.values():
        for part, rounded in zip(exact, reference.linear_cross_entropy(h, w, t, fmt), strict=True):
            np.testing.assert_array_equal(part.round_to(fmt), rounded)


def test_shapes_are_those_of_the_arguments() -> None:
    h, w = np.zeros((2, 3, 4), np.float32), np.ones((5, 4), np.float32)
    loss, in_hidden, in_weight = reference.linear_cross_entropy(h, w, np.zeros((2, 3), int))
    assert (loss.shape, in_hidden.shape, in_weight.shape) == ((2, 3), h.shape, w.shape)
    assert loss.dtype == in_weight.dtype == np.float32
    assert reference.linear_cross_entropy(h[:0], w, np.zeros((0, 3), int))[2].sum() == 0
    broken = reference.linear_cross_entropy([[np.inf, 0.0]], np.ones((2, 2)), [0])
    assert all(np.isnan(part).all() for part in broken)


@pytest.mark.parametrize(
    ("hidden", "weight", "targets"),
    [
        (np.ones((2, 3)), np.ones((4, 2)), [0, 0]),
        (np.ones((2, 3)), np.ones(3), [0, 0]),
        (np.ones((2, 3)), np.ones((4, 3)), [0, 4]),
        (np.ones((2, 3)), np.ones((4, 3)), [0]),
        (np.full((2, 3), 2.0**500), np.ones((4, 3)), [0, 0]),
    ],
)
def test_what_does_not_fit_is_refused(hidden: Array, weight: Array, targets: list[int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        reference.linear_cross_entropy(hidden, weight, targets)
