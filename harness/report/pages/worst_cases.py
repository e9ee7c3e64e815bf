"""The page of searched worst cases: what was found, how to see it again, and the corpus."""

from __future__ import annotations

import shlex
from collections import Counter

from harness.report.drawing.formatting import figure, integer, plural
from harness.report.drawing.tables import Column, Entry, Table, missing, texts, words
from harness.report.run_data import Cell, RunData

LEAD = (
    "Rows on which the error is large beside its bound, found by climbing in steps of ulps. Every "
    "figure of a search is a lower bound: the worst there is may be worse. Above 1, the code or "
    "its bound is wrong."
)
_SHOWN = 3


def command(record: Cell) -> str:
    """The command that finds the same row again, or replays the entry of the corpus."""
    name, dtype = str(record["implementation"]), str(record.get("dtype"))
    words_ = ["softmax-bench", "worst-case", name]
    if record.get("kind") == "replay":
        return shlex.join([*words_, "--replay", str(record.get("entry"))])
    words_ += ["--dtype", dtype, "--classes", str(record.get("classes"))]
    words_ += ["--evaluations", str(record.get("evaluations")), "--seed", str(record.get("seed"))]
    return shlex.join(words_)


def _row_of(record: Cell) -> Entry:
    logits = [str(v) for v in record.get("worst_logits") or ()]
    shown = ", ".join(logits[:_SHOWN]) + (", …" if len(logits) > _SHOWN else "")
    return Entry(f"[{shown}], class {record.get('worst_class')}", " ".join(logits))


def ratio_entry(record: Cell) -> Entry:
    """Error ÷ bound; beyond 1 it is a failure."""
    ratio = record.get("error_over_bound")
    if ratio is None:
        return missing(str(record["status"]), record.get("reason"))
    failed = record["status"] == "failed"
    return Entry(figure(float(ratio)), ratio, "bad" if failed else "",
                 record.get("reason") if failed or record.get("nonfinite") else None)  # fmt: skip


def searched(run: RunData) -> Table | None:
    """What each search found; None where there was none."""
    rows = []
    for c in run.select("worst_case", kind="search"):
        front = [words(c["implementation"]), words(c.get("dtype")),
                 Entry(integer(int(c.get("classes") or 0)), c.get("classes"))]  # fmt: skip
        ratio = ratio_entry(c)
        if c.get("error_over_bound") is None:
            rows.append([*front, *[ratio] * 9])
            continue
        bound = f"{c.get('bound')} {figure(c.get('bound_ulp'))}"
        tried = int(c.get("evaluations") or 0)
        rows.append([
            *front, ratio, Entry(figure(c.get("error_ulp")), c.get("error_ulp")),
            words(bound), _row_of(c), words(c.get("worst_got")), words(c.get("worst_expected")),
            words(c.get("origin")), Entry(integer(tried), tried), words(command(c)),
        ])  # fmt: skip
    if not rows:
        return None
    columns = [
        *texts("Implementation", "Format"), Column("Classes"), Column("Error ÷ bound", "at least"),
        Column("Error", "ulp"), Column("Bound", "ulp", numeric=False),
        *texts("Row", "Got", "Expected", "Begun from"), Column("Rows tried"), *texts("Again"),
    ]  # fmt: skip
    notes = ["Where a search ended by the clock, another machine tries more or fewer rows; with "
             "the number of rows in the command, it finds the same one."]  # fmt: skip
    return Table("worst-cases", "Searched worst cases: lower bounds", columns, rows, notes)


def _within(record: Cell) -> bool:
    """Judged by its bound: not beyond the range of an algorithm that declares to have one."""
    ratio = record.get("error_over_bound")
    return ratio is not None and not (record["status"] == "ok" and float(ratio) > 1.0)


def replayed(run: RunData) -> Table | None:
    """By implementation and format, how the rows of the corpus fared; None where none was tried."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for c in run.select("worst_case", kind="replay"):
        groups.setdefault((str(c["implementation"]), str(c.get("dtype"))), []).append(c)
    rows = []
    for (name, dtype), cells in groups.items():
        front = [words(name), words(dtype), Entry(integer(len(cells)), len(cells))]
        judged = [c for c in cells if c.get("error_over_bound") is not None]
        if not judged:
            gap = missing(str(cells[0]["status"]), cells[0].get("reason"))
            rows.append([*front, *[gap] * 5])
            continue
        lost = [c for c in judged if not _within(c)]
        judged = [c for c in judged if _within(c)] or judged
        failed = [c for c in cells if c["status"] not in ("ok", "unsupported", "unavailable")]
        worst = max(judged, key=lambda c: float(c["error_over_bound"]))
        reasons = Counter(str(c.get("reason") or c["status"]) for c in failed)
        note = "; ".join(f"{plural(n, 'row')}: {r}" for r, n in reasons.most_common(3)) or None
        rows.append([
            *front, Entry(integer(len(failed)), len(failed), "bad" if failed else "quiet", note),
            Entry(integer(len(lost)), len(lost), "" if lost else "quiet",
                  str(lost[0].get("reason") or "") or None if lost else None),
            ratio_entry(worst), Entry(figure(worst.get("error_ulp")), worst.get("error_ulp")),
            words(command(worst)),
        ])  # fmt: skip
    if not rows:
        return None
    columns = [
        *texts("Implementation", "Format"), Column("Rows"), Column("Failed"),
        Column("Out of range", "declared"), Column("Largest error ÷ bound"),
        Column("Error there", "ulp"), *texts("Again"),
    ]  # fmt: skip
    caption = "The corpus: rows that were the worst of some implementation, tried on all"
    return Table("worst-cases-corpus", caption, columns, rows)


def told(run: RunData) -> str | None:
    """Who exceeds a bound, in a sentence; None where nothing was searched or replayed."""
    cells = [c for c in run.select("worst_case") if c.get("error_over_bound") is not None]
    if not cells:
        return None
    failed = sorted({str(c["implementation"]) for c in cells if c["status"] == "failed"})
    inside = [c for c in cells if _within(c)] or cells
    worst = max(inside, key=lambda c: float(c["error_over_bound"]))
    if failed:
        return f"Beyond the bound in {plural(len(cells), 'row')} tried: {', '.join(failed)}."
    return (
        f"No bound was exceeded in {plural(len(cells), 'searched or replayed row')}; the largest "
        f"error ÷ bound is {figure(float(worst['error_over_bound']))} ({worst['implementation']}, "
        f"{worst.get('dtype')}), a lower bound."
    )
