"""The verdict on timings, tried on real measurements: ``python -m verdict_trials``.

Each repetition is a run of its own with fresh processes of two implementations and a control, and
copies, visited in turn; then the verdict of `compare` on the two, exactly as a user
gets it with ``run --processes``. Tried are the same code under two names
while a load starts in the middle, and a slowdown of known size. Prints a table, and
appends every repetition to a file with ``--json``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from planted_truths import CLASSES, ROWS, planted_slowdown, write_kernel

import harness
from harness import workloads
from harness.comparison.compare import compare
from harness.comparison.operands import Side
from harness.experiments.context import Context
from harness.experiments.profiles import SMOKE, Timing
from harness.experiments.throughput import host as throughput
from harness.machine.description import Machine, describe
from harness.records import Record, RunInfo
from harness.records.reader import Run
from harness.records.timing import CONTROL_SUFFIX
from harness.registry.discovery import load as load_implementation
from harness.worker.client import Pool, stop

THRESHOLD = 0.005
"""What the trials ask for: nothing within half a percent counts. At the default of `compare`, 5%,
a slowdown of exactly 5% would be a matter of chance, and one of 2% equivalent by definition."""

PROCESSES = 6
ROUNDS = 6
"""Visits to each process."""
SAMPLE_NS, WARM_UP_NS, WARM_UP_CAP_NS = 500_000, 2_000_000, 8_000_000
"""One call a sample, of which the first of a hundred times warms the caches, and warm-ups that are
as long as plain NumPy needs: time is for visits and processes."""

_SIDES = ("", CONTROL_SUFFIX)

NOISY = 0.0125
"""A repetition whose control, the same code, is uncertain by more than this is a noisy one too:
a quarter of the 5% that are looked for, so that those are four such intervals away from nothing."""

_BUSY = (
    "import os\nwhile os.getppid() == {0}: pass",
    "import os, numpy as np\na = np.zeros(1 << 24)\nwhile os.getppid() == {0}: a += 1",
)
"""A load on the processors alone, and one on memory as well, while their parent lives."""


@dataclass(frozen=True)
class Repetition:
    """One run and its verdict.

    Attributes:
        verdict: of `compare`.
        noisy: whether the controls are bad: they differ from themselves, or are uncertain by more
            than `NOISY`. It is said without a look at the verdict.
        ratio: time of the second over the first.
        low, high: the interval that the verdict goes by; None where it judged no interval.
        control: the interval of the control over its original; None where there is none.
        load: processes of the load that started in the middle.
        seconds: of all of it, from the start of the processes to the verdict.
    """

    verdict: str
    noisy: bool
    ratio: float | None
    low: float | None
    high: float | None
    control: tuple[float, float] | None
    load: int
    seconds: float
    reason: str


@dataclass(frozen=True)
class Trial:
    """A truth, and what was said of it."""

    name: str
    planted: float
    load: bool
    repetitions: Sequence[Repetition]

    def row(self) -> str:
        """A line of the table."""
        quiet = [r for r in self.repetitions if not r.noisy]
        counts = Counter(r.verdict for r in quiet)
        claims = Counter(r.verdict for r in self.repetitions)  # a wrong one is never excused
        wrong = claims["better"] + (claims["worse"] if self.planted == 0 else 0)
        if self.planted:
            wrong += claims["equivalent"]
        found = f"{counts['worse']} of {len(quiet)}" if self.planted else "–"
        ratios = [r.ratio for r in self.repetitions if r.ratio is not None]
        ratio = f"{np.median(ratios):.4f}" if ratios else "–"
        seconds = sorted(r.seconds for r in self.repetitions)
        columns = (
            self.name, len(self.repetitions), len(self.repetitions) - len(quiet), found,
            counts["inconclusive"], counts["equivalent"], wrong, ratio,
            f"{np.median(seconds):.1f} to {seconds[-1]:.1f} s",
        )  # fmt: skip
        return "| " + " | ".join(map(str, columns)) + " |"


HEADER = (
    "| trial | repetitions | noisy | of the others: called worse | inconclusive | equivalent | "
    "of all: called wrongly | median ratio | median and longest time |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


@contextmanager
def _load_after(seconds: float, processes: int, code: str) -> Iterator[None]:
    """So many busy processes from some time on; without any, nothing."""
    started: list[subprocess.Popen[bytes]] = []
    over = threading.Event()

    def begin() -> None:
        if not over.is_set():
            command = [sys.executable, "-c", code.format(os.getpid())]
            started.extend(subprocess.Popen(command) for _ in range(processes))

    timer = threading.Timer(seconds, begin)
    if processes:
        timer.start()
    try:
        yield
    finally:
        over.set()
        timer.cancel()
        if timer.ident is not None:
            timer.join()
        for process in started:
            process.kill()
            process.wait()


def _info(machine: Machine, planned: int) -> RunInfo:
    return RunInfo(
        id="trial", created=datetime.now(UTC).isoformat(timespec="seconds"), command=["trials"],
        profile="trial", seed=0, workload_version=workloads.VERSION,
        harness_version=harness.__version__, machine=machine.model_dump(), versions={},
        implementations=[], planned_cells=planned,
    )  # fmt: skip


@contextmanager
def _bench(
    base: Path, new: Path, machine: Machine, *, rounds: int, processes: int
) -> Iterator[Context]:
    """A run of two files: their workers, and those of the limits, which all repetitions share."""
    timing = Timing(
        (CLASSES,), ROWS * CLASSES, ("one",), min_sample_ns=SAMPLE_NS, rounds=rounds,
        warm_up_ns=WARM_UP_NS, warm_up_cap_ns=WARM_UP_CAP_NS, processes=processes,
    )  # fmt: skip
    profile = replace(SMOKE, name="trial", operations=("softmax",), timing={"cached": timing})
    implementations = [load_implementation(base), load_implementation(new)]
    with Pool() as pool:
        yield Context(
            implementations, pool, profile, 0, machine.logical_cores,
            last_level_cache=machine.last_level_cache_bytes,
            baseline=implementations[0].name, on_note=lambda text: None,
        )  # fmt: skip


def repetition(
    context: Context, machine: Machine, number: int, load: tuple[float, int, str]
) -> Repetition:
    """Time the two implementations against each other in fresh processes, and judge.

    Args:
        number: of the repetition: the seed of the orders, and of where processes have their parts.
        load: seconds after the start, number of processes, and their code.
    """
    names = [(one.name + end, one) for one in context.implementations for end in _SIDES]
    stop([context.worker(name, one) for name, one in names])
    again = replace(context, seed=number)
    records: list[Record] = []
    started = time.perf_counter()
    with _load_after(*load):
        for unit in throughput.plan(again):
            records += unit.measure()
    run = Run(Path("trial"), _info(machine, len(records)), records)
    sides = [Side(one.name, run, one.name) for one in context.implementations]
    found = compare(*sides, threshold=THRESHOLD, across_machines=False, accuracy_factor=1.25)
    seconds = time.perf_counter() - started
    item = found.items[0]
    control = next((c for r in records if (c := _control(r)) is not None), None)
    uncertain = control is None or math.log(control[1] / control[0]) > 2.0 * NOISY
    noisy = uncertain or any(getattr(r, "noisy", None) for r in records)
    return Repetition(
        item.verdict, noisy, item.ratio, item.low, item.high, control, load[1], seconds,
        item.reason,
    )  # fmt: skip


def _control(record: Record) -> tuple[float, float] | None:
    """The interval of a control of the baseline over its original."""
    low, high = (getattr(record, f"speedup_{end}", None) for end in ("low", "high"))
    if getattr(record, "role", None) != "control" or low is None or high is None:
        return None
    return float(low), float(high)


def trial(
    name: str,
    again: int,
    repetitions: int,
    *,
    load: bool,
    rounds: int = ROUNDS,
    processes: int = PROCESSES,
    seed: int = 0,
    said: Callable[[Repetition], None] = lambda one: None,
) -> Trial:
    """A kernel against one that does `again` percent more work, so many times.

    Raises:
        ValueError: the count of the work is not what was planted.
    """
    draw = random.Random(seed)
    machine = describe()
    found: list[Repetition] = []
    with tempfile.TemporaryDirectory(prefix="softmax-bench-") as scratch:
        base = write_kernel(Path(scratch), "first", 0)
        new = write_kernel(Path(scratch), "second", again)
        planted = planted_slowdown(base, new)
        if abs(planted - again / 100) > 1e-12:
            raise ValueError(f"planted: expected {again}%, counted {planted:.4%}")
        usual = 0.0
        with _bench(base, new, machine, rounds=rounds, processes=processes) as context:
            for number in range(repetitions + 1):
                burden = (0.0, 0, "")
                if load and number:
                    count = (1, machine.logical_cores)[number % 2]
                    burden = (usual * draw.uniform(0.3, 0.7), count, _BUSY[number // 2 % 2])
                one = repetition(context, machine, draw.randrange(2**32), burden)
                if not number:  # shows how long the rounds take, and starts the limits
                    usual = one.seconds
                    continue
                found.append(one)
                said(one)
    return Trial(name, planted, load, found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the trials, print the table."""
    parser = argparse.ArgumentParser(prog="python -m verdict_trials", description=__doc__)
    parser.add_argument(
        "--same", type=int, default=200, help="repetitions of A against A under load"
    )
    parser.add_argument("--alone", type=int, default=0, help="of A against A without one")
    parser.add_argument("--slower", type=int, default=100, help="repetitions of each slowdown")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--processes", type=int, default=PROCESSES, help="of each, in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="append every repetition to this file, a line")
    chosen = parser.parse_args(arguments)
    options = {"rounds": chosen.rounds, "processes": chosen.processes, "seed": chosen.seed}
    about = {
        "arguments": {k: v for k, v in vars(chosen).items() if k != "json"},
        "threshold": THRESHOLD,
        "noisy": NOISY,
        "machine": describe().model_dump(),
    }
    with ExitStack() as files:
        log = files.enter_context(chosen.json.open("a", encoding="utf-8")) if chosen.json else None

        def write(what: dict[str, Any]) -> None:
            if log is not None:
                log.write(json.dumps(what, default=str) + "\n")
                log.flush()

        write(about)
        print(HEADER, flush=True)
        for name, again, count, load in (
            ("A against A, a load starts in the middle", 0, chosen.same, True),
            ("A against A", 0, chosen.alone, False),
            ("5% more work", 5, chosen.slower, False),
            ("2% more work", 2, chosen.slower, False),
        ):
            if count:
                said = partial(_say, name, write)
                print(trial(name, again, count, load=load, said=said, **options).row(), flush=True)


def _say(name: str, write: Callable[[dict[str, Any]], None], one: Repetition) -> None:
    write({"trial": name, **asdict(one)})
    noisy = ", noisy" * one.noisy
    print(f"{name}: {one.verdict}{noisy}, {one.seconds:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
