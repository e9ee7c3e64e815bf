"""Which figure of timing samples is found again in another moment: ``python -m least_times``.

Visits a group of implementations round after round for some minutes, as a run does, and cuts what
it saw into stretches of as many rounds as a run takes. Every stretch gives a ratio to the baseline
by each of several rules; the table says by how much those of one rule differ between stretches, and
how often the interval of the least times misses the middle of all stretches.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import implementations
from harness.experiments.context import Context, worker_for
from harness.experiments.profiles import QUICK
from harness.experiments.throughput.entrants import aligned, enrol, place
from harness.experiments.throughput.host import _coordinates, _entrant, _Point
from harness.experiments.throughput.timed_operations import operation_of
from harness.machine.description import describe
from harness.numerics.statistics import RANK, UNKNOWN, Ratio, ratio
from harness.registry.discovery import load
from harness.worker.client import Pool
from harness.worker.timing.calm import FACTOR

BASELINE = "max_shift"
GROUPS = (("cached", 1000, "one"), ("cached", 1000, "all"), ("streaming", 1000, "all"))
NAMES = (BASELINE, "log_sum_exp", "numba_cpu", "online", "torch")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What visits to an entrant gave, one a round.

    Attributes:
        samples: ns, by visit.
        probes: what the probe of its cores took before each, ns.
    """

    samples: Array
    probes: Array

    def part(self, begin: int, end: int) -> Seen:
        return Seen(self.samples[begin:end], self.probes[begin:end])

    def calm(self, limit: float) -> Array:
        """The least times of the visits that found their cores calm."""
        return np.asarray(self.samples.min(1)[self.probes <= limit])


def _medians(mine: Seen, its: Seen, limit: float) -> float:
    return float(np.median(mine.samples) / np.median(its.samples))


def _neighbours(mine: Seen, its: Seen, limit: float) -> float:
    return float(np.median(np.median(mine.samples, 1) / np.median(its.samples, 1)))


def _least(mine: Seen, its: Seen, limit: float) -> float:
    return float(mine.samples.min() / its.samples.min())


def _calm(mine: Seen, its: Seen, limit: float) -> float:
    both = mine.calm(limit), its.calm(limit)
    return float(both[0].min() / both[1].min()) if both[0].size and both[1].size else math.nan


RULES: dict[str, Callable[[Seen, Seen, float], float]] = {
    "ratio of medians": _medians,
    "median of the ratios of visits in one round": _neighbours,
    "ratio of least times": _least,
    "ratio of least times of calm visits": _calm,
}


def record(
    regime: str, classes: int, threads: str, seconds: float, names: Sequence[str]
) -> dict[str, Seen]:
    """What every entrant gave, calm or not; the baseline under its own name."""
    machine = describe()
    folder = Path(implementations.__file__ or "").parent
    chosen = [load(folder / f"{name}.py") for name in names]
    with Pool() as pool:
        context = Context(
            chosen, pool, QUICK, 0, machine.logical_cores, machine.last_level_cache_bytes,
            baseline=BASELINE,
        )  # fmt: skip
        for implementation in chosen:
            pool.add(worker_for(implementation))
        point = _Point("softmax", regime, "float32", classes, threads, "warm")  # type: ignore[arg-type]
        records = [r for r in _coordinates(context, point) if not r.allocating]
        entrants, _ = enrol(records, partial(_entrant, context))
        first, *others = operation_of("softmax").blocks(records[0].rows or 1, classes, "float32", 0)
        place(entrants, (aligned(first), *others), 60.0)
        for entrant in entrants:
            entrant.prepare(QUICK.timing[regime], 60.0)
        probes: dict[str, list[float]] = defaultdict(list)
        order, ends = random.Random(0), time.monotonic() + seconds
        while time.monotonic() < ends:
            for entrant in order.sample(entrants, len(entrants)):
                entrant.visit(60.0, anyway=True)
                probes[entrant.handle].append(entrant.probe_ns)
        return {
            e.record.implementation: Seen(
                np.asarray(e.samples).reshape(-1, e.samples_a_visit), np.asarray(probes[e.handle])
            )
            for e in entrants
        }


def table(seen: dict[str, Seen], rounds: int) -> Iterator[str]:
    """Rows: by how much the ratios of stretches scatter, by implementation and rule."""
    its = seen[BASELINE]
    limit = FACTOR * min(s.probes.min() for s in seen.values())
    calm = np.mean([np.mean(s.probes <= limit) for s in seen.values()])
    total = len(its.probes)
    yield f"{calm:.0%} of the visits were calm."
    yield ""
    yield "| implementation | rule | ratio | stretches | scatter | largest deviation |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for name, mine in seen.items():
        if name == BASELINE:
            continue
        parts = [(mine.part(k, k + rounds), its.part(k, k + rounds))
                 for k in range(0, total - rounds + 1, rounds)]  # fmt: skip
        for rule, by in RULES.items():
            logs = np.log([by(*part, limit) for part in parts])
            logs = logs[np.isfinite(logs)]
            if not logs.size:
                continue
            middle = float(np.median(logs))
            yield (
                f"| {name} | {rule} | {np.exp(middle):.4g} | {logs.size} | "
                f"{100 * logs.std():.1f}% | {100 * np.abs(logs - middle).max():.1f}% |"
            )
    yield ""
    yield "| implementation | decided to 5% | interval misses the middle | more than 5% off |"
    yield "| --- | ---: | ---: | ---: |"
    for name, mine in seen.items():
        if name == BASELINE:
            continue
        found = [_until_decided(mine.part(k, total), its.part(k, total), 6 * rounds, limit)
                 for k in range(0, total - 6 * rounds, 5)]  # fmt: skip
        decided = [r for r in found if r.within(0.05)]
        if not decided:
            yield f"| {name} | 0 of {len(found)} | – | – |"
            continue
        middle = float(np.median([r.value for r in decided]))
        missed = sum(not r.low <= middle <= r.high for r in decided)
        far = sum(abs(math.log(r.value / middle)) > math.log(1.05) for r in decided)
        yield f"| {name} | {len(decided)} of {len(found)} | {missed} | {far} |"


def _until_decided(mine: Seen, its: Seen, most: int, limit: float) -> Ratio:
    """As a run goes on: from the sixth round until the interval is short enough."""
    found = UNKNOWN
    for count in range(6, most + 1):
        both = mine.part(0, count).calm(limit), its.part(0, count).calm(limit)
        if min(b.size for b in both) >= RANK:
            found = ratio(*both)
        if found.within(0.05):
            break
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Record the groups and print their tables."""
    parser = argparse.ArgumentParser(prog="python -m least_times", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="for each group")
    parser.add_argument("--rounds", type=int, default=10, help="of a stretch")
    chosen = parser.parse_args(arguments)
    for regime, classes, threads in GROUPS:
        seen = record(regime, classes, threads, chosen.seconds, NAMES)
        print(f"\n{regime}, float32, {classes} classes, threads {threads}:\n")
        for line in table(seen, chosen.rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
