"""Verdicts between runs, tried on real ones: ``python -m repeated_runs``.

The same implementations are timed in several runs, and each run is compared with each: a claim of
better or worse is wrong. Then a kernel and one that does some percent more work under the same name
are timed in a run each, and compared. Runs are made by the command, as a user makes them, one after
the other. Prints two tables.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from planted_truths import planted_slowdown, write_kernel

import harness

SAME = (
    "--regime latency --regime cached -i max_shift -i log_sum_exp -i online -i numba_cpu -i torch "
    "--precision 2 --seconds 1"
)
"""What the runs of the same implementations measure."""

PLANTED = "--regime latency --classes 1000 -i max_shift --precision 1 --processes 8"
"""What those of a planted slowdown measure, beside the kernel."""

AGAIN = 5
"""Percent of more work."""

THRESHOLD = 0.02
"""At which a slowdown of 5% is looked for: at 5% it would be a matter of chance."""


def timed_run(arguments: Sequence[str], results: Path) -> tuple[Path, float]:
    """The folder of a new run, and the seconds that the command took.

    Raises:
        CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "harness", "run", "--experiment", "throughput", "--no-report"]
    began = time.perf_counter()
    known = set(results.glob("*/*"))
    subprocess.run(
        [*command, *arguments, "--results", str(results)], check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    (made,) = set(results.glob("*/*")) - known
    return made, time.perf_counter() - began


def verdicts(base: Path, new: Path, threshold: float, only: str | None = None) -> Counter[str]:
    """How many cells of two runs got each verdict; of one implementation, or of all."""
    items = [
        i
        for i in harness.compare(base, new, threshold=threshold).items
        if only in (None, i.implementation)
    ]
    for item in items:
        if item.verdict in ("better", "worse"):
            print(f"{item.verdict}: {item}", file=sys.stderr, flush=True)
    return Counter(i.verdict for i in items)


def same(runs: int, arguments: Sequence[str], results: Path) -> str:
    """A line of the table: all pairs of so many runs of the same, which are kept."""
    made = [timed_run(arguments, results) for _ in range(runs)]
    found: Counter[str] = Counter()
    for (a, _), (b, _) in combinations(made, 2):
        found += verdicts(a, b, 0.05)
    claims = found["worse"] + found["better"]
    cells = sum(found.values())
    longest = max(seconds for _, seconds in made)
    pairs = runs * (runs - 1) // 2
    return (
        f"| {runs} ({pairs} pairs) | {cells} | {claims} | {found['equivalent'] / cells:.0%} | "
        f"{found['inconclusive'] / cells:.0%} | {longest:.0f} s |"
    )


def planted(again: int, repetitions: int, arguments: Sequence[str]) -> str:
    """A line of the table: a kernel against one that does so many percent more work, or none."""
    found: Counter[str] = Counter()
    longest = 0.0
    with tempfile.TemporaryDirectory(prefix="softmax-bench-") as scratch:
        made = []
        for folder, more in (("base", 0), ("new", again)):
            (Path(scratch) / folder).mkdir()
            made.append(write_kernel(Path(scratch) / folder, "kernel", more))
        if abs(planted_slowdown(*made) - again / 100) > 1e-12:
            raise ValueError(f"planted: expected {again}%, counted {planted_slowdown(*made):.4%}")
        for _ in range(repetitions):
            sides = []
            for path in made:
                results = path.parent / "results"
                run, seconds = timed_run([*arguments, "-i", str(path)], results)
                longest = max(longest, seconds)
                sides.append(run)
            found += verdicts(sides[0], sides[1], THRESHOLD, "kernel")
    wrong = found["better"] + (found["equivalent"] if again else found["worse"])
    right = found["worse"] if again else found["equivalent"]
    return (
        f"| {again}% | {repetitions} | {right} | {found['inconclusive']} | {wrong} | "
        f"{longest:.0f} s |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m repeated_runs", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="of the same implementations, kept")
    parser.add_argument("--repetitions", type=int, default=10, help="of the planted slowdown")
    parser.add_argument("--same", default=SAME, help="what the first measure (of `run`)")
    parser.add_argument("--planted", default=PLANTED, help="what the second measure (of `run`)")
    parser.add_argument("--results", type=Path, default=Path("results/repeated"))
    chosen = parser.parse_args(arguments)
    if chosen.runs > 1:
        print(
            "| runs | cells compared | called better or worse | equivalent at 5% | inconclusive | "
            "longest run |"
        )
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        print(same(chosen.runs, chosen.same.split(), chosen.results), flush=True)
    if chosen.repetitions:
        print("| more work | repetitions | found | inconclusive | called wrongly | longest run |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for again in (AGAIN, 0):
            print(planted(again, chosen.repetitions, chosen.planted.split()), flush=True)


if __name__ == "__main__":
    main()
