"""Tables of the overflow thresholds: the last logit before an event, found to the last bit."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from harness.records import OverflowRecord
from harness.report.drawing.formatting import threshold
from harness.report.drawing.prose import prose
from harness.report.drawing.tables import Column, Entry, Table, missing, number, texts, words
from harness.report.run_data import MEASURED, RunData
from harness.report.run_header import repeat

PROBES = {"dominant": "[t, 0]", "tie": "[t, t]"}
EVENTS = {
    "nonfinite": "not finite",
    "zero": "turns to zero",
    "inaccurate": "loses accuracy",
}


class Place(NamedTuple):
    """What a threshold is of: a probe, a direction of t, an event."""

    probe: str
    sign: int
    event: str


OVERFLOWS = Place("dominant", 1, "nonfinite")
INACCURATE = Place("dominant", 1, "inaccurate")


def threshold_record(
    run: RunData, name: str, dtype: str, operation: str = "softmax", place: Place = OVERFLOWS
) -> tuple[OverflowRecord | None, list[OverflowRecord]]:
    """The measured record of a threshold, and all records at its place."""
    mine = run.select(OverflowRecord, implementation=name, dtype=dtype, operation=operation)
    here = [c for c in mine if c.kind == "threshold" and (c.probe, c.sign, c.event) == place]
    if not here:  # a cell that died before it knew its own figures
        here = [c for c in mine if c.kind != "map" and c.status not in MEASURED]
    return next((c for c in here if c.occurs is not None), None), here


def threshold_entry(
    run: RunData, name: str, dtype: str, operation: str = "softmax", place: Place = OVERFLOWS
) -> Entry:
    """The last good logit, ``never``, or why there is none."""
    record, here = threshold_record(run, name, dtype, operation, place)
    if record is None:
        return missing(*run.why(name, here, dtype, operation))
    if not record.occurs:
        return words("never", kind="quiet")
    if record.last_good is None:
        first = threshold(record.first_bad, dtype)
        return words("always", note=f"already at t = {first or '0'}")
    return Entry(threshold(record.last_good, dtype), record.last_good)


def thresholds(run: RunData, dtype: str, operation: str) -> Table:
    """Implementation × (probe, event): the last t before the event, both directions of t."""
    places = [Place(p, s, e) for s in (1, -1) for p in PROBES for e in EVENTS]
    at = {
        place: [threshold_entry(run, n, dtype, operation, place) for n in run.implementations]
        for place in places
    }
    shown = [p for p in places if any(e.text != "never" and e.kind != "missing" for e in at[p])]
    silent = [p for p in places if p not in shown and any(e.text == "never" for e in at[p])]
    unmeasured = [p for p in places if p not in shown and p not in silent]
    columns = texts("Implementation")
    for p, s, e in shown:
        group = f"{PROBES[p]}, t {'→ +max' if s > 0 else '→ −max'}"
        columns.append(Column(EVENTS[e], "last t before", group=group))
    rows = [[words(n), *(at[p][k] for p in shown)] for k, n in enumerate(run.implementations)]
    if not shown:
        columns.append(Column("Any event", numeric=False))
        for k, row in enumerate(rows):
            gaps = [at[p][k] for p in places if at[p][k].kind == "missing"]
            row.append(words("never", kind="quiet") if silent or not gaps else gaps[0])
    notes = [prose("thresholds")]
    if silent:
        notes.append(f"Never, for any implementation measured: {_places(silent)}.")
    if unmeasured and shown:
        notes.append(f"Not measured in this run: {_places(unmeasured)}.")
    caption = f"Overflow thresholds, {dtype}"
    which = "" if operation == "softmax" else f" --operation {shlex.quote(operation)}"
    again = repeat(run.info, f"--experiment overflow --dtype {shlex.quote(dtype)}{which}")
    return Table(f"thresholds-{dtype}", caption, columns, rows, notes, repeat=again)


def _places(places: Sequence[Place]) -> str:
    return "; ".join(
        f"{EVENTS[e]} on {PROBES[p]} towards {'+' if s > 0 else '−'}max" for p, s, e in places
    )


def details(run: RunData, dtype: str, operation: str) -> Table:
    """Every threshold that was found, with its hexadecimal neighbours and the results there.

    And every search for one that failed; those that an event never ends are in `thresholds`.
    """
    rows = [
        [
            words(c.implementation), words(PROBES.get(c.probe or "", c.probe)),
            words({1: "+", -1: "−"}.get(c.sign or 0, "")),
            words(EVENTS.get(c.event or "", c.event)),
            words(c.status if c.occurs is None else "yes" if c.occurs else "never"),
            words(c.last_good_hex), words(c.first_bad_hex),
            words(" ".join(c.got_at_first_bad or ())),
            words(" ".join(c.expected_at_first_bad or ())),
            number(c.tolerance_ulp), words(c.reason),
        ]
        for c in run.select(OverflowRecord, dtype=dtype, operation=operation)
        if c.kind != "map" and (c.occurs or c.status not in ("ok", "unavailable", "unsupported"))
    ]  # fmt: skip
    columns = [
        *texts("Implementation", "Probe", "Direction", "Event", "Happens", "Last good",
               "First bad", "Result there", "Correctly rounded"),
        Column("Tolerance", "ulp"), *texts("Reason"),
    ]  # fmt: skip
    return Table(f"threshold-details-{dtype}", f"Thresholds in full, {dtype}", columns, rows)
