"""Key findings: sentences computed from the data of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from harness.records import AccuracyRecord, ClaimRecord, ConformanceRecord
from harness.report.chosen import ranked, shared_errors
from harness.report.drawing.formatting import figure, integer, interval, plural, threshold
from harness.report.drawing.prose import prose
from harness.report.pages import claims, conformance, exhaustive, training, worst_cases
from harness.report.pages.accuracy import in_words
from harness.report.pages.overflow import map_of, map_records, signed
from harness.report.pages.thresholds import threshold_record
from harness.report.run_data import RunData, measured, worst
from harness.report.timing_selection import controls, headline, headline_record, misses_one, struck

GROWTH = 10.0  # an error that grows by this factor with the offset is a finding


@dataclass(frozen=True)
class KeyFinding:
    """A sentence, and the page that shows it; empty where none does."""

    topic: str
    text: str
    page: str


def most_accurate(run: RunData, dtype: str = "float32") -> KeyFinding | None:
    """The smallest worst error, over the places that all compared implementations share."""
    errors, cases = shared_errors(run, dtype)
    if not errors:
        return None
    least = min(errors.values())
    high = max(errors, key=lambda n: errors[n])
    text = prose(
        "most_accurate", dtype=dtype, low=[n for n, e in errors.items() if e == least],
        least=least, cases=cases, implementations=len(errors), high=high,
        highest=in_words(errors[high]),
    )  # fmt: skip
    return KeyFinding("Accuracy", text, "accuracy.html")


def bounds(run: RunData) -> KeyFinding | None:
    """Whether any result lies above the bound of its algorithm."""
    judged = [c for c in measured(run.select(AccuracyRecord)) if c.error_over_bound is not None]
    found = worst(judged, lambda c: c.error_over_bound)
    if found is None:
        return None
    ratio, top = found
    place = f"{top.implementation}, {top.dtype}, {top.workload}, n = {integer(top.classes or 0)}"
    above = [c for c in judged if (over := c.error_over_bound) is not None and over > 1]
    text = prose(
        "above_bounds", above=len(above), judged=len(judged), ratio=figure(ratio), place=place,
        who=sorted({c.implementation for c in above}),
    )  # fmt: skip
    return KeyFinding("Bounds", text, "accuracy.html")


def overflow(run: RunData, dtype: str = "float32") -> KeyFinding | None:
    """Who overflows on [t, 0], and where."""
    breaks, never = [], []
    for name in run.implementations:
        record, _ = threshold_record(run, name, dtype)
        if record is None:
            continue
        if not record.occurs:
            never.append(name)
        elif record.last_good is None:
            breaks.append(f"{name} is not finite for any t")
        else:
            last = threshold(record.last_good, dtype)
            breaks.append(f"{name} stops being finite above t = {last}")
    if not breaks and not never:
        return None
    text = f"On the row [t, 0] in {dtype} " + ("; ".join(breaks) if breaks else "none overflows")
    if breaks and never:
        others = never[0] if len(never) == 1 else f"the other {len(never)}"
        text += f"; {others} never do{'es' if len(never) == 1 else ''}"
    return KeyFinding("Overflow", text + ".", "overflow.html")


def offsets(run: RunData, dtype: str = "float32") -> list[KeyFinding]:
    """Whose error grows with an offset that leaves the exact softmax almost unchanged."""
    grown = []
    records = map_records(run, dtype, "softmax")
    for name in run.implementations:
        at = map_of(records, name).items()
        errors = {place: c.max_ulp for place, c in at if c.max_ulp is not None}
        found = [
            (ulp / max(errors[0.0, n], 0.5), errors[0.0, n], ulp, offset, n)
            for (offset, n), ulp in errors.items()
            if (0.0, n) in errors and ulp < float("inf")
        ]
        ratio, base, ulp, offset, n = max(found, key=lambda f: f[0], default=(0.0, 0, 0, 0, 0))
        if ratio >= GROWTH:
            grown.append(
                f"{name} from {figure(base)} to {figure(ulp)} ulp "
                f"(offset {signed(offset)}, n = {integer(n)})"
            )
    if not grown:
        return []
    text = f"Finite, but losing digits as an offset is added to the logits ({dtype}): "
    return [KeyFinding("Offset", text + "; ".join(grown) + ".", "overflow.html")]


def speed(run: RunData) -> KeyFinding | None:
    """The fastest that passed the accuracy gate at the headline point."""
    point = headline(run)
    if point is None:
        return None
    fast = ranked(run)
    if not fast:
        return None
    out = [n for n in run.implementations if (c := headline_record(run, n)[0]) and struck(c)]
    best, c = next(iter(fast.items()))
    overlap = [
        n
        for n, o in fast.items()
        if n != best and c.gbps_low is not None and o.gbps_high is not None
        and o.gbps_high >= c.gbps_low
    ]  # fmt: skip
    text = prose(
        "fastest", name=best, gbps=c.gbps, interval=interval(c.gbps_low, c.gbps_high),
        limit=c.percent_of_limit, speedup=c.speedup, baseline=c.baseline, where=point.text,
        overlap=overlap, noisy=c.noisy, out=out,
    )  # fmt: skip
    return KeyFinding("Throughput", text, "throughput.html")


def noise(run: RunData) -> KeyFinding | None:
    """How often the control did not hold 1.0."""
    found = [missed for c in controls(run) if (missed := misses_one(c)) is not None]
    if not found:
        return None
    text = prose("controls", missed=sum(found), intervals=len(found))
    return KeyFinding("Noise", text, "throughput.html")


def conformity(run: RunData) -> KeyFinding:
    """Who contradicts mathematics or the contract, in how many cases."""
    if not run.select(ConformanceRecord):
        return KeyFinding("Conformance", "Not measured in this run.", "")
    told = {n: conformance.counts(run, n) for n in run.implementations}
    judged = {n: sum(t[s] for s in conformance.JUDGED) for n, t in told.items()}
    judged = {n: k for n, k in judged.items() if k}
    if not judged:
        return KeyFinding("Conformance", "No implementation was judged.", "conformance.html")
    bad = {n: sum(told[n][s] for s in conformance.FAILURES) for n in judged}
    failing = [f"{n} in {integer(k)}" for n, k in
               sorted(bad.items(), key=lambda pair: (-pair[1], pair[0])) if k]  # fmt: skip
    text = prose(
        "conformity", cases=sum(judged.values()), bad=sum(bad.values()), failing=failing,
        clean=[n for n, k in bad.items() if not k],
        findings=sum(told[n]["finding"] for n in judged),
        declared=sum(told[n]["expected"] for n in judged),
    )  # fmt: skip
    return KeyFinding("Conformance", text, "conformance.html")


def whole(run: RunData) -> list[KeyFinding]:
    """What was judged exhaustively, and what was searched; nothing where a run has neither."""
    told = exhaustive.told(run), worst_cases.told(run)
    pages = ("Exhaustive", "exhaustive.html"), ("Worst cases", "worst_case.html")
    return [KeyFinding(name, text, href)
            for text, (name, href) in zip(told, pages, strict=True) if text]  # fmt: skip


def audited(run: RunData) -> KeyFinding:
    """How the published claims fared."""
    count = len(run.select(ClaimRecord))
    if not count:
        return KeyFinding("Claims", "Not measured in this run.", "")
    text = f"Of {plural(count, 'published claim')}: {claims.counted(run)}."
    return KeyFinding("Claims", text, "claims.html")


def gaps(run: RunData) -> KeyFinding:
    """How the cells ended."""
    counts = Counter(c.status for c in run.records)
    others = ", ".join(
        f"{integer(n)} {s.replace('_', ' ')}" for s, n in sorted(counts.items()) if s != "ok"
    )
    planned = run.info.planned_cells
    text = prose(
        "coverage", cells=len(run.records), ok=counts["ok"], others=others, planned=planned,
        absent=[n for n in run.implementations if (a := run.about(n)) and not a.available],
        incomplete=len(run.records) < planned or run.info.finished is None,
        problems=len(run.problems),
    )  # fmt: skip
    return KeyFinding("Coverage", text, "machine.html" if run.problems else "data.html")


LEADING = 5


def learned(run: RunData) -> list[KeyFinding]:
    """What trainings have shown, a finding for each question."""
    return [
        KeyFinding(training.QUESTIONS[kind], text, "training.html")
        for kind, text in training.told(run).items()
    ]


def findings(run: RunData) -> tuple[list[KeyFinding], list[KeyFinding]]:
    """What the data of this run support: the few that a reader needs first, and the others."""
    found = [speed(run), most_accurate(run), overflow(run), *offsets(run)]
    absent: list[KeyFinding] = []
    for told, kind in ((conformity(run), ConformanceRecord), (audited(run), ClaimRecord)):
        (found if run.select(kind) else absent).append(told)
    found += [bounds(run), *whole(run), *learned(run)]
    doubtful = bool(run.problems) or run.info.finished is None
    of_all = [gaps(run)]
    found = [*of_all, *found] if doubtful else found  # before anything is believed
    known = [f for f in found if f is not None]
    beside = [noise(run), *([] if doubtful else of_all), *absent]
    return known[:LEADING], known[LEADING:] + [f for f in beside if f is not None]
