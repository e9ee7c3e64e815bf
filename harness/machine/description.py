"""The machine that a run was measured on: what it is, and what about it threatens the numbers.

Everything is read from the kernel's files below `root` (so that tests can lay out machines of their
own) and is None where it is unknown, never guessed. Nothing here names the host or its user.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from harness.errors import UserError
from harness.machine import counters
from harness.machine.cuda_driver import cuda_devices
from harness.machine.sysfs import (
    CPUS,
    Cache,
    caches_of,
    cpu_quota,
    memory_limit,
    read_text,
    usable_cpus,
)

_SIMD = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl"),
    *("avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "asimd", "asimdhp", "bf16", "sve"),
)
PACKAGES = (
    *("softmax-bench", "numpy", "scipy", "numba", "llvmlite", "ml_dtypes", "mpmath", "gmpy2"),
    *("python-flint", "pandas", "matplotlib", "pyarrow", "scikit-learn", "torch", "triton", "jax"),
    *("jaxlib", "onnxruntime", "openvino", "numexpr", "tensorflow", "tensorflow-cpu", "cupy"),
    *("cupy-cuda12x", "cupy-cuda13x", "ai-edge-litert", "candle-nn", "MNN", "mlx", "ncnn"),
    *("paddlepaddle", "pywhispercpp", "tinygrad", "tract"),
)
"""Distributions whose versions a run records."""


class Machine(BaseModel):
    """Facts about a machine; None means unknown.

    Attributes:
        slug: file-system-safe name, from the processor and its cores unless the caller set it.
        logical_cores: usable by this process, after affinity and the container's quota.
        physical_cores: those cores without their hyper-threads, at most `logical_cores`.
        machine_cores: logical cores of the whole machine.
        frequency_mhz: the largest the kernel tells, else the present one.
        simd: vector instruction sets of interest, as the kernel spells them.
        l1d, l2, l3: data or unified caches.
        memory_bytes: usable by this process.
        versions: installed packages that matter here.
        gpus: names of the CUDA devices; None with `gpu_reason` where there are none.
        cuda_driver: CUDA version that the driver supports.
        load_average: over the minute before the run.
        hardware_counters: whether the processor's own counters can be read, or why not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slug: str
    cpu: str
    architecture: str
    logical_cores: int
    physical_cores: int | None
    machine_cores: int
    frequency_mhz: float | None
    simd: tuple[str, ...]
    l1d: Cache | None
    l2: Cache | None
    l3: Cache | None
    memory_bytes: int
    system: str
    kernel: str
    python: str
    versions: dict[str, str]
    gpus: tuple[str, ...] | None
    gpu_reason: str | None
    cuda_driver: str | None
    governor: str | None
    turbo: bool | None
    virtual: bool | None
    load_average: float | None
    hardware_counters: str | None = None

    @property
    def last_level_cache_bytes(self) -> int | None:
        """Bytes of the largest cache that is known."""
        sizes = [c.bytes for c in (self.l1d, self.l2, self.l3) if c is not None]
        return max(sizes, default=None)


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    first = (read_text(root / "proc/cpuinfo") or "").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines() if ":" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _physical_cores(root: Path, cpus: list[int]) -> int | None:
    cores: set[tuple[str | None, str]] = set()
    for cpu in cpus:
        topology = root / CPUS / f"cpu{cpu}/topology"
        siblings = read_text(topology / "thread_siblings_list")
        if siblings is None:
            return psutil.cpu_count(logical=False) if root == Path("/") else None
        cores.add((read_text(topology / "physical_package_id"), siblings))
    return len(cores) or None


def _frequency(root: Path, cpu: int, info: dict[str, str]) -> float | None:
    kilohertz = read_text(root / CPUS / f"cpu{cpu}/cpufreq/cpuinfo_max_freq")
    if kilohertz and kilohertz.isdigit():
        return int(kilohertz) / 1000
    try:
        return float(info["cpu mhz"])
    except (KeyError, ValueError):
        return None


def _turbo(root: Path) -> bool | None:
    off = read_text(root / CPUS / "intel_pstate/no_turbo")
    if off in ("0", "1"):
        return off == "0"
    boost = read_text(root / CPUS / "cpufreq/boost")
    return boost == "1" if boost in ("0", "1") else None


class MachineNameError(UserError):
    """A name of a machine that is not safe as a folder name."""


def make_slug(cpu: str, cores: int) -> str:
    """A file-system-safe machine name such as ``intel-xeon-gold-6230-4c``."""
    text = re.sub(r"\((?:r|tm)\)|@.*$|\b\d+-core\b|\b(?:processor|cpu)\b", " ", cpu.lower())
    words = re.findall(r"[a-z0-9]+", text)
    return "-".join([*words, f"{cores}c"])[-80:] if words else f"machine-{cores}c"


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that can matter to a number."""
    versions: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def refuse_unsafe(slug: str) -> None:
    """Refuse a name that is not safe as a folder name on every system.

    Raises:
        MachineNameError: with what is expected.
    """
    if not SAFE_NAME.fullmatch(slug):
        raise MachineNameError(
            f"machine name: expected 1 to 80 letters, digits, '.', '_' or '-', the first a letter "
            f"or a digit; got {slug!r}"
        )


def describe(slug: str | None = None, root: Path = Path("/")) -> Machine:
    """This machine.

    Args:
        slug: a name to use instead of the derived one: letters, digits, ``.``, ``_``, ``-``.
        root: where the kernel's files are.

    Raises:
        MachineNameError: for a slug that is not safe as a folder name.
    """
    if slug is not None:
        refuse_unsafe(slug)
    info = _cpuinfo(root)
    cpu = info.get("model name") or platform.processor() or platform.machine() or "unknown"
    cpus = usable_cpus()
    quota = cpu_quota(root)
    logical = len(cpus) if quota is None else max(1, min(len(cpus), int(quota)))
    physical = _physical_cores(root, cpus)
    flags = set((info.get("flags") or info.get("features") or "").split())
    caches = caches_of(root, cpus[0])
    names, driver, reason = cuda_devices()
    memory, limit = psutil.virtual_memory().total, memory_limit(root)
    return Machine(
        slug=slug or make_slug(cpu, logical),
        cpu=cpu,
        architecture=platform.machine(),
        logical_cores=logical,
        physical_cores=None if physical is None else min(physical, logical),
        machine_cores=os.cpu_count() or len(cpus),
        frequency_mhz=_frequency(root, cpus[0], info),
        simd=tuple(f for f in _SIMD if f in flags),
        l1d=caches.get(1),
        l2=caches.get(2),
        l3=caches.get(3),
        memory_bytes=memory if limit is None else min(memory, limit),
        system=platform.system(),
        kernel=platform.release(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions=package_versions(),
        gpus=names or None,
        gpu_reason=reason or None,
        cuda_driver=driver,
        governor=read_text(root / CPUS / f"cpu{cpus[0]}/cpufreq/scaling_governor"),
        turbo=_turbo(root),
        virtual="hypervisor" in flags if "flags" in info else None,
        load_average=os.getloadavg()[0],
        hardware_counters=counters.unavailable() or "available",
    )


def stability_warnings(machine: Machine) -> list[str]:
    """What about `machine` makes timings unsteady: for each, the cause and the next action."""
    warnings: list[str] = []
    cores, load = machine.logical_cores, machine.load_average
    if load is not None and load > max(0.5, 0.25 * cores):
        warnings.append(
            f"load average {load:.2f} on {cores} cores: other work competes for the machine; "
            "stop it and run again"
        )
    if machine.governor is not None and machine.governor != "performance":
        warnings.append(
            f"frequency governor {machine.governor!r}: the clock follows the load; "
            "set it to 'performance' (cpupower frequency-set -g performance)"
        )
    if machine.turbo:
        warnings.append(
            "turbo is on: the clock depends on temperature and on the number of busy cores; "
            "compare only within a run, or switch it off"
        )
    if machine.virtual:
        warnings.append(
            "virtual machine: neighbours share caches and memory bandwidth; "
            "look at the A/A control, and repeat on bare metal for absolute figures"
        )
    if cores < machine.machine_cores:
        warnings.append(
            f"only {cores} of {machine.machine_cores} logical cores are usable (affinity or "
            "container quota): other processes may use the rest; widen the affinity or raise "
            "the quota"
        )
    if cores == 1:
        warnings.append(
            "one usable core: the harness and what it times share it; use a machine with two or "
            "more"
        )
    return warnings
