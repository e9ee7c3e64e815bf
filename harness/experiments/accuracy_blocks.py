"""Accuracy on captured logits larger than a block: judged block by block, one record in the end.

In memory are a block and what is known of it. Of rows that fit, blocks are of whole rows, and the
record is what one call would give but for the quantiles (`numerics.tally`). A longer row is put
together of parts of its classes, as a caller would: softmax of each part, times exp(l - L), l the
part's logsumexp and L that of all l. L, the factor and the product are ours and exact but for one
rounding, so that what is judged are the implementation's two operations.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.bounds.tolerances import cost_of_parts, logsumexp_allowance, of_parts_allowance
from harness.experiments.accuracy_cell import beyond, coordinates_of, explained, judge
from harness.experiments.conformance.explanation import Explainer
from harness.experiments.context import Context
from harness.experiments.judgement import JUDGING, arithmetic_of, bound_of
from harness.experiments.side_by_side import once
from harness.numerics.exact import Exact, Remembered, remembered
from harness.numerics.formats import float_format, round_pair, scale_by_power, to_float64
from harness.numerics.metrics import same_sum
from harness.numerics.outcomes import SEVERITY
from harness.numerics.tally import Tally, tally, together
from harness.numerics.ulps import signed_ulp_error, wrong_threshold
from harness.records import AccuracyRecord, Record, Status
from harness.reference import logsumexp_exact, softmax_exact
from harness.reference.double_double import multiply_double
from harness.reference.long_row import LongRow
from harness.reference.memo import Memo, content_key
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault
from harness.workloads import LogitsError, Stored, Workload, WorkloadUnavailable
from harness.workloads.stored import BLOCK, spans

_LARGEST = (
    "max_ulp", "max_relative", "normwise_relative", "max_absolute", "sum_residual",
    "kl_divergence", "total_variation", "flushed_mass", "bound_ulp", "error_over_bound",
    "error_over_published",
)  # fmt: skip
_SUMS = ("elements", "flushed_count", "wrong_argmax", "wrong_order", "nonfinite")
_OF_WORST = (
    "bound_ulp_at_worst", "worst_row", "worst_class", "worst_logit", "worst_got", "worst_expected",
    "worst_logits",
)  # fmt: skip
_OF_A_ROW = ("exact", "accurate", "inaccurate", "wrong", "zero", "inf", "nan")
"""Outcomes of parts of one row, of which the last that occurs is that of the row
(`outcomes.row_outcomes`, from its end)."""
_REMEMBERED = 64 << 20  # bytes of judgements


@dataclass(frozen=True)
class _Judged:
    """What is known of some blocks; `record` with rows and classes of the whole array."""

    record: AccuracyRecord
    errors: Tally


def _together(a: _Judged, b: _Judged, order: Sequence[str] = SEVERITY) -> _Judged:
    """What is known of both, `b` after `a`."""
    first, second = a.record, b.record

    def known(name: str) -> list[Any]:
        return [v for v in (getattr(first, name), getattr(second, name)) if v is not None]

    worst = second if (second.max_ulp or 0.0) > (first.max_ulp or 0.0) else first
    fields: dict[str, Any] = {name: max(known(name), default=None) for name in _LARGEST}
    fields |= {name: sum(known(name)) if known(name) else None for name in _SUMS}
    fields |= {name: getattr(worst, name) for name in _OF_WORST}
    fields["outcome"] = max(known("outcome"), key=order.index)
    right = sum(round((r.correctly_rounded or 0.0) * (r.elements or 0)) for r in (first, second))
    fields["correctly_rounded"] = right / fields["elements"]
    histograms = [r.ulp_histogram or {} for r in (first, second)]
    fields["ulp_histogram"] = {k: sum(h[k] for h in histograms) for k in histograms[0]}
    published = known("published_bound_ulp")  # none where it claims nothing of some element
    fields["published_bound_ulp"] = max(published) if len(published) == 2 else None
    failed = [r for r in (first, second) if r.status == "failed"]
    if failed:
        ids = {d for r in failed for d in (r.deviation or "").split(", ")}
        fields["status"] = "failed"
        fields["deviation"] = None if "" in ids else ", ".join(sorted(ids))
        for name in ("witness", "diagnosis"):
            fields[name] = next((v for v in known(name)), None)
    return _Judged(first.model_copy(update=fields), together((a.errors, b.errors)))


def _placed(judged: _Judged, row: int, first_class: int = 0) -> _Judged:
    """With the worst element where it lies in the whole array."""
    record = judged.record
    at = {
        "worst_row": (record.worst_row or 0) + row,
        "worst_class": (record.worst_class or 0) + first_class,
    }
    return replace(judged, record=record.model_copy(update=at))


@dataclass
class _Course:
    """What has been found of one implementation so far.

    Attributes:
        record: its coordinates.
        judged: of the blocks so far.
        ended: the status and the reason of the fault that ended it.
        seconds: that its calls and judging them took.
    """

    implementation: Implementation
    record: AccuracyRecord
    judged: _Judged | None = None
    ended: tuple[Status, str] | None = None
    seconds: float = 0.0

    def add(self, judged: _Judged) -> None:
        self.judged = judged if self.judged is None else _together(self.judged, judged)

    def attempt(self, where: str, do: Callable[[], None]) -> None:
        """Do something that may end it; nothing where it has ended."""
        if self.ended is not None:
            return
        started = time.perf_counter()
        try:
            do()
        except WorkerFault as fault:
            self.ended = fault.status, f"{where}: {fault.reason}"
        self.seconds += time.perf_counter() - started

    def result(self, **fields: Any) -> AccuracyRecord:
        """The finished record."""
        if self.ended is not None or self.judged is None:
            status, reason = self.ended or ("error", "harness: no block was judged")
            return self.record.model_copy(update=fields).ended(status, reason)
        record, errors = self.judged.record, self.judged.errors
        p50, p99, p999 = (errors.quantile(share) for share in (0.5, 0.99, 0.999))
        fields |= {"p50_ulp": p50, "p99_ulp": p99, "p999_ulp": p999, "bias_ulp": errors.bias}
        if record.status == "failed":
            fields["reason"] = beyond(
                record.outcome, record.max_ulp, record.error_over_bound, record.bound
            )
        return record.model_copy(update={**fields, "elapsed_s": self.seconds})


def in_blocks(context: Context, workload: Workload, elements: int = BLOCK) -> Iterator[Record]:
    """The records of every implementation on one file of logits.

    Args:
        elements: of a block, at most.

    Raises:
        WorkloadUnavailable: the file cannot be read, or has changed.
    """
    courses = []
    for one in context.implementations:
        course = _Course(one, coordinates_of(context, one, workload))
        course.ended = context.refusal(one, "softmax", workload.dtype)
        if course.ended is None:
            context.exp_error(one, workload.dtype)  # takes longer than a block
        courses.append(course)
    whole_rows = workload.classes <= elements
    digest = hashlib.sha256(
        f"{float_format(workload.dtype).dtype.name}|{(workload.rows, workload.classes)}|".encode()
    )
    try:
        with workload.opened() as logits:
            blocks = _Blocks(context, workload, logits, courses, digest.update, elements)
            if whole_rows:
                _by_rows(blocks)
            else:
                _by_classes(blocks)
        workload.refuse_changed()
    except LogitsError as e:
        raise WorkloadUnavailable(str(e)) from None
    at_once = {
        "rows_at_once": min(workload.rows, elements // workload.classes) if whole_rows else 1,
        "classes_at_once": None if whole_rows else elements,
    }
    for course in courses:
        yield course.result(input_sha256=digest.hexdigest(), **at_once)


@dataclass(frozen=True)
class _Blocks:
    """One file of logits, in blocks of at most `elements`, and who is judged on it.

    Attributes:
        digest: is given the bytes of every value, in their order.
    """

    context: Context
    workload: Workload
    logits: Stored
    courses: Sequence[_Course]
    digest: Callable[[bytes], None]
    elements: int

    def block(self, rows: slice, classes: slice = slice(None)) -> NDArray[Any]:
        return self.workload.rounded(self.logits.block(rows, classes))


def _by_rows(blocks: _Blocks) -> None:
    """Blocks of whole rows.

    Every implementation is called on every block. Where it gives the same bytes for the same bytes
    as before, the judgement is the same as well.
    """
    context, known = blocks.context, Memo(_REMEMBERED)
    explainers = {i.name: Explainer() for i in context.implementations}

    def judge_one(
        course: _Course, x: NDArray[Any], content: bytes, exact: Callable[[], Exact], row: int
    ) -> None:
        one = course.implementation
        y = context.call(one, "softmax", x, axis=-1)

        def judged() -> _Judged:
            record = judge(context, one, x, y, exact(), course.record)
            record = explained(context, one, record, x, y, explainers[one.name])
            errors = tally(signed_ulp_error(y, exact()), float_format(y.dtype))
            return _Judged(record, errors)

        with JUDGING:
            found = known.get(content_key((one.name, content), y), judged, _size)
        course.add(_placed(found, row))

    for rows in spans(blocks.workload.rows, blocks.elements // blocks.workload.classes):
        x = blocks.block(rows)
        blocks.digest(x.tobytes())
        exact = once(partial(_remembered, x))
        for course in blocks.courses:
            do = partial(judge_one, course, x, content_key("logits", x), exact, rows.start)
            course.attempt(f"rows {rows.start} to {rows.stop - 1}", do)


def _remembered(x: NDArray[Any]) -> Remembered:
    return remembered(softmax_exact(x))


def _size(judged: _Judged) -> int:
    """About how many bytes it takes."""
    return 10_000 + 200 * len(judged.errors.counts)


@dataclass(frozen=True)
class _Part:
    """Some classes of a row.

    Attributes:
        number, first: which it is, and its first class.
        weight: what its exponentials are of those of the row, at most 5e-324 too much.
    """

    number: int
    first: int
    weight: float


class _PartRow:
    """One row as one implementation computes it, put together of parts of its classes."""

    def __init__(self, context: Context, course: _Course) -> None:
        self._context, self._course = context, course
        self._one = course.implementation
        self.logsumexps: list[float] = []
        self.off: list[float] = []
        self.judged: _Judged | None = None
        self._factors: Exact | None = None
        self._costs = np.empty(0)
        self._total: Fraction | None = Fraction(0)
        self._largest = self._at_top = -math.inf
        self._additive = {"kl_divergence": 0.0, "total_variation": 0.0, "flushed_mass": 0.0}

    def reduce(self, x: NDArray[Any], exact: Exact) -> None:
        """Ask for the logsumexp of a part, (1, classes); `exact` the right one, (1,)."""
        if np.isneginf(x).all():  # nothing to ask for
            self.logsumexps.append(-math.inf)
            self.off.append(0.0)
            return
        fmt = float_format(x.dtype)
        (found,) = self._context.call(self._one, "logsumexp", x, axis=-1)
        arithmetic = arithmetic_of(self._context, self._one, x.dtype.name)
        arithmetic = arithmetic.relevant("logsumexp", fmt)
        (allowed,) = logsumexp_allowance(x, exact, fmt, arithmetic)
        (quantum,) = exact.in_ulps(fmt)[0]
        self.logsumexps.append(float(found))
        self.off.append(float(scale_by_power(allowed, quantum)))

    def combine(self, weights: NDArray[np.float64]) -> None:
        """All parts are reduced; `weights`: what the exponentials of each are of all."""
        self._factors = softmax_exact(np.array(self.logsumexps))
        self._costs = cost_of_parts(np.array(self.off), weights)

    def judge(
        self, part: _Part, x: NDArray[Any], alone: Callable[[], Exact], exact: Exact, top: float
    ) -> None:
        """Ask for the softmax of a part and judge what the row has there.

        Args:
            x: (1, classes) of the part; `alone`: its exact softmax, `exact`: that of the row there.
            top: the largest logit of the row.
        """
        assert self._factors is not None
        fmt = float_format(x.dtype)
        if np.isneginf(x).all():
            y = np.zeros_like(x)
        else:
            y = self._context.call(self._one, "softmax", x, axis=-1)
            y = _times(y, self._factors[part.number : part.number + 1])
        with JUDGING:
            bound = bound_of(self._context, self._one, x, alone(), fmt.name, with_published=False)
            cost = float(self._costs[part.number])
            allowed = of_parts_allowance(alone(), bound.ulp, exact, part.weight, cost, fmt)
            bound = replace(bound, ulp=allowed)
            record = judge(self._context, self._one, x, y, exact, self._course.record, bound)
            errors = tally(signed_ulp_error(y, exact), fmt)
        c = to_float64(y)
        here = x == top
        if record.outcome == "zero" and not here.any():  # of what is not the largest of the row
            lost = (record.max_ulp or 0.0) >= wrong_threshold(fmt)
            record = record.model_copy(update={"outcome": "wrong" if lost else "inaccurate"})
        for name in self._additive:
            self._additive[name] += getattr(record, name) or 0.0
        if not np.isfinite(c).all():
            self._total = None
        elif self._total is not None:
            self._total += sum(map(Fraction, same_sum(c.ravel()).tolist()), Fraction(0))
        self._largest = float(np.maximum(self._largest, c.max()))  # NaN stays
        if here.any():
            self._at_top = float(np.maximum(self._at_top, c[here].max()))
        judged = _placed(_Judged(record, errors), 0, part.first)
        self.judged = judged if self.judged is None else _together(self.judged, judged, _OF_A_ROW)

    def whole(self, largest: float) -> _Judged:
        """All parts are judged; `largest`: the largest exact result."""
        assert self.judged is not None
        record = self.judged.record
        residual = None if self._total is None else abs(float(self._total - 1))
        fields: dict[str, Any] = {
            **self._additive,
            "normwise_relative": (record.max_absolute or 0.0) / largest,
            "sum_residual": residual,
            "wrong_argmax": int(not self._at_top >= self._largest),
            "wrong_order": None,
            "worst_logits": None,
        }
        return replace(self.judged, record=record.model_copy(update=fields))


def _times(y: NDArray[Any], factor: Exact) -> NDArray[Any]:
    """The product with a number, (1,), rounded once to the format of `y`."""
    c = to_float64(y)
    power = np.where(np.abs(c) < 2.0**-300, 600, 0)  # small numbers have no exact products
    hi, lo = multiply_double((factor.hi, factor.lo), scale_by_power(c, power))
    odd = ~np.isfinite(hi)
    hi, lo = np.where(odd, c * factor.hi, hi), np.where(odd, 0.0, lo)
    return round_pair(hi, lo, factor.exponent - power, float_format(y.dtype))


def _by_classes(blocks: _Blocks) -> None:
    """Rows in parts of their classes, each gone through four times."""
    workload, courses = blocks.workload, blocks.courses
    for course in courses:
        if course.ended is None:
            one = course.implementation
            course.ended = blocks.context.refusal(one, "logsumexp", workload.dtype)
            if course.ended is not None:
                status, reason = course.ended
                why = f"of which rows of more than {blocks.elements:,} classes are put together"
                course.ended = status, f"{reason}, {why}"
    classes = list(spans(workload.classes, blocks.elements))
    for row in range(workload.rows):

        def parts(row: int = row) -> Iterator[NDArray[Any]]:
            return (blocks.block(slice(row, row + 1), c) for c in classes)

        reference = LongRow(lambda parts=parts: (x[0] for x in parts()))  # type: ignore[misc]
        rows = [_PartRow(blocks.context, course) for course in courses]
        where = f"row {row}"
        known: list[_Part] = []
        for c, x in zip(classes, parts(), strict=True):
            blocks.digest(x.tobytes())
            exact = logsumexp_exact(x)
            known.append(_Part(len(known), c.start, _weight(x, exact, reference)))
            for course, its in zip(courses, rows, strict=True):
                course.attempt(where, partial(its.reduce, x, exact))
        weights = np.array([part.weight for part in known])
        for course, its in zip(courses, rows, strict=True):
            course.attempt(where, partial(its.combine, weights))
        for part, x in zip(known, parts(), strict=True):
            alone, exact = once(partial(_remembered, x)), reference.softmax(x[0]).reshape(*x.shape)
            exact = remembered(exact)
            for course, its in zip(courses, rows, strict=True):
                do = partial(its.judge, part, x, alone, exact, reference.maximum)
                course.attempt(f"{where}, classes from {part.first} on", do)
        largest = float(reference.softmax(np.array([reference.maximum])).to_float64()[0])
        for course, its in zip(courses, rows, strict=True):
            if course.ended is None:
                course.add(_placed(its.whole(largest), row))


def _weight(x: NDArray[Any], logsumexp: Exact, reference: LongRow) -> float:
    """What the exponentials of a part (1, classes) are of those of its row."""
    top = to_float64(x).max(keepdims=True)[0]
    if np.isneginf(top[0]):
        return 0.0
    share = np.exp((top[0] - logsumexp.hi[0]) - logsumexp.lo[0])  # of its largest
    return float(reference.softmax(top).to_float64()[0] / share) + 5e-324
