"""The page of what was judged whole: a table for each domain, the histograms behind it."""

from __future__ import annotations

from collections.abc import Sequence

from harness.numerics.metrics import HISTOGRAM_KEYS
from harness.report.drawing.formatting import apart, figure, integer
from harness.report.drawing.tables import Column, Entry, Table, missing, texts, words
from harness.report.run_data import Cell, RunData

LEAD = (
    "Whole domains: where every row of a domain was judged, the largest error is a true maximum "
    "and a count is a count. A sample, or what was judged before a fault, says that it is a lower "
    "bound. Times are of calling and judging together, on a machine that may have had other work."
)

TITLES = {
    "pairs": (
        "Two classes",
        "softmax([a, b]) for all finite a and b, against certified thresholds",
    ),
    "line": ("One logit", "softmax([t, 0]) for all finite t"),
    "constant": ("Equal logits", "n equal logits: 1/n, rounded, is due in every place"),
    "float8": ("Three classes in float8", "softmax([a, b, c]) for all finite a, b and c"),
    "exp_order": (
        "Order of the exponential",
        "the exponential of every number in its range: a larger argument with a smaller value is "
        "an inversion",
    ),
}
_ULP_KEYS = HISTOGRAM_KEYS


def tables_of(run: RunData) -> list[str]:
    """The tables that the run has, in the order of this page."""
    found = {str(c.get("table")) for c in run.select("exhaustive")}
    return [*(t for t in TITLES if t in found), *sorted(found - set(TITLES))]


def title(table: str) -> str:
    return TITLES.get(table, (table, ""))[0]


def judged_table(run: RunData, table: str) -> Table:
    """Implementation × format: rows, largest error, misrounded, the worst input, seconds."""
    found = run.select("exhaustive", table=table)
    errors = table != "exp_order"
    keys = [] if errors else _figure_names(found)
    counted = _figure_names(found) if errors else []
    columns = [*texts("Implementation", "Format"), Column("Rows judged")]
    if errors:
        columns += [
            Column("Largest error", "ulp"), Column("Misrounded", "by output"),
            Column("Wrong", "results"),
        ]  # fmt: skip
    columns += [Column(k[:1].upper() + k[1:], numeric=k != "first") for k in (*counted, *keys)]
    if errors:
        columns += [Column(h, numeric=False) for h in ("Worst input", "Got", "Expected")]
    columns += [Column("Time", "s"), Column("Workers")]
    rows = [_row(c, errors, [*counted, *keys], len(columns)) for c in found]
    notes = ["Inputs and values are hexadecimal; an error is against the unrounded exact value."]
    if not errors:
        notes = []
    return Table(
        f"exhaustive-{table}", TITLES.get(table, (table, ""))[1] or table, columns, rows, notes
    )


def _figure_names(found: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(k for c in found for k in (c.get("figures") or {})))


def _row(c: Cell, errors: bool, keys: Sequence[str], width: int) -> list[Entry]:
    row = [words(c["implementation"]), words(c.get("dtype"), note=c.get("rounding"))]
    if not c.get("judged"):
        gap = missing(str(c["status"]), c.get("reason"))
        return row + [gap] * (width - len(row))
    row.append(_judged(c))
    figures = c.get("figures") or {}
    if errors:
        row += [_largest(c), _misrounded(c), _wrong(c)]
    row += [_figure(figures.get(k)) for k in keys]
    if errors:
        row += [_worst(c), words(c.get("worst_got")), words(c.get("worst_expected"))]
    seconds = c.get("elapsed_s")
    row.append(Entry(figure(seconds), seconds))
    row.append(Entry("one a core", "") if c.get("workers") is None else _figure(c["workers"]))
    return row


def _judged(c: Cell) -> Entry:
    judged, total = int(c["judged"]), int(c.get("total") or 0)
    if c.get("exhaustive"):
        return Entry(f"all {integer(judged)}", judged)
    note = None
    if c["status"] != "ok":
        note = f"{c['status']}: {c.get('reason') or 'no reason recorded'}"
    return Entry(integer(judged), judged, "bad" if note else "", note,
                 detail=f"of {integer(total)}")  # fmt: skip


def _largest(c: Cell) -> Entry:
    ulp = c.get("max_ulp")
    if ulp is None:
        return Entry("–", "")
    said = "true maximum" if c.get("exhaustive") else "lower bound"
    return Entry(apart(float(ulp), 0.5, 6), ulp, detail=said)  # beyond 0.5 it is misrounded


def _misrounded(c: Cell) -> Entry:
    counts = [int(m) for m in c.get("misrounded") or ()]
    text = " + ".join(integer(m) for m in counts)
    return Entry(text or "–", " + ".join(map(str, counts)))


def _wrong(c: Cell) -> Entry:
    n = int((c.get("ulp_histogram") or {}).get("wrong", 0))
    return Entry(integer(n), n, "bad" if n else "quiet")


def _figure(value: object) -> Entry:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return words("–" if value is None else value)
    return Entry(integer(value) if isinstance(value, int) else figure(value), value)


def _worst(c: Cell) -> Entry:
    logits = c.get("worst_logits")
    if not logits:
        return words("–")
    text = ", ".join(str(v) for v in logits)
    if c.get("worst_repeat"):
        return Entry(f"{text} × {integer(int(c['worst_repeat']))}", f"{text} x {c['worst_repeat']}")
    return Entry(f"[{text}], class {c.get('worst_class')}", text)


def histogram(run: RunData, table: str) -> Table | None:
    """Results by class of error; None for a table that measures none."""
    found = [c for c in run.select("exhaustive", table=table) if c.get("ulp_histogram")]
    if not found:
        return None
    rows = []
    for c in found:
        counts = c["ulp_histogram"]
        given = [int(counts.get(k, 0)) for k in _ULP_KEYS]
        rows.append([words(c["implementation"]), words(c.get("dtype")),
                     *(Entry(integer(n), n, "" if n else "quiet") for n in given)])  # fmt: skip
    columns = texts("Implementation", "Format")
    columns += [Column(k.replace("<=", "≤"), "" if k == "wrong" else "ulp") for k in _ULP_KEYS]
    caption = f"Results by class of error, {title(table).lower()}"
    return Table(f"exhaustive-{table}-histogram", caption, columns, rows)


def told(run: RunData) -> str | None:
    """The least and the most misrounded of the pairs, in a sentence; None where there are none."""
    parts = []
    for dtype in run.dtypes("exhaustive"):
        cells = [
            c for c in run.select("exhaustive", table="pairs", dtype=dtype) if c.get("exhaustive")
        ]
        counts = {str(c["implementation"]): sum(c.get("misrounded") or ()) for c in cells}
        if counts:
            listed = ", ".join(
                f"{n} {integer(k)}" for n, k in sorted(counts.items(), key=lambda p: (p[1], p[0]))
            )
            parts.append(f"of all {integer(int(cells[0]['judged']))} pairs of {dtype}, misrounded "
                         f"results: {listed}")  # fmt: skip
    if not parts:
        return None
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "."
