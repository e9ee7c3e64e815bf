"""Where results stop being right: pictures of it, and tables of outcomes by offset."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

from matplotlib.patches import Patch

from harness.numerics.formats import FORMATS
from harness.records import OverflowRecord
from harness.report.drawing import style
from harness.report.drawing.figure import Panel, Plot, grid, power, ticks_between
from harness.report.drawing.formatting import figure, integer, superscript
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import label
from harness.report.drawing.svg import Series
from harness.report.drawing.tables import Column, Entry, Table, missing, number, texts, words
from harness.report.pages.thresholds import INACCURATE, OVERFLOWS, threshold_record
from harness.report.run_data import (
    DTYPES,
    RunData,
    absent_text,
    class_counts,
    known,
    of,
    ordered,
)

COARSE_ULP = 10.0
_END = 1e6
"""The last magnitude of a picture; what is right there is right beyond, but for an offset that
takes all digits of a format."""

Map = Mapping[tuple[float, int], OverflowRecord]
"""The records of an implementation by offset and class count."""


def map_records(run: RunData, dtype: str, operation: str) -> list[OverflowRecord]:
    """The records of the offset map of a dtype."""
    found = run.select(OverflowRecord, dtype=dtype, operation=operation)
    return [c for c in found if c.kind == "map"]


def map_of(records: Iterable[OverflowRecord], implementation: str) -> Map:
    """The map of an implementation."""
    return {
        (c.offset, c.classes): c
        for c in of(records, implementation)
        if c.offset is not None and c.classes is not None
    }


def offsets_of(records: Iterable[OverflowRecord]) -> list[float]:
    """The offsets of some records, rising."""
    return sorted({c.offset for c in records if c.offset is not None})


def outcome_of(record: OverflowRecord | None) -> str:
    """An outcome of `style.OUTCOMES`; ``missing`` where the record has none.

    A result may lie within a wide bound and still have lost its digits: `COARSE_ULP` tells.
    """
    if record is None:
        return "missing"
    ulp = record.max_ulp or 0.0
    if record.outcome == "accurate" and ulp >= COARSE_ULP:
        fmt = FORMATS.get(record.dtype or "")
        return "lost" if fmt and ulp >= 2.0 ** (fmt.precision - 1) else "coarse"
    return record.outcome or ("crashed" if record.status == "crashed" else "missing")


_SEVERITY = {outcome: k for k, outcome in enumerate(style.OUTCOMES)} | {"missing": -1}


def worst_of(records: Iterable[OverflowRecord]) -> OverflowRecord | None:
    """The record whose outcome is the worst; of equals the one with the largest error."""

    def badness(c: OverflowRecord) -> tuple[int, float]:
        return _SEVERITY.get(outcome_of(c), -1), c.max_ulp or 0.0

    return max(records, key=badness, default=None)


def signed(offset: float) -> str:
    """An offset in a few characters."""
    if offset == 0:
        return "0"
    exact = f"{abs(offset):.4g}"
    return ("−" if offset < 0 else "") + (exact if "e" not in exact else power(abs(offset)))


def outcome_entry(record: OverflowRecord) -> Entry:
    """The largest error where there is one, else what came out; in the colour of the outcome."""
    outcome, ulp = outcome_of(record), record.max_ulp
    text = style.OUTCOMES[outcome].text
    if not text:
        text = "" if ulp is None else f"{ulp:.2g}" if ulp < 10 else _magnitude(ulp)
    return Entry(text or outcome, ulp if ulp is not None else outcome, outcome=outcome)


def _magnitude(ulp: float) -> str:
    """An error of 10 ulp or more in at most five characters."""
    return f"{ulp:.0f}" if ulp < 9999.5 else f"10{superscript(round(math.log10(ulp)))}"


def by_offset(run: RunData, dtype: str, operation: str) -> Table | None:
    """Offset × implementation: the worst outcome over the class counts."""
    records = map_records(run, dtype, operation)
    absent = run.absent(records, lambda c: c.outcome, dtype, operation)
    names = [n for n in run.implementations if n not in absent]
    if not names:
        return None
    found = {n: of(records, n) for n in names}
    rows = []
    for offset in offsets_of(records):
        row = [Entry(signed(offset), offset)]
        for name in names:
            here = [c for c in found[name] if c.offset == offset]
            worst = worst_of(here)
            row.append(
                missing(*run.why(name, here, dtype, operation))
                if worst is None or outcome_of(worst) == "missing"
                else outcome_entry(worst)
            )
        rows.append(row)
    shown = {e.outcome for row in rows for e in row if e.outcome}
    columns = [Column("Offset"), *(Column(n, "ulp") for n in names)]
    workloads = ", ".join(sorted({c.workload for c in records if c.workload}))
    notes = [
        prose("by_offset", workloads=workloads or "not recorded", meanings=meanings(shown),
              absent=absent_text(absent)),
    ]  # fmt: skip
    return Table(
        f"offsets-{dtype}", f"Largest error as an offset is added to all logits, {dtype}",
        columns, rows, notes,
    )  # fmt: skip


def meanings(outcomes: Iterable[str]) -> str:
    """What the colours of some outcomes mean, in a line."""
    given = set(outcomes)
    return "; ".join(f"{o}: {style.OUTCOMES[o].meaning}" for o in style.OUTCOMES if o in given)


def by_classes(run: RunData, name: str, dtype: str, operation: str = "softmax") -> Table | None:
    """Offset × class count: the outcomes of one implementation."""
    records = map_records(run, dtype, operation)
    at = map_of([c for c in records if c.outcome], name)
    if not at:
        return None
    classes = class_counts(records)
    mine = of(records, name)
    rows = [
        [
            Entry(signed(offset), offset),
            *(
                outcome_entry(at[offset, n])
                if (offset, n) in at
                else missing(*run.why(name, [c for c in mine if c.offset == offset], dtype))
                for n in classes
            ),
        ]
        for offset in offsets_of(records)
    ]
    columns = [Column("Offset"), *(Column(f"n = {integer(n)}", "ulp") for n in classes)]
    caption = f"Largest error by offset and class count, {dtype}"
    notes = [meanings({outcome_of(c) for c in at.values()}) + "."]
    return Table(f"outcomes-{dtype}", caption, columns, rows, notes)


LOST_ULP = 100.0
"""Errors from which on the picture says that digits are lost: two decimal ones are."""

_FINITE = ("accurate", "coarse", "lost", "inaccurate", "wrong")


class Stretch(NamedTuple):
    """Up to which magnitude a result is what its colour says; from 1 or the stretch before."""

    end: float
    colour: str


class Life(NamedTuple):
    """What becomes of an implementation's results in a format as something grows."""

    dtype: str
    grows: str
    name: str
    stretches: Sequence[Stretch]


LOGIT, OFFSET = "largest logit t in the row [t, 0]", "positive offset of all logits"
_COLOURS = {style.RIGHT: "right", style.COARSE: "digits lost", style.DEAD: "fails"}


def _by_logit(run: RunData, name: str, dtype: str, operation: str) -> list[Stretch]:
    """What a row [t, 0] gives as t grows: right, digits lost, not finite."""
    found: list[Stretch] = []
    colour = style.RIGHT
    for place, after in ((INACCURATE, style.COARSE), (OVERFLOWS, style.DEAD)):
        record, _ = threshold_record(run, name, dtype, operation, place)
        if record is not None and record.occurs and (record.last_good or 0.0) < _END:
            if (record.last_good or 0.0) > 1.0:
                found.append(Stretch(known(record.last_good), colour))
            colour = after
        elif record is None:
            return []  # what was not measured is not called right
    return [*found, Stretch(_END, colour)]


def _by_offset(records: Sequence[OverflowRecord]) -> list[Stretch]:
    """What becomes of usual logits as an offset is added: the worst over the class counts."""
    tried = [c for c in records if outcome_of(c) != "missing"]
    offsets = [o for o in offsets_of(tried) if o >= 0]
    if 1.0 in offsets:  # the picture begins at 1; what is between it and 0 is shown there
        offsets = [o for o in offsets if o > 0]
    places = [max(o, 1.0) for o in offsets]
    ends = [math.sqrt(a * b) for a, b in pairwise(places)] + [_END]
    found: list[Stretch] = []
    for offset, end in zip(offsets, ends, strict=False):
        worst = worst_of(c for c in tried if c.offset == offset)
        outcome, ulp = outcome_of(worst), (worst and worst.max_ulp) or 0.0
        colour = style.COARSE if outcome in _FINITE else style.DEAD
        if outcome in ("exact", "accurate", "limit", "coarse") and ulp < LOST_ULP:
            colour = style.RIGHT
        if found and found[-1].colour == colour:
            found.pop()
        found.append(Stretch(min(end, _END), colour))
        if end >= _END:
            break
    return found


def _lives(run: RunData, operation: str) -> list[Life]:
    """Of everyone in every format; those that die first in front."""
    found = []
    for dtype in run.dtypes(OverflowRecord):
        mapped = map_records(run, dtype, operation)
        for name in run.implementations:
            found.append(Life(dtype, LOGIT, name, _by_logit(run, name, dtype, operation)))
            found.append(Life(dtype, OFFSET, name, _by_offset(of(mapped, name))))
    found = [life for life in found if life.stretches]
    right: dict[str, list[float]] = defaultdict(list)  # decades of magnitude, panel by panel
    for life in found:
        first = math.log10(life.stretches[0].end) if _begins_right(life) else 0.0
        right[life.name].append(first)
    return sorted(found, key=lambda life: fmean(right[life.name]))


def lifelines(run: RunData, operation: str, stem: str) -> Plot | None:
    """Two panels a format: how long each implementation stays right as logits or offset grow."""
    lives = _lives(run, operation)
    if not lives:
        return None
    order = list(dict.fromkeys(life.name for life in lives))
    dtypes = ordered((life.dtype for life in lives), DTYPES)
    places = [(dtype, grows) for dtype in dtypes for grows in (LOGIT, OFFSET)]
    height = 0.17 * len(order) + 0.1
    fig, panels = grid(len(places), 2, height, left=1.45, between=0.3, below=0.5, foot=0.25)
    for panel, (dtype, grows) in zip(panels, places, strict=True):
        here = [life for life in lives if (life.dtype, life.grows) == (dtype, grows)]
        _draw(panel, here, order)
        panel.axes.set_title(f"{dtype}: {grows}")
    _legend(fig, {s.colour for life in lives for s in life.stretches})
    title = "Where each stops being right"
    died = [
        f"{life.name} in {life.dtype} {_beyond(life)}"
        for life in lives
        if len(life.stretches) > 1 or not _begins_right(life)
    ]
    alt = f"{title}. " + (f"No longer right: {'; '.join(died)}." if died else "All stay right.")
    rows = [
        [
            words(life.name), words(life.dtype), words(life.grows), words(_COLOURS[s.colour]),
            number(start), number(s.end),
        ]
        for life in lives
        for start, s in zip([1.0, *(s.end for s in life.stretches)], life.stretches, strict=False)
    ]  # fmt: skip
    columns = [
        *texts("Implementation", "Format", "What grows", "Result"), Column("From"), Column("To"),
    ]  # fmt: skip
    table = Table(f"{stem}-table", title, columns, rows)
    return Plot(stem, title, prose("lifelines"), alt, table, fig)


def _begins_right(life: Life) -> bool:
    return life.stretches[0].colour == style.RIGHT


def _beyond(life: Life) -> str:
    """From where on a result is not right any more."""
    what = "t" if life.grows == LOGIT else "offset"
    first = life.stretches[0]
    return (
        f"beyond {what} = {figure(first.end)}" if first.colour == style.RIGHT else f"for any {what}"
    )


def _draw(panel: Panel, lives: Sequence[Life], order: Sequence[str]) -> None:
    """A bar for each, the first of the order on top."""
    axes = panel.axes
    heights = {name: y for y, name in enumerate(reversed(order))}
    for life in lives:
        start = 1.0
        for end, colour in life.stretches:
            y = heights[life.name]
            (bar,) = axes.barh([y], [end - start], left=[start], height=0.7, color=colour)
            tip = f"{life.name}, {life.dtype}: {_COLOURS[colour]}"
            tip += f" from {figure(start)} to {figure(end)}"
            axes.figure.mark(bar, Series(life.name, colour, True, [tip]))
            start = end
    for name, y in heights.items() if panel.left else ():
        axes.annotate(
            label(name, 22), (1.0, y), xytext=(-4, 0), textcoords="offset points", ha="right",
            va="center", fontsize=7.5, annotation_clip=False,
        )  # fmt: skip
    axes.set(xscale="log", xlim=(1.0, _END), ylim=(-0.6, len(order) - 0.4), yticks=())
    ticks = ticks_between(1.0, _END)
    axes.set_xticks(ticks, [power(t) for t in ticks])
    axes.minorticks_off()
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)


def _legend(fig: Any, colours: Collection[str]) -> None:
    """What the colours are, in a line at the foot."""
    shown = {c: text for c, text in _COLOURS.items() if c in colours}
    fig.legend(
        [Patch(facecolor=c) for c in shown], list(shown.values()), loc="lower left",
        ncols=len(shown), bbox_to_anchor=(0.15, 0.0), borderaxespad=0, handlelength=1.2,
    )  # fmt: skip
