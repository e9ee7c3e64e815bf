"""The CUDA kernels without a GPU: compiled by NVRTC, and their logic run on the CPU."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from harness import nvrtc
from harness.implementation import read_metadata

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "implementations" / "cuda" / "softmax.cu"
DTYPES = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
# (kernel, classes, block): each strategy at its limits, odd widths and one entry.
STRATEGIES = [
    ("softmax_warp_{}_4_2", 1, 128),
    ("softmax_warp_{}_4_2", 8, 128),
    ("softmax_warp_{}_8_4", 10, 128),
    ("softmax_warp_{}_8_4", 32, 128),
    ("softmax_warp_{}_32_4", 71, 128),
    ("softmax_warp_{}_32_8", 256, 128),
    ("softmax_warp_{}_32_16", 511, 128),
    ("softmax_warp_{}_32_32", 1000, 128),
    ("softmax_shared_{}", 1025, 64),
    ("softmax_online_{}", 1025, 64),
    ("softmax_online_{}", 40, 128),
]


def _nvrtc_version() -> str:
    try:
        return nvrtc.version()
    except nvrtc.NvrtcUnavailable as e:
        pytest.skip(str(e))


@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
def test_kernels_compile_without_a_gpu(arch: str) -> None:
    _nvrtc_version()
    result = nvrtc.compile_for(SOURCE.read_text(), arch)
    assert result.ok, result.log
    assert result.cubin.startswith(b"\x7fELF")
    assert len(result.kernels) == 32
    assert max(k.registers for k in result.kernels) <= 168
    # One of the float64 kernels spills a few bytes on Hopper; a real spill is hundreds.
    assert max(k.spill_bytes for k in result.kernels) <= 16


def test_an_error_in_the_source_is_reported_with_its_line() -> None:
    _nvrtc_version()
    result = nvrtc.compile_for('extern "C" __global__ void f() { nonsense(); }', "sm_90")
    assert not result.ok
    assert result.cubin == b""
    assert "nonsense" in result.log


def test_summary_says_what_was_compiled_and_that_it_was_not_run() -> None:
    version = _nvrtc_version()
    line = nvrtc.summary('extern "C" __global__ void f() {}', ("sm_80", "sm_90"))
    assert line == f"compiled for sm_80, sm_90 with NVRTC {version}; not run on a GPU"
    broken = nvrtc.summary("nonsense", ("sm_90",))
    assert broken.startswith("does not compile for sm_90: ")


def test_summary_without_nvrtc_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "_candidates", list)
    nvrtc._library.cache_clear()
    try:
        assert "install nvidia-cuda-nvrtc" in nvrtc.summary("")
    finally:
        nvrtc._library.cache_clear()


class _FakeCupy:
    """What cupy_gpu.py uses of CuPy, over NumPy arrays and the emulated kernels."""

    ascontiguousarray = staticmethod(np.ascontiguousarray)
    moveaxis = staticmethod(np.moveaxis)
    empty_like = staticmethod(np.empty_like)

    def __init__(self, library: ctypes.CDLL | None = None, shared_bytes: int = 227 * 1024) -> None:
        self.launched: list[str] = []
        self._library = library
        device = types.SimpleNamespace(
            id=0, attributes={"MaxSharedMemoryPerBlockOptin": shared_bytes}
        )
        self.cuda = types.SimpleNamespace(Device=lambda *_: device)

    def RawModule(self, code: str, options: tuple[str, ...]) -> Any:
        assert code == SOURCE.read_text(encoding="utf-8")
        return types.SimpleNamespace(get_function=self._get_function)

    def _get_function(self, name: str) -> Callable[..., None]:
        def kernel(
            grid: tuple[int], block: tuple[int], args: tuple[Any, ...], shared_mem: int
        ) -> None:
            x, out, rows, classes = args
            assert isinstance(rows, np.int64)
            assert isinstance(classes, np.int64)
            self.launched.append(name)
            assert self._library is not None
            _launch(self._library, name, x, out, (int(rows), int(classes)), grid[0], block[0])

        return kernel


def _cupy_gpu(monkeypatch: pytest.MonkeyPatch, fake: _FakeCupy) -> Any:
    """cupy_gpu.py over a fake of CuPy."""
    monkeypatch.setitem(sys.modules, "cupy", fake)
    spec = importlib.util.spec_from_file_location(
        "cupy_gpu_over_a_fake", ROOT / "implementations" / "cupy_gpu.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("classes", [1, 8, 9, 32, 33, 128, 1000, 1024, 1025, 57000, 60000, 10**6])
@pytest.mark.parametrize("rows", [1, 5, 2**31 + 7])
def test_every_plan_names_a_kernel_that_exists_and_covers_the_row(
    monkeypatch: pytest.MonkeyPatch, rows: int, classes: int
) -> None:
    plan = _cupy_gpu(monkeypatch, _FakeCupy()).plan
    pattern, grid, block, shared = plan(rows, classes, 4, 227 * 1024)
    names = set(re.findall(r"softmax_\w+", SOURCE.read_text()))
    source = SOURCE.read_text()
    if match := re.fullmatch(r"softmax_warp_\{\}_(\d+)_(\d+)", pattern):
        lanes, items = int(match[1]), int(match[2])
        assert f"WARP(T, {lanes}, {items})" in source
        assert lanes * items >= classes
    else:
        assert pattern.replace("{}", "") in names
    assert 1 <= grid <= 2**31 - 1
    assert block % 32 == 0
    assert block <= 1024
    assert shared == (classes * 4 if "shared" in pattern else 0)
    assert shared <= 226 * 1024


def test_declared_source_of_the_gpu_implementation_includes_the_kernels() -> None:
    assert SOURCE in read_metadata(ROOT / "implementations" / "cupy_gpu.py").files


def _compile(folder: Path, source: str) -> ctypes.CDLL:
    """The kernels as a library of the host; a skip where there is no compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler: the kernels' logic is not run here")
    library, text = folder / "softmax.so", folder / "softmax.cu"
    text.write_text(source)
    header = ROOT / "tests" / "cuda_emulation.hpp"
    command = [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", "-pthread", "-x", "c++"]
    command += ["-Wno-unknown-pragmas", "-include", str(header), str(text), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return _compile(tmp_path_factory.mktemp("cuda"), SOURCE.read_text())


def _launch(
    library: ctypes.CDLL,
    kernel: str,
    x: np.ndarray[Any, Any],
    out: np.ndarray[Any, Any],
    shape: tuple[int, int],
    grid: int,
    block: int,
) -> None:
    library.emulate(
        ctypes.cast(getattr(library, kernel), ctypes.c_void_p),
        ctypes.c_void_p(x.ctypes.data),
        ctypes.c_void_p(out.ctypes.data),
        ctypes.c_longlong(shape[0]),
        ctypes.c_longlong(shape[1]),
        ctypes.c_uint(grid),
        ctypes.c_uint(block),
    )


def _emulate(
    library: ctypes.CDLL, kernel: str, x: np.ndarray[Any, Any], block: int, grid: int = 2
) -> np.ndarray[Any, Any]:
    out = np.full_like(x, 7)
    _launch(library, kernel, x, out, (x.shape[0], x.shape[1]), grid, block)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "classes", "block"), STRATEGIES)
def test_kernel_logic_on_the_cpu(
    emulated: ctypes.CDLL, kernel: str, classes: int, block: int, dtype: str
) -> None:
    rng = np.random.default_rng(classes)
    rows = 37 if classes < 64 else 7
    x = (4 * rng.standard_normal((rows, classes))).astype(DTYPES[dtype])
    got = _emulate(emulated, kernel.format(dtype), x, block).astype(np.float64)
    wide = x.astype(np.longdouble)
    e = np.exp(wide - wide.max(axis=1, keepdims=True))
    want = e / e.sum(axis=1, keepdims=True)
    # float32 inside: n + 2E + the distance from the maximum, in u (numerics.md, section 1);
    # here with sums of at most n / 32 terms in a row. Then half an ulp of the result's format.
    inside = 2.0**-53 if dtype == "float64" else 2.0**-24
    precision = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[dtype]
    distance = wide.max(axis=1, keepdims=True) - wide
    bound = (classes / 32 + 16 + 2 * distance) * inside + 2.0**-precision
    tiny = float(ml_dtypes.finfo(DTYPES[dtype]).smallest_subnormal)
    assert np.all(np.abs(got - want) <= bound * want + tiny)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "classes", "block"), STRATEGIES)
def test_kernel_special_values_on_the_cpu(
    emulated: ctypes.CDLL, kernel: str, classes: int, block: int, dtype: str
) -> None:
    x = np.zeros((7, classes), dtype=DTYPES[dtype])
    x[0] = -np.inf
    x[1, -1] = np.nan
    x[2, 0] = np.inf
    x[3, : classes // 2] = -np.inf  # a masked start: longer than one tile
    x[4] = -np.inf
    x[4, -1] = np.nan
    x[6, (classes - 1) % block :: block] = -np.inf  # all that one thread sees, but for a NaN
    x[6, -1] = np.nan
    got = _emulate(emulated, kernel.format(dtype), x, block, grid=1).astype(np.float64)
    assert np.isnan(got[[0, 1, 2, 4, 6]]).all()
    assert (got[3, : classes // 2] == 0).all()
    np.testing.assert_allclose(got[3, classes // 2 :], 1 / (classes - classes // 2), rtol=2**-8)
    np.testing.assert_allclose(got[5], 1 / classes, rtol=2**-8)


MUTANTS = {
    "no guard for a masked start": (
        "x == -(A)INFINITY ? (A)0 : exponential(x - m)",
        "exponential(x - m)",
    ),
    "a NaN among masked entries is dropped": (
        "== -(A)INFINITY ? s : s *",
        "== -(A)INFINITY ? (A)0 : s *",
    ),
    "a thread's sum is not rescaled": ("s : s * exponential(m - top);", "s : s;"),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", list(MUTANTS))
def test_broken_kernels_are_caught(tmp_path: Path, mutant: str) -> None:
    original, broken = MUTANTS[mutant]
    source = SOURCE.read_text()
    assert original in source
    library = _compile(tmp_path, source.replace(original, broken))
    tests = (test_kernel_logic_on_the_cpu, test_kernel_special_values_on_the_cpu)
    caught = 0
    for test in tests:
        try:
            test(library, "softmax_online_{}", 1025, 64, "float32")
        except AssertionError:
            caught += 1
    assert caught


class _Bits:
    """As the backend hands bfloat16 to the device."""

    def __init__(self, bits: np.ndarray[Any, Any]) -> None:
        self.bits = bits


@pytest.mark.parametrize(
    ("shape", "axis", "shared_bytes", "kernel"),
    [
        ((3, 5), -1, 48 * 1024, "softmax_warp_{}_4_2"),
        ((2, 40, 3), 1, 48 * 1024, "softmax_warp_{}_32_4"),
        ((2, 1100), -1, 227 * 1024, "softmax_shared_{}"),
        ((1100, 2), 0, 4 * 1024, "softmax_online_{}"),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_wrapper_launches_the_planned_kernel_on_any_axis(
    monkeypatch: pytest.MonkeyPatch,
    emulated: ctypes.CDLL,
    dtype: str,
    shape: tuple[int, ...],
    axis: int,
    shared_bytes: int,
    kernel: str,
) -> None:
    fake = _FakeCupy(emulated, shared_bytes)
    softmax = _cupy_gpu(monkeypatch, fake).softmax
    x = np.random.default_rng(0).standard_normal(shape).astype(DTYPES[dtype])
    out = np.empty_like(x)
    if dtype == "bfloat16":
        got = softmax(_Bits(x.view(np.uint16)), axis=axis).bits.view(x.dtype)
        softmax(_Bits(x.view(np.uint16)), axis=axis, out=_Bits(out.view(np.uint16)))
    else:
        got = softmax(x, axis=axis)
        assert softmax(x, axis=axis, out=out) is out
    assert fake.launched == [kernel.format(dtype)] * 2
    assert got.shape == shape
    assert got.tobytes() == out.tobytes()
    wide = np.exp(x.astype(np.float64))
    want = wide / wide.sum(axis=axis, keepdims=True)
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=2**-7)
