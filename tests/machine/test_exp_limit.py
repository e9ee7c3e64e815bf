"""The arithmetic limit: an exponential that is right, or it would be no limit."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from harness.machine.exp_limit import LANES, exp_only


def _ulps(x: np.ndarray, y: np.ndarray) -> float:
    right = np.exp(x.astype(np.float64))
    return float(np.max(np.abs(y - right) / np.spacing(right.astype(np.float32))))


@pytest.mark.parametrize("size", [LANES, LANES + 1, 100, 2**13 + 5, 2**17])
def test_every_element_is_within_3_ulp(size: int) -> None:
    x = np.random.default_rng(size).uniform(-87.0, 88.0, size).astype(np.float32)
    y = exp_only(x)
    assert y.dtype == np.float32
    assert _ulps(x, y) < 3.0


def test_threads_give_the_same_bits() -> None:
    x = np.random.default_rng(0).uniform(-87.0, 88.0, 2**14 + 3).astype(np.float32)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = exp_only(x)
        numba.set_num_threads(min(2, before))
        assert exp_only(x).tobytes() == alone.tobytes()
    finally:
        numba.set_num_threads(before)


def test_out_is_written_and_nothing_beside_it() -> None:
    memory = np.full(3 * LANES + 2, 7.0, np.float32)
    out = memory[LANES : 2 * LANES + 1]
    assert exp_only(np.zeros(LANES + 1, np.float32), out) is out
    assert np.allclose(out, 1.0)
    assert (memory[:LANES] == 7.0).all()
    assert (memory[2 * LANES + 1 :] == 7.0).all()


@pytest.mark.parametrize(
    "x",
    [np.zeros(LANES), np.zeros(LANES - 1, np.float32), np.zeros((2, LANES), np.float32)[:, ::2]],
    ids=["float64", "short", "strided"],
)
def test_other_arrays_are_refused(x: np.ndarray) -> None:
    with pytest.raises(ValueError, match="exp_only: expected C-contiguous float32"):
        exp_only(x)
