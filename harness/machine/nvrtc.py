"""Compile CUDA C++ without a GPU: NVRTC through ctypes, from the wheel that carries it.

An implementation that cannot run here is at least compiled for the devices that it is meant for,
and the run records the outcome.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
"""Ampere (A100), Hopper (H100), Blackwell (B200)."""


class NvrtcUnavailable(RuntimeError):
    """There is no NVRTC library here; the message says what to install."""


@dataclass(frozen=True)
class KernelResources:
    """What the assembler reports of one kernel.

    Attributes:
        name: the kernel's symbol.
        registers: registers per thread.
        spill_bytes: bytes per thread stored to local memory for want of registers.
    """

    name: str
    registers: int
    spill_bytes: int


@dataclass(frozen=True)
class CompileResult:
    """The outcome of compiling one source for one architecture.

    Attributes:
        ok: whether there is a binary.
        log: what the compiler said, empty if nothing.
        arch: the architecture, ``"sm_90"``.
        nvrtc_version: ``"13.0"``.
        cubin: the binary; empty where `ok` is False.
        kernels: what each kernel uses, in the order of the assembler.
    """

    ok: bool
    log: str
    arch: str
    nvrtc_version: str
    cubin: bytes = b""
    kernels: tuple[KernelResources, ...] = ()


def _candidates() -> list[str]:
    """Paths and names to load, the wheel's first."""
    found: list[str] = []
    spec = importlib.util.find_spec("nvidia")
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        libraries = Path(folder).glob("*/lib/libnvrtc.so.*")
        found += [str(p) for p in sorted(libraries, reverse=True) if "alt" not in p.name]
    system = ctypes.util.find_library("nvrtc")
    return [*found, *([] if system is None else [system])]


@cache
def _library() -> ctypes.CDLL:
    problems = []
    for candidate in _candidates():
        try:
            return ctypes.CDLL(candidate)
        except OSError as e:
            problems.append(str(e))
    raise NvrtcUnavailable(
        "NVRTC: no library found; install nvidia-cuda-nvrtc" + "".join(f" ({p})" for p in problems)
    )


@cache
def version() -> str:
    """NVRTC's version, ``"13.0"``.

    Raises:
        NvrtcUnavailable: there is no NVRTC here.
    """
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "nvrtcVersion")
    return f"{major.value}.{minor.value}"


def _check(status: int, call: str) -> None:
    if status != 0:
        text = _library().nvrtcGetErrorString
        text.restype = ctypes.c_char_p
        raise RuntimeError(f"NVRTC: {call} failed: {text(status).decode()}")


def _bytes(program: ctypes.c_void_p, what: str) -> bytes:
    library = _library()
    size = ctypes.c_size_t()
    _check(getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), what)
    buffer = ctypes.create_string_buffer(size.value)
    _check(getattr(library, f"nvrtcGet{what}")(program, buffer), what)
    return buffer.raw


def _headers() -> tuple[Path, ...]:
    """Folders of the headers that the sources of the built-in implementations include."""
    spec = importlib.util.find_spec("implementations")
    places = [] if spec is None else spec.submodule_search_locations or []
    return tuple(Path(place) / "_cuda" for place in places)


def _resources(log: str) -> tuple[KernelResources, ...]:
    """Registers and spills from the assembler's report."""
    found = []
    name, spill = "", 0
    for line in log.splitlines():
        if entry := re.search(r"Compiling entry function '([^']+)'", line):
            name, spill = entry[1], 0
        if stores := re.search(r"(\d+) bytes spill stores", line):
            spill = int(stores[1])
        if used := re.search(r"Used (\d+) registers", line):
            found.append(KernelResources(name, int(used[1]), spill))
    return tuple(found)


@cache
def compile_for(source: str, arch: str, options: tuple[str, ...] = ()) -> CompileResult:
    """Compile CUDA C++ for one architecture; an error in the source is a result, not an exception.

    Once a process: implementations share sources, and a compilation takes seconds.

    Args:
        source: the text of a translation unit.
        arch: a real architecture, ``"sm_90"``.
        options: further options of NVRTC.

    Raises:
        NvrtcUnavailable: there is no NVRTC here.
    """
    library = _library()
    program = ctypes.c_void_p()
    _check(
        library.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), b"source.cu", 0, None, None
        ),
        "nvrtcCreateProgram",
    )
    try:
        flags = [f"--gpu-architecture={arch}", "--std=c++17", "--ptxas-options=-v"]
        flags += [f"--include-path={folder}" for folder in _headers()]
        flags += options
        array = (ctypes.c_char_p * len(flags))(*(f.encode() for f in flags))
        status = library.nvrtcCompileProgram(program, len(flags), array)
        log = _bytes(program, "ProgramLog").decode(errors="replace").rstrip("\0").strip()
        cubin = _bytes(program, "CUBIN") if status == 0 else b""
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
    return CompileResult(bool(cubin), log, arch, version(), cubin, _resources(log))
