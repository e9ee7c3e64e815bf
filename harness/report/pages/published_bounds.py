"""The literature's bounds beside our own: which one applies to a cell, its line, its words.

A published bound is drawn and tabled, and judges nothing. It is shown only where it is of the same
algorithm as the bound that the cell was judged by, and never where it is known to be misprinted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.lines import Line2D

from harness.bounds import BOUNDS, Bound
from harness.numerics.formats import FORMATS
from harness.records import AccuracyRecord
from harness.report.drawing import style
from harness.report.drawing.figure import WIDTH
from harness.report.drawing.prose import prose
from harness.report.drawing.tables import Column, Entry, number, words


class Point(NamedTuple):
    """The largest error at a class count, in ulps, and its record."""

    classes: int
    ulp: float
    record: AccuracyRecord


Curve = Sequence[Point]

OWN_DASHES = (2.5, 1.5)
"""Of the bound that judges; those of the literature have others, one a theorem."""
_DASHES = ((1.0, 2.2), (5.0, 1.6, 1.0, 1.6), (5.0, 1.6, 1.0, 1.6, 1.0, 1.6))
_SOUND = [b for b in BOUNDS.values() if b.published and not b.misprinted]
DASHES: Mapping[str, tuple[float, ...]] = {
    b.name: dashes for b, dashes in zip(_SOUND, _DASHES, strict=True)
}
"""Of each published bound that can be drawn, the same in every figure."""

COLUMNS = (Column("Published bound", "ulp"), Column("Published as", numeric=False))
LEGEND = 0.3
"""Inches that `add_legend` needs at the foot of a figure."""


def printed(record: AccuracyRecord) -> Bound | None:
    """The published bound of the algorithm of a record; None where there is none."""
    own, name = BOUNDS.get(record.bound or ""), record.published_bound
    return BOUNDS[name] if own is not None and name and own.published_name == name else None


def applying(record: AccuracyRecord) -> tuple[Bound, float] | None:
    """The published bound that applies to a record, with its size in ulps.

    None where there is none, or it is misprinted, or the record lies outside what it assumes: the
    result is not finite (every theorem assumes that nothing overflows), or the bound comes to the
    whole result, 2**p ulps, where first order in u says nothing.
    """
    bound, fmt = printed(record), FORMATS.get(record.dtype or "")
    if bound is None or bound.misprinted or fmt is None:
        return None
    ulp, error = record.published_bound_ulp, record.max_ulp
    if ulp is None or error is None or not math.isfinite(error):
        return None
    return (bound, ulp) if 0 < ulp < 2.0**fmt.precision else None


def draw(axes: Any, curve: Curve, top: float) -> None:
    """The published bound of an implementation over the class counts, cut off at `top`.

    Where it does not apply, its line is broken. Lines are labelled with an underscore and the
    bound's name, which no legend shows.
    """
    found = [applying(p.record) for p in curve]
    for name in dict.fromkeys(bound.name for bound, _ in filter(None, found)):
        heights = [min(f[1], top) if f and f[0].name == name else math.nan for f in found]
        axes.plot(
            [p.classes for p in curve], heights, color=style.LIMIT, linewidth=1.2,
            dashes=DASHES[name], label=f"_{name}",
        )  # fmt: skip


def _drawn(curves: Iterable[Curve]) -> list[Bound]:
    """The published bounds that some curves have, in the order of the theorems."""
    names = {f[0].name for curve in curves for p in curve if (f := applying(p.record))}
    return [BOUNDS[n] for n in DASHES if n in names]


def add_legend(fig: Any, curves: Iterable[Curve]) -> None:
    """What the lines of an accuracy figure are, at its foot, in `LEGEND` inches."""
    lines = [
        Line2D([], [], color=style.INK, marker="o", label="largest error"),
        Line2D([], [], color=style.INK, linewidth=0.9, dashes=OWN_DASHES,
               label="derived bound, which judges"),
    ]  # fmt: skip
    lines += [
        Line2D([], [], color=style.LIMIT, linewidth=1.2, dashes=DASHES[b.name],
               label=f"published bound, {b.theorem}")
        for b in _drawn(curves)
    ]  # fmt: skip
    lines.append(Line2D([], [], color=style.CONTEXT, linewidth=0.7,
                        label="errors of some others"))  # fmt: skip
    fig.legend(
        handles=lines, loc="lower left", ncols=len(lines), borderaxespad=0, handlelength=3.2,
        columnspacing=1.8, bbox_to_anchor=(0.1 / WIDTH, 0.08 / fig.get_size_inches()[1]),
    )  # fmt: skip


def said(curves: Mapping[str, Curve]) -> str:
    """The sentences of a caption on the published bounds of some implementations, or nothing."""
    shown: dict[str, dict[str, None]] = {}
    withheld: dict[str, dict[str, None]] = {}
    for name, curve in curves.items():
        for _, _, record in curve:
            bound = printed(record)
            if bound is not None and bound.misprinted:
                withheld.setdefault(bound.name, {})[name] = None
            elif applying(record) is not None and bound is not None:
                shown.setdefault(bound.name, {})[name] = None
    text = ""
    if shown:
        which = "; ".join(
            f"{BOUNDS[n].theorem} ({', '.join(shown[n])})" for n in DASHES if n in shown
        )
        papers = " and ".join(dict.fromkeys(str(BOUNDS[n].paper) for n in shown))
        text += " " + prose("published_bounds", papers=papers, theorems=which)
    for n, names in withheld.items():
        text += (
            f" {BOUNDS[n].theorem} of {BOUNDS[n].paper}, for the algorithm of "
            f"{', '.join(names)}, is not drawn: correct code exceeds it as it is printed."
        )
    return text


def shortly(curves: Iterable[Curve]) -> str:
    """The sentence of an alternative text on the published bounds drawn, or nothing."""
    theorems = [str(b.theorem) for b in _drawn(curves)]
    return f" Published bounds drawn: {', '.join(theorems)}." if theorems else ""


def entries(record: AccuracyRecord | None) -> list[Entry]:
    """The entries of `COLUMNS`; both empty where no published bound applies."""
    found = applying(record) if record else None
    if found is None:
        return [words("", kind="quiet")] * 2
    bound, ulp = found
    return [number(ulp, kind="quiet"), words(bound.theorem, kind="quiet")]
