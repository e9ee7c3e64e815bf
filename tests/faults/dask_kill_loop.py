"""Runs on a Dask scheduler whose workers are killed at random moments, again and again.

``tox -e dask-kills -- 50 SEED``, or with ``tests/support`` on PYTHONPATH by itself. Every tenth
time it is the scheduler that is killed, with all of its workers, and every fifth time a worker is
stopped for two seconds, as a network that pauses would. Each run must equal one that nobody
disturbed, in everything but times and hosts.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from dask_processes import Process, differences, scheduler, worker

from harness.experiments.profiles import SMOKE
from harness.experiments.runner import Progress, Request, run
from harness.experiments.scheduled.campaign import Scheduling
from harness.records.reader import Run
from harness.worker.local import load

PROFILE = replace(
    SMOKE,
    experiments=("accuracy", "overflow"),
    dtypes=("float32", "float64"),
    sweep_classes=tuple(range(2, 80)),
    sweep_elements=4096,
    families=("offset(offset=100)",),
    family_classes=(10, 17),
    map_offsets=(100.0,),
    map_classes=(2,),
    scan_points=256,
)
WORKERS = 2


class Disturber:
    """A scheduler and its workers, and what befalls them.

    Attributes:
        kills: workers and schedulers killed so far, while a run was under way.
        told: what happened, for the log.
    """

    def __init__(self, folder: Path, stack: ExitStack, seed: int) -> None:
        self.folder, self.stack, self.random = folder, stack, random.Random(seed)
        self.address, self.scheduler = stack.enter_context(scheduler(folder))
        self.workers = [self._worker() for _ in range(WORKERS)]
        self.kills = 0
        self.told: list[str] = []

    def _worker(self) -> Process:
        return self.stack.enter_context(worker(self.folder, self.address))

    def disturb(self) -> None:
        """Kill something, and start it anew."""
        self.kills += 1
        place = self.random.randrange(WORKERS)
        if self.kills % 10 == 0:
            self.told.append("scheduler")
            for one in (self.scheduler, *self.workers):
                one.kill()
                one.wait()
            port = int(self.address.rpartition(":")[2])
            _, self.scheduler = self.stack.enter_context(scheduler(self.folder, port))
            self.workers = [self._worker() for _ in range(WORKERS)]
            return
        if self.kills % 5 == 0:
            other = self.workers[1 - place]
            other.send_signal(signal.SIGSTOP)
            time.sleep(2.0)
            other.send_signal(signal.SIGCONT)
        self.told.append("worker")
        self.workers[place].kill()
        self.workers[place].wait()
        self.workers[place] = self._worker()


def main(kills: int, seed: int = 0) -> int:
    """Runs until so many were killed; the number of runs that differ."""
    started, runs, wrong = time.monotonic(), 0, 0
    implementations = [load(n) for n in ("max_shift", "online", "naive")]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        alone = run(Request(implementations, PROFILE, results=folder / "alone", machine="here"))
        disturber = Disturber(folder, stack, seed)
        while disturber.kills < kills:
            heard = threading.Event()
            over = threading.Event()

            def disturb(heard: threading.Event = heard, over: threading.Event = over) -> None:
                while not over.is_set() and disturber.kills < kills:
                    heard.wait()
                    heard.clear()
                    time.sleep(disturber.random.expovariate(2.0))
                    if not over.is_set():
                        disturber.disturb()

            thread = threading.Thread(target=disturb)
            thread.start()
            there: Run = run(
                Request(
                    implementations, PROFILE, results=folder / f"run{runs}", machine="here",
                    scheduling=Scheduling(disturber.address),
                ),
                Progress(finished=lambda unit, records, heard=heard: heard.set(), note=print),
            )  # fmt: skip
            over.set()
            heard.set()
            thread.join()
            runs += 1
            found = differences(alone, there)
            wrong += bool(found)
            print(
                f"run {runs}: {len(there.records)} records, {disturber.kills} kills so far, "
                f"{len(found)} differences", flush=True,
            )  # fmt: skip
            for difference in found[:3]:
                print("  ", difference)
    schedulers = disturber.told.count("scheduler")
    print(
        f"{disturber.kills} kills ({schedulers} of the scheduler with all workers), {runs} runs, "
        f"{wrong} of them differ from the undisturbed one, {time.monotonic() - started:.0f} s"
    )
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(*(int(a) for a in sys.argv[1:]))))
