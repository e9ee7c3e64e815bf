"""Losses that are exactly 0, by the gap of the label."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from harness.numerics.formats import FORMATS
from harness.records import TrainingRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Panel,
    Plot,
)
from harness.report.drawing.formatting import figure, percent, plural
from harness.report.drawing.style import Style
from harness.report.drawing.tables import Column, Entry, Table, missing, number, texts, words
from harness.report.pages.learning.common import gap_entry, network, setting_of
from harness.report.pages.strips import mark, strips
from harness.report.run_data import RunData, known, ordered

SMOOTHED = "labels smoothed"


def _limit_gap(dtype: str) -> float:
    return -math.log(FORMATS[dtype].unit_roundoff)


def _plain(records: Iterable[TrainingRecord]) -> list[TrainingRecord]:
    return [c for c in records if not setting_of(c).smoothing and setting_of(c).loss != "own"]


def told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    plain = _plain(records)
    zero = [c for c in plain if c.zero_loss]
    # a row whose loss is the usual difference collapses within some ulps of −ln u
    as_told = [c for c in zero if abs(known(c.gap_collapsed) - _limit_gap(str(c.dtype))) < 1.5]
    wider = [c for c in zero if c not in as_told
             and abs(known(c.gap_collapsed) - _limit_gap("float32")) < 1.5]  # fmt: skip
    never = ordered(c.implementation for c in plain if not c.zero_loss and (c.gap_alive or 0)
                    > _limit_gap(str(c.dtype)))  # fmt: skip
    text = (
        f"{len(zero)} of {plural(len(plain), 'training')} ended with rows whose loss is exactly 0, "
        f"{len(as_told)} of them from a gap within 1.5 of −ln u of their format on"
    )
    text += f", {len(wider)} from that of float32." if wider else "."
    if never:
        text += f" With larger gaps and no loss of 0: {', '.join(never)}."
    for c in records:
        if setting_of(c).smoothing and c.curves and c.dtype == "float32":
            epsilon = setting_of(c).smoothing
            text += (f" With labels smoothed by {epsilon:g} half of the rows end below a gap of "
                     f"{figure(c.curves['gap'][-1])} (predicted "
                     f"{figure(_smoothed_gap(epsilon))}).")  # fmt: skip
    best = [c.accuracy for c in plain if c.accuracy is not None]
    if best:
        text += (f" Held-out accuracy stayed within {percent(min(best))} to "
                 f"{percent(max(best))}%.")  # fmt: skip
    return text


def plot(run: RunData, records: Sequence[TrainingRecord], told: str, table: Table) -> Plot:
    plain = {(c.implementation, str(c.dtype)): c for c in _plain(records)}
    smooth = {str(c.dtype): c for c in records if setting_of(c).smoothing and c.curves}
    end = 1.15 * max((v for c in records for v in (c.gap_alive, c.gap_collapsed) if v), default=20)

    def draw(panel: Panel, dtype: str, names: Sequence[str], style: Mapping[str, Style]) -> None:
        axes = panel.axes
        for k, name in enumerate(names):
            if name == SMOOTHED and dtype in smooth:
                c = smooth[dtype]
                axes.plot([0.0, known(c.curves)["gap"][-1]], [k, k], color=palette.INK,
                          **palette.BAR)  # fmt: skip
                at = _smoothed_gap(setting_of(c).smoothing)
                axes.plot([at] * 2, [k - 0.4, k + 0.4], color=palette.LIMIT, linewidth=1.4)
            of_one = plain.get((name, dtype))
            if of_one is None or of_one.zero_loss is None:
                continue
            alive, collapsed = of_one.gap_alive, of_one.gap_collapsed
            tip = f"{name}, {dtype}: loss not 0 up to a gap of {figure(alive)}"
            tip += f"; 0 from {figure(collapsed)}" if collapsed is not None else ""
            mark(axes, name, style[name], k, [0.0, alive or 0.0], [], tip)
            if collapsed is not None:
                axes.plot([collapsed], [k], **palette.STRUCK)
        x = _limit_gap(dtype)
        if x < end:
            axes.axvline(x, color=palette.LIMIT, linewidth=1.0, dashes=(5, 2))
            axes.annotate(
                f"−ln u = {figure(x)}", (x, len(names) - 0.2), xytext=(3 if x < end / 2 else -3, 0),
                ha="left" if x < end / 2 else "right", textcoords="offset points", fontsize=7.0,
                color=palette.LIMIT, va="center",
            )  # fmt: skip
        axes.set_xlim(0, end)

    return strips(run, _plain(records), "training-collapse", told, "training_collapse", table,
                   draw, "gap: log p/(1 − p) of the label", 0.6,
                   [SMOOTHED] if smooth else [])  # fmt: skip


def _smoothed_gap(smoothing: float, classes: int = 10) -> float:
    """The gap at the optimum of cross-entropy with smoothed labels."""
    rest = smoothing * (classes - 1) / classes
    return math.log((1 - rest) / rest)


def table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    rows = []
    for c in records:
        s = setting_of(c)
        row = [words(c.implementation), words(c.dtype), words(network(s))]
        if c.zero_loss is None:
            rows.append([*row, *[missing(c.status, c.reason)] * 8])
            continue
        at = _smoothed_gap(s.smoothing) if s.smoothing else _limit_gap(str(c.dtype))
        gap = (c.curves or {}).get("gap") or [math.nan]
        rows.append([
            *row, number(at), number(c.gap_alive), gap_entry(c.gap_collapsed), number(gap[-1]),
            Entry(percent(c.zero_loss), c.zero_loss),
            Entry(percent(c.zero_gradient), c.zero_gradient),
            Entry(percent(c.training_accuracy), c.training_accuracy),
            Entry(percent(c.accuracy), c.accuracy),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Format", "Network"), Column("Predicted", "gap"),
        Column("Loss not 0 up to", "gap"), Column("Loss 0 from", "gap"),
        Column("Median", "gap at the end"), Column("Loss 0", "% of rows"),
        Column("Gradient 0", "% of rows"), Column("Accuracy", "% trained with"),
        Column("Accuracy", "% held out"),
    ]  # fmt: skip
    return Table("training-collapse", "Training on beyond perfect accuracy, all rows a step",
                 columns, rows)  # fmt: skip
