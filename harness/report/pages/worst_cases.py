"""The page of searched worst cases: what was found, how to see it again, and the corpus."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from harness.records import WorstCaseRecord
from harness.report.drawing.formatting import figure, plural
from harness.report.drawing.prose import prose
from harness.report.drawing.tables import Column, Entry, Table, count, missing, number, texts, words
from harness.report.run_data import RunData

_SHOWN = 3


def records_of(run: RunData, kind: str) -> list[WorstCaseRecord]:
    """The searches of a run (``"search"``), or its rows of the corpus (``"replay"``)."""
    return [c for c in run.select(WorstCaseRecord) if c.kind == kind]


def command(record: WorstCaseRecord) -> str:
    """The command that finds the same row again, or replays the entry of the corpus."""
    given = ["softmax-bench", "worst-case", record.implementation]
    if record.kind == "replay":
        return shlex.join([*given, "--replay", str(record.entry)])
    given += ["--dtype", str(record.dtype), "--classes", str(record.classes)]
    given += ["--evaluations", str(record.evaluations), "--seed", str(record.seed)]
    return shlex.join(given)


def _row_of(record: WorstCaseRecord) -> Entry:
    logits = record.worst_logits or []
    shown = ", ".join(logits[:_SHOWN]) + (", …" if len(logits) > _SHOWN else "")
    return Entry(f"[{shown}], class {record.worst_class}", " ".join(logits))


def ratio_entry(record: WorstCaseRecord) -> Entry:
    """Error ÷ bound; beyond 1 it is a failure."""
    if record.error_over_bound is None:
        return missing(record.status, record.reason)
    failed = record.status == "failed"
    return number(record.error_over_bound, kind="bad" if failed else "",
                  note=record.reason if failed or record.nonfinite else None)  # fmt: skip


def searched(run: RunData) -> Table | None:
    """What each search found; None where there was none."""
    rows = []
    for c in records_of(run, "search"):
        front = [words(c.implementation), words(c.dtype), count(c.classes)]
        if c.error_over_bound is None:
            rows.append([*front, *[ratio_entry(c)] * 9])
            continue
        rows.append([
            *front, ratio_entry(c), number(c.error_ulp),
            words(f"{c.bound} {figure(c.bound_ulp)}"), _row_of(c), words(c.worst_got),
            words(c.worst_expected), words(c.origin), count(c.evaluations), words(command(c)),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Format"), Column("Classes"), Column("Error ÷ bound", "at least"),
        Column("Error", "ulp"), Column("Bound", "ulp", numeric=False),
        *texts("Row", "Got", "Expected", "Begun from"), Column("Rows tried"), *texts("Again"),
    ]  # fmt: skip
    caption = "Searched worst cases: lower bounds"
    return Table("worst-cases", caption, columns, rows, [prose("searches")]).or_none()


def _largest(records: Sequence[WorstCaseRecord]) -> tuple[float, WorstCaseRecord] | None:
    """The largest error ÷ bound and its record, of those judged by their bound if any is.

    Not judged by it is what lies beyond the range of an algorithm that declares to have one.
    """
    found = [(ratio, c) for c in records if (ratio := c.error_over_bound) is not None]
    within = [pair for pair in found if not _lost(pair[1])]
    return max(within or found, key=lambda pair: pair[0], default=None)


def _lost(record: WorstCaseRecord) -> bool:
    """Beyond the declared range of its algorithm."""
    ratio = record.error_over_bound
    return record.status == "ok" and ratio is not None and ratio > 1.0


def replayed(run: RunData) -> Table | None:
    """By implementation and format, how the rows of the corpus fared; None where none was tried."""
    groups: dict[tuple[str, str | None], list[WorstCaseRecord]] = {}
    for c in records_of(run, "replay"):
        groups.setdefault((c.implementation, c.dtype), []).append(c)
    rows = []
    for (name, dtype), records in groups.items():
        front = [words(name), words(dtype), count(len(records))]
        largest = _largest(records)
        if largest is None:
            rows.append([*front, *[missing(records[0].status, records[0].reason)] * 5])
            continue
        worst = largest[1]
        lost = [c for c in records if _lost(c)]
        failed = [c for c in records if c.status not in ("ok", "unsupported", "unavailable")]
        reasons = Counter(c.reason or c.status for c in failed)
        note = "; ".join(f"{plural(n, 'row')}: {r}" for r, n in reasons.most_common(3))
        rows.append([
            *front, count(len(failed), kind="bad" if failed else "quiet", note=note),
            count(len(lost), kind="" if lost else "quiet", note=lost[0].reason if lost else None),
            ratio_entry(worst), number(worst.error_ulp), words(command(worst)),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Format"), Column("Rows"), Column("Failed"),
        Column("Out of range", "declared"), Column("Largest error ÷ bound"),
        Column("Error there", "ulp"), *texts("Again"),
    ]  # fmt: skip
    caption = "The corpus: rows that were the worst of some implementation, tried on all"
    return Table("worst-cases-corpus", caption, columns, rows).or_none()


def told(run: RunData) -> str | None:
    """Who exceeds a bound, in a sentence; None where nothing was searched or replayed."""
    records = [c for c in run.select(WorstCaseRecord) if c.error_over_bound is not None]
    largest = _largest(records)
    if largest is None:
        return None
    failed = sorted({c.implementation for c in records if c.status == "failed"})
    if failed:
        return f"Beyond the bound in {plural(len(records), 'row')} tried: {', '.join(failed)}."
    ratio, c = largest
    return (
        f"No bound was exceeded in {plural(len(records), 'searched or replayed row')}; the largest "
        f"error ÷ bound is {figure(ratio)} ({c.implementation}, {c.dtype}), a lower bound."
    )
