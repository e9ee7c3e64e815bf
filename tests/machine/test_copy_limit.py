"""Copy limits: exact copies with the stores they claim."""

from __future__ import annotations

import re

import ml_dtypes
import numba
import numpy as np
import pytest

from harness.machine import copy_kernels, copy_limit

SUPPORTED, REASON = copy_limit.nontemporal_supported()
NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(name == "copy_nontemporal" and not SUPPORTED, reason=REASON),
    )
    for name in ("copy_regular", "copy_nontemporal")
]
only_x86 = pytest.mark.skipif(not SUPPORTED, reason=REASON)


@pytest.fixture(params=[1, 2])
def _threads(request):
    before = numba.get_num_threads()
    numba.set_num_threads(min(request.param, numba.config.NUMBA_NUM_THREADS))
    yield
    numba.set_num_threads(before)


def _guarded(size: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """A byte buffer with guards of 0xAB around `size` bytes that start `shift` past a boundary."""
    buffer = np.full(size + 256, 0xAB, np.uint8)
    start = -buffer.ctypes.data % 64 + 64 + shift
    return buffer, buffer[start : start + size]


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 127, 1000, 2**17 - 1, 2**18 + 77])
@pytest.mark.parametrize(("from_shift", "to_shift"), [(0, 0), (1, 0), (0, 1), (13, 63), (4, 4)])
def test_copies_are_exact_and_touch_nothing_else(name, size, from_shift, to_shift):
    _, x = _guarded(size, from_shift)
    x[:] = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    buffer, out = _guarded(size, to_shift)
    before = x.copy()
    assert getattr(copy_limit, name)(x, out) is out
    assert out.tobytes() == before.tobytes() == x.tobytes()
    out[:] = 0xAB
    assert (buffer == 0xAB).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_any_dtype_and_two_axes(name, dtype):
    x = np.random.default_rng(0).normal(size=(33, 71)).astype(dtype)
    x.flags.writeable = False
    out = getattr(copy_limit, name)(x)
    assert out.dtype == x.dtype
    assert out.shape == x.shape
    assert out.tobytes() == x.tobytes()


_X = np.zeros((4, 6), np.float32)
_FROZEN = np.zeros((4, 6), np.float32)
_FROZEN.flags.writeable = False


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("x", "out", "message"),
    [
        (_X, np.zeros((6, 4), np.float32), "expected out like x"),
        (_X, np.zeros((4, 6), np.int32), "expected out like x"),
        (_X, np.zeros((4, 6), np.float32, order="F"), "expected C-contiguous"),
        (_X[:, ::2], np.zeros((4, 3), np.float32), "expected C-contiguous"),
        (_X, _FROZEN, "expected a writeable out"),
        (_X, _X, "do not overlap"),
        (_X[:3], _X[1:], "do not overlap"),
        (np.zeros(2, object), np.zeros(2, object), "expected out like x"),
    ],
    ids=["shape", "dtype", "order", "stride", "read-only", "same", "overlap", "object"],
)
def test_unequal_arrays_are_refused(name, x, out, message):
    with pytest.raises(ValueError, match=message):
        getattr(copy_limit, name)(x, out)


_CALL = re.compile(r"\w*mem(?:cpy|move)\w*")
_NONTEMPORAL = re.compile(r"\bv?movnt\w+")
_ALIGNED = re.compile(r"\bv?movaps\s+%[xyz]mm\d+, .*\(")


def _assembly(kernel: object, *arguments: object, **options: bool) -> str:
    """The machine code of a kernel, compiled now: code from Numba's cache shows none."""
    fresh = numba.njit(**options)(kernel.py_func)
    fresh.compile(tuple(numba.typeof(a) for a in arguments))
    return "\n".join(fresh.inspect_asm().values())


@only_x86
def test_nontemporal_stores_are_in_the_machine_code():
    text = _assembly(copy_kernels.nontemporal_span, 0, 0, 0)
    widest = re.search(r"v?movntps\s+%[xyz]mm", text)
    assert widest is not None
    assert "sfence" in text
    assert not _ALIGNED.search(text)
    assert not _CALL.search(text)


@only_x86
def test_regular_stores_are_plain_vectors_and_no_memcpy():
    text = _assembly(copy_kernels.regular_span, 0, 0, 0)
    assert _ALIGNED.search(text)
    assert not _NONTEMPORAL.search(text)
    assert not _CALL.search(text)


@only_x86
@pytest.mark.parametrize("parallel", [False, True])
def test_the_whole_copy_keeps_its_stores(parallel):
    if parallel:
        text = _assembly(copy_kernels.copy_parallel, 0, 0, 0, True, 2, parallel=True)
    else:
        text = _assembly(copy_kernels.copy_serial, 0, 0, 0, True)
    assert _NONTEMPORAL.search(text)
    assert "sfence" in text
    assert _ALIGNED.search(text)
    assert not _CALL.search(text)


def test_nontemporal_copy_is_refused_with_the_reason_where_unsupported(monkeypatch):
    monkeypatch.setattr(copy_limit, "IS_X86_64", False)
    supported, reason = copy_limit.nontemporal_supported()
    assert not supported
    with pytest.raises(RuntimeError, match=re.escape(reason)):
        copy_limit.copy_nontemporal(_X)
    assert copy_limit.copy_regular(_X).tobytes() == _X.tobytes()
