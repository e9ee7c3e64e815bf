"""The first page of a site of many runs: what was measured where and when, newest first."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import ThroughputRecord
from harness.report.across import side_by_side
from harness.report.across.kept import FAULTS
from harness.report.across.machines import (
    able,
    by_machine,
    commit,
    experiments,
    head,
    key,
    title,
    when,
)
from harness.report.across.page import Page, Part
from harness.report.chosen import ranked, shared_errors
from harness.report.drawing.formatting import figure, integer, listed, plural
from harness.report.drawing.prose import prose
from harness.report.drawing.tables import Column, Entry, Table, count, missing, texts, words
from harness.report.run_data import RunData
from harness.report.run_header import measuring
from harness.report.timing_selection import has_time, headline, timed

DTYPE = "float32"


def fastest(run: RunData) -> ThroughputRecord | None:
    """The timing of the fastest at the run's headline point; None where nobody competes."""
    found = list(ranked(run).values())
    return found[0] if len(found) > 1 else None


def most_accurate(run: RunData) -> tuple[list[str], float] | None:
    """Whose largest error is the smallest, over the cells that all have; that error."""
    largest, _ = shared_errors(run, DTYPE)
    if not largest:
        return None
    least = min(largest.values())
    return [name for name, ulp in largest.items() if ulp == least], least


def _fastest_entry(run: RunData) -> Entry:
    c, point = fastest(run), headline(run)
    if c is None or point is None:
        return missing("none", "no two implementations were timed and passed the accuracy gate")
    ratio = f"{figure(c.speedup)} × {c.baseline}, " if c.speedup and c.baseline else ""
    mark = "~" if c.noisy else ""
    return Entry(
        c.implementation,
        c.implementation,
        detail=f"{mark}{ratio}{figure(c.gbps)} GB/s\n{point.text}",
    )


def _accurate_entry(run: RunData) -> Entry:
    found = most_accurate(run)
    if found is None:
        return missing("none", f"no two implementations have errors of the same cells in {DTYPE}")
    names, ulp = found
    text = listed(names)
    return Entry(text, text, detail=f"{figure(ulp)} ulp in {DTYPE}")


def faults(run: RunData) -> tuple[int, int]:
    """Cells that ended in another way than they should, and how many of those were declared."""
    found = [c for c in run.records if c.status in FAULTS]
    declared = sum(getattr(c, "deviation", None) is not None for c in found)
    return len(found) - declared, declared


def _row(run: RunData) -> list[Entry]:
    ran = able(run).intersection(run.implementations)
    timings = [c for c in timed(run) if has_time(c)]
    decided = sum(not c.noisy for c in timings)
    failed, declared = faults(run)
    unfinished = None if run.info.finished else "not finished"
    return [
        head(run),
        words(run.info.profile, detail=unfinished),
        words(commit(run.info)),
        words(", ".join(experiments(run)) or "nothing"),
        Entry(f"{len(ran)} of {len(run.implementations)}", len(ran)),
        Entry(f"{integer(decided)} of {integer(len(timings))}", decided) if timings
        else missing("none", "nothing was timed"),
        _fastest_entry(run),
        _accurate_entry(run),
        count(failed, kind="bad" if failed else "quiet",
              detail=f"{integer(declared)} declared" if declared else None),
    ]  # fmt: skip


def _table(runs: Sequence[RunData]) -> Table:
    columns = [
        *texts("Run", "Profile", "Commit", "Measured"), Column("Implementations", "that ran"),
        Column("Timings", "decided"), *texts("Fastest", "Most accurate"), Column("Failed cells"),
    ]  # fmt: skip
    rows = [_row(run) for run in reversed(runs)]
    caption = f"{title(runs[0])}: {plural(len(runs), 'run')}, newest first"
    return Table(f"runs-{key(runs[0])}", caption, columns, rows,
                 about={"machine": title(runs[0])})  # fmt: skip


def _commands(runs: Sequence[RunData]) -> Table:
    rows = [
        [head(run), words(commit(run.info)), words(measuring(run.info.command))]
        for run in reversed(runs)
    ]
    return Table(
        "commands", "What measures each run again", texts("Run", "Commit", "Command"), rows
    )


def _answer(runs: Sequence[RunData]) -> str:
    """What a machine's run that timed most implementations found; of several the newest."""
    run = max(reversed(runs), key=lambda r: len(ranked(r)))
    c, point, accurate = fastest(run), headline(run), most_accurate(run)
    told = []
    if c is not None and point is not None:
        about = "about " if c.noisy else ""
        ratio = f", {about}{figure(c.speedup)} times as fast as {c.baseline}" if c.speedup else ""
        told.append(f"{c.implementation} is the fastest{ratio} ({point.text})")
    if accurate is not None:
        names, ulp = accurate
        verb = "is" if len(names) == 1 else "are"
        told.append(f"{listed(names)} {verb} the most accurate, {figure(ulp)} ulp in {DTYPE}")
    text = "; ".join(told) or "no implementation has a time or an error that all share"
    return f"{title(run)}, run of {when(run)}: {text}."


def page(runs: Sequence[RunData]) -> Page:
    """The index."""
    machines = by_machine(runs)
    lead = [
        f"{plural(len(runs), 'run')} on {plural(len(machines), 'machine')}. "
        "Each has its own pages; times of different runs and machines are never in one plot.",
        *map(_answer, machines),
    ]
    parts = [
        Part("Runs by machine", "runs", prose("runs_table"), tables=[_table(m) for m in machines]),
        Part("Accuracy, side by side", "accuracy-side-by-side", tables=side_by_side.accuracy(runs)),
        Part("Commands", "again", prose("commands"), tables=[_commands(runs)]),
    ]
    return Page("index.html", "Softmax: accuracy, overflow and throughput", lead, parts)
