"""Verdicts on what is deterministic: statuses, errors, classes of outcome, overflow thresholds.

The same code on the same input gives the same figure, so that there is no noise to allow for:
figures are compared as they are. A factor says how much growth of an error matters.
"""

from __future__ import annotations

import math
from typing import Any

from harness.comparison.operands import Pair
from harness.comparison.verdict import Item, Verdict
from harness.numerics.outcomes import severity

HALF_ULP = 0.5
"""Errors below it are as good as none: a correctly rounded result has up to half an ulp."""

_RATIO_FLOOR = 0.1
"""Error / bound below a tenth says nothing of a fault."""

_STATUSES = {
    "ok": 0, "failed": 1, "error": 2, "timeout": 3, "out_of_memory": 3, "crashed": 4,
}  # fmt: skip
_COUNTS = ("nonfinite", "wrong_argmax", "flushed_count")


def item(
    pair: Pair, figure: str, base: Any, new: Any, verdict: Verdict, reason: str, unit: str = ""
) -> Item:
    """An item of a pair."""
    return Item(
        pair.new.experiment, pair.implementation, pair.where, figure, base, new, verdict, reason,
        unit,
    )  # fmt: skip


def judge_status(pair: Pair) -> Item | None:
    """The verdict where the statuses alone decide; None where figures must."""
    a, b = pair.base, pair.new
    before, after = _STATUSES[a.status], _STATUSES[b.status]
    if after > before:
        why = f"was {a.status}, is {b.status}: {b.reason}"
        return item(pair, "status", a.status, b.status, "worse", why)
    if after < before:
        why = f"was {a.status} ({a.reason}), is {b.status}"
        return item(pair, "status", a.status, b.status, "better", why)
    if after > _STATUSES["failed"]:
        why = f"{b.status} on both sides: {b.reason}"
        return item(pair, "status", a.status, b.status, "equivalent", why)
    return None


def grown(base: float, new: float, factor: float, floor: float) -> int:
    """1 if `new` exceeds `base` by more than `factor`, -1 if it is the other way round, else 0.

    Values below `floor` count as `floor`. NaN is worse than any number.
    """
    a = math.inf if math.isnan(base) else max(base, floor)
    b = math.inf if math.isnan(new) else max(new, floor)
    if b > a * factor:
        return 1
    return -1 if a > b * factor else 0


def judge_errors(pair: Pair, factor: float, *, same_inputs: bool = True) -> Item:
    """Errors against the reference and classes of outcome, of cells with the same input.

    `same_inputs` is False if the generators of the inputs have changed; an input's own digest,
    where there is one, says more.
    """
    a, b = pair.base, pair.new
    figure = "max ulp"
    base, new = getattr(a, "max_ulp", None), getattr(b, "max_ulp", None)

    def found(verdict: Verdict, reason: str) -> Item:
        return item(pair, figure, base, new, verdict, reason)

    if pair.base == pair.new:
        return found("equivalent", "the same measurement")
    different = _inputs_differ(a, b, same_inputs)
    if different:
        return found("inconclusive", different)
    changes: dict[int, list[str]] = {1: [], -1: [], 0: []}
    _compare_numbers(a, b, factor, changes)
    outcomes = getattr(a, "outcome", None), getattr(b, "outcome", None)
    if None not in outcomes:
        rank = [severity(str(o)) for o in outcomes]
        if rank[0] != rank[1] and base is not None and base == new:
            why = (
                f"equal, yet judged differently: {outcomes[0]} -> {outcomes[1]}; the judge changed"
            )
            return found("inconclusive", why)
        if rank[0] != rank[1]:
            changes[1 if rank[1] > rank[0] else -1].append(
                f"outcome {outcomes[0]} -> {outcomes[1]}"
            )
    _compare_counts(a, b, factor, changes)
    if changes[1]:
        also = f"; on the other hand {', '.join(changes[-1])}" if changes[-1] else ""
        return found("worse", ", ".join(changes[1]) + also)
    if changes[-1]:
        return found("better", ", ".join(changes[-1]))
    if base is None and outcomes[0] is None:
        if (a.status, b.status) == ("ok", "ok") and new is None:
            if a.experiment == "accuracy":
                return found("inconclusive", "neither side has a figure")
            return item(pair, "status", a.status, b.status, "equivalent", "ok on both sides")
        if a.status == b.status and new is None:
            why = f"{b.status} on both sides: {b.reason}"
            return item(pair, "status", a.status, b.status, "equivalent", why)
    if (base is None) != (new is None):
        return found("inconclusive", "one side has no figure")
    text = ", ".join(changes[0])
    return found("equivalent", f"within a factor of {factor:g}: {text}" if text else "equal")


def _inputs_differ(a: Any, b: Any, same_inputs: bool) -> str | None:
    """Why the inputs of two cells cannot be taken for the same; None where they can."""
    digests = getattr(a, "input_sha256", None), getattr(b, "input_sha256", None)
    if a.experiment == "accuracy" and (None in digests or digests[0] != digests[1]):
        what = "have no digest" if None in digests else "differ"
        return f"the inputs {what}: their errors cannot be compared"
    if digests == (None, None) and not same_inputs:
        return "the inputs were generated by different versions"
    return None


def _compare_counts(a: Any, b: Any, factor: float, changes: dict[int, list[str]]) -> None:
    for name in _COUNTS:
        before, after = getattr(a, name, None), getattr(b, name, None)
        if before is None or after is None or before == after:
            continue
        sign = (1 if after > before else -1) if not before or not after else grown(
            before, after, factor, 1.0
        )  # fmt: skip
        changes[sign].append(f"{name} {before} -> {after}")


def _compare_numbers(a: Any, b: Any, factor: float, changes: dict[int, list[str]]) -> None:
    same_bound = getattr(a, "bound", None) == getattr(b, "bound", None)
    for name, floor in (("max_ulp", HALF_ULP), ("error_over_bound", _RATIO_FLOOR)):
        before, after = getattr(a, name, None), getattr(b, name, None)
        if before is None or after is None or before == after:
            continue
        if name == "error_over_bound" and not same_bound:
            continue
        sign = grown(before, after, factor, floor)
        how = {1: "grew", -1: "fell", 0: "moved"}[sign]
        text = f"{name.replace('_', ' ')} {how} from {before:.4g} to {after:.4g}"
        changes[sign].append(text)


def judge_threshold(pair: Pair, *, same_search: bool) -> Item:
    """Where an overflow event begins: later is better, never is best.

    Args:
        pair: two `OverflowRecord` of kind ``"threshold"``.
        same_search: False if the runs searched different numbers of points. An event need not be
            monotone in the logits, so that a finer search can find an earlier one.
    """
    a: Any = pair.base
    b: Any = pair.new
    before, after = _onset(a), _onset(b)

    def found(verdict: Verdict, reason: str) -> Item:
        return item(
            pair, "last good", _onset_text(before), _onset_text(after), verdict, reason
        )  # fmt: skip

    if before is None or after is None:
        return found("inconclusive", "a side does not say whether the event occurs")
    if a.tolerance_ulp != b.tolerance_ulp:
        why = f"tolerances differ: {a.tolerance_ulp} and {b.tolerance_ulp} ulp"
        return found("inconclusive", why)
    if before == after:
        return found("equivalent", "equal")
    if not same_search:
        return found("inconclusive", "the runs searched different numbers of points")
    moved = f"{_onset_text(before)} -> {_onset_text(after)}"
    if after < before:
        return found("worse", f"begins earlier: {moved}")
    return found("better", f"begins later: {moved}")


def _onset(record: Any) -> float | None:
    """Magnitude of the last good logit; infinite where the event never happens."""
    if record.occurs is None or (record.occurs and record.last_good is None):
        return None
    return abs(float(record.last_good)) if record.occurs else math.inf


def _onset_text(value: float | None) -> str | None:
    if value is None:
        return None
    return "never" if math.isinf(value) else repr(value)
