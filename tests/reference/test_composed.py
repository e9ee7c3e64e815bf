"""Changed logits: the certified results against mpmath, which shares no code with them."""

from __future__ import annotations

import itertools
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from harness import reference
from harness.numerics.exact import Exact
from harness.numerics.formats import FORMATS, round_pair
from harness.reference import composed
from harness.reference.composed import Change, changed_rows

Array = NDArray[Any]
PRECISION = 3000


def oracle(
    x: Array, change: Change, mask: Array | None = None, sink: Array | None = None
) -> list[list[Any]]:
    """The same by mpmath, at far more digits than anything here needs."""
    found = []
    with mpmath.workprec(PRECISION):
        for r, row in enumerate(x):
            logits = []
            for c, value in enumerate(row.tolist()):
                if mask is not None and not mask[r, c]:
                    logits.append(mpmath.mpf("-inf"))
                    continue
                z = mpmath.mpf(value) * mpmath.mpf(change.scale)
                if change.cap is not None:
                    z = mpmath.mpf(change.cap) * mpmath.tanh(z / mpmath.mpf(change.cap))
                logits.append(z)
            if sink is not None:
                logits.append(mpmath.mpf(float(sink[r])))
            top = max(logits)
            terms = [mpmath.exp(z - top) for z in logits]
            total = mpmath.fsum(terms)
            found.append([t / total for t in terms[: len(row)]])
    return found


def agree(got: Exact, expected: list[list[Any]]) -> None:
    """Within 2**-85, and rounded alike to every format."""
    with mpmath.workprec(PRECISION):
        for (r, c), hi in np.ndenumerate(got.hi):
            due = expected[r][c]
            value = mpmath.ldexp(
                mpmath.mpf(float(hi)) + mpmath.mpf(float(got.lo[r, c])), int(got.exponent[r, c])
            )
            if due == 0:
                assert value == 0
            elif due > mpmath.mpf(2) ** -524_000:
                assert abs(value / due - 1) < mpmath.mpf(2) ** -85, (r, c, due, value)


CHANGES = [
    Change(0.1), Change(-0.3), Change(0.125), Change(7.7), Change(1e-3), Change(0.0),
    Change(cap=30.0), Change(cap=0.7), Change(0.1, 50.0), Change(1e14),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("beside", ["alone", "mask", "sink", "both"])
def test_changed_logits_are_certified(change: Change, beside: str) -> None:
    rng = np.random.default_rng(len(beside))
    for magnitude in (1e-3, 1.0, 40.0, 3e3):
        x = rng.normal(size=(3, 7)) * magnitude
        x[1] = np.round(x[1])
        x[2, 3] = x[2, 1]
        mask = rng.random(x.shape) < 0.7 if beside in ("mask", "both") else None
        if mask is not None:
            mask[:, 0] = True
        sink = rng.normal(size=3) * magnitude if beside in ("sink", "both") else None
        agree(changed_rows(x, change, mask, sink), oracle(x, change, mask, sink))


DELICATE = [
    ([[1e6, 1e6 - 2**-30, 0.0]], Change(0.1)),  # products that differ in their last bits
    ([[3e9, 2.9e9, 1e9]], Change(0.1)),  # where a fused product less a rounded one is far off
    ([[1e300, 0.9e300, -1e300]], Change(1e10)),  # products beyond all floats
    ([[1e-300, 0.0, 1e-310]], Change(1e-20)),  # below them
    ([[2.0, 1.0, 0.0]], Change(1e-17)),  # nearly equal: beside 1/3
    ([[2.0, 0.0]], Change(1e-30)),  # beside 1/2, which is a tie of no format and a number of all
    ([[5.0, 5.0, -700.0]], Change(0.3)),
    ([[1e4, 2e4, -1e4]], Change(cap=30.0)),  # saturated alike, to hundreds of digits
    ([[40.0, 41.0, 39.0]], Change(cap=1.0)),
    ([[1e300, 5.0, -1.0]], Change(cap=30.0)),  # one beyond all products, the others not
    ([[1e300, 5.0, -1e300]], Change(1e20, 30.0)),
    ([[1e300, 1e300, 5.0]], Change(1e20)),
    ([[1e-12, 2e-12, -1e-12]], Change(cap=30.0)),
    ([[0.0, -40.0]], Change(3.0)),
    ([[0.0, -1e5]], Change(2.5)),
]


@pytest.mark.parametrize(("rows", "change"), DELICATE, ids=str)
def test_delicate_rows_are_certified(rows: list[list[float]], change: Change) -> None:
    x = np.array(rows)
    with np.errstate(all="ignore"):
        agree(changed_rows(x, change), oracle(x, change))


def test_results_round_as_their_true_values_in_every_format() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(20, 5)) * 8
    got, due = reference.scaled_softmax_exact(x, 0.1), oracle(x, Change(0.1))
    for fmt in FORMATS.values():
        rounded = got.round_to(fmt)
        for (r, c), value in np.ndenumerate(rounded):
            with mpmath.workprec(PRECISION):
                hi = float(due[r][c])
                lo = float(due[r][c] - mpmath.mpf(hi))
            pair = (np.array([hi]), np.array([lo]), np.zeros(1, np.int32))
            assert value == round_pair(*pair, fmt)[0]


def test_a_scale_that_is_a_power_of_two_is_softmax_of_the_product() -> None:
    x = np.random.default_rng(1).normal(size=(8, 9)) * 20
    for scale in (0.125, 4.0):
        a, b = reference.scaled_softmax(x, scale), reference.softmax(x * scale)
        np.testing.assert_array_equal(a, b)


def test_a_mask_leaves_what_softmax_gives_of_the_rest() -> None:
    x = np.array([[1.0, np.nan, 2.0], [np.inf, 0.5, -np.inf], [1.0, 2.0, 3.0]])
    mask = np.array([[True, False, True], [False, True, False], [False] * 3])
    got = reference.masked_softmax(x, mask)
    np.testing.assert_array_equal(got[0, [0, 2]], reference.softmax(x[0, [0, 2]]))
    assert got[0, 1] == 0.0
    assert got[1].tolist() == [0.0, 1.0, 0.0]
    assert np.isnan(got[2]).all()


def test_a_sink_is_one_more_class() -> None:
    x = np.random.default_rng(2).normal(size=(4, 6)) * 3
    whole = reference.softmax(np.concatenate([x, np.zeros((4, 1))], axis=1))
    np.testing.assert_array_equal(reference.softmax_with_sink(x, 0.0), whole[:, :6])
    each = np.array([0.0, -np.inf, 700.0, 1.0])
    got = reference.softmax_with_sink(x, each)
    np.testing.assert_array_equal(got[1], reference.softmax(x[1]))
    assert (got[2] < 1e-300).all()
    assert (got[2] > 0).all()


def _exact(x: Array, scale: float, cap: float | None = None) -> list[float]:
    """At 4000 bits."""
    with mpmath.workprec(4000):
        z = [mpmath.mpf(float(v)) * mpmath.mpf(scale) for v in x]
        if cap is not None:
            z = [cap * mpmath.tanh(v / mpmath.mpf(cap)) for v in z]
        e = [mpmath.exp(v - max(z)) for v in z]
        return [float(v / sum(e)) for v in e]


def test_a_scale_of_any_magnitude() -> None:
    """Also where a factor is near the end of the range, and the product is an ordinary number."""
    rng = np.random.default_rng(7)
    for k in (*rng.integers(-1070, 1020, 300).tolist(), 996, 997, 1019, -998, -1021, -1070):
        scale = float(np.ldexp(rng.uniform(1, 2) * rng.choice([-1, 1]), k))
        with np.errstate(over="ignore"):
            x = np.ldexp(rng.normal(size=4) * 10 ** rng.uniform(-1, 1.5), -k)
        if scale != 0 and np.isfinite(x).all():
            assert reference.scaled_softmax(x, scale).tolist() == _exact(x, scale), (scale, x)


def test_a_cap_of_any_magnitude() -> None:
    """As large as it takes to switch it off, beside logits of its own size and small ones."""
    rng = np.random.default_rng(8)
    for k in (*rng.integers(-1000, 1022, 150).tolist(), 53, 55, 899, 901, 1021):
        cap = float(np.ldexp(rng.uniform(1, 2), k))
        for size in (0, k):
            x = np.ldexp(rng.normal(size=3) * 10 ** rng.uniform(-1, 1.5), size)
            x = x[np.isfinite(x)]
            if x.size:
                assert reference.softcap_softmax(x, cap).tolist() == _exact(x, 1.0, cap), (cap, x)


def test_infinite_logits_are_capped_and_scaled_as_their_limits() -> None:
    capped = reference.softcap_softmax(np.array([np.inf, 0.0, -np.inf]), 2.0)
    np.testing.assert_array_equal(capped, reference.softmax(np.array([2.0, 0.0, -2.0])))
    assert np.isnan(reference.scaled_softmax(np.array([np.inf, 0.0]), 0.1)).all()
    assert np.isnan(reference.scaled_softmax(np.array([-np.inf, 0.0]), -0.1)).all()
    masked = reference.scaled_softmax(np.array([-np.inf, 0.0, 1.0]), 0.1)
    assert masked[0] == 0.0
    assert np.isnan(reference.softcap_softmax(np.array([np.nan, 0.0]), 2.0)).all()


def test_axes_and_shapes_are_those_of_the_input() -> None:
    x = np.random.default_rng(3).normal(size=(2, 3, 4))
    for axis in (0, 1, -1):
        moved = np.moveaxis(reference.scaled_softmax(x, 0.1, axis), axis, -1)
        np.testing.assert_array_equal(
            moved, reference.scaled_softmax(np.moveaxis(x, axis, -1), 0.1)
        )
    mask = np.ones((3, 4), bool)
    assert reference.masked_softmax(x, mask).shape == x.shape  # it broadcasts
    assert reference.softcap_softmax(np.zeros((0, 3)), 1.0).shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: reference.scaled_softmax([1.0], np.inf), ValueError),
        (lambda: reference.softcap_softmax([1.0], 0.0), ValueError),
        (lambda: reference.softcap_softmax([1.0], np.nan), ValueError),
        (lambda: reference.masked_softmax([1.0], [1]), TypeError),
        (lambda: reference.masked_softmax([1.0], [[True], [True]]), ValueError),
    ],
)
def test_what_is_no_parameter_is_refused(call: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        call()


def test_the_fast_filter_settles_nearly_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ziv's loop is a thousand times slower: it is for the few that the filter leaves."""
    asked = itertools.count()
    plain = composed.Change.ball

    def counted(self: Change, engine: Any, x: float) -> Any:
        next(asked)
        return plain(self, engine, x)

    monkeypatch.setattr(composed.Change, "ball", counted)
    x = np.random.default_rng(4).normal(size=(50, 100)) * 10
    for change in (Change(0.1), Change(cap=30.0), Change(0.1, 30.0)):
        changed_rows(x, change)
    assert next(asked) < 1000
