"""The published passes against each other: how often a row is read, and what that is worth here.

Three passes of M. Dukhan and A. Ablavatski (2020) against their two, and against the online sum of
M. Milakov and N. Gimelshein (2018), all with the same loops, exponential and stores.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import ThroughputRecord
from harness.records.timing import times_as_fast
from harness.report.drawing.formatting import figure, integer, interval
from harness.report.drawing.prose import prose
from harness.report.drawing.tables import Column, Entry, Table, missing, pivot
from harness.report.pages.throughput_tables import timing_entry
from harness.report.run_data import RunData, class_counts, of
from harness.report.timing_selection import Group, at_point, preferred, struck, timed, why_untimed

THREE = "three_pass_numba"
OTHERS = ("three_pass_reload_numba", "two_pass_numba", "online_numba", "online_lazy_numba")


def compared(run: RunData, group: Group, regime: str) -> Table | None:
    """Time of three passes over the time of each other, by class count; None without them."""
    records = [c for c in timed(run, group) if c.regime == regime]
    names = [n for n in OTHERS if of(records, n)]
    if not names or not of(records, THREE):
        return None

    def entry(name: str, n: int) -> Entry:
        ratio, mine = _ratio(records, name, n)
        if mine is None:
            return missing(*why_untimed(run, name, at_point(of(records, name), regime, n), None))
        if ratio is None:
            return missing("not compared", f"{THREE} has no time here that counts")
        return timing_entry(ratio[0], mine, interval(*ratio[1:]))

    counts = class_counts(records)
    told = [f"{name}: {_found(records, name, counts)}" for name in names]
    columns = {n: Column(f"n = {integer(n)}", "×") for n in counts}
    caption = f"Published passes: speed relative to {THREE}, {regime}, {group.title}"
    notes = [". ".join(told) + ".", prose("passes")]
    return pivot(f"passes-{regime}", caption, names, columns, entry, notes, best=True)


def _ratio(
    records: Sequence[ThroughputRecord], name: str, n: int
) -> tuple[tuple[float, float, float] | None, ThroughputRecord | None]:
    """How many times as fast as three passes, and the record; None where either is not known."""
    mine, base = (preferred([c for c in of(records, i) if c.classes == n]) for i in (name, THREE))
    if mine is None or base is None or struck(base):
        return None, mine
    return times_as_fast(mine, base), mine


def _found(records: Sequence[ThroughputRecord], name: str, counts: Sequence[int]) -> str:
    """Where it is faster and slower than three passes beyond its interval, in a few words."""
    known = {n: r for n in counts if (r := _ratio(records, name, n)[0]) is not None}
    faster = {n: value for n, (value, low, _) in known.items() if low > 1.0}
    slower = {n: value for n, (value, _, high) in known.items() if high < 1.0}
    said = []
    for word, ratios, most in (("faster", faster, max), ("slower", slower, min)):
        if ratios:
            at = ", ".join(integer(n) for n in ratios)
            said.append(f"{word} at {at} classes ({figure(most(ratios.values()))} times)")
    return "; ".join(said) or "not told apart from three passes"
