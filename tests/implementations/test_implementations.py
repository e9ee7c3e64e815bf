"""What we wrote, torch and SciPy against the certified reference, by the bound each declares."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness import reference
from harness.bounds import error_over_bound, evaluate_bound
from harness.bounds.exp_error import ExpError, measure_exp_error
from harness.numerics.exact import Exact
from harness.numerics.formats import float_format
from harness.numerics.ulps import ulp_error
from harness.registry.discovery import Implementation
from harness.worker import backends
from harness.worker.local import implementations
from implementations._simd.compilation import PATH

Array = NDArray[Any]

SLOW = {"torch_compile"}
"""Compiles a program for each shape, in seconds; `test_peers` has a short look at it."""
PEERS = {
    *("candle", "ggml", "jax", "litert", "mlx", "mnn", "ncnn", "numexpr", "onednn", "onnxruntime"),
    *("openvino", "paddle", "tensorflow", "tinygrad", "tract"),
}
"""Their code is not ours to hold to a bound: `test_peers` looks at them, a run measures them."""
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in sorted(set(implementations()) - PEERS)
]
DTYPES = ["float64", "float32", "float16", "bfloat16"]
CAREFUL = ["max_shift", "numba_cpu", "numba_exact", "online"]
SATURATING = [*CAREFUL, "torch_vocab_parallel"]
"""Those whose log_softmax and gradients promise relative accuracy at saturation."""
OURS = [*CAREFUL, "log_sum_exp", "log_sum_exp_difference", "two_pass"]


def _load(name: str, operation: str = "softmax", dtype: str = "float32") -> Implementation:
    """The implementation, or a skip that says why it cannot be tested here."""
    found = implementations()[name]
    if found.unavailable_reason is not None:
        pytest.skip(f"{name} is unavailable: {found.unavailable_reason}")
    if operation not in found.operations:
        pytest.skip(f"{name} offers no {operation}")
    if dtype not in (found.metadata.dtypes or DTYPES):
        pytest.skip(f"{name} does not declare {dtype}")
    return found


def _internal(found: Implementation, dtype: str) -> str:
    accumulator = found.metadata.accumulator
    wider = accumulator and float_format(accumulator).precision > float_format(dtype).precision
    return accumulator if accumulator and wider else dtype


@cache
def _exp_error(name: str, dtype: str) -> ExpError:
    found = implementations()[name]
    backend = backends.get(found.metadata.backend)
    own = getattr(found.module(), "exp", None) if found.metadata.offers_exp else None

    def exp(x: Array) -> Array:
        native = backend.from_numpy(x)
        return backend.to_numpy(own(native) if own is not None else backend.exp(native))

    return measure_exp_error(exp, dtype, points=2**14)


def _logits(kind: str, dtype: str) -> Array:
    rng = np.random.default_rng(7)
    x = {
        "scale 0.1": lambda: 0.1 * rng.standard_normal((20, 50)),
        "scale 1": lambda: rng.standard_normal((20, 100)),
        "scale 10": lambda: 10 * rng.standard_normal((7, 333)),
        "scale 30": lambda: 30 * rng.standard_normal((5, 71)),
        "two classes": lambda: 3 * rng.standard_normal((100, 2)),
        "offset 1000": lambda: 1000 + rng.standard_normal((5, 40)),
        "offset -1000": lambda: -1000 + rng.standard_normal((5, 40)),
        "offset 10000": lambda: 10000 + 10 * rng.standard_normal((5, 40)),
        "down to subnormal": lambda: -np.linspace(0, 120, 400).reshape(1, -1),
        "far below float64": lambda: -np.linspace(0, 900, 400).reshape(1, -1),
        "constant": lambda: np.full((2, 300), 0.5),
        "dominant": lambda: np.eye(6) * 20 + rng.standard_normal((6, 6)),
        "ascending": lambda: np.linspace(-20, 20, 500).reshape(1, -1),
        "descending": lambda: np.linspace(20, -20, 500).reshape(1, -1),
        "masked": lambda: np.where(rng.random((6, 50)) < 0.5, -np.inf, rng.random((6, 50))),
        "several blocks": lambda: 5 * rng.standard_normal((1, 9001)),
        "one class": lambda: rng.standard_normal((4, 1)),
    }[kind]()
    return np.asarray(x).astype(float_format(dtype).dtype)


KINDS = [
    *("scale 0.1", "scale 1", "scale 10", "scale 30", "two classes", "offset 1000"),
    *("offset -1000", "offset 10000", "down to subnormal", "far below float64", "constant"),
    *("dominant", "ascending", "descending", "masked", "several blocks", "one class"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_softmax_keeps_its_declared_bound(name: str, dtype: str, kind: str) -> None:
    found = _load(name, "softmax", dtype)
    x = _logits(kind, dtype)
    internal = _internal(found, dtype)
    e = _exp_error(name, internal)
    exact = reference.softmax_exact(x)
    bound = evaluate_bound(
        found.metadata.bound or "generic",
        x,
        exact,
        internal=internal,
        exp_error=e.error_u,
        exp_underflow=e.underflow_eta,
    )
    ratio = error_over_bound(found.softmax(x), exact, bound)
    ratio[np.isinf(bound.ulp.reshape(ratio.shape))] = 0.0  # out of range it claims nothing
    worst = np.unravel_index(np.argmax(ratio), ratio.shape)
    assert ratio[worst] <= 1, f"softmax[{worst}] is {ratio[worst]:.3g} times its bound ({e})"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "offset 10000"])
def test_numba_cpu_is_within_3_5_ulp_of_these_inputs(kind: str, dtype: str) -> None:
    """More than what is proven, to see a change: the largest error known is 4.74 ulp."""
    x = _logits(kind, dtype)
    error = ulp_error(_load("numba_cpu").softmax(x), reference.softmax_exact(x))
    assert error.max() <= 3.5


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numba_cpu_sums_many_tiny_terms_beside_a_large_one(dtype: str) -> None:
    x = np.full((1, 2**18), -29.0, dtype=dtype)
    x[0, 0] = 0
    exact = reference.softmax_exact(x)
    assert ulp_error(_load("numba_cpu").softmax(x), exact).max() <= 3.5


SHORT_CHAINS = pytest.mark.xfail(
    PATH != "avx512", strict=False, reason="17.2 ulp was seen on a processor without AVX-512"
)


@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=SHORT_CHAINS), "float32"])
def test_the_gradient_of_numba_cpu_keeps_many_tiny_terms(dtype: str) -> None:
    x = np.full((1, 2**18), -29.0, dtype=dtype)
    x[0, 0] = 0
    target = np.array([0])
    _, gradient = _load("numba_cpu").cross_entropy(x, target)
    exact_gradient = reference.cross_entropy_exact(x, target)[1]
    assert ulp_error(gradient, exact_gradient).max() <= 4


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_exp_of_numba_cpu_is_within_1_5_u(dtype: str) -> None:
    e = _exp_error("numba_cpu", dtype)
    assert e.error_u <= 1.5
    assert e.underflow_eta <= 1.0


@pytest.mark.parametrize(
    ("dtype", "last"),
    [("float64", 709.782712893384), ("float32", 88.72283172607422), ("float16", 11.0859375)],
)
def test_naive_overflows_where_exp_does_and_not_before(dtype: str, last: float) -> None:
    t = float_format(dtype).dtype.type(last)
    softmax = _load("naive").softmax
    assert softmax(np.array([t, 0], t.dtype))[0] == 1
    beyond = np.nextafter(t, t.dtype.type(np.inf))
    assert np.isnan(softmax(np.array([beyond, 0], t.dtype))[0])


def test_log_sum_exp_is_worse_than_max_shift_at_large_offsets() -> None:
    x = (10000 + np.random.default_rng(1).standard_normal((20, 100))).astype(np.float32)
    exact = reference.softmax_exact(x)
    error = {n: ulp_error(_load(n).softmax(x), exact).max() for n in ("log_sum_exp", "max_shift")}
    assert error["log_sum_exp"] > 100 * error["max_shift"]


def _others(x: Array) -> tuple[Array, Array]:
    """Of all classes but one maximum: mean distance from it by weight; log of the sum, exactly."""
    wide = x.astype(np.float64)
    gap = wide.max(axis=-1, keepdims=True) - wide
    gap = np.delete(np.sort(gap, axis=-1), 0, axis=-1)
    weight = np.exp(-gap)
    total = weight.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        finite_gap = np.where(np.isfinite(gap), gap, 0)
        mean = np.where(total > 0, (weight * finite_gap).sum(-1, keepdims=True) / total, 0)
    return mean, np.log1p(total)


def _log_tolerance(x: Array, result: Exact, name: str, dtype: str) -> Array:
    """First-order bound on abs(error) of (x - max) - log1p(t), t the sum of all others' exp.

    t is relatively accurate to (n + E + mean distance) u, and t / (1 + t) <= log1p(t): so is
    the logarithm. Each subtraction rounds once, and 2 u more for log1p itself and the second order.
    """
    u = float_format(_internal(implementations()[name], dtype)).unit_roundoff
    fmt = float_format(dtype)
    n = x.shape[-1]
    mean, log_sum = _others(x)
    size = np.abs(result.to_float64())
    with np.errstate(invalid="ignore"):
        gap = np.abs(x.astype(np.float64) - x.astype(np.float64).max(axis=-1, keepdims=True))
        relative = n + _exp_error(name, _internal(implementations()[name], dtype)).error_u + mean
        inside = u * (gap + size + (relative + 8) * log_sum)
    tiny = 2 * fmt.smallest_subnormal
    return np.asarray(1.01 * inside + fmt.unit_roundoff * size + tiny)


def _log_error(y: Array, exact: Exact) -> Array:
    rounded = exact.to_float64()
    with np.errstate(invalid="ignore"):
        error = np.abs((y.astype(np.float64) - exact.hi) - exact.lo)
    return np.where(y.astype(np.float64) == rounded, 0, error)  # both -inf


LOG_KINDS = [k for k in KINDS if k not in ("offset 10000",)]


@pytest.mark.parametrize("kind", LOG_KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SATURATING)
def test_careful_log_softmax_is_accurate_relative_to_its_terms(
    name: str, dtype: str, kind: str
) -> None:
    x = _logits(kind, dtype)
    exact = reference.log_softmax_exact(x)
    y = _load(name, "log_softmax", dtype).log_softmax(x)
    assert np.all(_log_error(y, exact) <= _log_tolerance(x, exact, name, dtype))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", SATURATING)
def test_careful_log_softmax_resolves_a_probability_near_one(name: str, dtype: str) -> None:
    x = np.array([[0, -30], [-40, 0], [17, 0]], dtype=dtype)
    y = _load(name, "log_softmax", dtype).log_softmax(x)
    assert ulp_error(y, reference.log_softmax_exact(x)).max() <= 40  # exp's error at distance 40


@pytest.mark.parametrize("name", ["naive", "scipy", "torch", "log_sum_exp"])
def test_the_tolerance_for_logarithms_catches_a_collapsed_one(name: str) -> None:
    """What the libraries do (0 for -e**-30) must not pass for careful."""
    x = np.array([[0, -30]], dtype=np.float32)
    exact = reference.log_softmax_exact(x)
    y = _load(name, "log_softmax").log_softmax(x)
    assert np.any(_log_error(y, exact) > _log_tolerance(x, exact, "max_shift", "float32"))


@pytest.mark.parametrize("kind", ["scale 0.1", "scale 1", "scale 10", "ascending", "constant"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("operation", ["log_softmax", "logsumexp"])
@pytest.mark.parametrize("name", NAMES)
def test_logarithms_have_a_small_absolute_error(
    name: str, operation: str, dtype: str, kind: str
) -> None:
    """(n + 2E + 8 + range + magnitude) u covers every order of evaluation (numerics.md, 1)."""
    found = _load(name, operation, dtype)
    x = _logits(kind, dtype)
    exact = getattr(reference, f"{operation}_exact")(x)
    y = getattr(found, operation)(x)
    size = 2 * np.abs(x.astype(np.float64)).max() + np.abs(exact.to_float64())
    n = x.shape[-1]
    limit = (n + 2 * _exp_error(name, dtype).error_u + 8 + 2 * size) * 2.0 ** -float_format(
        dtype
    ).precision
    assert np.all(_log_error(y, exact) <= limit)


@pytest.mark.parametrize("kind", ["scale 1", "scale 10", "dominant", "several blocks"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_backward_from_a_given_output(name: str, dtype: str, kind: str) -> None:
    found = _load(name, "softmax_backward", dtype)
    y = reference.softmax(_logits(kind, dtype))
    grad = np.random.default_rng(3).standard_normal(y.shape).astype(y.dtype)
    exact = reference.softmax_backward_exact(grad, y)
    fmt, inside = float_format(dtype), float_format(_internal(found, dtype))
    g, p = np.abs(grad.astype(np.float64)), np.abs(y.astype(np.float64))
    magnitude = p * (g + (g * p).sum(axis=-1, keepdims=True))
    n = y.shape[-1]
    result = np.abs(exact.to_float64())
    limit = (n + 3) * inside.unit_roundoff * magnitude + fmt.unit_roundoff * result
    limit += 2 * fmt.smallest_subnormal
    assert np.all(_log_error(found.softmax_backward(grad, y), exact) <= 1.01 * limit)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_cross_entropy_against_the_reference(name: str, dtype: str) -> None:
    found = _load(name, "cross_entropy", dtype)
    x = np.random.default_rng(5).standard_normal((3, 8, 30)).astype(dtype)
    targets = np.random.default_rng(6).integers(0, 30, (3, 8))
    loss, gradient = found.cross_entropy(x, targets)
    want_loss, want_gradient = reference.cross_entropy(x, targets)
    assert loss.shape == (3, 8)
    assert gradient.shape == x.shape
    assert loss.dtype == gradient.dtype == x.dtype
    u = float_format(dtype).unit_roundoff
    np.testing.assert_allclose(loss, want_loss, rtol=60 * u, atol=60 * u)
    np.testing.assert_allclose(gradient, want_gradient, rtol=80 * u, atol=4 * u)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [*SATURATING, "log_sum_exp"])
def test_cross_entropy_is_relatively_accurate_at_saturation(name: str, dtype: str) -> None:
    x = np.array([[0, -30, -31], [5, 50, 3]], dtype=dtype)
    targets = np.array([0, 1])
    loss, gradient = _load(name, "cross_entropy", dtype).cross_entropy(x, targets)
    exact_loss, exact_gradient = reference.cross_entropy_exact(x, targets)
    assert ulp_error(loss, exact_loss).max() <= 60  # exp of a difference of 50, rounded
    assert ulp_error(gradient, exact_gradient).max() <= 60


@pytest.mark.parametrize("targets", [[0, 3], [-1, 0], [0], [0.0, 1.0]])
@pytest.mark.parametrize("name", ["naive", *CAREFUL])
def test_cross_entropy_refuses_targets_that_do_not_fit(name: str, targets: list[Any]) -> None:
    module = _load(name, "cross_entropy").module()
    with pytest.raises(ValueError, match="targets: expected"):
        module.cross_entropy(np.zeros((2, 3), np.float32), np.array(targets))


def _layouts() -> dict[str, Array]:
    base = (3 * np.random.default_rng(2).standard_normal((4, 5, 6))).astype(np.float32)
    raw = np.zeros(base.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(np.float32).reshape(base.shape)
    misaligned[...] = base
    return {
        "contiguous": base,
        "Fortran": np.asfortranarray(base),
        "transposed": base.transpose(2, 0, 1),
        "sliced": base[::2, :, ::2],
        "reversed": base[::-1, ::-1, ::-1],
        "broadcast": np.broadcast_to(base[:, :1], (4, 5, 6)),
        "misaligned": misaligned,
        "one-dimensional": base[0, 0],
        "eight dimensions": base.reshape(1, 2, 2, 5, 1, 3, 2, 1),
    }


@pytest.mark.parametrize("layout", list(_layouts()))
@pytest.mark.parametrize("operation", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("name", NAMES)
def test_any_axis_of_any_layout(name: str, operation: str, layout: str) -> None:
    found = _load(name, operation)
    x = _layouts()[layout]
    before = x.tobytes()
    for axis in range(-x.ndim, x.ndim):
        y = getattr(found, operation)(x, axis=axis)
        want = getattr(reference, operation)(x, axis=axis)
        assert y.shape == want.shape
        assert y.dtype == x.dtype
        np.testing.assert_allclose(y, want, rtol=2e-6, atol=2e-6)
    assert x.tobytes() == before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 3), (0,)])
@pytest.mark.parametrize("operation", ["softmax", "log_softmax"])
@pytest.mark.parametrize("name", NAMES)
def test_shapes_without_elements(
    name: str, operation: str, shape: tuple[int, ...], dtype: str
) -> None:
    found = _load(name, operation, dtype)
    if name == "scipy" and shape[-1] == 0:
        pytest.skip("declared: SciPy raises where the axis has no entries")
    x = np.zeros(shape, float_format(dtype).dtype)
    y = getattr(found, operation)(x)
    assert y.shape == shape
    assert y.dtype == x.dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_one_class_has_probability_one_exactly(name: str, dtype: str) -> None:
    found = _load(name, "softmax", dtype)
    x = np.array([[0.3], [-7], [2]]).astype(float_format(dtype).dtype)
    assert (found.softmax(x).astype(np.float64) == 1).all()


SPECIAL = {
    "one masked": [-np.inf, 1, 2],
    "masked start": [-np.inf, -np.inf, 0],
    "all masked": [-np.inf, -np.inf, -np.inf],
    "one +inf": [np.inf, 0, 1],
    "two +inf": [np.inf, np.inf, 1],
    "both infinities": [0, -np.inf, np.inf],
    "NaN": [np.nan, 0, 1],
    "negative NaN": [0, -np.nan, 1],
    "NaN and +inf": [np.nan, np.inf, 1],
    "NaN and masked": [np.nan, -np.inf, -np.inf],
    "signed zeros": [-0.0, 0.0, -np.inf],
}


@pytest.mark.parametrize("case", list(SPECIAL))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("name", ["torch", "scipy", *OURS])
def test_special_values(name: str, operation: str, dtype: str, case: str) -> None:
    found = _load(name, operation, dtype)
    if name == "scipy" and operation == "log_softmax" and np.inf in SPECIAL[case]:
        pytest.skip("declared: SciPy's log_softmax is NaN only at +inf itself")
    x = np.array([SPECIAL[case], [1, 2, 3]]).astype(float_format(dtype).dtype)
    y = getattr(found, operation)(x)
    want = getattr(reference, operation)(x)
    np.testing.assert_allclose(y.astype(float), want.astype(float), rtol=2**-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OURS)
def test_largest_and_smallest_finite_logits(name: str, dtype: str) -> None:
    if name == "log_sum_exp":
        pytest.skip("declared: max + log(sum) is rounded away at such offsets")
    fmt = float_format(dtype)
    x = np.array([[fmt.max, -fmt.max], [-fmt.max, -fmt.max], [fmt.max, fmt.max]])
    y = _load(name, "softmax", dtype).softmax(x.astype(fmt.dtype)).astype(float)
    assert y.tolist() == [[1, 0], [0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", ["softmax", "log_softmax"])
@pytest.mark.parametrize("name", NAMES)
def test_out_is_written_returned_and_may_be_the_input(
    name: str, operation: str, dtype: str
) -> None:
    found = _load(name, operation, dtype)
    if operation not in found.metadata.operations_with_out:
        pytest.skip(f"{name}.{operation} declares no out=")
    x = (2 * np.random.default_rng(4).standard_normal((3, 70))).astype(float_format(dtype).dtype)
    call = getattr(found, operation)
    for axis in (0, 1):
        want = call(x, axis=axis)
        out = np.zeros_like(x)
        assert call(x, axis=axis, out=out) is out
        assert out.tobytes() == want.tobytes()
        strided = np.zeros((6, 140), x.dtype)[::2, ::2]
        call(x, axis=axis, out=strided)
        assert strided.tobytes() == want.tobytes()
        same = x.copy()
        call(same, axis=axis, out=same)
        assert same.tobytes() == want.tobytes()


@pytest.mark.parametrize("name", OURS)
def test_an_out_that_does_not_fit_is_refused(name: str) -> None:
    x = np.zeros((2, 3), np.float32)
    softmax = _load(name).module().softmax
    for out in (np.zeros((3, 2), np.float32), np.zeros((2, 3))):
        with pytest.raises(ValueError, match="out: expected shape"):
            softmax(x, out=out)


@pytest.mark.parametrize("name", ["naive", *OURS])
def test_a_dtype_that_is_not_supported_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="x: expected one of float64"):
        _load(name).module().softmax(np.arange(3))


@pytest.mark.parametrize("name", [*OURS])
def test_a_long_column_is_summed_as_accurately_as_a_row(name: str) -> None:
    """float32 zeros along axis 0: a sum one by one would stop at 2**24 with larger ones."""
    n = 100_000
    y = _load(name).softmax(np.zeros((n, 2), np.float32), axis=0)
    np.testing.assert_allclose(y, 1 / n, rtol=1e-5 if name.startswith("log_sum") else 3e-7)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numba_cpu_gives_the_same_bits_for_any_threads_and_batch(dtype: str) -> None:
    import numba

    module = _load("numba_cpu").module()
    x = (4 * np.random.default_rng(8).standard_normal((6, 5003))).astype(dtype)
    want = module.softmax(x)
    one = np.concatenate([module.softmax(row[None]) for row in x])
    assert one.tobytes() == want.tobytes()
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert module.softmax(x).tobytes() == want.tobytes()
    finally:
        numba.set_num_threads(before)


def _merge() -> Any:
    return _load("online").module().merge_logsumexp


def test_merge_of_parts_is_the_pair_of_the_whole() -> None:
    x = 5 * np.random.default_rng(9).standard_normal((50, 12))
    merge = _merge()

    def pair(part: Array) -> tuple[Array, Array]:
        m = part.max(axis=1)
        return m, np.exp(part - m[:, None]).sum(axis=1)

    a, b, c = pair(x[:, :4]), pair(x[:, 4:5]), pair(x[:, 5:])
    left, right, whole = merge(*merge(*a, *b), *c), merge(*a, *merge(*b, *c)), pair(x)
    for m, s in (left, right, merge(*merge(*c, *a), *b)):
        assert (m == whole[0]).all()
        np.testing.assert_allclose(s, whole[1], rtol=40 * 2.0**-53)


def test_merge_has_a_neutral_element_even_among_masked_parts() -> None:
    merge = _merge()
    m, s = np.array([3.0, -np.inf]), np.array([1.7, 0.0])
    nothing = (np.full(2, -np.inf), np.zeros(2))
    for got in (merge(m, s, *nothing), merge(*nothing, m, s)):
        assert (got[0] == m).all()
        assert (got[1] == s).all()


@pytest.mark.parametrize("name", ["torch", "scipy"])
def test_a_shadowed_package_is_named_in_the_error(name: str) -> None:
    folder = Path(implementations()[name].metadata.path).parent
    for options, code, text in (
        ([], 1, f"{name}: found implementations/{name}.py"),
        (["-P"], 0, ""),
    ):
        command = [sys.executable, *options, "-c", f"import {name}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert text in done.stderr


def test_built_in_torch_and_scipy_do_not_shadow_the_packages() -> None:
    import scipy.special
    import torch

    assert _load("torch").module().torch is torch
    assert _load("scipy").module().special is scipy.special
