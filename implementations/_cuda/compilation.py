"""Compile CUDA C++ by NVRTC to a file that CuPy loads, kept from one process to the next.

Not by CuPy's own compiler: that adds ``-ftz=true`` to whatever it is given, and float32 results
below the normal range would be 0.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

from cupy.cuda import nvrtc


@cache
def folder() -> Path:
    """Where binaries are kept: in CuPy's cache, or a temporary folder if that cannot be written."""
    chosen = os.environ.get("CUPY_CACHE_DIR") or str(Path.home() / ".cupy" / "kernel_cache")
    try:
        place = Path(chosen) / "softmax-bench"
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="softmax-bench-"))
    return place


def target(capability: int) -> tuple[str, str]:
    """The architecture to compile for and the suffix of the file, for a compute capability of 90.

    Machine code where this NVRTC knows the device, else PTX of the last one before it, which the
    driver translates.
    """
    known = nvrtc.getSupportedArchs()
    if capability in known:
        return f"sm_{capability}", ".cubin"
    return f"compute_{max(a for a in known if a <= capability)}", ".ptx"


def compiled(source: str, options: tuple[str, ...], capability: int) -> Path:
    """The file of a source's machine code or PTX, compiled now if there is none yet.

    Raises:
        RuntimeError: the source does not compile; the compiler's words.
    """
    arch, suffix = target(capability)
    version = "{}.{}".format(*nvrtc.getVersion())
    key = "\0".join([source, arch, version, *options])
    path = folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}{suffix}"
    if not path.exists():
        found = _compile(source, (f"--gpu-architecture={arch}", *options), suffix)
        handle, fresh = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(found)
        os.replace(fresh, path)  # whole, whoever else compiles it at the same time
    return path


def _compile(source: str, options: tuple[str, ...], suffix: str) -> bytes:
    program = nvrtc.createProgram(source, "rows.cu", (), ())
    try:
        try:
            nvrtc.compileProgram(program, options)
        except nvrtc.NVRTCError:
            raise RuntimeError(nvrtc.getProgramLog(program)[:4000]) from None
        found = nvrtc.getCUBIN(program) if suffix == ".cubin" else nvrtc.getPTX(program)
    finally:
        nvrtc.destroyProgram(program)
    return found if isinstance(found, bytes) else found.encode()
