"""The first loss or gradient that is not finite, against the logit or gap that was predicted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from harness.records import TrainingRecord
from harness.records.training import Setting
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Panel,
    Plot,
)
from harness.report.drawing.formatting import figure, integer, plural
from harness.report.drawing.style import Style
from harness.report.drawing.tables import Column, Entry, Table, number, texts, words
from harness.report.pages.learning.common import setting_of
from harness.report.pages.strips import mark, strips
from harness.report.run_data import RunData, known, ordered


class Range(NamedTuple):
    """Of an implementation and a format: what it survived, and what it did not.

    In logits; in gaps where they are predicted to end it first (`by_gap`).
    """

    by_gap: bool
    alive: float
    dead: float | None
    predicted: float | None
    broken: int
    trained: int

    @property
    def quantity(self) -> str:
        return "gap" if self.by_gap else "logit"


def _ranges(records: Iterable[TrainingRecord]) -> dict[tuple[str, str], Range]:
    groups: dict[tuple[str, str], list[TrainingRecord]] = defaultdict(list)
    for c in records:
        groups[c.implementation, str(c.dtype)].append(c)
    return {key: _range(found) for key, found in groups.items()}


def _range(found: Sequence[TrainingRecord]) -> Range:
    logit, gap = found[0].predicted, found[0].predicted_gap
    by_gap = logit is not None and gap is not None and gap < logit
    reached = [c.gap_before if by_gap else c.logit_before for c in found]
    ended = [c.gap_at if by_gap else c.logit_at for c in found]
    return Range(
        by_gap,
        max((v for v in reached if v is not None), default=0.0),
        min((v for v in ended if v is not None), default=None),
        gap if by_gap else logit,
        sum(c.first_nonfinite is not None for c in found),
        len(found),
    )


def told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    died = [c for c in records if c.first_nonfinite is not None]
    judged = [c.as_predicted for c in records if c.as_predicted is not None]
    who = ordered(f"{c.implementation} in {c.dtype}" for c in died if known(c.logit_at) < 1e4)
    text = (
        f"{len(died)} of {plural(len(records), 'training')} met a loss or gradient that was not "
        f"finite. The logit and the gap from which on the implementation gives none, found "
        f"beforehand, predicted {integer(sum(judged))} of {integer(len(judged))} outcomes."
    )
    return text + (f" Below logits of 10 000: {', '.join(who)}." if who else "")


def plot(run: RunData, records: Sequence[TrainingRecord], told: str, table: Table) -> Plot:
    found = _ranges(records)

    def draw(panel: Panel, dtype: str, names: Sequence[str], style: Mapping[str, Style]) -> None:
        axes = panel.axes
        for k, name in enumerate(names):
            r = found.get((name, dtype))
            if r is None:
                continue
            tip = f"{name}, {dtype}: finite up to a {r.quantity} of {figure(r.alive)}"
            tip += "" if r.dead is None else f", not at {figure(r.dead)}"
            mark(axes, name, style[name], k, [0.1, max(r.alive, 0.1)], [], tip)
            if r.dead is not None and r.dead < 1e6:
                axes.plot([r.dead], [k], **palette.STRUCK)
            if r.predicted is not None and r.predicted < 1e6:
                axes.plot([r.predicted] * 2, [k - 0.4, k + 0.4], color=palette.LIMIT, linewidth=1.4)
        axes.set_xscale("log")
        axes.set(xlim=(0.1, 1e6), xticks=[1, 100, 1e4], xticklabels=["1", "100", "10⁴"])
        axes.minorticks_off()

    return strips(run, records, "training-nonfinite", told, "training_nonfinite", table, draw,
                   "largest logit (or gap)")  # fmt: skip


def table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    rows = []
    for (name, dtype), r in _ranges(records).items():
        first = next((c for c in records if (c.implementation, c.dtype) == (name, dtype)
                      and c.first_nonfinite is not None), None)  # fmt: skip
        rows.append([
            words(name), words(dtype), words(r.quantity), number(r.predicted, 6),
            number(first.predicted_gap if first else None, 6), number(r.alive),
            number(r.dead) if r.dead is not None else words("never"),
            Entry(f"{r.broken} of {r.trained}", r.broken),
            words(first.nonfinite if first else "–"),
            words(f"step {first.first_nonfinite}: {_change(setting_of(first))}" if first else "–"),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Format", "What ends first"),
        *(Column(name, "logit or gap")
          for name in ("Predicted from", "Predicted gap", "Finite up to", "Not finite at")),
        Column("Broke off", "trainings"), *texts("What was not finite", "First"),
    ]  # fmt: skip
    return Table("training-nonfinite", "Logits or gaps that a training survived, and the first "
                 "that it did not", columns, rows)  # fmt: skip


def _change(s: Setting) -> str:
    return f"logits × {figure(s.scale)}" if s.scale != 1.0 else f"rate {figure(s.rate)}"
