"""What a device says of itself: through its library, or not at all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from harness.machine.nvml import clock_warnings, read_clock
from harness.records.device_throughput import DeviceClock


def nvml(mask: int) -> ModuleType:
    found: Any = ModuleType("simulated_nvml")
    found.NVMLError_NotSupported = type("NVMLError_NotSupported", (Exception,), {})
    found.NVMLError_FunctionNotFound = type("NVMLError_FunctionNotFound", (Exception,), {})
    found.NVML_CLOCK_SM, found.NVML_CLOCK_MEM, found.NVML_TEMPERATURE_GPU = 1, 2, 0
    found.nvmlInit = found.nvmlShutdown = lambda: None
    found.nvmlDeviceGetHandleByIndex = lambda index: "handle"
    found.nvmlDeviceGetHandleByPciBusId = lambda bus_id: found.asked.append(bus_id) or "handle"
    found.asked = []
    found.nvmlDeviceGetClockInfo = lambda handle, kind: {1: 1980, 2: 2619}[kind]
    found.nvmlDeviceGetTemperature = lambda handle, kind: 41
    found.nvmlDeviceGetPowerUsage = lambda handle: 123_456
    found.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: mask
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("mask", "words"),
    [(0x0, []), (0x1, []), (0x44, ["software power cap", "hardware thermal slowdown"])],
)
def test_through_the_library(monkeypatch: pytest.MonkeyPatch, mask: int, words: list[str]) -> None:
    monkeypatch.setitem(sys.modules, "simulated_nvml", nvml(mask))
    assert read_clock(module="simulated_nvml") == DeviceClock(
        sm_mhz=1980, memory_mhz=2619, celsius=41, watts=123.456, throttled=words, source="nvml"
    )


def test_the_device_is_that_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES may leave it the fourth of eight, which NVML counts."""
    library: Any = nvml(0x0)
    monkeypatch.setitem(sys.modules, "simulated_nvml", library)
    assert read_clock(module="simulated_nvml", bus_id="0000:81:00.0").source == "nvml"
    assert library.asked == [b"0000:81:00.0"]


def test_without_the_library_it_is_told_what_to_install() -> None:
    found = read_clock(module="no_such_module_at_all")
    assert found == DeviceClock(reason="nvidia-ml-py is not installed: pip install nvidia-ml-py")
    (text,) = clock_warnings(found, found)
    assert "unknown" in text
    assert "pip install nvidia-ml-py" in text


def raises(kind: type[Exception]) -> Callable[..., None]:
    def call(*_: Any) -> None:
        raise kind("Driver Not Loaded")

    return call


@pytest.mark.parametrize("part", ["nvmlInit", "nvmlDeviceGetPowerUsage"])
def test_what_goes_wrong_is_the_reason(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    library: Any = nvml(0x0)
    setattr(library, part, raises(RuntimeError))
    monkeypatch.setitem(sys.modules, "simulated_nvml", library)
    assert read_clock(module="simulated_nvml") == DeviceClock(reason="NVML: Driver Not Loaded")


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ("nvmlDeviceGetTemperature", "celsius"),
        ("nvmlDeviceGetPowerUsage", "watts"),
        ("nvmlDeviceGetCurrentClocksThrottleReasons", "throttled"),
    ],
)
def test_what_a_device_does_not_have_leaves_the_rest(
    monkeypatch: pytest.MonkeyPatch, part: str, field: str
) -> None:
    library: Any = nvml(0x0)
    monkeypatch.setitem(sys.modules, "simulated_nvml", library)
    whole = read_clock(module="simulated_nvml")
    setattr(library, part, raises(library.NVMLError_NotSupported))
    assert read_clock(module="simulated_nvml") == whole.model_copy(update={field: None})


def test_a_driver_without_the_newer_name_is_asked_by_the_older(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library: Any = nvml(0x8)
    newer = "nvmlDeviceGetCurrentClocksEventReasons"
    setattr(library, newer, raises(library.NVMLError_FunctionNotFound))
    monkeypatch.setitem(sys.modules, "simulated_nvml", library)
    assert read_clock(module="simulated_nvml").throttled == ["hardware slowdown"]
    setattr(library, newer, lambda handle: 0x4)
    assert read_clock(module="simulated_nvml").throttled == ["software power cap"]


def test_warnings_are_about_what_holds_the_clock_down() -> None:
    good = DeviceClock(throttled=[], source="nvml")
    hot = DeviceClock(throttled=["hardware slowdown"], source="nvml")
    assert clock_warnings(good, good) == []
    (text,) = clock_warnings(good, hot)
    assert "hardware slowdown" in text
