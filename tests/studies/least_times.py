"""Which figure of timing samples is found again in another moment: ``python -m least_times``.

Visits a group of implementations round after round for some minutes, as a run does, and cuts what
it saw into stretches of as many rounds as a run takes. Every stretch gives a ratio to the baseline
by each of several rules; the table says by how much those of one rule differ between stretches, and
how often the interval of the least times misses the middle of all stretches.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import implementations
from harness.experiments.context import Context, worker_for
from harness.experiments.profiles import QUICK
from harness.experiments.throughput.entrants import HostEntrant, aligned, enrol, place
from harness.experiments.throughput.host import _coordinates, _entrant, _Point
from harness.experiments.throughput.timed_operations import operation_of
from harness.machine.description import describe
from harness.numerics.statistics import Ratio, ratio
from harness.registry.discovery import load
from harness.worker.client import Pool

BASELINE = "max_shift"
GROUPS = (("cached", 1000, "one"), ("cached", 1000, "all"), ("streaming", 1000, "all"))
NAMES = (BASELINE, "log_sum_exp", "numba_cpu", "online", "torch")

Array = NDArray[np.float64]
Rule = Callable[[Array, Array], float]
RULES: dict[str, Rule] = {
    "ratio of medians": lambda mine, its: float(np.median(mine) / np.median(its)),
    "median of the ratios of visits in one round": lambda mine, its: float(
        np.median(np.median(mine, 1) / np.median(its, 1))
    ),
    "ratio of 5% quantiles": lambda mine, its: float(
        np.quantile(mine, 0.05) / np.quantile(its, 0.05)
    ),
    "ratio of least times": lambda mine, its: float(mine.min() / its.min()),
}
"""Of samples by visit (rounds, samples), of an implementation and of the baseline."""


def record(
    regime: str, classes: int, threads: str, seconds: float, names: Sequence[str]
) -> dict[str, Array]:
    """Samples of every entrant, by visit, in ns; the baseline under its own name."""
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
        order, ends = random.Random(0), time.monotonic() + seconds
        while time.monotonic() < ends:
            for entrant in order.sample(entrants, len(entrants)):
                entrant.visit(60.0)
        return {e.record.implementation: _by_visit(e) for e in entrants}


def _by_visit(entrant: HostEntrant) -> Array:
    return np.asarray(entrant.samples).reshape(-1, entrant.samples_a_visit)


def table(seen: dict[str, Array], rounds: int) -> Iterator[str]:
    """Rows: by how much the ratios of stretches scatter, by implementation and rule."""
    its = seen[BASELINE]
    count = len(its) // rounds
    yield f"| implementation | rule | ratio | scatter of {count} stretches | largest deviation |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for name, mine in seen.items():
        if name == BASELINE:
            continue
        parts = [(mine[k : k + rounds], its[k : k + rounds])
                 for k in range(0, count * rounds, rounds)]  # fmt: skip
        for rule, by in RULES.items():
            logs = np.log([by(*part) for part in parts])
            middle = float(np.median(logs))
            largest = float(np.abs(logs - middle).max())
            yield (
                f"| {name} | {rule} | {np.exp(middle):.4g} | {100 * logs.std():.1f}% | "
                f"{100 * largest:.1f}% |"
            )
    yield ""
    yield "| implementation | decided to 5% | interval misses the middle | more than 5% off |"
    yield "| --- | ---: | ---: | ---: |"
    for name, mine in seen.items():
        if name == BASELINE:
            continue
        found = [_until_decided(mine[k:], its[k:], 4 * rounds)
                 for k in range(0, len(its) - 4 * rounds, 5)]  # fmt: skip
        middle = float(np.median([r.value for r, _ in found]))
        decided = [r for r, known in found if known]
        missed = sum(not r.low <= middle <= r.high for r in decided)
        far = sum(abs(np.log(r.value / middle)) > np.log(1.05) for r in decided)
        yield f"| {name} | {len(decided)} of {len(found)} | {missed} | {far} |"


def _until_decided(mine: Array, its: Array, most: int) -> tuple[Ratio, bool]:
    """As a run goes on: from the sixth round until the interval is short enough."""
    for count in range(6, most + 1):
        found = ratio(mine[:count].min(1), its[:count].min(1))
        if found.within(0.05):
            return found, True
    return found, False


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
