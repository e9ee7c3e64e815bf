"""No certified error exceeds its bound: seeded campaigns over NumPy forms of every algorithm."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from log_error import measure_log_error
from numpy.typing import NDArray

from harness.bounds import (
    BOUNDS,
    BoundResult,
    error_over_bound,
    evaluate_bound,
    make_context,
    numpy_pairwise_depth,
)
from harness.bounds.exp_error import measure_exp_error
from harness.numerics.exact import Exact
from harness.numerics.formats import float_format
from harness.numerics.metrics import ulp_error
from harness.reference import softmax_exact

Array = NDArray[Any]
Softmax = Callable[[Array], Array]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # naive overflows by design


def _top(x: Array) -> Array:
    return np.asarray(x.max(axis=1, keepdims=True))


def naive(x: Array) -> Array:
    e = np.exp(x)
    return e / e.sum(axis=1, keepdims=True)


def shift_divide(x: Array) -> Array:
    e = np.exp(x - _top(x))
    return e / e.sum(axis=1, keepdims=True)


def shift_divide_one_by_one(x: Array) -> Array:
    e = np.exp(x - _top(x))
    return np.asarray(e / np.add.accumulate(e, axis=1)[:, -1:])


def log_sum_exp_unshifted(x: Array) -> Array:
    return np.asarray(np.exp(x - np.log(np.exp(x).sum(axis=1, keepdims=True))))


def log_sum_exp_shifted(x: Array) -> Array:
    m = _top(x)
    return np.asarray(np.exp(x - (m + np.log(np.exp(x - m).sum(axis=1, keepdims=True)))))


def log_sum_exp_shifted_difference(x: Array) -> Array:
    m = _top(x)
    return np.asarray(np.exp((x - m) - np.log(np.exp(x - m).sum(axis=1, keepdims=True))))


def online(x: Array) -> Array:
    m, s = x[:, 0], np.ones_like(x[:, 0])
    for column in x.T[1:]:
        larger = np.maximum(m, column)
        s = s * np.exp(m - larger) + np.exp(column - larger)
        m = larger
    return np.asarray(np.exp(x - m[:, None]) / s[:, None])


def online_blocked(x: Array) -> Array:
    m, s = np.full_like(x[:, :1], -np.inf), np.zeros_like(x[:, :1])
    for start in range(0, x.shape[1], 7):
        block = x[:, start : start + 7]
        top = np.maximum(_top(block), np.finfo(x.dtype).min)  # a masked block: its sum is 0
        larger = np.maximum(m, top)
        part = np.exp(block - top).sum(axis=1, keepdims=True)
        s = s * np.exp(m - larger) + part * np.exp(top - larger)
        m = larger
    return np.asarray(np.exp(x - m) / s)


def two_pass(x: Array) -> Array:
    high = x.dtype.type(0.693359375)  # nine bits: k * high is exact
    low = x.dtype.type(np.log(np.longdouble(2)) - np.longdouble(0.693359375))
    x = np.maximum(x, x.dtype.type(-4096))  # -inf too
    k = np.rint(x * x.dtype.type(1.4426950408889634))
    a = np.exp((x - k * high) - k * low)
    shift = (k - k.max(axis=1, keepdims=True)).astype(np.int32)
    s = np.ldexp(a, shift).sum(axis=1, keepdims=True)
    return np.asarray(np.ldexp(a * (x.dtype.type(1) / s), shift))


def half_in_out(x: Array) -> Array:
    return shift_divide(x.astype(np.float32)).astype(x.dtype)


CASES: tuple[tuple[str, Softmax], ...] = (
    ("naive", naive),
    ("shift_divide", shift_divide),
    ("shift_divide", shift_divide_one_by_one),
    ("log_sum_exp_unshifted", log_sum_exp_unshifted),
    ("log_sum_exp_shifted", log_sum_exp_shifted),
    ("log_sum_exp_shifted_difference", log_sum_exp_shifted_difference),
    ("online", online),
    ("online", online_blocked),
    ("generic", shift_divide),
    ("generic", log_sum_exp_shifted),
)
IDS = [f"{name}-{function.__name__}" for name, function in CASES]
LOWEST = {"float64": 745.0, "float32": 103.0, "float16": 17.0, "bfloat16": 91.0}


def inputs(dtype: str, n: int, rng: np.random.Generator, elements: int = 400) -> list[Array]:
    """Moderate, wide, offset (both signs), down to subnormal results, ascending, masked."""
    size = (max(1, min(elements // 20, elements // n)), n)
    scale = 1.0 if dtype in ("float64", "float32") else 0.02
    wide = LOWEST[dtype]
    values = [
        rng.normal(size=size),
        10 * rng.normal(size=size) * min(1.0, wide / 50),
        1000 * scale + 10 * rng.normal(size=size) * scale,
        -0.8 * wide + wide / 10 * rng.normal(size=size),
        -rng.uniform(0.0, wide, size=size),
        np.sort(rng.normal(size=size) * 4, axis=1),
        np.where(rng.random(size) < 0.3, -np.inf, rng.normal(size=size)),
    ]
    values[-1][:, 0] = 1.0  # one logit at least takes part
    values[4][:, -1] = 0.0
    return [v.astype(float_format(dtype).dtype) for v in values]


@cache
def errors_of(dtype: str) -> dict[str, float]:
    exp = measure_exp_error(np.exp, dtype)
    return {
        "exp_error": exp.error_u,
        "exp_underflow": max(1.0, exp.underflow_eta),
        "log_error": measure_log_error(np.log, dtype).error_u,
    }


def campaign(
    name: str, softmax: Softmax, dtype: str, sizes: tuple[int, ...], **parameters: Any
) -> float:
    rng = np.random.default_rng([len(name), len(softmax.__name__), len(dtype)])
    worst = 0.0
    for n in sizes:
        for x in inputs(dtype, n, rng):
            exact = softmax_exact(x)
            bound = evaluate_bound(name, x, exact, **parameters)
            worst = max(worst, largest_claimed(softmax(x), exact, bound))
    return worst


def largest_claimed(y: Any, exact: Exact, bound: BoundResult) -> float:
    """The largest error / bound where the bound claims anything: out of range it does not."""
    ratio = error_over_bound(y, exact, bound)
    return float(ratio.max(initial=0.0, where=np.isfinite(bound.ulp.reshape(ratio.shape))))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize(("name", "softmax"), CASES, ids=IDS)
def test_no_error_exceeds_its_bound(name: str, softmax: Softmax, dtype: str) -> None:
    worst = campaign(name, softmax, dtype, (1, 2, 3, 10, 65, 500), **errors_of(dtype))
    assert 0.0 < worst <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_no_error_exceeds_its_bound_in_a_large_campaign(dtype: str) -> None:
    rng = np.random.default_rng(2021)
    parameters = errors_of(dtype)
    cases = (*CASES, ("two_pass", two_pass)) if dtype != "float16" else CASES
    compared = 0
    for n in (2, 3, 4, 6, 12, 40, 150, 1000, 6000):
        for x in inputs(dtype, n, rng, elements=60_000):
            exact = softmax_exact(x)
            for name, softmax in cases:
                bound = evaluate_bound(name, x, exact, **parameters)
                y = softmax(x)
                assert largest_claimed(y, exact, bound) <= 1.0, (name, softmax.__name__, x, y)
                compared += x.size
    assert compared > 10_000_000


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_error_of_two_passes_exceeds_its_bound(dtype: str) -> None:
    worst = campaign("two_pass", two_pass, dtype, (1, 2, 3, 10, 65, 500), **errors_of(dtype))
    assert 0.0 < worst <= 1.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_no_error_with_float32_inside_exceeds_its_bound(dtype: str) -> None:
    sizes = (1, 2, 3, 10, 65, 500)
    worst = campaign("half_in_out", half_in_out, dtype, sizes, **errors_of("float32"))
    assert 0.3 < worst <= 1.0


def float64_inside(x: Array) -> Array:
    return shift_divide(x.astype(np.float64)).astype(x.dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rounded_once_covers_float64_inside_and_little_more(dtype: str) -> None:
    worst = campaign("rounded_once", float64_inside, dtype, (1, 2, 3, 10, 65, 500))
    assert 0.3 < worst <= 1.0


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_plain_arithmetic_of_the_format_exceeds_rounded_once(dtype: str) -> None:
    assert campaign("rounded_once", shift_divide, dtype, (2, 3, 10, 65)) > 1.0


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_rounded_once_is_hardly_more_than_half_an_ulp(dtype: str) -> None:
    for x in inputs(dtype, 65, np.random.default_rng(1)):
        exact = softmax_exact(x)
        bound = evaluate_bound("rounded_once", x, exact)
        assert bound.ulp.max() <= (0.5018 if dtype == "float64" else 0.500002)
        assert error_over_bound(exact.round_to(dtype), exact, bound).max() <= 1.0
        masked = ~np.isfinite(x.astype(np.float64))
        assert (bound.ulp[masked] == 0).all()


@pytest.mark.parametrize("n", [20_000, 100_000])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_many_classes_summed_one_by_one(dtype: str, n: int) -> None:
    x = np.random.default_rng(n).normal(size=(1, n)).astype(dtype)
    x[0, 0] = x.max()
    exact = softmax_exact(x)
    parameters = errors_of(dtype)
    for name, softmax in (
        ("shift_divide", shift_divide),
        ("shift_divide", shift_divide_one_by_one),
        ("log_sum_exp_shifted", log_sum_exp_shifted),
    ):
        bound = evaluate_bound(name, x, exact, **parameters)
        assert np.isfinite(bound.ulp).all()
        assert error_over_bound(softmax(x), exact, bound).max() <= 1.0


def test_the_sequential_sum_comes_near_its_bound() -> None:
    # numerics.md: one 0 and the rest -0.1 in float32 loses digits in proportion to n.
    x = np.full((1, 100_000), -0.1, dtype=np.float32)
    x[0, 0] = 0.0
    exact = softmax_exact(x)
    bound = evaluate_bound("shift_divide", x, exact, **errors_of("float32"))
    ratio = error_over_bound(shift_divide_one_by_one(x), exact, bound).max()
    assert 0.05 < ratio <= 1.0
    few = evaluate_bound("shift_divide", x, exact, additions=numpy_pairwise_depth(x.size))
    assert error_over_bound(shift_divide_one_by_one(x), exact, few).max() > 1.0


def test_a_pairwise_sum_holds_the_bound_of_its_depth() -> None:
    x = np.random.default_rng(2).normal(size=(4, 50_000)).astype(np.float32)
    exact = softmax_exact(x)
    depth = numpy_pairwise_depth(x.shape[1])
    bound = evaluate_bound("shift_divide", x, exact, additions=depth, **errors_of("float32"))
    assert error_over_bound(shift_divide(x), exact, bound).max() <= 1.0


@pytest.mark.parametrize(
    ("n", "depth"), [(0, 0), (1, 0), (7, 6), (8, 3), (15, 10), (128, 18), (129, 12), (256, 19)]
)
def test_the_depth_of_numpy_s_pairwise_sum(n: int, depth: int) -> None:
    assert numpy_pairwise_depth(n) == depth


def test_large_offsets_hurt_the_log_sum_exp_and_its_bound_says_so() -> None:
    rng = np.random.default_rng(4)
    x = (10_000 + rng.normal(size=(50, 20))).astype(np.float32)
    exact = softmax_exact(x)
    parameters = errors_of("float32")
    error = ulp_error(log_sum_exp_shifted(x), exact)
    weak = evaluate_bound("log_sum_exp_shifted", x, exact, **parameters)
    sharp = evaluate_bound("log_sum_exp_shifted_difference", x, exact, **parameters)
    assert (error <= weak.ulp).all()
    assert error.max() > 10 * sharp.ulp.max()


def test_theorem_4_4_as_printed_is_violated() -> None:
    rng = np.random.default_rng(0)
    x = (1000 + 10 * rng.normal(size=(2000, 2))).astype(np.float32)
    exact = softmax_exact(x)
    printed = evaluate_bound("published_log_sum_exp_shifted", x, exact)
    normal = exact.to_float64() > float_format("float32").smallest_normal
    ratio = error_over_bound(log_sum_exp_shifted(x), exact, printed)
    assert ratio[normal].max() > 20
    own = evaluate_bound("log_sum_exp_shifted", x, exact, **errors_of("float32"))
    assert error_over_bound(log_sum_exp_shifted(x), exact, own).max() <= 1.0


def test_only_a_published_bound_may_be_misprinted() -> None:
    for bound in BOUNDS.values():
        assert bound.published or not bound.misprinted
        assert bound.published_name is None or BOUNDS[bound.published_name].published
    assert [b.name for b in BOUNDS.values() if b.misprinted] == ["published_log_sum_exp_shifted"]


def test_a_published_bound_stands_beside_bounds_of_its_own_algorithm_alone() -> None:
    for bound in BOUNDS.values():
        assert bool(bound.theorem) is bool(bound.paper) is bound.published
        printed = BOUNDS[bound.published_name] if bound.published_name else None
        if printed is not None and not printed.misprinted:
            assert bound.algorithm.startswith(printed.algorithm), bound.name
    beside = {b.published_name for b in BOUNDS.values() if b.published_name}
    assert beside == {b.name for b in BOUNDS.values() if b.published}


@pytest.mark.parametrize("name", ["published_naive", "published_log_sum_exp_unshifted"])
def test_a_theorem_on_unshifted_sums_claims_nothing_where_they_overflow(name: str) -> None:
    rows = [[11.5, 0.0], [10.6, 10.6], [10.6, -5.0], [-12.0, -12.0]]  # float16: e^x above 65504
    x = np.array(rows, dtype=np.float16)
    found = evaluate_bound(name, x, softmax_exact(x))
    claimed = np.isfinite(found.ulp)
    assert claimed.tolist() == [[False] * 2, [False] * 2, [True] * 2, [True] * 2]
    with np.errstate(over="ignore"):
        assert np.isfinite(np.exp(x.astype(np.float16)).sum(axis=1))[claimed[:, 0]].all()
    shifted = evaluate_bound("published_shift_divide", x, softmax_exact(x))
    assert np.isfinite(shifted.ulp).all()


def test_the_underflow_term_is_needed() -> None:
    # [100, 0] in float32: the correctly rounded 3.8e-44 is off by far more than any n u.
    x = np.array([[100.0, 0.0]], dtype=np.float32)
    exact = softmax_exact(x)
    bound = evaluate_bound("shift_divide", x, exact)
    u = float_format("float32").unit_roundoff
    y = exact.round_to("float32")
    relative = abs(float(y[0, 1]) - exact.to_float64()[0, 1]) / exact.to_float64()[0, 1]
    assert relative > 10_000 * u
    assert error_over_bound(y, exact, bound).max() <= 1.0
    assert relative > bound.relative[0, 1]


def test_flushed_subnormals_exceed_the_bound_unless_declared() -> None:
    x = np.array([[100.0, 0.0]], dtype=np.float32)
    exact = softmax_exact(x)
    y = np.array([[1.0, 0.0]], dtype=np.float32)
    plain = evaluate_bound("shift_divide", x, exact)
    flushing = evaluate_bound("shift_divide", x, exact, flushes=True)
    assert error_over_bound(y, exact, plain).max() > 1.0
    assert error_over_bound(y, exact, flushing).max() <= 1.0


@pytest.mark.parametrize("name", ["naive", "log_sum_exp_unshifted"])
@pytest.mark.parametrize(
    ("dtype", "last", "first"), [("float32", 88.0, 88.8), ("float64", 709.0, 709.8)]
)
def test_nothing_is_claimed_where_the_sum_overflows(
    name: str, dtype: str, last: float, first: float
) -> None:
    for top, claims in ((last, True), (first, False)):
        x = np.array([[top, 0.0]], dtype=dtype)
        bound = evaluate_bound(name, x, softmax_exact(x))
        assert np.isfinite(bound.ulp).all() == claims


def test_nothing_is_claimed_where_every_exponential_underflows() -> None:
    x = np.full((1, 3), -110.0, dtype=np.float32)
    assert np.isinf(evaluate_bound("naive", x, softmax_exact(x)).ulp).all()


def test_a_masked_place_must_be_exactly_zero() -> None:
    x = np.array([[1.0, -np.inf, 0.0]])
    exact = softmax_exact(x)
    bound = evaluate_bound("shift_divide", x, exact)
    assert bound.ulp[0, 1] == 0.0
    y = exact.round_to("float64")
    assert error_over_bound(y, exact, bound).max() <= 1.0
    y[0, 1] = 5e-324
    assert np.isinf(error_over_bound(y, exact, bound)[0, 1])


@pytest.mark.parametrize("row", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_a_convention_has_no_bound(row: list[float]) -> None:
    x = np.array([row, [0.0, 1.0]])
    exact = softmax_exact(x)
    for name in BOUNDS:
        bound = evaluate_bound(name, x, exact)
        assert np.isinf(bound.ulp[0]).all(), name
        assert np.isfinite(bound.ulp[1]).all(), name


@pytest.mark.parametrize("name", sorted(BOUNDS))
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_bound_is_a_number_on_extreme_rows(name: str, dtype: str) -> None:
    fmt = float_format(dtype)
    for row in ([fmt.max, -fmt.max], [0.0] * 5, [-fmt.max] * 2, [fmt.max, 0.0, -np.inf], [3.0]):
        x = np.array([row]).astype(fmt.dtype)
        bound = evaluate_bound(name, x, softmax_exact(x))
        assert not np.isnan(bound.ulp).any()
        assert not np.isnan(bound.absolute).any()
        assert (bound.ulp >= 0).all()


def test_a_derived_bound_exceeds_its_first_order_formula_by_little() -> None:
    x = np.random.default_rng(8).normal(size=(3, 100))
    exact = softmax_exact(x)
    c = make_context(x, exact, exp_error=1.5)
    p = exact.to_float64()
    gap = x.max(axis=1, keepdims=True) - x
    a = (p * gap).sum(axis=1, keepdims=True)
    first_order = (100 + 2 * 1.5 + gap + a) * c.u
    got = BOUNDS["shift_divide"].evaluate(c).relative
    assert np.allclose(got, first_order, rtol=1e-9)
    assert (BOUNDS["online"].evaluate(c).relative > got).all()


def test_the_order_of_the_first_order_terms_of_the_logarithm_forms() -> None:
    x = 300.0 + np.random.default_rng(8).normal(size=(3, 100))
    exact = softmax_exact(x)
    c = make_context(x, exact, exp_error=1.0, log_error=1.0)
    p = exact.to_float64()
    gap = x.max(axis=1, keepdims=True) - x
    y = np.log(np.exp(-gap).sum(axis=1, keepdims=True)) + x.max(axis=1, keepdims=True)
    entropy = -(p * np.log(p)).sum(axis=1, keepdims=True)
    common = 100 - 1 + 2 + entropy + np.abs(x - y)
    shifted = BOUNDS["log_sum_exp_shifted"].evaluate(c).relative
    difference = BOUNDS["log_sum_exp_shifted_difference"].evaluate(c).relative
    assert np.allclose(shifted, (common + np.abs(y)) * c.u, rtol=1e-9)
    assert np.allclose(difference, (common + gap) * c.u, rtol=1e-9)


def test_the_absolute_bound_is_the_ulp_bound_in_other_units() -> None:
    x = np.random.default_rng(1).normal(size=(2, 9)).astype(np.float32)
    exact = softmax_exact(x)
    bound = evaluate_bound("shift_divide", x, exact)
    y = shift_divide(x)
    difference = np.abs(y.astype(np.float64) - exact.to_float64())
    assert (difference <= bound.absolute).all()
    assert np.allclose(difference / bound.absolute, error_over_bound(y, exact, bound), atol=1e-6)


def test_crossing_a_binade_in_the_last_rounding_is_allowed_for() -> None:
    hi = np.array([[np.nextafter(0.5, 0.0)]])
    exact = Exact(hi, np.zeros((1, 1)), np.zeros((1, 1), np.int32))
    x = np.zeros((1, 1), dtype=ml_dtypes.bfloat16)
    wide = evaluate_bound("half_in_out", x, exact, exp_error=2.0**16)
    assert wide.ulp[0, 0] > 2.0


def test_an_unknown_bound_is_named_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="expected one of naive, shift_divide"):
        evaluate_bound("nave", np.zeros((1, 2)), softmax_exact(np.zeros((1, 2))))


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_an_impossible_error_of_exp_is_refused(value: float) -> None:
    x = np.zeros((1, 2))
    with pytest.raises(ValueError, match="expected at least 0"):
        evaluate_bound("naive", x, softmax_exact(x), exp_error=value)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("exp_error", [1.0, 8.0, 1e5, 1e9])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 3000.0])
def test_the_generic_bound_is_the_largest_of_those_of_its_forms(
    dtype: str, exp_error: float, scale: float
) -> None:
    rng = np.random.default_rng(3)
    for shape in ((3, 1), (5, 7), (4, 300)):
        x = (rng.normal(size=shape) * scale).astype(dtype)
        x[1:2, : shape[1] // 2] = -np.inf
        x[2:, 0] = -np.inf if shape[1] == 1 else x[2:, 0]
        exact = softmax_exact(x)
        bounds = {
            form: evaluate_bound(form, x, exact, exp_error=exp_error)
            for form in (
                "generic", "shift_divide", "online", "log_sum_exp_shifted",
                "log_sum_exp_shifted_difference",
            )
        }  # fmt: skip
        own = bounds.pop("generic")
        for part in ("relative", "ulp", "absolute"):
            largest = np.maximum.reduce([getattr(b, part) for b in bounds.values()])
            np.testing.assert_array_equal(getattr(own, part), largest)
