"""The function `compare`: two runs or implementations in, their comparison out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from harness.comparison import errors, terms, timings
from harness.comparison.operands import (
    Pair,
    Side,
    describe,
    load_side,
    machine_differences,
    pair_cells,
    same_run,
)
from harness.comparison.verdict import VERDICTS, Comparison, Item
from harness.records.reader import ResultsError, Run

Given = str | os.PathLike[str] | Run | Side


def compare(
    base: Given,
    new: Given,
    *,
    threshold: float = 0.05,
    across_machines: bool = False,
    accuracy_factor: float = 1.25,
) -> Comparison:
    """Two runs, or two implementations of one run or of two: is the new side worse?

    Args:
        base, new: a run's folder, a `Run`, or ``"RUN::IMPLEMENTATION"`` (on both sides); or a
            side that has been read.
        threshold: practical threshold of timings: 0.05 calls nothing better or worse that is
            within 5%.
        across_machines: compare timings even if the machines differ.
        accuracy_factor: growth of an error that counts as worse. Errors are deterministic; the
            factor says what matters, not what is noise.

    Raises:
        ResultsError: a side cannot be read, holds several runs, or lacks the implementation;
            or only one side names an implementation.
        ValueError: a threshold that is not above 0, or a factor below 1.
    """
    if not 0.0 < threshold < 1.0:
        raise ValueError(f"threshold: expected a fraction between 0 and 1, got {threshold}")
    if not accuracy_factor >= 1.0:
        raise ValueError(f"accuracy_factor: expected at least 1, got {accuracy_factor}")
    a, b = (load_side(given) for given in (base, new))
    if (a.implementation is None) != (b.implementation is None):
        raise ResultsError(
            f"{a.label}, {b.label}: expected an implementation on both sides or on neither; "
            f"write RUN::IMPLEMENTATION for each"
        )
    differences = machine_differences(a.run.info, b.run.info)
    refused = bool(differences) and not across_machines
    pairs, missing, unmeasured = pair_cells(a, b, across=across_machines)
    notes = describe(a, b)
    if differences:
        text = "compared all the same, as asked" if across_machines else "not compared"
        remedy = "" if across_machines else "; --across-machines compares them nevertheless"
        notes.insert(0, f"different machines ({'; '.join(differences)}): timings {text}{remedy}")
    timed = [p for p in pairs if p.new.experiment in terms.EXPERIMENTS]
    others = [p for p in pairs if p.new.experiment not in terms.EXPERIMENTS]
    if refused:
        unmeasured["timings of different machines, not compared"] += len(timed)
        timed = []
        missing = [m for m in missing if m.experiment not in terms.EXPERIMENTS]
    items = [_deterministic(p, a, b, accuracy_factor) for p in others]
    found, tests = _timings(timed, a, b, threshold)
    items += found
    items.sort(key=lambda i: (VERDICTS.index(i.verdict), i.experiment, i.implementation))
    return Comparison(
        a.label, b.label, items, missing, dict(unmeasured), notes, threshold, accuracy_factor, tests
    )


def _deterministic(pair: Pair, base: Side, new: Side, factor: float) -> Item:
    decided = errors.judge_status(pair)
    if decided is not None:
        return decided
    record: Any = pair.new
    if getattr(record, "kind", None) == "threshold":
        same = base.run.info.profile == new.run.info.profile
        return errors.judge_threshold(pair, same_search=same)
    same = base.run.info.workload_version == new.run.info.workload_version
    return errors.judge_errors(pair, factor, same_inputs=same)


def _timings(
    pairs: Sequence[Pair], base: Side, new: Side, threshold: float
) -> tuple[list[Item], int]:
    """Timings: statuses first, then what can be measured against each other, all together."""
    together = same_run(base, new)
    unchanged = None if together else terms.unchanged_baseline(base, new)
    controls = terms.of_controls(base, new)
    copies = terms.of_copies(base.anchors(), new.anchors())
    its_of = [terms.baselines(side.run.records) for side in (base, new)]
    items: list[Item] = []
    cells = []
    for pair in pairs:
        a, b = pair.base, pair.new
        decided = errors.judge_status(pair)
        if decided is not None:
            items.append(decided)
        elif b.status == "failed":
            why = f"failed on both sides, so that its time does not count: {b.reason}"
            items.append(pair.by_status("equivalent", why))
        elif a == b:  # to the last sample: no second measurement gives that
            items.append(pair.by_time("equivalent", "the same measurement"))
        elif (reason := timings.unusable(pair)) is not None:
            items.append(pair.by_time("inconclusive", reason))
        else:
            its = None
            if unchanged is not None and pair.implementation != unchanged:
                beside = [
                    found.get(terms.cell_of(r)) for found, r in zip(its_of, (a, b), strict=True)
                ]
                its = (beside[0], beside[1]) if all(beside) else None
            same = (controls if together or its else copies).get(terms.cell_of(b), (1.0, 1.0))
            times = timings.Times(a, b, its, together)
            cells.append(timings.measure(pair, times, threshold, same, unchanged if its else None))
    found, tests = timings.judge_all(cells, threshold)
    return items + found, tests
