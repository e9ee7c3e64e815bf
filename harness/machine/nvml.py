"""What a GPU says of its clocks, heat and power: through NVML's binding, else ``nvidia-smi``.

Asked by the coordinator before and after each group of timings; asking needs no CUDA context.
"""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable, Sequence
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

_FIELDS = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""Its names of the mask, the newer first."""

Run = Callable[[Sequence[str]], str]


def _words(mask: int) -> list[str]:
    return [text for bit, text in REASONS.items() if mask & bit]


def _through_nvml(nvml: Any, bus_id: str | None) -> DeviceClock:
    nvml.nvmlInit()
    try:
        if bus_id is None:
            handle = nvml.nvmlDeviceGetHandleByIndex(0)
        else:
            handle = nvml.nvmlDeviceGetHandleByPciBusId(bus_id.encode())
        reasons = getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
        reasons = reasons or nvml.nvmlDeviceGetCurrentClocksThrottleReasons
        return DeviceClock(
            sm_mhz=float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            memory_mhz=float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            celsius=float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            watts=nvml.nvmlDeviceGetPowerUsage(handle) / 1000.0,
            throttled=_words(int(reasons(handle))),
            source="nvml",
        )
    finally:
        nvml.nvmlShutdown()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # "[N/A]", "[Not Supported]"
        return None


def _asked(run: Run, bus_id: str | None) -> str:
    """The program's answer: one line for the device, under whichever name it has the reasons."""
    for reasons in _REASONS:
        fields = ",".join((*_FIELDS, reasons))
        order = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
        try:
            return run([*order, f"--id={bus_id or 0}"])
        except subprocess.CalledProcessError:
            if reasons == _REASONS[-1]:
                raise
    raise AssertionError("there is a last name")


def _through_program(run: Run, bus_id: str | None) -> DeviceClock:
    text = _asked(run, bus_id)
    values = [v.strip() for v in text.strip().splitlines()[0].split(",")]
    if len(values) != len(_FIELDS) + 1:
        raise ValueError(f"expected {len(_FIELDS) + 1} values; got {text.strip()[:100]!r}")
    sm, memory, celsius, watts = map(_number, values[:4])
    mask = int(values[4], 16) if values[4].startswith("0x") else None
    return DeviceClock(
        sm_mhz=sm, memory_mhz=memory, celsius=celsius, watts=watts,
        throttled=None if mask is None else _words(mask), source="nvidia-smi",
    )  # fmt: skip


def _run(command: Sequence[str]) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=10.0, check=True, errors="replace"
    ).stdout


def read_clock(run: Run = _run, module: str = "pynvml", bus_id: str | None = None) -> DeviceClock:
    """A device's clocks, heat and power now; all None, with the reason, where unknown.

    Args:
        bus_id: of the device that CUDA has (`cuda_driver.cuda_bus_id`); None is the first.
    """
    why = []
    try:
        return _through_nvml(importlib.import_module(module), bus_id)
    except ImportError:
        why.append("nvidia-ml-py is not installed")
    except Exception as e:  # NVMLError has a class of its own for each code
        why.append(f"NVML: {e}")
    try:
        return _through_program(run, bus_id)
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as e:
        why.append(f"nvidia-smi: {e}")
    return DeviceClock(reason="; ".join(why))


def clock_warnings(before: DeviceClock, after: DeviceClock) -> list[str]:
    """What was held down or slowed meanwhile: cause and next action."""
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
