"""How good the verdicts are, on planted truths: ``python -m harness.comparison.quality``.

Prints the tables of docs/comparing.md. Everything is seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from harness.comparison import timings
from harness.comparison.sides import Pair
from harness.floats import Float64Array
from harness.history import find_steps
from harness.records import ThroughputRecord

THRESHOLD = 0.05
_CELLS = 4
_IMPLEMENTATIONS = 10

Scatter = Callable[[np.random.Generator, int], Float64Array]
SCATTERS: dict[str, Scatter] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "skewed": lambda rng, n: rng.exponential(1.0, n) ** 1.5,
}
"""Logarithms of times: symmetric, and with the long right tail that timings have."""


def _cells(
    rng: np.random.Generator, rounds: int, spread: float, scatter: Scatter, slow: float, slowed: int
) -> list[timings.Timed]:
    """Ten implementations of four cells each, the first `slowed` of them slower by `slow`."""

    def record(name: str, classes: int, factor: float) -> ThroughputRecord:
        samples = factor * 1e6 * np.exp(spread * scatter(rng, rounds))
        return ThroughputRecord(
            implementation=name, status="ok", regime="cached", dtype="float32", threads=1,
            classes=classes, samples_ns=samples.tolist(),
        )  # fmt: skip

    found = []
    for i in range(_IMPLEMENTATIONS):
        for c in range(_CELLS):
            name = f"i{i}"
            factor = slow if i < slowed else 1.0
            pair = Pair(record(name, c, 1.0), record(name, c, factor), name, f"{c} classes")
            found.append(timings.measure(pair, THRESHOLD, (1.0, 1.0), paired=False))
    return found


def timing_quality(repetitions: int = 40) -> Iterator[str]:
    """Rows of the table of verdicts: what is claimed wrongly, found, called equivalent."""
    yield "| scatter | rounds | false claims (comparisons) | 20% slower found (cells) | " \
          "unchanged called equivalent (cells) |"  # fmt: skip
    yield "| --- | --- | --- | --- | --- |"
    for name, scatter in SCATTERS.items():
        for spread in (0.01, 0.05):
            for rounds in (3, 5, 11, 31):
                rng = np.random.default_rng([rounds, int(1000 * spread)])
                false = hits = same = 0
                for _ in range(repetitions):
                    cells = _cells(rng, rounds, spread, scatter, 1.2, 1)
                    items, _ = timings.judge_all(cells, THRESHOLD)
                    others = [i.verdict for i in items if i.implementation != "i0"]
                    false += any(v in ("worse", "better") for v in others)
                    same += others.count("equivalent")
                    hits += sum(i.verdict == "worse" for i in items if i.implementation == "i0")
                total = repetitions * _CELLS
                yield (
                    f"| {name}, {spread:.0%} | {rounds} | {false} of {repetitions} | "
                    f"{hits} of {total} | {same} of {total * (_IMPLEMENTATIONS - 1)} |"
                )


def threshold_quality(repetitions: int = 100) -> Iterator[str]:
    """The hardest truth: every ratio exactly at the threshold."""
    yield "| rounds | comparisons with a false claim | without Holm's procedure |"
    yield "| --- | --- | --- |"
    for rounds in (3, 5, 11):
        rng = np.random.default_rng(rounds)
        corrected = alone = 0
        for _ in range(repetitions):
            cells = _cells(rng, rounds, 0.05, SCATTERS["normal"], 1.05, _IMPLEMENTATIONS)
            items, _ = timings.judge_all(cells, THRESHOLD)
            corrected += any(i.verdict == "worse" for i in items)
            alone += any(timings.judge(c, THRESHOLD).verdict == "worse" for c in cells)
        yield f"| {rounds} | {corrected} of {repetitions} | {alone} of {repetitions} |"


def step_quality(repetitions: int = 300) -> Iterator[str]:
    """Steps over time: found where they are, and where there is none."""
    yield "| runs | scatter from run to run | false steps (series) | 20% in the middle found |"
    yield "| --- | --- | --- | --- |"
    for runs in (6, 12, 20):
        for spread in (0.01, 0.03, 0.1):
            rng = np.random.default_rng([runs, int(1000 * spread)])
            false = hits = 0
            for _ in range(repetitions):
                false += bool(find_steps(np.exp(spread * rng.standard_normal(runs)).tolist()))
                y = spread * rng.standard_normal(runs)
                y[runs // 2 :] += np.log(1.2)
                hits += find_steps(np.exp(y).tolist()) == [runs // 2]
            rates = f"{false / repetitions:.1%} | {hits / repetitions:.0%}"
            yield f"| {runs} | {spread:.0%} | {rates} |"


def main() -> None:
    """Print all tables."""
    for table in (timing_quality, threshold_quality, step_quality):
        for line in table():
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
