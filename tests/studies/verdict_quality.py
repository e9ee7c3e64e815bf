"""How good the verdicts are, on planted truths: ``python -m verdict_quality``.

Prints the tables of docs/notes/verdict-quality.md. Everything is seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import verdict_trials
from numpy.typing import NDArray

from harness.comparison import timings
from harness.comparison.history import find_steps
from harness.comparison.operands import Pair
from harness.numerics.formats import Float64Array
from harness.records import ThroughputRecord

THRESHOLD = 0.05
PAIRED_THRESHOLD = 0.01
_CELLS = 4
_IMPLEMENTATIONS = 10

Scatter = Callable[[np.random.Generator, int], Float64Array]
SCATTERS: dict[str, Scatter] = {
    "exponential": lambda rng, n: rng.exponential(1.0, n),
    "long tail": lambda rng, n: rng.exponential(1.0, n) ** 1.5,
    "half disturbed": lambda rng, n: (
        rng.exponential(1.0, n) + (rng.random(n) < 0.5) * rng.uniform(20.0, 60.0, n)
    ),
}
"""By how much the time of a visit is above the least, in parts of the spread."""


def _cells(
    rng: np.random.Generator, rounds: int, spread: float, scatter: Scatter, slow: float, slowed: int
) -> list[timings.Timed]:
    """Ten implementations of four cells each, the first `slowed` of them slower by `slow`."""

    def record(name: str, classes: int, factor: float) -> ThroughputRecord:
        samples = factor * 1e6 * (1.0 + spread * scatter(rng, rounds))
        return ThroughputRecord(
            implementation=name, status="ok", regime="cached", dtype="float32", threads=1,
            classes=classes, samples_ns=samples.tolist(), visits=rounds,
        )  # fmt: skip

    found = []
    for i in range(_IMPLEMENTATIONS):
        for c in range(_CELLS):
            name = f"i{i}"
            factor = slow if i < slowed else 1.0
            pair = Pair(record(name, c, 1.0), record(name, c, factor), name, f"{c} classes")
            times = timings.Times(pair.base, pair.new)
            found.append(timings.measure(pair, times, THRESHOLD, (1.0, 1.0)))
    return found


def timing_quality(repetitions: int = 40) -> Iterator[str]:
    """Rows of the table of verdicts: what is claimed wrongly, found, called equivalent."""
    yield "| scatter | rounds | false claims (comparisons) | 20% slower found (cells) | " \
          "unchanged called equivalent (cells) |"  # fmt: skip
    yield "| --- | --- | --- | --- | --- |"
    for name, scatter in SCATTERS.items():
        for spread in (0.01, 0.05):
            for rounds in (6, 12, 30):
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


def _disturbed(
    rng: np.random.Generator, times: Float64Array, busy: NDArray[np.bool_]
) -> Float64Array:
    """Both sides slowed where a load is, and each by interruptions of its own."""
    return times * np.where(busy, 1.5 + rng.exponential(1.0, times.shape), 1.0)


def _verdict_within(times: Float64Array, slow: float, threshold: float) -> str:
    """On one cell of one run: times of both sides, by process if there is a third axis."""
    processes = times.shape[1] if times.ndim == 3 else None
    base, new = (
        ThroughputRecord(
            implementation=name, status="ok", regime="cached", classes=2, processes=processes,
            samples_ns=(1e6 * factor * row).ravel().tolist(), baseline="a", visits=row.size,
        )
        for name, factor, row in (("a", 1.0, times[0]), ("b", slow, times[1]))
    )  # fmt: skip
    pair = Pair(base, new, "a -> b", "")
    both = timings.Times(base, new, together=True)
    timed = timings.measure(pair, both, threshold, (1.0, 1.0))
    return timings.judge_all([timed], threshold)[0][0].verdict


def _paired(
    rng: np.random.Generator, spread: float, scatter: Scatter, slow: float, load: bool
) -> str:
    """The verdict on one cell of one run: 30 rounds, in half of which a load comes in, or none."""
    rounds = 30
    times = 1.0 + spread * np.stack([scatter(rng, rounds) for _ in range(2)])
    if load:
        times = _disturbed(rng, times, np.arange(rounds) >= rounds // 2)
    return _verdict_within(times, slow, PAIRED_THRESHOLD)


def paired_quality(repetitions: int = 200) -> Iterator[str]:
    """The verdict within one run, as `verdict_trials` asks for it on a real machine."""
    yield "| scatter | same code: claims | same code, load from the middle: claims | 5% slower " \
          "found | 2% slower found | 2% called equivalent |"  # fmt: skip
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, scatter in SCATTERS.items():
        for spread in (0.005, 0.01, 0.02, 0.05):
            rng = np.random.default_rng([30, int(1000 * spread)])
            found = [
                [_paired(rng, spread, scatter, slow, load) for _ in range(repetitions)]
                for slow, load in ((1.0, False), (1.0, True), (1.05, False), (1.02, False))
            ]
            wrong = [sum(v in ("worse", "better") for v in verdicts) for verdicts in found[:2]]
            yield (
                f"| {name}, {spread:.1%} | {wrong[0]} of {repetitions} | {wrong[1]} of "
                f"{repetitions} | {found[2].count('worse')} of {repetitions} | "
                f"{found[3].count('worse')} of {repetitions} | "
                f"{found[3].count('equivalent')} of {repetitions} |"
            )


def _of_processes(
    rng: np.random.Generator, between: float, within: float, slow: float, load: bool
) -> str:
    """The verdict on one cell of one run, with as many processes and rounds as the trials have."""
    processes, rounds = verdict_trials.PROCESSES, verdict_trials.ROUNDS
    logs = between * rng.standard_normal((2, processes, 1))
    times = np.exp(logs) * (1.0 + within * rng.exponential(1.0, (2, processes, rounds)))
    if load:
        times = _disturbed(rng, times, (np.arange(processes) >= processes // 2)[:, None])
    return _verdict_within(times, slow, verdict_trials.THRESHOLD)


def processes_quality(repetitions: int = 1000) -> Iterator[str]:
    """The same where processes are the sample: what they and their rounds scatter by."""
    yield "| processes differ by | rounds by | same code: claims | same code, load from the " \
          "middle: claims | 5% slower found | 2% slower found | 2% called equivalent |"  # fmt: skip
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for between in (0.003, 0.007, 0.01, 0.02):
        for within in (0.01, 0.05):
            rng = np.random.default_rng([int(1000 * between), int(1000 * within)])
            found = [
                [_of_processes(rng, between, within, slow, load) for _ in range(repetitions)]
                for slow, load in ((1.0, False), (1.0, True), (1.05, False), (1.02, False))
            ]
            wrong = [sum(v in ("worse", "better") for v in verdicts) for verdicts in found[:2]]
            yield (
                f"| {between:.1%} | {within:.0%} | {wrong[0]} of {repetitions} | {wrong[1]} of "
                f"{repetitions} | {found[2].count('worse')} of {repetitions} | "
                f"{found[3].count('worse')} of {repetitions} | "
                f"{found[3].count('equivalent')} of {repetitions} |"
            )


def threshold_quality(repetitions: int = 100) -> Iterator[str]:
    """The hardest truth: every ratio exactly at the threshold."""
    yield "| rounds | comparisons with a false claim | without Holm's procedure |"
    yield "| --- | --- | --- |"
    for rounds in (6, 12, 30):
        rng = np.random.default_rng(rounds)
        corrected = alone = 0
        for _ in range(repetitions):
            cells = _cells(rng, rounds, 0.05, SCATTERS["exponential"], 1.05, _IMPLEMENTATIONS)
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
    tables = (
        timing_quality, threshold_quality, paired_quality, processes_quality, step_quality,
    )  # fmt: skip
    for table in tables:
        for line in table():
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
