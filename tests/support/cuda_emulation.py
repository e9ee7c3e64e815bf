"""The CUDA kernels on the CPU: compiled as C++ over cuda_emulation.hpp, behind a fake of CuPy.

What runs is the source of implementations/cuda and the Python of cupy_gpu and cupy_gpu_fast
themselves. Arrays of the fake device end at a page that must not be touched.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.util
import mmap
import shutil
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np

from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.executor import perform_steps
from harness.registry.contract import Metadata, read_metadata
from harness.worker import backends

Array = np.ndarray[Any, Any]

ROOT = Path(__file__).parents[2]
IMPLEMENTATIONS = ROOT / "implementations"
FOLDER = IMPLEMENTATIONS / "_cuda"
HEADER = Path(__file__).parent / "cuda_emulation.hpp"
OPERATIONS = ("Softmax", "LogSoftmax", "CrossEntropy", "SoftmaxBackward")
FORMATS = ("float64", "float32", "float16", "bfloat16")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_PAGE = mmap.PAGESIZE


class DriverError(RuntimeError):
    """A launch that the fake device refuses."""


class EmulationError(AssertionError):
    """What the emulation caught: an access beyond an array, a barrier that is never passed, ..."""


# ---------------------------------------------------------------------------------- compiling


def sources() -> dict[str, str]:
    """The device code by file name, to be changed by mutants."""
    return {f.name: f.read_text(encoding="utf-8") for f in sorted(FOLDER.glob("*.cu*"))}


def compiler() -> str | None:
    """A C++ compiler of this machine, or None."""
    return shutil.which("g++") or shutil.which("clang++")


def _translation_unit(texts: dict[str, str], operation: str, formats: Sequence[str]) -> str:
    text = texts["rows.cu"]
    for name, header in texts.items():
        text = text.replace(f'#include "{name}"', header)
    text += "\n#define NAME(KERNEL, OP, T) KERNEL##_##T\n"
    for name in formats:
        text += f"ROW_KERNELS({operation}, {name})\nCLUSTER_KERNELS({operation}, {name})\n"
        text += f"KERNEL(exponential_of_{name}, {name}, 512, , (exponential_kernel<{name}>))\n"
        if name in ("float32", "float64"):
            text += f"WIDE_LANES_KERNEL({operation}, {name})\n"
    return text


def compiled(
    operation: str,
    fast: bool = False,
    texts: dict[str, str] | None = None,
    formats: Sequence[str] = FORMATS,
) -> ctypes.CDLL:
    """The kernels of one operation as a library of the host, compiled once a machine and text."""
    formats = [f for f in formats if not (fast and f == "float64")]
    unit = _translation_unit(texts or sources(), operation, formats)
    program = compiler()
    assert program is not None
    # What is broken on purpose is compiled fast, the rest to run fast.
    flags = [
        "-std=c++20",
        "-O0" if texts else "-O1",
        "-ffp-contract=off",
        "-shared",
        "-fPIC",
        "-Wno-unknown-pragmas",
    ]
    flags += ["-DFAST"] if fast else []
    digest = hashlib.sha256("\0".join([unit, HEADER.read_text(), *flags]).encode()).hexdigest()
    folder = Path(tempfile.gettempdir()) / "softmax-bench-emulation"
    folder.mkdir(exist_ok=True)
    library = folder / f"{digest[:32]}.so"
    with open(folder / f"{digest[:32]}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of a test run compile it once
        if not library.exists():
            source, fresh = library.with_suffix(".cpp"), library.with_suffix(".new")
            source.write_text(unit, encoding="utf-8")
            command = [program, *flags, "-x", "c++", "-include", str(HEADER), str(source)]
            done = subprocess.run(
                [*command, "-o", str(fresh)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise AssertionError(f"{operation}: does not compile: {done.stderr[:3000]}")
            fresh.rename(library)
    loaded = ctypes.CDLL(str(library))
    loaded.emulate.restype = ctypes.c_char_p
    return loaded


# -------------------------------------------------------------------------------- the device


_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_NORESERVE = 0x4000
_WITHOUT_ASKING = 48 * 1024  # bytes of shared memory of a block


class _Guarded:
    """Memory that ends at a page that must not be touched, and begins not far from one."""

    def __init__(self, size: int) -> None:
        whole = -(-max(size, 1) // _PAGE) * _PAGE
        self._length = whole + 2 * _PAGE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        self._start = _LIBC.mmap(None, self._length, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
        assert self._start not in (None, ctypes.c_void_p(-1).value), "no memory for the emulation"
        _LIBC.mprotect(self._start, _PAGE, 0)
        _LIBC.mprotect(self._start + _PAGE + whole, _PAGE, 0)
        # Devices align to 256 bytes; 16 leave fewer unguarded ones behind the end.
        self.pointer = self._start + _PAGE + whole - -(-size // 16) * 16

    def __del__(self) -> None:
        _LIBC.munmap(self._start, self._length)


class DeviceArray(np.ndarray[Any, Any]):
    """A NumPy array that looks like one of CuPy: `.data.ptr` is its address."""

    _memory: Any = None

    @property
    def data(self) -> Any:  # type: ignore[override]
        return types.SimpleNamespace(ptr=self.__array_interface__["data"][0])

    def __array_finalize__(self, base: Any) -> None:
        self._memory = getattr(base, "_memory", None)


def device_empty(shape: Any, dtype: Any = np.float64, offset: int = 0) -> Any:
    """An array of the fake device, `offset` bytes after a multiple of 16."""
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = _Guarded(size + offset)
    buffer = (ctypes.c_char * (size + offset)).from_address(memory.pointer)
    array = np.ndarray(shape, dtype, buffer=buffer, offset=offset).view(DeviceArray)
    array._memory = memory
    return array


def to_device(array: Array) -> Any:
    """A contiguous copy on the fake device; bfloat16 as its bits."""
    array = np.asarray(array)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    bits = array.view(np.uint16) if array.dtype == BFLOAT16 else array
    copy = device_empty(bits.shape, bits.dtype)
    copy[...] = bits
    return copy


class Bits:
    """As the backend hands bfloat16 to the device."""

    def __init__(self, bits: Any) -> None:
        self.bits = bits


@dataclass
class FakeCupy:
    """What the implementations use of CuPy, over NumPy arrays and the emulated kernels.

    Attributes:
        attributes: of the device, by the names that CuPy has for them.
        capability: as CuPy gives it, ``"90"``.
        order: of the threads, see cuda_emulation.hpp.
        texts: the device code, by default that of the repository.
        blocks: which blocks of a grid are run; None for all.
        largest_cluster: beyond it a launch is refused.
        launched: kernels, in order.
    """

    attributes: dict[str, int]
    capability: str = "90"
    order: int = 0
    texts: dict[str, str] | None = None
    formats: Sequence[str] = FORMATS
    blocks: tuple[int, int] | None = None
    largest_cluster: int = 16
    launched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        device = types.SimpleNamespace(
            id=0, attributes=self.attributes, compute_capability=self.capability
        )
        driver = types.SimpleNamespace(CUDADriverError=DriverError)
        self.cuda = types.SimpleNamespace(Device=lambda *_: device, driver=driver)
        self.uint8 = np.uint8

    moveaxis = staticmethod(np.moveaxis)
    may_share_memory = staticmethod(np.may_share_memory)

    def empty(self, shape: Any, dtype: Any) -> Any:
        fresh = device_empty(shape, dtype)
        fresh.reshape(-1).view(np.uint8)[:] = 0xFF  # NaN: what is not written shows
        return fresh

    def full(self, shape: Any, value: Any, dtype: Any) -> Any:
        fresh = device_empty(shape, dtype)
        fresh[...] = value
        return fresh

    def array(self, x: Any, order: str, copy: bool) -> Any:
        return to_device(np.ascontiguousarray(x).reshape(x.shape))

    def ascontiguousarray(self, x: Any) -> Any:
        return x if x.flags.c_contiguous else to_device(np.ascontiguousarray(x))

    def load(self, code: str, options: tuple[str, ...]) -> Any:
        """In place of `launch._load` of the kernels."""
        values = dict(o[2:].split("=") for o in options if o.startswith("-D") and "=" in o)
        fast = "-DFAST" in options
        name = values["ELEMENT"]
        library = compiled(values["OPERATION"], fast, self.texts, self.formats)
        allowed: dict[str, int] = {}  # by function: an attribute of it, whoever asked for it
        return types.SimpleNamespace(
            get_function=lambda kernel: self._function(library, kernel, name, allowed)
        )

    def _function(
        self, library: ctypes.CDLL, kernel: str, name: str, allowed: dict[str, int]
    ) -> Callable[..., None]:
        entry = ctypes.cast(getattr(library, f"{kernel}_{name}"), ctypes.c_void_p)
        cluster = int(kernel.removeprefix("held_")) if kernel.startswith("held_") else 1

        def run(
            grid: tuple[int], block: tuple[int], args: tuple[Any, ...], shared_mem: int
        ) -> None:
            if shared_mem > allowed.get(kernel, _WITHOUT_ASKING):
                raise DriverError("invalid value: more shared memory than was asked for")
            assert 1 <= grid[0] < 2**31
            if cluster > self.largest_cluster:
                raise DriverError("invalid cluster size")
            self.launched.append(kernel)
            packed = (ctypes.c_longlong * 12)(*(int(a) for a in args))
            begin, end = self.blocks or (0, grid[0])
            error = library.emulate(
                entry, packed, *(ctypes.c_uint(n) for n in (grid[0], block[0], cluster)),
                ctypes.c_uint(shared_mem), ctypes.c_uint(self.order),
                ctypes.c_uint(begin), ctypes.c_uint(min(end, grid[0])),
            )  # fmt: skip
            if error:
                raise EmulationError(f"{kernel}: {error.decode()}")

        function, name_of = types.SimpleNamespace(ptr=0), kernel

        most = self.attributes["MaxSharedMemoryPerBlockOptin"]

        class Kernel:
            kernel = function

            @property
            def max_dynamic_shared_size_bytes(self) -> int:
                return allowed.get(name_of, _WITHOUT_ASKING)

            @max_dynamic_shared_size_bytes.setter
            def max_dynamic_shared_size_bytes(self, size: int) -> None:
                if size > most:
                    raise DriverError("invalid value: more than a block can have")
                allowed[name_of] = size

            def __call__(self, *args: Any, **options: Any) -> None:
                run(*args, **options)

        return Kernel()


def attributes(**changed: int) -> dict[str, int]:
    """Of a small Hopper: 4 processors, 8 KiB of shared memory a block."""
    return {
        "MultiProcessorCount": 4,
        "MaxSharedMemoryPerBlockOptin": 8192,
        "L2CacheSize": 1 << 20,
        **changed,
    }


_SETTABLE = (8, 9, 14, 15)
"""CUfunction_attribute: dynamic shared memory, carve-out, clusters beyond 8, their scheduling."""


def _set_attribute(function: int, attribute: int, value: int) -> None:
    """As cuFuncSetAttribute, which refuses those that a kernel was compiled with."""
    if attribute not in _SETTABLE:
        raise DriverError(f"attribute {attribute} cannot be set")


@contextmanager
def implementation(
    name: str, fake: FakeCupy, threads: int = 64, **thresholds: Any
) -> Iterator[Any]:
    """A module of implementations/, imported anew over the fake; blocks of `threads` at most.

    `thresholds` stand in for constants of _cuda_plan.
    """
    driver = types.SimpleNamespace(funcSetAttribute=_set_attribute)
    fakes = {
        "cupy": fake,
        "cupy_backends": types.ModuleType("cupy_backends"),
        "cupy_backends.cuda": types.ModuleType("cupy_backends.cuda"),
        "cupy_backends.cuda.api": types.SimpleNamespace(driver=driver),
    }
    import implementations

    with mock.patch.dict(sys.modules, fakes):
        _forget(implementations)
        spec = importlib.util.spec_from_file_location(
            f"{name}_over_a_fake", IMPLEMENTATIONS / f"{name}.py"
        )
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        from implementations._cuda import launch as _cuda_rows
        from implementations._cuda import plan as _cuda_plan

        original = _cuda_rows.device_of
        with (
            mock.patch.object(
                _cuda_rows, "device_of", lambda n: replace(original(n), threads=threads)
            ),
            mock.patch.object(_cuda_rows, "_load", fake.load),
            mock.patch.multiple(_cuda_plan, _LANES_BLOCK=_cuda_plan._LANES_BLOCK, **thresholds),
        ):
            yield loaded
    _forget(implementations)


def _forget(package: Any) -> None:
    """Modules that hold a fake are imported anew, by this context and after it."""
    for module in [n for n in sys.modules if n.startswith("implementations._cuda")]:
        del sys.modules[module]
    for attribute in [a for a in vars(package) if a.startswith("_cuda")]:
        delattr(package, attribute)


def call(function: Callable[..., Any], *arrays: Array, **options: Any) -> Any:
    """Call with NumPy arrays, bfloat16 included; NumPy arrays come back."""
    return _host(function(*(_device_of(a) for a in arrays), **options))


def _device_of(array: Array) -> Any:
    native = to_device(array)
    return Bits(native) if array.dtype == BFLOAT16 else native


def _host(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_host(r) for r in result)
    if isinstance(result, Bits):
        return np.array(result.bits).view(BFLOAT16)
    return np.array(result)


_ONE_AT_A_TIME = threading.Lock()
"""The emulated device has one state, and takes the calls of several threads in turn."""


@dataclass
class EmulatedSubject:
    """cupy_gpu, or its like, for the catalogue: NumPy arrays in and out, the kernels emulated."""

    module: Any
    metadata: Metadata

    @classmethod
    def of(cls, name: str, module: Any) -> EmulatedSubject:
        plain = read_metadata(IMPLEMENTATIONS / f"{name}.py")
        return cls(module, replace(plain, backend="numpy", device="cpu", requires=()))

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        return perform_steps(self._function, backends.get("numpy"), steps)

    @contextmanager
    def fresh(self) -> Iterator[EmulatedSubject]:
        yield self

    def _function(self, operation: str) -> Callable[..., Any]:
        function = self._of_host_arrays(operation)

        def in_turn(*arrays: Array, **options: Any) -> Any:
            with _ONE_AT_A_TIME:
                return function(*arrays, **options)

        return in_turn

    def _of_host_arrays(self, operation: str) -> Callable[..., Any]:
        function = getattr(self.module, operation)
        if operation not in ("softmax", "log_softmax"):
            return lambda *arrays, **options: call(function, *arrays, **options)

        def with_out(x: Array, axis: int = -1, out: Array | None = None) -> Array:
            if out is None:
                return np.asarray(call(function, x, axis=axis))
            native = _device_of(x)
            target = native if out is x else _device_of(out)
            function(native, axis=axis, out=target)
            out[...] = _host(target)
            return out

        return with_out
