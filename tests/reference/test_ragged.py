"""Rows of unlike lengths against the reference of each row alone, and what callers get wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from harness import reference
from harness.numerics.formats import float_format
from harness.reference.ragged import _filled_up

SPECIAL = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, -1e308, 1000.0, -1000.0])
NUMBERS = st.floats(-50, 50) | SPECIAL


def offsets_of(lengths: Any) -> Any:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def alone(values: Any, offsets: Any, dtype: Any) -> Any:
    rows = [reference.softmax(values[a:b], dtype=dtype) for a, b in np.stack(
        [offsets[:-1], offsets[1:]], axis=1)]  # fmt: skip
    return np.concatenate([np.empty(0, float_format(dtype).dtype), *rows])


@settings(deadline=None, max_examples=100)
@given(st.data(), st.lists(st.integers(0, 40), max_size=12), st.sampled_from(
    ["float64", "float32", "float16", "bfloat16"]))  # fmt: skip
def test_each_row_is_what_it_is_alone(data: Any, lengths: list[int], dtype: str) -> None:
    offsets = offsets_of(lengths)
    values = data.draw(arrays.arrays(np.float64, int(offsets[-1]), elements=NUMBERS))
    got = reference.ragged_softmax(values, offsets, dtype=dtype)
    assert got.dtype == float_format(dtype).dtype
    assert got.tobytes() == alone(values, offsets, dtype).tobytes()


@pytest.mark.parametrize("lengths", [
    [5000, 3, 0, 4097], list(range(130)), [1] * 50, [0, 0, 0], [], [0, 70, 0],
])  # fmt: skip
def test_long_rows_rows_of_one_entry_and_none(lengths: list[int]) -> None:
    offsets = offsets_of(lengths)
    values = np.random.default_rng(0).normal(scale=10, size=offsets[-1]).astype(np.float32)
    got = reference.ragged_softmax(values, offsets)
    assert got.tobytes() == alone(values, offsets, np.float32).tobytes()


def test_a_row_is_filled_up_by_an_eighth_at_most() -> None:
    lengths = np.arange(1, 5000)
    filled = _filled_up(lengths)
    assert np.all((filled >= lengths) & (filled * 8 <= lengths * 9))
    assert len(np.unique(filled)) < 16 + 8 * 10
    assert _filled_up(np.array([0])).tolist() == [0]


def test_a_sparse_matrix_has_the_probabilities_of_the_dense_one() -> None:
    """Indices out of order, zeros that are stored; what is not stored is -inf."""
    indptr = np.array([0, 3, 3, 5, 6], np.int32)
    indices = np.array([4, 0, 2, 1, 3, 0], np.int32)
    data = np.array([1.0, 0.0, -2.0, 0.0, -np.inf, 7.0])
    matrix = sparse.csr_array((data, indices, indptr), shape=(4, 5))
    assert not matrix.has_sorted_indices
    dense = np.full((4, 5), -np.inf)
    for row in range(4):
        own = slice(indptr[row], indptr[row + 1])
        dense[row, indices[own]] = data[own]
    want = reference.softmax(dense)
    want[1] = 0.0  # without any entry
    y = reference.ragged_softmax(matrix.data, matrix.indptr)
    result = sparse.csr_array((y, matrix.indices, matrix.indptr), shape=matrix.shape)
    np.testing.assert_array_equal(result.toarray(), want)


def test_exact_results_have_more_digits_than_any_format() -> None:
    exact = reference.ragged_softmax_exact([0.0, 1.0, 2.0, 5.0], [0, 3, 4])
    one = reference.softmax_exact([0.0, 1.0, 2.0])
    assert np.all(exact.hi[:3] == one.hi)
    assert np.all(np.abs(exact.lo[:3] - one.lo) <= 2.0**-90)
    assert exact.hi[3] == 1.0


def test_offsets_of_any_integer_type() -> None:
    values = np.arange(6.0)
    want = reference.ragged_softmax(values, [0, 2, 6])
    for dtype in ("int8", "uint8", "int32", "uint64", "int64"):
        got = reference.ragged_softmax(values, np.array([0, 2, 6], dtype))
        assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize(
    ("values", "offsets", "error", "told"),
    [
        (np.zeros(3), [0, 2, 1, 3], ValueError, "row 1 is from 2 to 1"),
        (np.zeros(3), [0, 4], ValueError, "end with 3, the number of values; got 0 and 4"),
        (np.zeros(3), [0, 2], ValueError, "end with 3"),
        (np.zeros(3), [1, 3], ValueError, "begin with 0"),
        (np.zeros(3), [0, -1, 3], ValueError, "row 0 is from 0 to -1"),
        (np.zeros(3), np.array([0, 2, 1, 3], np.uint8), ValueError, "row 1 is from 2 to 1"),
        (np.zeros(3), [0.0, 3.0], TypeError, "offsets: expected integers; got float64"),
        (np.zeros(1), [False, True], TypeError, "got bool"),
        (np.zeros(3), [[0, 3]], ValueError, r"shape \(rows \+ 1,\); got \(1, 2\)"),
        (np.zeros(0), np.zeros(0, int), ValueError, r"got \(0,\)"),
        (np.zeros((1, 3)), [0, 3], ValueError, "values: expected one dimension"),
        (np.zeros(3, complex), [0, 3], TypeError, "complex128"),
    ],
)
def test_what_is_no_row_is_refused(values: Any, offsets: Any, error: Any, told: str) -> None:
    with pytest.raises(error, match=told):
        reference.ragged_softmax(values, offsets)


def test_many_short_rows_are_not_evaluated_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.reference import ragged

    calls = []
    own = ragged.softmax_rows
    monkeypatch.setattr(ragged, "softmax_rows", lambda x: calls.append(x.shape) or own(x))
    lengths = np.random.default_rng(1).integers(0, 300, 20_000)
    offsets = offsets_of(lengths)
    reference.ragged_softmax(np.zeros(offsets[-1]), offsets)
    assert len(calls) < 70
    assert sum(a * b for a, b in calls) < 1.1 * offsets[-1]
