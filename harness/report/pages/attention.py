"""The page of attention's softmax: its errors, and where a scaled one is not finite any more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from harness.numerics.formats import float_format
from harness.records import AttentionRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import Panel, Plot
from harness.report.drawing.formatting import figure, integer, plural
from harness.report.drawing.style import Style
from harness.report.drawing.svg import Series
from harness.report.drawing.tables import Column, Entry, Table, number, texts, words
from harness.report.pages import attention_kernels
from harness.report.pages.strips import Draw, dtypes_of, names_of, strips
from harness.report.run_data import RunData, known, ordered

OPERATIONS: Mapping[str, str] = {
    "scaled_softmax": "scaled",
    "softcap_softmax": "capped",
    "softmax_with_sink": "with a sink",
    "masked_softmax": "masked",
}
_COLOURS = ("#0071b1", "#d25b00", "#00855f", "#b04f8b")
_MARKERS = ("o", "s", "^", "D")
_LEAST, _MOST = 0.3, 1e6
_HUGE = 1e40


def records_of(run: RunData, kind: str) -> list[AttentionRecord]:
    """The records of ``accuracy`` or ``onset`` that have numbers."""
    return [c for c in run.select(AttentionRecord) if c.kind == kind and c.status in _JUDGED]


_JUDGED = ("ok", "failed")


def _worst(records: Iterable[AttentionRecord]) -> AttentionRecord | None:
    """The record with the largest error over what is allowed."""
    return max(records, key=lambda c: c.error_over_bound or 0.0, default=None)


def told(run: RunData) -> list[str]:
    """What was found, in a few sentences for each question that was asked."""
    kinds = {
        "accuracy": errors_told, "onset": onset_told,
        "weights": attention_kernels.weights_told, "layer": attention_kernels.layers_told,
    }  # fmt: skip
    said = (tell(run) for kind, tell in kinds.items() if records_of(run, kind))
    return [text for text in said if text]


def errors_told(run: RunData) -> str:
    """Who is beyond what is allowed, and what masks do, in a sentence or two."""
    records = records_of(run, "accuracy")
    failed = [c for c in records if c.status == "failed" and c.deviation is None]
    declared = [c for c in records if c.deviation is not None]
    who = ordered(f"{c.implementation} ({OPERATIONS[c.operation]}, {c.dtype})" for c in failed)
    text = f"{plural(len(failed), 'cell')} of {integer(len(records))} went wrong"
    text = (
        f"{text}: {', '.join(who)}" if who else f"None of {plural(len(records), 'cell')} went wrong"
    )
    if declared:
        names = ordered(c.implementation for c in declared)
        text += f", but for {integer(len(declared))} that declared deviations explain "
        text += f"({', '.join(names)})"
    text += "."
    empty = {c.implementation: c.empty_rows for c in records if c.empty_rows}
    for what in ("zeros", "NaN", "other"):
        those = [n for n in run.implementations if empty.get(n) == what]
        if those:
            text += f" Rows without any class are {what} in {', '.join(those)}."
    return text


def _lines(line: Callable[..., None], finish: Callable[[Any], None]) -> Draw:
    """How a panel is drawn: a line for each implementation, then its axes."""

    def draw(panel: Panel, dtype: str, names: Sequence[str], style: Mapping[str, Style]) -> None:
        for at, name in enumerate(names):
            line(panel.axes, dtype, name, at, style[name])
        finish(panel.axes)

    return draw


def errors(run: RunData) -> Plot:
    """The largest error of each operation, by implementation and format."""
    records = records_of(run, "accuracy")

    def line(axes: Any, dtype: str, name: str, at: int, style: Style) -> None:
        for k, operation in enumerate(OPERATIONS):
            found = [c.max_ulp for c in records
                     if (c.implementation, c.dtype, c.operation) == (name, dtype, operation)
                     and c.max_ulp is not None]  # fmt: skip
            if not found:
                continue
            ulp = max(found)
            tip = f"{name}, {dtype}, {OPERATIONS[operation]}: {figure(ulp)} ulp"
            (drawn,) = axes.plot([min(max(ulp, _LEAST), _MOST)], [at + 0.2 * (1.5 - k)],
                                color=_COLOURS[k], marker=_MARKERS[k], markersize=4.5,
                                linestyle="none")  # fmt: skip
            axes.figure.mark(drawn, Series(name, style.colour, True, [tip]))

    def finish(axes: Any) -> None:
        axes.set_xscale("log")
        axes.set(xlim=(_LEAST, _MOST * 1.5), xticks=[1, 100, 1e4, 1e6],
                 xticklabels=["1", "100", "10⁴", "≥10⁶"])  # fmt: skip
        axes.minorticks_off()

    table = errors_table(run, records)
    return strips(run, records, "attention-errors", errors_told(run), "attention_errors", table,
                  _lines(line, finish), "largest error, ulp")  # fmt: skip


def errors_table(run: RunData, records: Sequence[AttentionRecord]) -> Table:
    """By implementation, format and operation the worst cell, with its parameter and input."""
    rows = []
    for name in names_of(run, records):
        for dtype in dtypes_of(records):
            for operation, name_of in OPERATIONS.items():
                mine = [
                    c
                    for c in records
                    if (c.implementation, c.dtype, c.operation) == (name, dtype, operation)
                ]
                worst = _worst(mine)
                if worst is None:
                    continue
                failed = worst.status == "failed"
                rows.append([
                    words(name), words(dtype), words(name_of),
                    number(max(known(c.max_ulp) for c in mine)),
                    number(worst.error_over_bound, kind="bad" if failed else "",
                           note=worst.reason if failed else None),
                    words(f"{worst.parameter} {figure(worst.value)}"),
                    words(worst.workload), Entry(str(worst.classes), worst.classes),
                    Entry(str(sum(c.nonfinite or 0 for c in mine))),
                    Entry(str(sum(c.leaked or 0 for c in mine)))
                    if operation == "masked_softmax" else words("–"),
                ])  # fmt: skip
    columns = [
        *texts("Implementation", "Format", "Operation"), Column("Largest error", "ulp"),
        Column("Error ÷ allowed", "largest"),
        *texts("Parameter", "Input"), Column("Classes"), Column("Not finite", "results"),
        Column("Masked, not 0", "results"),
    ]  # fmt: skip
    return Table("attention-errors", "Errors of attention's operations; parameter and input are "
                 "those of the largest error over what is allowed", columns, rows)  # fmt: skip


def _product(c: AttentionRecord, point: float | None) -> float | None:
    """The largest logit at a point, scaled if it is."""
    if point is None or c.operation != "scaled_softmax":
        return point
    return point * (10.0 if c.over == "scale" else known(c.value))


def onset_told(run: RunData) -> str:
    """Who stops before the product leaves the format, in a sentence."""
    early = [
        c for c in records_of(run, "onset")
        if c.occurs and known(_product(c, c.first_bad)) < _end(c) / 2.0
    ]  # fmt: skip
    if not early:
        return (
            "Nobody gives what is not finite while the product is within the format. Beyond it two "
            "steps, a product and a softmax, give NaN."
        )
    least: dict[str, float] = {}
    for c in early:
        scaled = c.operation == "scaled_softmax"
        key = f"{c.implementation} in {c.dtype}" if scaled else (
            f"{c.implementation} ({c.operation}) in {c.dtype}"
        )  # fmt: skip
        least[key] = min(known(_product(c, c.first_bad)), least.get(key, math.inf))
    who = "; ".join(f"{key} from a product of {figure(at)} on" for key, at in least.items())
    text = f"Not finite although the product is within the format: {who}."
    alone = ordered(c.implementation for c in early if c.over == "logits" and c.together is None)
    if alone:
        text += f" Of {', '.join(alone)} the same rows are finite in one call with many others."
    return text


def _end(c: AttentionRecord) -> float:
    return float(float_format(str(c.dtype)).max)


def onset(run: RunData) -> Plot:
    """How far scaled logits go before a result is not finite."""
    every = records_of(run, "onset")
    records = [c for c in every if c.operation == "scaled_softmax"] or every
    found = {(c.implementation, str(c.dtype), str(c.over)): c for c in records}

    def line(axes: Any, dtype: str, name: str, at: int, style: Style) -> None:
        for shift, over in ((0.25, "logits"), (0.0, "scale"), (-0.25, "offset")):
            c = found.get((name, dtype, over))
            if c is None:
                continue
            end = _product(c, c.first_bad) if c.occurs else _end(c)
            tip = f"{name}, {dtype}, growing {over}: "
            tip += f"not finite at {figure(end)}" if c.occurs else "finite at every point"
            (drawn,) = axes.plot([1.0, min(known(end), _HUGE)], [at + shift] * 2,
                                color=style.colour, **palette.BAR)  # fmt: skip
            axes.figure.mark(drawn, Series(name, style.colour, True, [tip]))
            if c.occurs:
                axes.plot([min(known(end), _HUGE)], [at + shift], **palette.STRUCK)

    def finish(axes: Any) -> None:
        axes.set_xscale("log")
        axes.set(xlim=(1.0, _HUGE), xticks=[1, 1e10, 1e20, 1e30],
                 xticklabels=["1", "10¹⁰", "10²⁰", "10³⁰"])  # fmt: skip
        axes.minorticks_off()

    table = onset_table(run, every)
    return strips(run, records, "attention-onset", onset_told(run), "attention_onset", table,
                  _lines(line, finish), "largest scaled logit")  # fmt: skip


def onset_table(run: RunData, records: Sequence[AttentionRecord]) -> Table:
    """Each search: where it ended, and the input that shows it."""
    rows = []
    for c in records:
        never = words("never")
        rows.append([
            words(c.implementation), words(OPERATIONS.get(str(c.operation), c.operation)),
            words(c.dtype), words(c.over),
            number(c.last_good) if c.occurs else never,
            number(c.first_bad) if c.occurs else never,
            number(_product(c, c.first_bad)) if c.occurs else never,
            words(", ".join(c.first_bad_logits or []) or "–"), words(c.first_bad_scale or "–"),
            words(", ".join(c.got_at_first_bad or []) or "–"),
            words("–") if not c.occurs or (c.operation, c.over) != ("scaled_softmax", "logits") else
            words("never") if c.together is None else number(c.together),
            Entry(str(c.points), c.points),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Operation", "Format", "Growing"),
        Column("Finite at", "logit or scale"),
        Column("Not finite at", "logit or scale"), Column("Product there"),
        *texts("Logits", "Scale", "Got"), Column("In one call with others", "logit"),
        Column("Points tried"),
    ]  # fmt: skip
    return Table("attention-onset", "Where results stop being finite", columns, rows)


def merges(run: RunData) -> Table | None:
    """Each implementation's merges of (maximum, sum) pairs; None where there are none."""
    rows = [
        [
            words(c.implementation), words(c.dtype), Entry(str(c.parts), c.parts),
            number(c.max_ulp),
            number(c.error_over_bound, kind="bad" if c.status == "failed" else "",
                   note=c.reason if c.status == "failed" else None),
            Entry(str(c.maxima_wrong), c.maxima_wrong), number(c.order_ulp),
        ]
        for c in records_of(run, "merge")
    ]  # fmt: skip
    columns = [
        *texts("Implementation", "Format"), Column("Parts"),
        Column("Largest error", "ulp, a merge"),
        Column("Error ÷ allowed", "largest"), Column("Maxima wrong"),
        Column("By the order", "ulp of the sum"),
    ]  # fmt: skip
    caption = "Rows merged from parts, from the left, from the right, and as a tree"
    return Table("attention-merges", caption, columns, rows).or_none()


def pairs_told(records: Sequence[AttentionRecord]) -> str:
    """The largest disagreement of a format, in a sentence; empty where there is no pair."""
    if not records:
        return ""
    worst = max(records, key=lambda c: c.likely_ratio or 0.0)
    same = sum(bool(c.same_bits) for c in records)
    return (
        f"Of classes with a probability of 10⁻⁴ and more p/q is at most "
        f"{figure(known(worst.likely_ratio) - 1.0, 2)} above 1 ({worst.implementation} and "
        f"{worst.other}); {integer(same)} of {plural(len(records), 'pair')} are the same to the "
        "bit. KL is infinite where one gives 0 and the other does not."
    )


def pairs(run: RunData, dtype: str) -> Table | None:
    """A format's matrix: the largest ratio of likely classes, less 1, and KL beneath."""
    records = [c for c in records_of(run, "disagreement") if c.dtype == dtype]
    present = {c.implementation for c in records} | {c.other for c in records}
    names = [n for n in run.implementations if n in present]
    found = {(c.implementation, c.other): c for c in records}
    rows = []
    for name in names:
        row = [words(name)]
        for other in names:
            c = found.get((name, other)) or found.get((other, name))
            row.append(words("–") if c is None else _pair(c))
        rows.append(row)
    columns = [*texts("Implementation"), *(Column(n) for n in names)]
    caption = (
        f"How far two implementations disagree, {dtype}: largest p/q of likely classes, less 1; "
        "beneath it KL"
    )
    notes = [pairs_told(records)]
    return Table(f"attention-pairs-{dtype}", caption, columns, rows, notes).or_none()


def _pair(c: AttentionRecord) -> Entry:
    if c.same_bits:
        return Entry("0", 0.0, kind="quiet", detail="same bits")
    ratio = known(c.likely_ratio) - 1.0
    return Entry(figure(ratio, 2), ratio, detail=f"KL {figure(c.kl, 2)}",
                 kind="bad" if c.argmax_differs else "")  # fmt: skip


def unmeasured(run: RunData) -> Table | None:
    """Who has no numbers, by the reason; None where all have."""
    reasons: dict[str, dict[tuple[str, str], None]] = {}
    for c in run.select(AttentionRecord):
        if c.status not in _JUDGED:
            told = (c.status, c.reason or "no reason recorded")
            reasons.setdefault(c.implementation, {})[told] = None
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, given in reasons.items():
        groups.setdefault(tuple(given), []).append(name)
    rows = [
        [
            words(", ".join(names)),
            words("; ".join(ordered(status for status, _ in why))),
            words("; ".join(reason for _, reason in why)),
        ]
        for why, names in groups.items()
    ]
    columns = texts("Implementations", "Status", "Reason")
    return Table("attention-not-measured", "Cells without numbers", columns, rows).or_none()
