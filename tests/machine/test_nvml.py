"""What a device says of itself: through its library, its program, or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from harness.machine.nvml import clock_warnings, read_clock
from harness.records.device_throughput import DeviceClock

NONE = "no_such_module_at_all"


def nvml(mask: int) -> ModuleType:
    found: Any = ModuleType("simulated_nvml")
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
    """CUDA_VISIBLE_DEVICES may leave it the fourth of eight, which NVML and its program count."""
    library: Any = nvml(0x0)
    monkeypatch.setitem(sys.modules, "simulated_nvml", library)
    assert read_clock(module="simulated_nvml", bus_id="0000:81:00.0").source == "nvml"
    assert library.asked == [b"0000:81:00.0"]
    asked: list[str] = []

    def run(command: Sequence[str]) -> str:
        asked.extend(command)
        return "1980, 2619, 41, 100, 0x0\n"

    assert read_clock(run, NONE, "0000:81:00.0").source == "nvidia-smi"
    assert "--id=0000:81:00.0" in asked


def test_an_older_program_has_another_name_for_the_reasons() -> None:
    def run(command: Sequence[str]) -> str:
        if "clocks_event_reasons" in command[1]:
            raise subprocess.CalledProcessError(2, command)
        return "1980, 2619, 41, 100, 0x0000000000000008\n"

    assert read_clock(run, NONE).throttled == ["hardware slowdown"]


def test_through_the_program() -> None:
    asked: list[str] = []

    def run(command: Sequence[str]) -> str:
        asked.extend(command)
        return "1980, 2619, 41, [N/A], 0x0000000000000008\n"

    found = read_clock(run, NONE)
    assert found == DeviceClock(
        sm_mhz=1980, memory_mhz=2619, celsius=41, watts=None, throttled=["hardware slowdown"],
        source="nvidia-smi",
    )  # fmt: skip
    assert asked[0] == "nvidia-smi"


@pytest.mark.parametrize("answer", ["", "1980, 2619\n", FileNotFoundError("no such program")])
def test_not_at_all_is_told_with_the_reason(answer: str | Exception) -> None:
    def run(_: Sequence[str]) -> str:
        if isinstance(answer, Exception):
            raise answer
        return answer

    found = read_clock(run, NONE)
    assert found.source is None
    assert found.sm_mhz is None
    assert "nvidia-ml-py is not installed" in (found.reason or "")
    assert "nvidia-smi" in (found.reason or "")


def test_warnings_are_about_what_holds_the_clock_down() -> None:
    good = DeviceClock(throttled=[], source="nvml")
    hot = DeviceClock(throttled=["hardware slowdown"], source="nvml")
    assert clock_warnings(good, good) == []
    (text,) = clock_warnings(good, hot)
    assert "hardware slowdown" in text
