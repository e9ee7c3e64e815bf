"""What the answers about trainings share: means, settings in words, and a figure's parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from harness.records import TrainingRecord
from harness.records.training import Setting
from harness.report.chosen import chosen
from harness.report.drawing.formatting import figure
from harness.report.drawing.tables import Entry, number, words
from harness.report.run_data import RunData

COLOURS = ("#0071b1", "#d25b00", "#00855f", "#b04f8b", "#3a3f46")


class Mean(NamedTuple):
    """The mean of some values and half of its 95% interval, by Student's t; None of one value."""

    value: float
    half: float | None

    @property
    def text(self) -> str:
        half = "" if self.half is None else f" ± {figure(100 * self.half, 2)}"
        return f"{figure(100 * self.value)}{half}"


def mean_of(values: Sequence[float]) -> Mean:
    from scipy import stats

    n = len(values)
    half = float(stats.t.ppf(0.975, n - 1)) * stdev(values) / math.sqrt(n) if n > 1 else None
    return Mean(fmean(values), half)


def setting_of(c: TrainingRecord) -> Setting:
    return c.setting or Setting()


def network(s: Setting) -> str:
    """A setting in words."""
    layers = "–".join(map(str, s.hidden))
    loss = {"own": "F.cross_entropy", "squared": "squared error"}.get(s.loss, "")
    smooth = f"labels smoothed by {figure(s.smoothing)}" if s.smoothing else ""
    optimiser = "Adam" if s.optimiser == "adam" else "SGD"
    parts = (f"{layers} hidden", f"{optimiser} {s.rate:g}", loss, smooth)
    return ", ".join(p for p in parts if p)


def mean_entry(values: Sequence[float], times: float = 1.0) -> Entry:
    if not values:
        return Entry("–", "")
    m = mean_of(values)
    detail = None if m.half is None else f"± {figure(times * m.half, 2)}"
    return Entry(figure(times * m.value), times * m.value, detail=detail)


def gap_entry(value: float | None) -> Entry:
    return words("never") if value is None else number(value)


def coloured(run: RunData) -> frozenset[str]:
    """Whose curves have their colours from the beginning."""
    return chosen(run) | {run.info.baseline or "max_shift", "naive"}
