"""Milakov and Gimelshein (2018), Dukhan and Ablavatski (2020): what passes over memory cost here.

All kernels have the same loops, exponential and stores, so that what differs is how often a row is
read and written. Times are those of the throughput experiment: rounds beside a control, ratios with
95% intervals. The model beside them counts accesses of an element that no cache can serve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from harness.experiments.claims.claim import Evidence, counted
from harness.experiments.claims.worked import compare_number
from harness.experiments.context import Context, Unit
from harness.experiments.profiles import Timing
from harness.experiments.reproductions.papers import DUKHAN, MILAKOV
from harness.experiments.throughput import host
from harness.numerics.statistics import Ratio, over
from harness.records import ThroughputRecord
from harness.records.claims import EvidenceTable, Finding, PrintedNumber, Role
from harness.records.timing import times_as_fast
from harness.registry.discovery import load

_FLOAT32 = 4
_L3 = 1 << 25
"""Bytes taken for the last-level cache where the machine does not tell."""
SECONDS = 0.5
"""That the visits to an implementation take at each point, on average, unless asked otherwise."""
SIMILAR = 1.15
"""The speed-up that Milakov and Gimelshein give from 1000 classes on."""
LIMITED = 0.8
"""Share of a copy's bandwidth from which on a time is called limited by it."""


@dataclass(frozen=True)
class Times:
    """The times of a paper, and the caches that they are explained by.

    Attributes:
        records: of implementations and of the copies beside them, timed or not.
        cache: bytes of the last-level cache.
    """

    records: Sequence[ThroughputRecord]
    cache: int

    def of(self, name: str) -> list[ThroughputRecord]:
        """Its records that have a ratio to the baseline that counts, as they were planned."""
        return [
            r for r in self.records
            if r.implementation == name and r.status == "ok" and r.ranked is not False
            and r.speedup is not None
        ]  # fmt: skip

    def beside(self, record: ThroughputRecord) -> list[ThroughputRecord]:
        """What was timed in the same rounds, with a ratio to the baseline."""
        return [
            r for r in self.records
            if _point(r) == _point(record) and r.status == "ok" and r.speedup is not None
        ]  # fmt: skip

    def beyond(self, record: ThroughputRecord) -> bool:
        """Whether the rows that are worked on at a time are larger than all caches."""
        working = (record.threads or 1) * (record.classes or 0) * _FLOAT32
        return min(working, record.array_bytes or 0) > self.cache

    def past(self, record: ThroughputRecord) -> bool:
        """Whether input and output are at least four times as large as all caches."""
        return 2 * (record.array_bytes or 0) >= 4 * self.cache


def _point(record: ThroughputRecord) -> tuple[object, ...]:
    return record.regime, record.threads, record.rows, record.classes


def _cache(context: Context) -> int:
    return context.last_level_cache or _L3


def measured(context: Context) -> Times:
    """What a run has measured so far."""
    found = [
        r for r in context.records.values()
        if isinstance(r, ThroughputRecord) and r.role != "control"
    ]  # fmt: skip
    return Times(found, _cache(context))


def timed(context: Context, paper: str) -> Iterator[Unit]:
    """The timings of a paper: for each point, all of its implementations beside each other."""
    cache = _cache(context)
    threads = ("one", "all") if context.cores > 1 else ("one",)
    if paper == MILAKOV.source.id:
        elements = _power_above(2 * cache // _FLOAT32)
        for how, counts in (("one", _CLASSES), ("all", _CLASSES[2::2])):
            if how in threads:
                widest = elements // (1 if how == "one" else context.cores)
                classes = [n for n in counts if n < widest // 2] + [widest]
                yield from _units(context, "streaming", Timing(tuple(classes), elements, (how,)))
        return
    past = _power_above(2 * cache // _FLOAT32)  # of as many elements `Times.past` holds
    sizes = [1 << k for k in range(10, 24, 2) if 1 << k < past] + [past, 2 * past]
    yield from _units(context, "latency", Timing(tuple(sizes), 0, ("one",)))
    for total in sizes[-4:] if "all" in threads else ():
        n = total // context.cores
        yield from _units(context, "streaming", Timing((n,), context.cores * n, ("all",)))


_CLASSES = (8, 64, 512, 4096, 1 << 15, 1 << 18, 1 << 20, 1 << 22)


def _power_above(value: int) -> int:
    return 1 << max(value - 1, 1).bit_length()


def _units(context: Context, regime: str, grid: Timing) -> Iterator[Unit]:
    """The points of one grid; the context is the run's in all but the profile."""
    asked = context.profile.timing["streaming"].seconds
    profile = replace(context.profile, timing={regime: replace(grid, seconds=asked)})
    yield from host.plan(replace(context, profile=profile))


def _accesses(name: str) -> int:
    """Reads and writes of an array, as the implementation declares them and its tests count."""
    return load(name).metadata.passes or 0


def _counted(label: str, name: str, printed: str) -> PrintedNumber:
    return compare_number(label, printed, None, Fraction(_accesses(name)))


_COUNTED = (
    "declared by each implementation, and counted by a test that runs the source of its kernel "
    "with loads and stores that count; of elements in whole vectors"
)


def _numbers(numbers: Sequence[PrintedNumber]) -> Evidence:
    told = ", ".join(f"{n.label} {n.certified}" for n in numbers)
    return Evidence(told, _COUNTED, tuple(numbers))


def _mg_accesses(_: Times) -> Evidence:
    safe, online = (_accesses(n) for n in MILAKOV.implementations[:2])
    fewer = compare_number("times fewer", "1.33", None, Fraction(safe, online))
    fewer = replace(fewer, certified=f"{safe / online:.5f}")
    lazy = _counted("online, rescaled where the maximum grows", "online_lazy_numba", "3")
    return _numbers((
        _counted("safe", "three_pass_numba", "4"), _counted("online", "online_numba", "3"), lazy,
        fewer,
    ))  # fmt: skip


def _da_accesses(_: Times) -> Evidence:
    again, loaded, two = DUKHAN.implementations
    return _numbers((
        _counted("two passes", two, "3"), _counted("three, computing again", again, "4"),
        _counted("three, loading", loaded, "5"),
    ))  # fmt: skip


def _open(statement: str, why: str) -> Evidence:
    return Evidence("–", why, findings=(Finding(statement, 0, 0, why),))


def _on_gpu(_: Times) -> Evidence:
    return _open(
        "online is 1.15 to 1.3 times as fast as safe softmax on a Tesla V100",
        "no GPU: nothing of this reproduction has been run on one",
    )


def _ratio(record: ThroughputRecord) -> str:
    low, high = record.speedup_low or 0.0, record.speedup_high
    return f"{record.speedup:.3g} [{low:.3g}, {'∞' if high is None else f'{high:.3g}'}]"


def _faster(
    statement: str, records: Sequence[ThroughputRecord], least: float, role: Role = "claim"
) -> Finding:
    """Is it at least so many times as fast as the baseline, at each point that tells?"""
    if not records:
        return Finding(statement, 0, 0, "no time that counts", role)
    above = [(r.speedup_low or 0.0) > least for r in records]
    below = [(r.speedup_high or math.inf) < least for r in records]
    decided = [a for a, b in zip(above, below, strict=True) if a or b]
    telling = [r for r, a, b in zip(records, above, below, strict=True) if a or b]
    best = max(telling or records, key=lambda r: r.speedup or 0.0)
    text = f"at best {_ratio(best)} times as fast, at {_where(best)}"
    if left := len(records) - len(decided):
        text += f"; {left} of {len(records)} points do not tell"
    figures = {"speedup": best.speedup, "low": best.speedup_low, "high": best.speedup_high}
    return counted(statement, decided, text, role, figures)


def _where(record: ThroughputRecord) -> str:
    threads = record.threads or 1
    return (
        f"{record.rows or 0:,} × {record.classes or 0:,}, "
        f"{threads} thread{'s' if threads > 1 else ''}"
    )


def _table(caption: str, found: Times, baseline: str, others: Mapping[str, str]) -> EvidenceTable:
    """Speed relative to the baseline at each point, beside what accesses to memory predict."""
    rows = []
    for base in (r for r in found.records if r.implementation == baseline):
        same = {r.implementation: r for r in found.beside(base) if r.ranked is not False}
        share = _bandwidth(found, base)
        rows.append((
            str(base.threads), f"{base.rows:,}", f"{base.classes:,}",
            f"{2 * (base.array_bytes or 0) / 2**20:.3g} MiB",
            *(f"{_predicted(found, base, n):.2f}" for n in others),
            *(_ratio(same[n]) if n in same else "–" for n in others),
            "–" if share is None else _percent(share),
        ))  # fmt: skip
    columns = (
        "threads", "rows", "classes", "input and output",
        *(f"predicted, {what}" for what in others.values()),
        *(f"measured, {what}" for what in others.values()),
        f"bandwidth of {baseline} / copy",
    )  # fmt: skip
    return EvidenceTable(caption, columns, tuple(rows))


def _predicted(found: Times, base: ThroughputRecord, name: str) -> float:
    """Time of the baseline over that of `name`, if accesses that miss all caches were all."""
    beyond = _beyond(found, base)
    return _accesses(base.implementation) / _accesses(name) if beyond else 1.0


def _beyond(found: Times, record: ThroughputRecord) -> bool:
    return found.beyond(record) or (record.rows == record.threads and found.past(record))


def _bandwidth(found: Times, base: ThroughputRecord) -> Ratio | None:
    """What the baseline accesses over its time, over what the best copy beside it moves."""
    copies = [r for r in found.beside(base) if r.role == "limit" and r.operation == "copy"]
    best = max(copies, key=lambda r: r.speedup or 0.0, default=None)
    if best is None or not best.speedup:
        return None
    more = _accesses(base.implementation) / 2.0  # a copy reads once and writes once
    low, high = best.speedup_low or 0.0, best.speedup_high or math.inf
    return Ratio(more / best.speedup, more / high, over(more, low))


def _percent(share: Ratio) -> str:
    high = "∞" if math.isinf(share.high) else f"{100 * share.high:.0f}"
    return f"{100 * share.value:.0f}% [{100 * share.low:.0f}, {high}]"


def _limited(found: Times, baseline: str) -> Finding:
    """Is memory the limit of the baseline, at each point beyond the caches that tells?"""
    statement = f"out of cache {baseline} uses at least {100 * LIMITED:.0f}% of a copy's bandwidth"
    shares = [
        share for r in found.of(baseline)
        if _beyond(found, r) and (share := _bandwidth(found, r)) is not None
    ]  # fmt: skip
    decided = [s.low >= LIMITED for s in shares if s.low >= LIMITED or s.high < LIMITED]
    told = ", ".join(map(_percent, shares)) or "no copy was timed beside it"
    if left := len(shares) - len(decided):
        told += f"; {left} of {len(shares)} points do not tell"
    return counted(statement, decided, told)


def _limit(found: Times, baseline: str) -> str:
    """The same in a sentence."""
    finding = _limited(found, baseline)
    if not finding.cases:
        return f"Whether memory is the limit here is not known ({finding.measured})"
    memory = "is" if finding.held == finding.cases else "is not all of"
    return (
        f"Memory {memory} the limit here: beyond the caches {baseline} uses {finding.measured} of "
        "the bandwidth of a copy"
    )


def _mg_cpu(found: Times) -> Evidence:
    safe, online, lazy = MILAKOV.implementations
    many = [r for n in (online, lazy) for r in found.of(n) if (r.classes or 0) >= 1000]
    findings = [
        _faster(f"{n} is at least {SIMILAR} times as fast as safe softmax from 1000 classes on",
                [r for r in many if r.implementation == n], SIMILAR)
        for n in (online, lazy)
    ]  # fmt: skip
    findings += [
        _faster(f"{n} is faster than safe softmax where its rows exceed the caches",
                [r for r in many if r.implementation == n and _beyond(found, r)], 1.0, "remark")
        for n in (online, lazy)
    ]  # fmt: skip
    table = _table(
        "Speed relative to safe softmax, float32, and its 95% interval", found, safe,
        {online: "online as printed", lazy: "rescaled on growth"},
    )  # fmt: skip
    return Evidence(
        "; ".join(f"{f.statement.split()[0]}: {f.measured}" for f in findings[:2]),
        "least times of rounds beside a control, ratios to three_pass_numba, which is the paper's "
        "safe softmax; all kernels alike but for their passes",
        findings=tuple(findings), tables=(table,),
        differs=f"{_limit(found, safe)}. The paper presumes that it is. A rescaling costs a second "
        "exponential for each block of four vectors, which tells where arithmetic is the limit. "
        "Rows that fit into a cache are read from memory once by all of them",
    )  # fmt: skip


def _da_skylake(found: Times) -> Evidence:
    return _open(
        "two passes outperform three by up to 28% and 18% on Skylake-X",
        "another processor: what this one does is the next claim",
    )


def _against_loading(found: Times, two: str, loaded: str) -> list[ThroughputRecord]:
    """Records of two passes whose ratio is that to three passes that load."""
    others = {(r.regime, r.threads, r.classes): r for r in found.of(loaded)}
    records = []
    for mine in found.of(two):
        other = others.get((mine.regime, mine.threads, mine.classes))
        ratio = other and times_as_fast(mine, other)
        if ratio:
            keys = ("speedup", "speedup_low", "speedup_high")
            records.append(mine.model_copy(update=dict(zip(keys, ratio, strict=True))))
    return records


def _da_elsewhere(found: Times) -> Evidence:
    again, loaded, two = DUKHAN.implementations
    past = [r for r in found.of(two) if _beyond(found, r)]
    loading = [r for r in _against_loading(found, two, loaded) if _beyond(found, r)]
    within = [r for r in found.of(two) if not _beyond(found, r)]
    findings = (
        _faster("out of cache two passes are faster than three that compute again", past, 1.0),
        _faster("out of cache two passes are faster than three that load", loading, 1.0),
        _faster("two passes are faster than three that compute again, in cache", within, 1.0,
                "remark"),
    )  # fmt: skip
    table = _table(
        "Speed relative to three passes that compute again, float32, and its 95% interval",
        found, again, {two: "two passes", loaded: "three passes that load"},
    )  # fmt: skip
    return Evidence(
        "; ".join(f.measured for f in findings[:2]),
        "least times of rounds beside a control; three_pass_numba is the paper's three passes with "
        "recomputing, three_pass_reload_numba those with reloading; one row, and a row for each "
        "thread; out of cache: input and output together at least four times the last-level cache",
        findings=findings, tables=(table,),
        differs=f"{_limit(found, again)}. Predicted are ratios of accesses, 4/3 and 4/5: a store "
        "that first reads its line makes them 5/4 and 5/7, and arithmetic that memory does not "
        "hide brings them nearer to 1",
    )  # fmt: skip


def _da_bandwidth(found: Times) -> Evidence:
    again, _, two = DUKHAN.implementations
    finding = _limited(found, again)
    fewer = _faster(
        "out of cache fewer accesses are faster, so that memory is part of the limit",
        [r for r in found.of(two) if _beyond(found, r)], 1.0, "premise",
    )  # fmt: skip
    return Evidence(
        finding.measured,
        "accesses counted, over the time, against the best copy of the same arrays by as many "
        "threads in the same rounds, with 95% intervals",
        findings=(finding, fewer),
        differs="said of the paper's processors, and examined on this one, whose memory may be "
        "faster beside its arithmetic",
    )


EXAMINATIONS: Mapping[str, Mapping[str, Callable[[Times], Evidence]]] = {
    MILAKOV.source.id: {"MG-accesses": _mg_accesses, "MG-gpu": _on_gpu, "MG-cpu": _mg_cpu},
    DUKHAN.source.id: {
        "DA-accesses": _da_accesses,
        "DA-skylake": _da_skylake,
        "DA-elsewhere": _da_elsewhere,
        "DA-bandwidth": _da_bandwidth,
    },
}
"""What is done for each claim, once the times are there."""
