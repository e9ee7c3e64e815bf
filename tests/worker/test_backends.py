"""Array libraries: what goes in comes out, and what may share memory does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from harness.worker import backends
from harness.worker.backends import cores

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64]
NAMES = ["numpy", "torch"]


def _get(name: str) -> backends.Backend:
    pytest.importorskip(name, reason=f"{name} is not installed")
    return backends.get(name)


def _layouts(dtype: Any) -> dict[str, np.ndarray[Any, Any]]:
    base = np.arange(24).reshape(4, 6).astype(dtype)
    read_only = base.copy()
    read_only.flags.writeable = False
    raw = np.zeros(base.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(base.dtype).reshape(base.shape)
    misaligned[...] = base
    return {
        "contiguous": base,
        "transposed": base.T,
        "sliced": base[::2, 1::2],
        "reversed": base[::-1, ::-1],
        "broadcast": np.broadcast_to(base[0], (3, 6)),
        "read-only": read_only,
        "misaligned": misaligned,
        "empty": base[:0],
        "one-dimensional": base[0],
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", list(_layouts(np.float32)))
@pytest.mark.parametrize("name", NAMES)
def test_arrays_come_back_with_the_same_bits(name: str, layout: str, dtype: Any) -> None:
    backend = _get(name)
    array = _layouts(dtype)[layout]
    back = backend.to_numpy(backend.from_numpy(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "sliced"])
@pytest.mark.parametrize("name", NAMES)
def test_memory_and_strides_are_kept_where_the_library_can(
    name: str, layout: str, dtype: Any
) -> None:
    backend = _get(name)
    array = _layouts(dtype)[layout]
    back = backend.to_numpy(backend.from_numpy(array))
    assert np.shares_memory(back, array)
    assert back.strides == array.strides


def test_a_call_of_jax_returns_when_it_is_done() -> None:
    """On an array that is still on its way it would be put off, and all that follow behind it."""
    pytest.importorskip("jax")
    backend = backends.get("jax")
    from implementations import jax as subject

    x = np.random.default_rng(0).standard_normal((4096, 1000)).astype(np.float32)
    mask = backend.from_numpy(np.ones(x.shape, bool))
    subject.masked_softmax(backend.from_numpy(x), mask)  # compiled
    for _ in range(5):
        given = backend.from_numpy(x)
        assert given.is_ready()
        assert subject.masked_softmax(given, mask).is_ready()


def test_torch_never_gets_memory_that_must_not_be_written() -> None:
    backend = _get("torch")
    array = _layouts(np.float32)["read-only"]
    backend.from_numpy(array).zero_()
    assert array[0, 1] == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_empty_like_and_prefault_give_zeros_of_the_same_kind(name: str, dtype: Any) -> None:
    backend = _get(name)
    array = _layouts(dtype)["transposed"]
    native = backend.empty_like(backend.from_numpy(array))
    backend.prefault(native)
    back = backend.to_numpy(native)
    assert back.shape == array.shape
    assert back.dtype == array.dtype
    assert back.flags.c_contiguous
    assert not back.astype(np.float64).any()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_exp_is_that_of_the_library_and_silent(name: str, dtype: Any) -> None:
    backend = _get(name)
    x = np.array([-np.inf, -1e4, 0, 1, 1e4, np.nan]).astype(dtype)
    y = backend.to_numpy(backend.exp(backend.from_numpy(x))).astype(np.float64)
    np.testing.assert_allclose(y, [0, 0, 1, np.e, np.inf, np.nan], rtol=2**-8)


@pytest.mark.parametrize("name", NAMES)
def test_threads_are_set_and_reported(name: str) -> None:
    backend = _get(name)
    before = backend.threads()
    try:
        for count in (1, 2):
            backend.set_threads(count)
            assert backend.threads() == count
        with pytest.raises(ValueError, match="threads: expected a count of at least 1; got 0"):
            backend.set_threads(0)
    finally:
        backend.set_threads(before)


@pytest.mark.parametrize("name", NAMES)
def test_version_is_that_of_the_package(name: str) -> None:
    backend = _get(name)
    assert backend.version() == sys.modules[name].__version__
    assert backend.name == name
    backend.synchronize()


def test_a_thread_that_ends_while_all_are_bound_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.sched_getaffinity(0)
    ended = threading.Thread(target=int)
    ended.start()
    ended.join()
    for task in (ended.native_id, threading.get_native_id()):
        (tmp_path / str(task)).touch()
    monkeypatch.setattr(cores, "_TASKS", tmp_path)
    try:
        cores.bind(1)
        assert cores.bound() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    known = ", ".join(backends.MODULES)
    with pytest.raises(ValueError, match=f"expected one of {known}; got 'nympy'"):
        backends.get("nympy")


def test_nothing_heavy_is_imported_before_a_backend_is_asked_for() -> None:
    code = (
        "import sys; from harness.worker import backends; backends.get('numpy');"
        "print([m for m in ('torch', 'cupy', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_cupy_keeps_the_bits_of_bfloat16() -> None:
    cupy = pytest.importorskip("cupy", reason="cupy is not installed")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as e:
        pytest.skip(f"no CUDA device: {e}")
    backend = backends.get("cupy")
    array = np.arange(5).astype(ml_dtypes.bfloat16)
    assert backend.to_numpy(backend.from_numpy(array)).tobytes() == array.tobytes()
