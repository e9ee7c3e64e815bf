"""CUDA devices as the driver sees them: libcuda through ctypes, without an array library."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any


def _load_cuda() -> Any:
    return ctypes.CDLL("libcuda.so.1")


_CUDA_ERRORS = {
    100: "the driver finds no device (is one hidden by CUDA_VISIBLE_DEVICES?)",
    803: "the driver and its library do not match; reboot or reinstall the driver",
    804: "the driver is too old for its library on this device",
    999: "unknown driver error; are the device files there?",
}


@functools.cache
def cuda_devices() -> tuple[tuple[str, ...], str | None, str]:
    """(device names, CUDA version of the driver or None, reason if there are no devices)."""
    try:
        library = _load_cuda()
    except OSError:
        return (), None, "the CUDA driver library libcuda.so.1 is not installed"

    def call(name: str, *arguments: object) -> int:
        function: Callable[..., int] = getattr(library, name)
        return function(*arguments)

    number = ctypes.c_int()
    driver = None
    if call("cuDriverGetVersion", ctypes.byref(number)) == 0:
        driver = f"{number.value // 1000}.{number.value % 1000 // 10}"
    error = call("cuInit", 0)
    if error == 0:
        error = call("cuDeviceGetCount", ctypes.byref(number))
    if error != 0:
        known = _CUDA_ERRORS.get(error, "see CUresult in the CUDA driver API")
        return (), driver, f"CUDA driver error {error}: {known}"
    names: list[str] = []
    for index in range(number.value):
        device, buffer = ctypes.c_int(), ctypes.create_string_buffer(256)
        call("cuDeviceGet", ctypes.byref(device), index)
        failed = call("cuDeviceGetName", buffer, 256, device)
        names.append("unknown" if failed else buffer.value.decode("utf-8", "replace"))
    return tuple(names), driver, "" if names else "the driver finds no device"


def cuda_device_count() -> tuple[int, str]:
    """How many CUDA devices the driver offers, and why none ("" if there are some).

    Asks the driver library alone, once per process. It initialises CUDA, so a process that goes
    on to use a device must be started afresh, not forked from this one.
    """
    names, _, reason = cuda_devices()
    return len(names), reason


_L2_SIZE = 38  # CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE


def cuda_memory() -> tuple[int, int]:
    """Bytes of memory, and of L2, of the first CUDA device; (0, 0) where there is none."""
    if not cuda_devices()[0]:
        return 0, 0
    library = _load_cuda()
    device, total, l2 = ctypes.c_int(), ctypes.c_size_t(), ctypes.c_int()
    failed = (
        library.cuDeviceGet(ctypes.byref(device), 0)
        or library.cuDeviceTotalMem_v2(ctypes.byref(total), device)
        or library.cuDeviceGetAttribute(ctypes.byref(l2), _L2_SIZE, device)
    )
    return (0, 0) if failed else (total.value, l2.value)


def cuda_bus_id() -> str | None:
    """The first CUDA device's place on the bus, by which NVML knows it; None where unknown.

    NVML counts all devices of the machine, whatever CUDA_VISIBLE_DEVICES leaves to CUDA.
    """
    if not cuda_devices()[0]:
        return None
    library = _load_cuda()
    device, buffer = ctypes.c_int(), ctypes.create_string_buffer(32)
    failed = library.cuDeviceGet(ctypes.byref(device), 0) or library.cuDeviceGetPCIBusId(
        buffer, 32, device
    )
    return None if failed else buffer.value.decode("ascii", "replace")
