"""The CUDA kernels without a GPU: compiled by NVRTC for every target, registers and spills read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cuda_emulation import FOLDER, FORMATS, OPERATIONS

from harness.machine import nvrtc
from harness.registry.contract import read_metadata
from harness.worker.backends import limit_kernels

SOURCE = FOLDER / "rows.cu"
SPILL_BUDGET = 64
"""Bytes per thread. Blocks of 1024 threads leave 64 registers each, of which 32 hold the row; what
little does not fit beside it is stored once a row. A kernel that spills its row spills hundreds."""
REGISTER_BUDGET = 168
"""For blocks of 128 threads: three of them on a processor."""

ROW_KERNELS = {"lanes_4_1", "lanes_8_2", "lanes_32_2", "lanes_32_4", "held_1", "partial", "finish"}
ROW_KERNELS |= {"exponential_of"}


def _nvrtc_version() -> str:
    try:
        return nvrtc.version()
    except nvrtc.NvrtcUnavailable as e:
        pytest.skip(str(e))


def _options(operation: str, name: str, fast: bool) -> tuple[str, ...]:
    half = ["-DHALF_WIDTH"] if name in ("float16", "bfloat16") else []
    return (f"-DOPERATION={operation}", f"-DELEMENT={name}", *half, *(["-DFAST"] if fast else []))


# float64 has no approximate exponential, and the backward none at all.
MODULES = [(o, f, False) for o in OPERATIONS for f in FORMATS]
MODULES += [(o, f, True) for o in OPERATIONS[:3] for f in FORMATS[1:]]


def _cost(operation: str, name: str, fast: bool, arch: str) -> Any:
    """Softmax on all targets, and all that differs on one; the rest, minutes, is slow."""
    softmax, single = operation == "Softmax", name == "float32"
    quick = (softmax or single) if arch == "sm_90" else (softmax and single and not fast)
    return pytest.param(operation, name, fast, arch, marks=[] if quick else pytest.mark.slow)


@pytest.mark.parametrize(
    ("operation", "name", "fast", "arch"),
    [_cost(*module, arch) for arch in nvrtc.ARCHITECTURES for module in MODULES],
)
def test_kernels_compile_without_spilling(operation: str, name: str, fast: bool, arch: str) -> None:
    _nvrtc_version()
    result = nvrtc.compile_for(SOURCE.read_text(), arch, _options(operation, name, fast))
    assert result.ok, result.log
    assert result.cubin.startswith(b"\x7fELF")
    expected = ROW_KERNELS | ({"lanes_32_8"} if name in ("float32", "float64") else set())
    expected |= {"held_8", "held_16"} if arch != "sm_80" else set()
    assert {k.name for k in result.kernels} == expected
    for kernel in result.kernels:
        assert kernel.spill_bytes <= SPILL_BUDGET, kernel
        most = 64 if kernel.name.startswith("held") else REGISTER_BUDGET
        assert kernel.registers <= most, kernel


def test_a_kernel_that_spills_is_over_the_budget() -> None:
    _nvrtc_version()
    held = (FOLDER / "held.cuh").read_text().replace("Op::SHIFTED ? 32 : 16;", "128;")
    source = SOURCE.read_text().replace('#include "held.cuh"', held)
    result = nvrtc.compile_for(source, "sm_80", _options("LogSoftmax", "float32", False))
    assert result.ok, result.log
    assert max(k.spill_bytes for k in result.kernels) > SPILL_BUDGET


@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
def test_device_code_compiles_as_a_run_without_a_device_does_it(arch: str) -> None:
    """Without options, for the record of what could not run."""
    _nvrtc_version()
    declared = read_metadata(FOLDER.parent / "cupy_gpu.py").files
    (source,) = [f for f in declared if f.suffix == ".cu"]
    result = nvrtc.compile_for(source.read_text(), arch)
    assert result.ok, result.log
    assert result.kernels


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What compiles the kernels on a device, with a cache of its own."""
    pytest.importorskip("cupy", reason="cupy is not installed")
    _nvrtc_version()
    from implementations._cuda import compilation as _cuda_compile

    try:
        _cuda_compile.nvrtc.getVersion()
    except Exception as e:
        pytest.skip(f"CuPy finds no NVRTC: {e}")
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    _cuda_compile.folder.cache_clear()
    yield _cuda_compile
    _cuda_compile.folder.cache_clear()


def test_on_a_device_results_below_the_normal_range_are_kept(compiler: Any) -> None:
    """CuPy's own compiler adds -ftz=true to all that it is given."""
    from implementations._cuda import launch as _cuda_rows

    code, options = _cuda_rows.source(), _cuda_rows.definitions("Softmax", "float32")
    ptx = compiler._compile(code, ("--gpu-architecture=compute_90", *options), ".ptx").decode()
    assert "held_8" in ptx
    assert "mul.f32" in ptx or "mul.rn.f32" in ptx
    assert "mul.ftz" not in ptx
    assert "fma.rn.ftz" not in ptx


def test_a_binary_is_made_once_and_kept_by_what_it_was_made_from(compiler: Any) -> None:
    source = 'extern "C" __global__ void f(float* x) { *x = VALUE; }'
    first = compiler.compiled(source, ("-DVALUE=1",), 90)
    assert first.suffix == ".cubin"
    assert first.read_bytes().startswith(b"\x7fELF")
    made = first.stat().st_mtime_ns
    assert compiler.compiled(source, ("-DVALUE=1",), 90) == first
    assert first.stat().st_mtime_ns == made
    assert compiler.compiled(source, ("-DVALUE=2",), 90) != first
    assert len(list(first.parent.iterdir())) == 2
    newer = compiler.compiled(source, ("-DVALUE=1",), 999)  # a device that it does not know
    assert newer.suffix == ".ptx"
    with pytest.raises(RuntimeError, match="VALUE"):
        compiler.compiled(source, (), 90)


@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
def test_the_limits_compile_without_spilling(arch: str) -> None:
    """The kernels that only move bytes, with room for all threads of a processor."""
    _nvrtc_version()
    result = nvrtc.compile_for(limit_kernels.SOURCE, arch)
    assert result.ok, result.log
    assert {k.name for k in result.kernels} == {"copy16", "add16", "read16"}
    assert all(k.spill_bytes == 0 for k in result.kernels)
    assert f"#define FLIGHT {limit_kernels.FLIGHT}\n" in limit_kernels.SOURCE
    (reading,) = [k for k in result.kernels if k.name == "read16"]
    assert reading.registers <= 32


def test_an_error_in_the_source_is_reported_with_its_line() -> None:
    _nvrtc_version()
    result = nvrtc.compile_for('extern "C" __global__ void f() { nonsense(); }', "sm_90")
    assert not result.ok
    assert result.cubin == b""
    assert "nonsense" in result.log


def test_without_nvrtc_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "_candidates", list)
    nvrtc._library.cache_clear()
    try:
        with pytest.raises(nvrtc.NvrtcUnavailable, match="install nvidia-cuda-nvrtc"):
            nvrtc.compile_for("", "sm_90")
    finally:
        nvrtc._library.cache_clear()


@pytest.mark.parametrize(
    ("capability", "begins"), [(80, b"\x7fELF"), (90, b"\x7fELF"), (100, b"\x7fELF"), (999, b"//")]
)
def test_the_limits_are_made_for_the_device_without_cupys_compiler(
    capability: int, begins: bytes
) -> None:
    """That one asks for headers of the toolkit, which an image may lack."""
    pytest.importorskip("cupy", reason="cupy is not installed")
    from harness.worker.backends import cupy_device

    try:
        cupy_device.nvrtc.getVersion()
    except Exception as e:
        pytest.skip(f"CuPy finds no NVRTC: {e}")
    made = cupy_device.compiled(capability)
    assert made.startswith(begins)
    assert all(name in made for name in (b"copy16", b"add16", b"read16"))
