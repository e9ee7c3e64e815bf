"""What a GPU says of its clocks, heat and power: through NVML's binding (nvidia-ml-py).

Asked by the coordinator before and after each group of timings; asking needs no CUDA context.
"""

from __future__ import annotations

import importlib
from typing import Any

from harness.records.device_throughput import DeviceClock

REASONS = {
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
"""nvmlClocksThrottleReason*; idle (0x1), clocks set by the user (0x2) and by the display (0x100)
hold nothing down against anyone's will."""


def _through_nvml(nvml: Any, bus_id: str | None) -> DeviceClock:
    nvml.nvmlInit()
    try:
        if bus_id is None:
            handle = nvml.nvmlDeviceGetHandleByIndex(0)
        else:
            handle = nvml.nvmlDeviceGetHandleByPciBusId(bus_id.encode())
        absent = (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound)

        def asked(name: str, *arguments: Any) -> int | None:
            try:
                return int(getattr(nvml, name)(handle, *arguments))
            except (AttributeError, *absent):  # this binding, driver or device does not have it
                return None

        power = asked("nvmlDeviceGetPowerUsage")
        mask = asked("nvmlDeviceGetCurrentClocksEventReasons")
        if mask is None:  # the older name
            mask = asked("nvmlDeviceGetCurrentClocksThrottleReasons")
        return DeviceClock(
            sm_mhz=asked("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            memory_mhz=asked("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
            celsius=asked("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            watts=None if power is None else power / 1000.0,
            throttled=None if mask is None else [t for bit, t in REASONS.items() if mask & bit],
            source="nvml",
        )
    finally:
        nvml.nvmlShutdown()


def read_clock(module: str = "pynvml", bus_id: str | None = None) -> DeviceClock:
    """A device's clocks, heat and power now; all None, with the reason, where unknown.

    Args:
        bus_id: of the device that CUDA has (`cuda_driver.cuda_bus_id`); None is the first.
    """
    try:
        return _through_nvml(importlib.import_module(module), bus_id)
    except ImportError:
        return DeviceClock(reason="nvidia-ml-py is not installed: pip install nvidia-ml-py")
    except Exception as e:  # NVMLError has a class of its own for each code
        return DeviceClock(reason=f"NVML: {e}")


def clock_warnings(before: DeviceClock, after: DeviceClock) -> list[str]:
    """Why the device ran slower between the two readings: for each, cause and next action."""
    held = sorted({*(before.throttled or ()), *(after.throttled or ())})
    found = []
    if held:
        found.append(
            f"the device held its clock down ({', '.join(held)}): cool it, raise its power limit "
            "or pause between runs, and measure again"
        )
    if before.source is None and after.source is None:
        found.append(f"clocks and throttling are unknown ({after.reason})")
    return found
