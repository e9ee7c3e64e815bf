"""What networks have learned, by implementation and format, over seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from harness.records import TrainingRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Panel,
    Plot,
)
from harness.report.drawing.formatting import figure, integer, plural
from harness.report.drawing.style import Style
from harness.report.drawing.tables import Column, Entry, Table, missing, texts, words
from harness.report.pages.learning.common import mean_entry, mean_of, network, setting_of
from harness.report.pages.strips import mark, strips
from harness.report.run_data import DTYPES, RunData, known


def _first(records: Sequence[TrainingRecord]) -> list[TrainingRecord]:
    """The records of the network that most are of."""
    groups: dict[str, list[TrainingRecord]] = defaultdict(list)
    for c in records:
        groups[c.workload or ""].append(c)
    return max(groups.values(), key=len)


def _by_cell(
    records: Iterable[TrainingRecord], value: Callable[[TrainingRecord], float | None]
) -> dict[tuple[str, str], dict[int, float]]:
    """Values by seed, of each implementation and format."""
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for c in records:
        if c.status == "ok" and (v := value(c)) is not None:
            found[c.implementation, str(c.dtype)][c.seed or 0] = v
    return found


def _reference(cells: Mapping[tuple[str, str], Any], run: RunData) -> tuple[str, str]:
    """The widest format of the baseline: what the others are held against."""
    baseline = run.info.baseline or "max_shift"
    return min(cells, key=lambda k: (k[0] != baseline, DTYPES.index(k[1])))


def told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    same = _first(records)
    cells = _by_cell(same, lambda c: c.accuracy)
    if not cells:
        return "No training came to its end."
    name, dtype = at = _reference(cells, run)
    mean = mean_of(list(cells[at].values()))
    moved = {
        k: fmean(found[s] - cells[at][s] for s in found if s in cells[at])
        for k, found in cells.items()
        if k != at and any(s in cells[at] for s in found)
    }
    bits: dict[tuple[int | None, str | None], str | None] = {
        (c.seed, c.dtype): c.weights for c in same if (c.implementation, c.dtype) == at
    }
    alike = sum(c.weights == bits.get((c.seed, dtype)) for c in same) - len(cells[at])
    lost = [f"{c.implementation} in {c.dtype}" for c in records if c.status == "failed"]
    text = (
        f"{name} in {dtype} classifies {mean.text}% of the held-out digits after "
        f"{setting_of(same[0]).epochs} epochs ({network(setting_of(same[0]))}; "
        f"{plural(len(cells[at]), 'seed')})."
    )
    if moved:
        worst = max(moved, key=lambda k: abs(moved[k]))
        text += (
            f" Of {plural(len(moved), 'other implementation and format', 'others')}, from the "
            f"same seeds, none differs by more than {figure(100 * abs(moved[worst]), 2)} points "
            f"({worst[0]}, {worst[1]}); {plural(alike, 'training')} gave the same weights to the "
            "last bit."
        )
    broken = ", ".join(dict.fromkeys(lost))
    return text + (f" Broke off, with a loss that was not finite: {broken}." if lost else "")


def plot(run: RunData, records: Sequence[TrainingRecord], told: str, table: Table) -> Plot:
    cells = _by_cell(_first(records), lambda c: c.accuracy)
    at = _reference(cells, run) if cells else ("", "")
    broken = {(c.implementation, c.dtype) for c in _first(records) if c.status == "failed"}

    def draw(panel: Panel, dtype: str, names: Sequence[str], style: Mapping[str, Style]) -> None:
        truth = 100 * fmean(cells[at].values()) if cells else math.nan
        panel.axes.axvline(truth, color=palette.LIMIT, linewidth=1.0, dashes=(5, 2))
        for k, name in enumerate(names):
            if (name, dtype) in broken:
                panel.axes.text(0.02, k, "broke off", transform=panel.axes.get_yaxis_transform(),
                                va="center", fontsize=7.5, color=palette.ALERT)  # fmt: skip
            elif (name, dtype) in cells:
                m = mean_of(list(cells[name, dtype].values()))
                half = m.half or 0.0
                ends = [100 * (m.value - half), 100 * (m.value + half)]
                tip = f"{name}, {dtype}: {m.text}%"
                mark(panel.axes, name, style[name], k, ends, [100 * m.value], tip)

    return strips(run, records, "training-digits", told, "training_digits", table, draw,
                   "% of held-out digits")  # fmt: skip


def table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    rows = []
    groups: dict[tuple[str, str, str], list[TrainingRecord]] = defaultdict(list)
    for c in records:
        groups[network(setting_of(c)), c.implementation, str(c.dtype)].append(c)
    for (net, name, dtype), found in groups.items():
        good = [c for c in found if c.status == "ok"]
        row = [words(name), words(dtype), words(net)]
        if not good:
            row += [missing(found[0].status, found[0].reason)] * 4
        else:
            row += [
                mean_entry([known(c.accuracy) for c in good if c.accuracy is not None], 100),
                mean_entry([known(c.loss) for c in good if c.loss is not None]),
                mean_entry([c.calibration_error for c in good if c.calibration_error is not None]),
                Entry(integer(len(good)), len(good)),
            ]
        rows.append([*row, words(found[0].route)])
    columns = [
        *texts("Implementation", "Format", "Network"), Column("Accuracy", "%"),
        Column("Loss", "nats"), Column("Calibration error"), Column("Seeds"),
        *texts("Operations used"),
    ]  # fmt: skip
    return Table("training-digits", "Held-out rows after training, mean over seeds with its 95% "
                 "interval", columns, rows)  # fmt: skip
