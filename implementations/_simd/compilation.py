"""The vector path of this process, and compilation that knows it.

Paths: "avx512" (64 bytes), "avx2" (32 bytes), "generic" (16 bytes and no fused multiply-add on
x86-64, which NEON has); the best that the processor has, or that of the environment variable
SOFTMAX_BENCH_SIMD, read at import.

`compiled(...)` is Numba's njit with a cache whose files are named by the path and by the text of
the modules that the code comes from: Numba's own key knows neither, and would run one path's code
for another's, or an old exponential after a change of it in another file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.extending import overload

from implementations._simd.numba_pipeline import INTERNAL

VARIABLE = "SOFTMAX_BENCH_SIMD"
IS_X86_64 = platform.machine().lower() in ("x86_64", "amd64")

_BYTES = {"avx512": 64, "avx2": 32, "generic": 16}
_NEEDS = {
    "avx512": ("avx512f", "avx512dq", "avx512bw", "avx512vl", "fma", "f16c"),
    "avx2": ("avx2", "fma", "f16c"),
    "generic": (),
}


def _features() -> set[str]:
    """Features of the processor that Numba compiles for: NUMBA_CPU_FEATURES, or this one's."""
    chosen = numba.config.CPU_FEATURES
    if chosen is None:
        try:
            chosen = binding.get_host_cpu_features().flatten()
        except RuntimeError:  # LLVM does not know this processor
            chosen = ""
    return {f[1:] for f in chosen.split(",") if f.startswith("+")}


def available_paths() -> tuple[str, ...]:
    """The paths that this processor can run, best first."""
    features = _features() if IS_X86_64 else set()
    return tuple(path for path, needs in _NEEDS.items() if features.issuperset(needs))


def choose_path() -> str:
    """The path to compile for.

    Raises:
        RuntimeError: where the environment asks for one that does not exist or run here.
    """
    paths = available_paths()
    asked = os.environ.get(VARIABLE, "")
    if asked and asked not in paths:
        raise RuntimeError(
            f"{VARIABLE}: expected one of {', '.join(paths)} on this processor; "
            f"got {asked!r}; unset it for the best"
        )
    return asked or paths[0]


PATH = choose_path()
VECTOR_BYTES = _BYTES[PATH]
HAS_FMA = PATH != "generic" or not IS_X86_64
LINE = 64  # bytes of a cache line, the unit of stores past the caches


_IMPORT = re.compile(r"^from implementations\.(_\w+)(?:\.(\w+) import| import (.+))", re.M)
_PACKAGES = Path(__file__).parent.parent


def _sources(file: Path, found: dict[Path, bytes]) -> dict[Path, bytes]:
    """The text of a module and of those of this package that it imports, and so on."""
    if file not in found:
        found[file] = file.read_bytes()
        for package, module, names in _IMPORT.findall(found[file].decode()):
            for name in [module] if module else names.split(", "):
                _sources(_PACKAGES / package / f"{name.split(' as ')[0]}.py", found)
    return found


@cache
def _stamp(file: Path) -> str:
    """What code compiled from a file depends on besides the processor and Numba's own key."""
    digest = hashlib.sha256(f"{PATH} {numba.__version__}".encode())
    for _, text in sorted(_sources(file, {}).items()):
        digest.update(text)
    return digest.hexdigest()


class SourceCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function's machine code, in files of its own by `_stamp` and signature.

    Numba keeps one index of a function's signatures: two processes that write to it at a time can
    leave the code of one under the signature of the other.
    """

    def _use_own_file(self, sig: Any, codegen: Any) -> None:
        text = f"{_stamp(Path(self._py_func.__code__.co_filename))} {sig} {codegen.magic_tuple()}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path,
            filename_base=f"{self._impl.filename_base}.{digest[:16]}",
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """All else is in the file's name. A function made by another has a name of its own."""
        return sig, codegen.magic_tuple()

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        self._use_own_file(sig, target_context.codegen())
        return super()._load_overload(sig, target_context)

    def _save_overload(self, sig: Any, data: Any) -> None:
        self._use_own_file(sig, data.codegen)
        super()._save_overload(sig, data)


def compiled(function: Any = None, **options: Any) -> Any:
    """njit without fast-math, cached under a key that knows path and sources."""

    def decorate(f: Callable[..., Any]) -> Any:
        dispatcher = _jitted(f, **options)
        with contextlib.suppress(RuntimeError):  # no folder to write to: compiled in every process
            dispatcher._cache = SourceCache(f)
        return dispatcher

    return decorate if function is None else decorate(function)


def _jitted(function: Callable[..., Any], **options: Any) -> Any:
    return njit(error_model="numpy", nogil=True, **options)(function)


def internal(function: Callable[..., Any], **options: Any) -> Any:
    """`compiled` for callers within Numba alone: their code has it, so that it is not cached."""
    return _jitted(function, **INTERNAL, **options)


def inner(function: Callable[..., Any]) -> Any:
    """`internal`, in line in its callers."""
    return internal(function, forceinline=True)


def specialised(function: Any) -> Any:
    """Register a form of `function` for some types, compiled into its callers."""
    return overload(function, jit_options={"error_model": "numpy", "forceinline": True})


@compiled
def compiled_for():  # type: ignore[no-untyped-def]
    """`VECTOR_BYTES` as the machine code has it, from the cache or not: which path really runs."""
    return VECTOR_BYTES
