"""The CUDA kernels without a GPU: compiled by NVRTC, and their logic run on the CPU."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
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


def _plan() -> Callable[..., Any]:
    """`plan` of cupy_gpu.py, run without importing CuPy."""
    text = (ROOT / "implementations" / "cupy_gpu.py").read_text()
    text = re.sub(r"^import cupy$", "cupy = None", text, flags=re.MULTILINE)
    namespace: dict[str, Any] = {"__name__": "cupy_gpu_without_cupy"}
    exec(compile(text, "cupy_gpu.py", "exec"), namespace)
    return namespace["plan"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("classes", [1, 8, 9, 32, 33, 128, 1000, 1024, 1025, 57000, 60000, 10**6])
@pytest.mark.parametrize("rows", [1, 5, 2**31 + 7])
def test_every_plan_names_a_kernel_that_exists_and_covers_the_row(rows: int, classes: int) -> None:
    pattern, grid, block, shared = _plan()(rows, classes, 4, 227 * 1024)
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


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler: the kernels' logic is not run here")
    library = tmp_path_factory.mktemp("cuda") / "softmax.so"
    header = ROOT / "tests" / "cuda_emulation.hpp"
    command = [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", "-pthread", "-x", "c++"]
    command += ["-Wno-unknown-pragmas", "-include", str(header), str(SOURCE), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def _emulate(
    library: ctypes.CDLL, kernel: str, x: np.ndarray[Any, Any], block: int, grid: int = 2
) -> np.ndarray[Any, Any]:
    out = np.full_like(x, 7)
    rows, classes = x.shape
    library.emulate(
        ctypes.cast(getattr(library, kernel), ctypes.c_void_p),
        ctypes.c_void_p(x.ctypes.data),
        ctypes.c_void_p(out.ctypes.data),
        ctypes.c_longlong(rows),
        ctypes.c_longlong(classes),
        ctypes.c_uint(grid),
        ctypes.c_uint(block),
    )
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
    x = np.zeros((6, classes), dtype=DTYPES[dtype])
    x[0] = -np.inf
    x[1, -1] = np.nan
    x[2, 0] = np.inf
    x[3, : classes // 2] = -np.inf  # a masked start: longer than one tile
    x[4] = -np.inf
    x[4, -1] = np.nan
    got = _emulate(emulated, kernel.format(dtype), x, block, grid=1).astype(np.float64)
    assert np.isnan(got[[0, 1, 2, 4]]).all()
    assert (got[3, : classes // 2] == 0).all()
    np.testing.assert_allclose(got[3, classes // 2 :], 1 / (classes - classes // 2), rtol=2**-8)
    np.testing.assert_allclose(got[5], 1 / classes, rtol=2**-8)
