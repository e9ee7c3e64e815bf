"""Machine facts: read from laid-out kernel files, honest about what is unknown."""

from __future__ import annotations

import ctypes
import json
import os
import socket
from pathlib import Path

import pytest

from harness.machine import cuda_driver, sysfs
from harness.machine import description as machine
from harness.machine.description import Machine
from harness.machine.sysfs import Cache

CPU0 = "sys/devices/system/cpu/cpu0"
INTEL = """processor\t: 0
model name\t: Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz
cpu MHz\t\t: 2100.5
flags\t\t: fpu sse4_2 avx avx2 fma f16c avx512f hypervisor

processor\t: 1
model name\t: another
"""


def _lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def _one_cpu(monkeypatch):
    monkeypatch.setattr(machine, "usable_cpus", lambda: [0])


@pytest.fixture
def _fresh_devices():
    cuda_driver.cuda_devices.cache_clear()
    yield
    cuda_driver.cuda_devices.cache_clear()


def test_this_machine_is_described_without_host_or_user():
    found = machine.describe()
    assert found.logical_cores >= 1
    assert found.memory_bytes > 2**20
    assert found.versions["numpy"]
    text = found.model_dump_json()
    assert Machine.model_validate_json(text) == found
    assert "NaN" not in text
    assert not any(word == socket.gethostname() for word in json.loads(text).values())


@pytest.mark.usefixtures("_one_cpu")
def test_a_laid_out_machine(tmp_path):
    cache = f"{CPU0}/cache"
    root = _lay(
        tmp_path,
        {
            "proc/cpuinfo": INTEL,
            f"{cache}/index0/level": "1\n",
            f"{cache}/index0/type": "Data",
            f"{cache}/index0/size": "32K",
            f"{cache}/index0/shared_cpu_list": "0,20",
            f"{cache}/index1/level": "1",
            f"{cache}/index1/type": "Instruction",
            f"{cache}/index1/size": "64K",
            f"{cache}/index1/shared_cpu_list": "0",
            f"{cache}/index2/level": "2",
            f"{cache}/index2/type": "Unified",
            f"{cache}/index2/size": "1M",
            f"{cache}/index2/shared_cpu_list": "0",
            f"{cache}/index3/level": "3",
            f"{cache}/index3/type": "Unified",
            f"{cache}/index3/size": "28160K",
            f"{cache}/index3/shared_cpu_list": "0-19",
            f"{CPU0}/topology/physical_package_id": "0",
            f"{CPU0}/topology/thread_siblings_list": "0,20",
            f"{CPU0}/cpufreq/cpuinfo_max_freq": "3900000",
            f"{CPU0}/cpufreq/scaling_governor": "powersave",
            "sys/devices/system/cpu/intel_pstate/no_turbo": "0",
        },
    )
    found = machine.describe(root=root)
    assert found.slug == "intel-xeon-gold-6230-1c"
    assert found.l1d == Cache(bytes=32 * 1024, shared_by=2)
    assert found.l2 == Cache(bytes=2**20, shared_by=1)
    assert found.l3 == Cache(bytes=28160 * 1024, shared_by=20)
    assert found.last_level_cache_bytes == 28160 * 1024
    assert found.frequency_mhz == 3900
    assert found.physical_cores == 1
    assert found.simd == ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f")
    assert (found.governor, found.turbo, found.virtual) == ("powersave", True, True)


@pytest.mark.usefixtures("_one_cpu")
def test_what_the_kernel_does_not_tell_is_unknown(tmp_path):
    found = machine.describe(root=_lay(tmp_path, {"proc/cpuinfo": "processor : 0\n"}))
    unknown = ("l1d", "l2", "l3", "frequency_mhz", "physical_cores", "governor", "turbo", "virtual")
    assert {name: getattr(found, name) for name in unknown} == dict.fromkeys(unknown)
    assert found.last_level_cache_bytes is None
    assert found.cpu


def test_the_slug_can_be_given():
    assert machine.describe("lab-7.b").slug == "lab-7.b"


@pytest.mark.parametrize("slug", ["", "../x", "a/b", ".hidden", "a b", "x" * 81])
def test_unsafe_slugs_are_refused(slug):
    with pytest.raises(ValueError, match="machine name: expected"):
        machine.describe(slug)


@pytest.mark.parametrize(
    ("cpu", "slug"),
    [
        ("AMD EPYC 7763 64-Core Processor", "amd-epyc-7763-4c"),
        ("13th Gen Intel(R) Core(TM) i7-1365U", "13th-gen-intel-core-i7-1365u-4c"),
        ("Neoverse/../N1", "neoverse-n1-4c"),
        ("?", "machine-4c"),
    ],
)
def test_slugs_from_processor_names(cpu, slug):
    assert machine.make_slug(cpu, 4) == slug


@pytest.mark.parametrize(
    ("text", "numbers"), [("0", [0]), ("0-2,5", [0, 1, 2, 5]), ("", []), ("3,1\n", [3, 1])]
)
def test_cpu_lists(text, numbers):
    assert sysfs.cpu_list(text) == numbers


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/a/b\n"}, None),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "150000 100000"}, 1.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
        (
            {
                "proc/self/cgroup": "1:cpu:/x\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
    ],
)
def test_container_quotas(tmp_path, files, quota):
    assert sysfs.cpu_quota(_lay(tmp_path, files)) == quota


def test_container_memory_is_the_least_of_the_groups(tmp_path):
    files = {
        "proc/self/cgroup": "0::/a\n",
        "sys/fs/cgroup/a/memory.max": "max",
        "sys/fs/cgroup/memory.max": "1000",
    }
    assert sysfs.memory_limit(_lay(tmp_path, files)) == 1000


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_is_respected():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.describe().logical_cores == 1
    finally:
        os.sched_setaffinity(0, before)


# --- warnings ---

_QUIET = {
    "load_average": 0.1,
    "governor": "performance",
    "turbo": False,
    "virtual": False,
    "logical_cores": 8,
    "machine_cores": 8,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"governor": None, "turbo": None, "virtual": None, "load_average": None}, []),
        ({"load_average": 5.0}, ["load average 5.00 on 8 cores"]),
        ({"governor": "powersave"}, ["governor 'powersave'"]),
        ({"turbo": True}, ["turbo is on"]),
        ({"virtual": True}, ["virtual machine"]),
        ({"machine_cores": 64}, ["only 8 of 64 logical cores"]),
        ({"logical_cores": 1, "machine_cores": 1}, ["one usable core"]),
    ],
)
def test_each_warning_names_its_cause_and_the_next_action(change, words):
    made = machine.describe().model_copy(update={**_QUIET, **change})
    found = machine.stability_warnings(made)
    assert len(found) == len(words)
    for warning, word in zip(found, words, strict=True):
        assert word in warning
        assert ";" in warning


# --- CUDA ---


class _Driver:
    """A driver library of ctypes' shape: two devices, or an error of cuInit."""

    def __init__(self, error: int = 0, names: tuple[bytes, ...] = (b"A100", b"H100")):
        self.error, self.names = error, names

    def cuDriverGetVersion(self, out):
        ctypes.cast(out, ctypes.POINTER(ctypes.c_int))[0] = 12040
        return 0

    def cuInit(self, flags):
        return self.error

    def cuDeviceGetCount(self, out):
        ctypes.cast(out, ctypes.POINTER(ctypes.c_int))[0] = len(self.names)
        return 0

    def cuDeviceGet(self, out, index):
        ctypes.cast(out, ctypes.POINTER(ctypes.c_int))[0] = index
        return 0

    def cuDeviceGetName(self, buffer, size, device):
        buffer.value = self.names[device.value]
        return 0


@pytest.mark.usefixtures("_fresh_devices")
@pytest.mark.parametrize(
    ("driver", "count", "reason"),
    [
        (_Driver(), 2, ""),
        (_Driver(error=100), 0, "CUDA driver error 100: the driver finds no device"),
        (_Driver(error=12345), 0, "CUDA driver error 12345"),
        (_Driver(names=()), 0, "the driver finds no device"),
    ],
)
def test_cuda_devices_are_counted(monkeypatch, driver, count, reason):
    monkeypatch.setattr(cuda_driver, "_load_cuda", lambda: driver)
    found, why = cuda_driver.cuda_device_count()
    assert found == count
    assert why.startswith(reason)
    assert bool(why) == (count == 0)
    described = machine.describe()
    assert described.gpus == (("A100", "H100") if count else None)
    assert described.cuda_driver == "12.4"


@pytest.mark.usefixtures("_fresh_devices")
def test_no_cuda_driver_is_a_reason(monkeypatch):
    def absent():
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(cuda_driver, "_load_cuda", absent)
    count, reason = cuda_driver.cuda_device_count()
    assert count == 0
    assert "libcuda.so.1 is not installed" in reason
    assert machine.describe().gpu_reason == reason
