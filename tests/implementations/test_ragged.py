"""Softmax of rows of unlike lengths: each implementation against the certified rows, and itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import harness
from harness import reference
from harness.bounds.tolerances import Arithmetic, softmax_allowance
from harness.numerics.formats import to_float64
from harness.numerics.ulps import ulp_error
from harness.registry.discovery import implementations
from implementations import max_shift, numba_cpu
from implementations._numba import ragged_rows

OFFER = [n for n, i in implementations().items() if "ragged_softmax" in i.operations]
OURS: dict[str, Any] = {"numba_cpu": numba_cpu, "max_shift": max_shift}
DTYPES = ("float64", "float32", "float16", "bfloat16")
LENGTHS: dict[str, Any] = {
    "empty rows everywhere": [0, 0, 3, 0, 5, 1, 0, 0],
    "one row": [77],
    "rows of one entry": [1] * 70,
    "every short length": list(range(70)),
    "about the kernels' limits": [47, 48, 1023, 1024, 1025, 16383, 16384, 16385],
    "neighbours of one length": [8] * 100 + [9] * 3 + [8] * 40,
    "a long row beside short ones": [3] * 500 + [60_000] + [0, 5] * 500,
    "more short rows than are put in order at a time": np.arange(9000) * 7919 % 50 % 43,
    "long rows among those that are put in order": [5, 4, 60, 5, 0, 2000, 1, 4, 48, 48, 5] * 60,
    "two long rows that follow one another": [40_000, 40_000, 0, 1],
}


def ragged(lengths: Any, dtype: str = "float32", scale: float = 3.0) -> tuple[Any, Any]:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    x = np.random.default_rng(int(offsets[-1])).normal(scale=scale, size=offsets[-1])
    return x.astype(reference.softmax(x[:0], dtype=dtype).dtype), offsets


def rows(offsets: Any) -> list[slice]:
    return [slice(a, b) for a, b in pairwise(offsets) if b > a]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OFFER)
def test_rows_are_within_the_bound_of_the_algorithm(name: str, dtype: str) -> None:
    one = harness.load(name)
    arithmetic = Arithmetic(one.metadata.bound or "generic", one.metadata.accumulator)
    x, offsets = ragged([0, 1, 2, 0, 7, 33, 100, 0, 1000], dtype)
    y = one.ragged_softmax(x, offsets)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    for row in rows(offsets):
        exact = reference.softmax_exact(x[row][None])
        allowed = softmax_allowance(to_float64(x[row])[None], exact, dtype, arithmetic)
        assert np.all(ulp_error(y[row][None], exact) <= allowed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("what", LENGTHS)
def test_a_row_has_the_bits_that_it_has_alone(what: str, dtype: str) -> None:
    x, offsets = ragged(LENGTHS[what], dtype)
    y = numba_cpu.ragged_softmax(x, offsets)
    for row in rows(offsets):
        assert numba_cpu.softmax(x[row]).tobytes() == y[row].tobytes()


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 60), max_size=30), st.sampled_from(sorted(OURS)),
       st.sampled_from([np.int32, np.int64, np.uint16]))  # fmt: skip
def test_rows_of_any_lengths(lengths: list[int], name: str, width: Any) -> None:
    x, offsets = ragged(lengths, "float64")
    given = offsets.astype(width)
    y = OURS[name].ragged_softmax(x, given)
    want = reference.ragged_softmax(x, offsets)
    np.testing.assert_allclose(y, want, rtol=1e-13)
    assert np.array_equal(given, offsets)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([0, 1, 2, 7, 15, 16, 17, 47, 48, 300, 1024]), max_size=80),
       st.sampled_from(["float32", "float64"]), st.booleans())  # fmt: skip
def test_rows_of_any_mixture_have_the_bits_that_they_have_alone(
    lengths: list[int], dtype: str, in_place: bool
) -> None:
    x, offsets = ragged(lengths, dtype, 20.0)
    wide = np.full(x.size + 128, 7, x.dtype)
    inside = wide[64:-64]
    inside[:] = x
    y = numba_cpu.ragged_softmax(inside if in_place else x, offsets, out=inside)
    assert y is inside
    assert np.all(np.concatenate([wide[:64], wide[-64:]]) == 7)
    for row in rows(offsets):
        assert numba_cpu.softmax(x[row]).tobytes() == y[row].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_offsets_beyond_32_bits(dtype: Any) -> None:
    """Of values so far before an array that row 0 begins where the array does."""
    far, size = 1 << 40, np.dtype(dtype).itemsize
    x, offsets = ragged([3, 0, 50, 7, 7, 2000], np.dtype(dtype).name)
    y, places = np.empty_like(x), offsets + far
    kernels = [numba_cpu._kernel("softmax", x.dtype, way) for way in range(3)]
    state = np.array([places.ctypes.data, *kernels, 0])
    numba_cpu.launch(
        ragged_rows.kernel(x.dtype), 0, x.ctypes.data - far * size, y.ctypes.data - far * size,
        len(offsets) - 1, 0, 0, state.ctypes.data, 1,
    )  # fmt: skip
    assert y.tobytes() == numba_cpu.ragged_softmax(x, offsets).tobytes()
    begin = ragged_rows.share_begin.py_func
    assert [begin(places, 6, p, 4) for p in range(5)] == [begin(offsets, 6, p, 4) for p in range(5)]


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_has_no_softmax_stays_in_its_row(name: str) -> None:
    rest = [1.0, 2.0]
    parts = [rest, [np.nan, 0.0], rest, [np.inf, 0.0], rest, [-np.inf, -np.inf], rest,
             [-np.inf, 3.0]]  # fmt: skip
    x, offsets = np.concatenate(parts), np.arange(0, 18, 2)
    y = OURS[name].ragged_softmax(x, offsets).reshape(-1, 2)
    assert np.isnan(y[[1, 3, 5]]).all()
    np.testing.assert_allclose(y[[0, 2, 4, 6]], [reference.softmax(rest)] * 4, rtol=1e-15)
    assert y[7].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_sparse_matrix_in_place_of_one_that_is_filled_with_minus_infinity(name: str) -> None:
    """Indices out of order, and zeros that are stored."""
    rng = np.random.default_rng(3)
    kept = rng.random((50, 300)) < 0.1
    kept[7] = False
    data = rng.normal(size=np.count_nonzero(kept)).astype(np.float32)
    data[::9] = 0.0
    row, column = np.nonzero(kept)
    order = np.lexsort((rng.random(len(row)), row))  # out of order within rows
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    matrix = sparse.csr_array((data, column[order].astype(np.int32), indptr), shape=kept.shape)
    assert not matrix.has_sorted_indices
    assert matrix.nnz == len(data)
    dense = np.full(kept.shape, -np.inf, np.float32)
    dense[row, matrix.indices] = matrix.data
    want = harness.load(name).softmax(dense)
    want[7] = 0.0
    y = harness.load(name).ragged_softmax(matrix.data, matrix.indptr)
    got = sparse.csr_array((y, matrix.indices, matrix.indptr), shape=matrix.shape).toarray()
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert np.all(got[~kept] == 0.0)


@pytest.mark.parametrize("what", LENGTHS)
def test_threads_do_not_change_a_bit(what: str) -> None:
    x, offsets = ragged(np.tile(LENGTHS[what], 3), "float32")
    most = numba.get_num_threads()
    got = []
    for threads in range(1, most + 1):
        numba.set_num_threads(threads)
        try:
            got.append(numba_cpu.ragged_softmax(x, offsets).tobytes())
        finally:
            numba.set_num_threads(most)
    assert len(set(got)) == 1


def test_shares_are_of_entries_and_each_row_is_in_one() -> None:
    begin: Callable[..., int] = ragged_rows.share_begin.py_func
    rng = np.random.default_rng(5)
    for lengths in (rng.integers(0, 50, 1000), [5000] + [0] * 1000, [0] * 100, [0] * 999 + [9000]):
        _, offsets = ragged(lengths)
        count = len(lengths)
        cost = np.asarray(lengths) + ragged_rows.OVERHEAD
        for parts in (1, 2, 3, 7, 64):
            ends = [begin(offsets, count, part, parts) for part in range(parts + 1)]
            assert (ends[0], ends[-1]) == (0, count)
            assert ends == sorted(ends)
            shares = [int(cost[a:b].sum()) for a, b in pairwise(ends)]
            assert max(shares) <= cost.sum() / parts + cost.max()


def test_a_row_of_a_million_is_shared_by_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a hundred thousand empty rows beside it are not counted as work for one of them."""
    launched = []
    own = numba_cpu.launch
    monkeypatch.setattr(numba_cpu, "thread_count", lambda: 2)
    monkeypatch.setattr(numba_cpu, "launch", lambda *a: launched.append(a[4]) or own(*a))
    whole = []
    run = numba_cpu._run
    monkeypatch.setattr(numba_cpu, "_run", lambda x, y: whole.append(x.size) or run(x, y))
    x, offsets = ragged([0] * 50_000 + [1_000_000] + [0] * 50_000)
    y = numba_cpu.ragged_softmax(x, offsets)
    assert (whole, launched) == ([1_000_000], [50_000, 50_000])
    assert y.tobytes() == numba_cpu.softmax(x).tobytes()


@pytest.mark.parametrize("name", sorted(OURS))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_out_in_any_place(name: str, dtype: str) -> None:
    x, offsets = ragged([5, 0, 90, 1, 2000], dtype)
    before, want = x.copy(), OURS[name].ragged_softmax(x, offsets)
    assert x.tobytes() == before.tobytes()
    wide = np.zeros(2 * x.size, x.dtype)
    for out in (np.empty_like(x), wide[::2]):
        assert OURS[name].ragged_softmax(x, offsets, out=out) is out
        assert out.tobytes() == want.tobytes()
    assert not to_float64(wide[1::2]).any()
    overlapping = np.concatenate([x, x[:1]])
    inside = overlapping[: x.size]
    assert OURS[name].ragged_softmax(inside, offsets, out=overlapping[1:]).tobytes() == (
        want.tobytes()
    )
    assert OURS[name].ragged_softmax(x, offsets, out=x).tobytes() == want.tobytes()
    assert x.tobytes() == want.tobytes()


@pytest.mark.parametrize("name", sorted(OURS))
def test_arrays_that_are_no_plain_memory(name: str) -> None:
    x, offsets = ragged([5, 0, 90, 1])
    want = OURS[name].ragged_softmax(x, offsets)
    apart, lined = np.repeat(x, 2)[::2], np.repeat(offsets, 3)[::3]
    x.flags.writeable = offsets.flags.writeable = False
    for values, places in ((x, offsets), (apart, lined), (apart, lined.astype(">i4"))):
        assert OURS[name].ragged_softmax(values, places).tobytes() == want.tobytes()


@pytest.mark.parametrize("name", [*OURS, "harness"])
@pytest.mark.parametrize(
    ("offsets", "error"),
    [
        ([0, 2, 1, 3], ValueError), ([0, 4], ValueError), ([0, 2], ValueError),
        ([1, 3], ValueError), ([0, -1, 3], ValueError), ([0, 10**12, 3], ValueError),
        ([0, 2**62, -(2**62), 3], ValueError),
        ([], ValueError), ([[0, 3]], ValueError), ([0.0, 3.0], TypeError), ("03", TypeError),
        ([False, True], TypeError),
    ],
)  # fmt: skip
def test_offsets_that_are_none_are_refused(name: str, offsets: Any, error: Any) -> None:
    function = OURS.get(name, harness.load("max_shift")).ragged_softmax
    given = np.array(offsets, np.int64) if offsets == [] else np.array(offsets)
    with pytest.raises(error, match=r"^offsets: expected "):
        function(np.zeros(3, np.float32), given)
    with pytest.raises(ValueError, match=r"^values: expected one dimension"):
        function(np.zeros((1, 3), np.float32), np.array([0, 3]))
