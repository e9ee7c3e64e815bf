"""Which figure of timing samples is found again in another moment: ``python -m least_times``.

Visits a group of implementations round after round for some minutes, as a run does, and cuts what
it saw into stretches of some rounds. Every stretch gives a ratio to the baseline by each of several
rules, of all visits and of those that a run would keep; the table says by how much those of one
rule differ between stretches. Then it goes on from every fifth round until a run would be content,
and says after how many rounds that was and how far the ratio was from that of all visits together.
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
from harness.numerics.statistics import RANK, UNKNOWN, Ratio, Visits, ratio
from harness.registry.discovery import load
from harness.worker.client import Pool

BASELINE = "max_shift"
GROUPS = (("cached", 1000, "one"), ("cached", 1000, "all"), ("streaming", 1000, "all"))
NAMES = (BASELINE, "log_sum_exp", "numba_cpu", "online", "torch")


@dataclass(frozen=True)
class Seen:
    """What visits to an entrant gave, one a round.

    Attributes:
        visits: the least time of each, and when it was.
        kept: which of them a run would keep.
    """

    visits: Visits
    kept: NDArray[np.bool_]

    def part(self, begin: int, end: int) -> Seen:
        at = None if self.visits.at is None else self.visits.at[begin:end]
        return Seen(Visits(self.visits.ns[begin:end], at), self.kept[begin:end])

    @property
    def good(self) -> Visits:
        at = self.visits.at
        return Visits(self.visits.ns[self.kept], None if at is None else at[self.kept])


def _medians(mine: Visits, its: Visits) -> float:
    return float(np.median(mine.ns) / np.median(its.ns))


def _least(mine: Visits, its: Visits) -> float:
    return float(mine.ns.min() / its.ns.min())


def _neighbours(mine: Visits, its: Visits) -> float:
    assert mine.at is not None
    assert its.at is not None
    logs = np.log(mine.ns) - np.interp(mine.at, its.at, np.log(its.ns))
    return float(np.exp(np.median(logs)))


def _as_runs_do(mine: Visits, its: Visits) -> float:
    return ratio(mine, its).value


RULES: dict[str, Callable[[Visits, Visits], float]] = {
    "medians": _medians,
    "least times": _least,
    "neighbours": _neighbours,
    "as runs do": _as_runs_do,
}


def record(
    regime: str, classes: int, threads: str, seconds: float, names: Sequence[str]
) -> dict[str, Seen]:
    """What every entrant gave; the baseline under its own name."""
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
        context.calm.learn()
        kept: dict[str, list[bool]] = defaultdict(list)
        order, ends = random.Random(0), time.monotonic() + seconds
        while time.monotonic() < ends:
            for entrant in order.sample(entrants, len(entrants)):
                disturbed = entrant.disturbed
                entrant.visit(60.0)
                kept[entrant.handle].append(entrant.disturbed == disturbed)
                if not kept[entrant.handle][-1]:
                    entrant.visit(60.0, anyway=True)
        return {
            e.record.implementation: Seen(e.visits, np.asarray(kept[e.handle])) for e in entrants
        }


def table(seen: dict[str, Seen], rounds: int) -> Iterator[str]:
    """Rows: by how much the ratios of stretches scatter, by implementation and rule."""
    its = seen[BASELINE]
    total = len(its.kept)
    yield f"{total} rounds; {np.mean([s.kept.mean() for s in seen.values()]):.0%} of visits kept."
    yield ""
    yield f"| implementation | rule | of all visits | of kept ones, in {rounds} rounds |"
    yield "| --- | --- | ---: | ---: |"
    others = {name: mine for name, mine in seen.items() if name != BASELINE}
    for name, mine in others.items():
        parts = [(mine.part(k, k + rounds), its.part(k, k + rounds))
                 for k in range(0, total - rounds + 1, rounds)]  # fmt: skip
        good = [(a.good, b.good) for a, b in parts if min(a.kept.sum(), b.kept.sum()) >= RANK]
        for rule, by in RULES.items():
            told = (
                _scatter([by(*both) for both in several])
                for several in ([(a.visits, b.visits) for a, b in parts], good)
            )
            yield f"| {name} | {rule} | {' | '.join(told)} |"
    yield ""
    yield "| implementation | decided to 5% | after rounds | off by, 95% | at most |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, mine in others.items():
        found = [_until_decided(mine.part(k, total), its.part(k, total), 6 * rounds)
                 for k in range(0, total - 6 * rounds, 5)]  # fmt: skip
        truth = ratio(mine.good, its.good).value
        off = [abs(math.log(r.value / truth)) for r, _ in found if r.within(0.05)] or [math.nan]
        took = np.median([float(count) for r, count in found if r.within(0.05)] or [math.nan])
        yield (
            f"| {name} | {sum(r.within(0.05) for r, _ in found)} of {len(found)} | {took:.0f} | "
            f"{100 * np.quantile(off, 0.95):.1f}% | {100 * max(off):.1f}% |"
        )


def _scatter(ratios: Sequence[float]) -> str:
    logs = np.log(ratios)
    return f"{np.exp(np.median(logs)):.3g} ± {100 * logs.std():.1f}%" if logs.size else "–"


def _until_decided(mine: Seen, its: Seen, most: int) -> tuple[Ratio, int]:
    """As a run goes on: from the sixth round until the interval is short enough."""
    found, count = UNKNOWN, 6
    while count <= most and not found.within(0.05):
        found = ratio(mine.part(0, count).good, its.part(0, count).good)
        count += 1
    return found, count - 1


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
