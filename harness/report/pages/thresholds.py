"""Tables of the overflow thresholds: the last logit before an event, found to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.report.drawing.formatting import figure, threshold
from harness.report.drawing.tables import Column, Entry, Table, missing, texts, words
from harness.report.run_data import Cell, RunData

PROBES = {"dominant": "[t, 0]", "tie": "[t, t]"}
EVENTS = {
    "nonfinite": "not finite",
    "zero": "turns to zero",
    "inaccurate": "loses accuracy",
}


def threshold_cell(
    run: RunData,
    name: str,
    dtype: str,
    operation: str = "softmax",
    probe: str = "dominant",
    sign: int = 1,
    event: str = "nonfinite",
) -> tuple[Cell | None, list[Cell]]:
    """The measured record of a threshold, and all records at its place."""
    here = [
        c
        for c in run.select("overflow", implementation=name, dtype=dtype, operation=operation)
        if c.get("kind") == "threshold"
        and (c.get("probe"), c.get("sign"), c.get("event")) == (probe, sign, event)
    ]
    found = [c for c in here if c.get("occurs") is not None]
    if not here:  # a cell that died before it knew its own figures
        here = [
            c
            for c in run.select("overflow", implementation=name, dtype=dtype, operation=operation)
            if c.get("kind") in (None, "threshold") and c["status"] not in ("ok", "failed")
        ]
    return (found[0] if found else None), here


def threshold_entry(run: RunData, name: str, dtype: str, **place: Any) -> Entry:
    """The last good logit, ``never``, or why there is none."""
    cell, here = threshold_cell(run, name, dtype, **place)
    if cell is None:
        operation = place.get("operation", "softmax")
        return missing(*run.why(name, here, dtype=dtype, operation=operation))
    if not cell["occurs"]:
        return Entry("never", "never", "quiet")
    last = cell.get("last_good")
    if last is None:
        first = threshold(cell.get("first_bad"), dtype)
        return Entry("always", "always", note=f"already at t = {first or '0'}")
    return Entry(threshold(last, dtype), last)


def thresholds(run: RunData, dtype: str, operation: str) -> Table:
    """Implementation × (probe, event): the last t before the event, both directions of t."""
    places = [(p, s, e) for s in (1, -1) for p in PROBES for e in EVENTS]
    grid_of = {
        place: [
            threshold_entry(
                run, name, dtype, operation=operation, probe=place[0], sign=place[1], event=place[2]
            )
            for name in run.implementations
        ]
        for place in places
    }
    shown = [
        p for p in places if any(e.text != "never" and e.kind != "missing" for e in grid_of[p])
    ]
    silent = [p for p in places if p not in shown and any(e.text == "never" for e in grid_of[p])]
    unmeasured = [p for p in places if p not in shown and p not in silent]
    columns = texts("Implementation")
    columns += [
        Column(
            EVENTS[e], "last t before", group=f"{PROBES[p]}, t {'→ +max' if s > 0 else '→ −max'}"
        )
        for p, s, e in shown
    ]
    rows = [
        [words(name), *[grid_of[p][k] for p in shown]] for k, name in enumerate(run.implementations)
    ]
    if not shown:
        columns.append(Column("Any event", numeric=False))
        for k, row in enumerate(rows):
            gap = next((grid_of[p][k] for p in places if grid_of[p][k].kind == "missing"), None)
            row.append(gap if gap is not None and not silent else Entry("never", kind="quiet"))
    notes = [
        "Each figure is the last t of the format at which the row is still right: at the next "
        "number of the format the event happens. t runs to the largest finite number; “never” "
        "means that the event does not happen on the way. Found by bisection: an event that comes "
        "and goes again between two probes can be missed.",
    ]
    if silent:
        notes.append(f"Never, for any implementation measured: {_places(silent)}.")
    if unmeasured and shown:
        notes.append(f"Not measured in this run: {_places(unmeasured)}.")
    caption = f"Overflow thresholds, {dtype}"
    return Table(f"thresholds-{dtype}", caption, columns, rows, notes)


def _places(places: Sequence[tuple[str, int, str]]) -> str:
    return "; ".join(
        f"{EVENTS[e]} on {PROBES[p]} towards {'+' if s > 0 else '−'}max" for p, s, e in places
    )


def details(run: RunData, dtype: str, operation: str) -> Table:
    """Every threshold record, with its hexadecimal neighbours and the results there."""
    rows = []
    for c in run.select("overflow", dtype=dtype, operation=operation):
        if c.get("kind") not in (None, "threshold"):
            continue
        rows.append([
            words(c["implementation"]), words(PROBES.get(str(c.get("probe")), c.get("probe"))),
            words({1: "+", -1: "−"}.get(c.get("sign") or 0, "")),
            words(EVENTS.get(str(c.get("event")), c.get("event"))),
            words(c["status"] if c.get("occurs") is None else "yes" if c["occurs"] else "never"),
            words(c.get("last_good_hex")), words(c.get("first_bad_hex")),
            words(" ".join(c.get("got_at_first_bad") or [])),
            words(" ".join(c.get("expected_at_first_bad") or [])),
            Entry(figure(c.get("tolerance_ulp")), c.get("tolerance_ulp") or ""),
            words(c.get("reason")),
        ])  # fmt: skip
    columns = [
        Column(h, numeric=False)
        for h in ("Implementation", "Probe", "Direction", "Event", "Happens", "Last good",
                  "First bad", "Result there", "Correctly rounded")
    ]  # fmt: skip
    columns += [Column("Tolerance", "ulp"), *texts("Reason")]
    return Table(f"threshold-details-{dtype}", f"Thresholds in full, {dtype}", columns, rows)
