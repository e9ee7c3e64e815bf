"""The coordinator and its workers for minutes on end: memory and descriptors stay where they were.

``python tests/faults/soak.py 600`` (``tox -e soak``). Small runs are made one after the other in
this process, with an implementation that crashes among them; after each, what this process holds
is noted. The first half is warm-up: allocators take their arenas when they first need them.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from kill_loop import FRAGILE

from harness.experiments.profiles import SMOKE, Timing
from harness.experiments.runner import Request, run
from harness.records.reader import read_run
from harness.worker.isolation.reaper import TOKEN_VARIABLE, bearers
from harness.worker.local import load

MIB_AN_HOUR = 12.0


@dataclass(frozen=True)
class Sample:
    """What this process held at a moment."""

    seconds: float
    resident_mib: float
    descriptors: int
    threads: int
    children: int


def sample(started: float, token: str) -> Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Sample(
        time.monotonic() - started,
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
        len([p for p in bearers(token) if p != os.getpid()]),
    )


def soak(seconds: float, folder: Path) -> list[Sample]:
    """Samples, one after each run, for so long."""
    token = os.environ[TOKEN_VARIABLE] = f"/soak-{os.getpid()}"
    path = folder / "fragile.py"
    path.write_text(FRAGILE, encoding="utf-8")
    profile = replace(
        SMOKE,
        dtypes=("float32",),
        experiments=("accuracy", "throughput"),
        sweep_classes=(2, 3, 4, 10),
        sweep_elements=1 << 12,
        families=(),
        timing={"latency": Timing((10,), 0, ("one",), warm_up_ns=0, rounds=2)},
    )
    started = time.monotonic()
    samples = []
    while time.monotonic() - started < seconds:
        chosen = [load("max_shift"), load("online"), load(path)]
        place = run(Request(chosen, profile, results=folder, machine="box", command=["soak"])).path
        found = read_run(place)
        assert found.info.finished is not None
        assert not found.problems
        samples.append(sample(started, token))
        print(samples[-1], flush=True)
    return samples


def verdict(samples: list[Sample]) -> list[str]:
    """What grew, a line each; nothing if all stayed flat."""
    steady = samples[len(samples) // 2 :]
    hours = np.array([s.seconds for s in steady]) / 3600.0
    growth = float(np.polyfit(hours, [s.resident_mib for s in steady], 1)[0])
    found = []
    if growth > MIB_AN_HOUR:
        found.append(f"memory grows by {growth:.0f} MiB an hour")
    for what in ("descriptors", "threads", "children"):
        values = [getattr(s, what) for s in steady]
        if values[-1] > values[0]:
            found.append(f"{what} went from {values[0]} to {values[-1]}")
    begin, end = steady[0].resident_mib, steady[-1].resident_mib
    print(
        f"{len(samples)} runs in {samples[-1].seconds:.0f} s; memory {begin:.1f} MiB after half of "
        f"them, {end:.1f} MiB at the end ({growth:+.1f} MiB an hour)"
    )
    return found


def main() -> int:
    """0 if nothing grew."""
    with tempfile.TemporaryDirectory() as folder:
        found = verdict(soak(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0, Path(folder)))
    print("\n".join(found) or "flat")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
