"""Tables of the accuracy experiment: histogram of ulps, metrics, worst inputs, workloads."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.numerics.metrics import HISTOGRAM_KEYS
from harness.records import AccuracyRecord
from harness.report.drawing.formatting import integer, percent
from harness.report.drawing.prose import prose
from harness.report.drawing.tables import Column, Entry, Table, count, missing, number, texts, words
from harness.report.pages.overview import quotient
from harness.report.run_data import MEASURED, RunData, class_counts, measured, of, worst_error
from harness.report.run_header import repeat


def histogram(run: RunData, dtype: str, operation: str) -> Table:
    """Share of the elements in each class of error, over all cells of an implementation."""
    rows = []
    for name in run.implementations:
        records = run.select(AccuracyRecord, implementation=name, dtype=dtype, operation=operation)
        counts: Counter[str] = Counter()
        for c in measured(records):
            counts.update(c.ulp_histogram or {})
        total = counts.total()
        if total == 0:
            gap = missing(*run.why(name, records, dtype, operation))
            rows.append([words(name), *[gap] * (len(HISTOGRAM_KEYS) + 1)])
            continue
        rows.append([words(name), *(_share(k, counts[k], total) for k in HISTOGRAM_KEYS),
                     count(total)])  # fmt: skip
    columns = texts("Implementation")
    columns += [
        Column(key.replace("<=", "≤ "), "%", group="Error in ulp") for key in HISTOGRAM_KEYS
    ]
    columns.append(Column("Elements"))
    caption = f"Distribution of the errors, {dtype}: share of the elements in each class"
    return Table(f"histogram-{dtype}", caption, columns, rows, [prose("histogram")],
                 repeat=_again(run, dtype, operation))  # fmt: skip


def _share(key: str, n: int, total: int) -> Entry:
    bad = key in (">4", "wrong")
    return Entry(percent(n / total), n, "quiet" if n == 0 else "bad" if bad else "")


def _largest(values: Iterable[float]) -> Entry:
    return number(max(values))


def _farthest(values: Iterable[float]) -> Entry:
    return number(max(values, key=abs))


def _smallest_percent(values: Iterable[float]) -> Entry:
    value = min(values)
    return Entry(percent(value), 100 * value)


def _total(values: Iterable[float]) -> Entry:
    n = int(sum(values))
    return count(n, kind="quiet" if n == 0 else "")


def _largest_quotient(values: Iterable[float]) -> Entry:
    value = max(values)
    return Entry(quotient(value), value, "bad" if value > 1 else "")


@dataclass(frozen=True)
class _Metric:
    """A column: a figure of a record, and how the figures of all records become an entry."""

    header: str
    unit: str
    of: Callable[[AccuracyRecord], float | None]
    reduced: Callable[[Iterable[float]], Entry] = _largest

    def entry(self, records: Iterable[AccuracyRecord]) -> Entry:
        values = [float(v) for c in records if (v := self.of(c)) is not None]
        if not values:
            return words("none", kind="quiet", note="none: does not apply to these cells")
        return self.reduced(values)


_METRICS = (
    _Metric("max", "ulp", lambda c: c.max_ulp),
    _Metric("p99.9", "ulp", lambda c: c.p999_ulp),
    _Metric("p99", "ulp", lambda c: c.p99_ulp),
    _Metric("median", "ulp", lambda c: c.p50_ulp),
    _Metric("bias", "ulp", lambda c: c.bias_ulp, _farthest),
    _Metric("correctly rounded", "%", lambda c: c.correctly_rounded, _smallest_percent),
    _Metric("error ÷ bound", "", lambda c: c.error_over_bound, _largest_quotient),
    _Metric("E of exp", "u", lambda c: c.exp_error_u),
    _Metric("relative", "", lambda c: c.max_relative),
    _Metric("normwise", "", lambda c: c.normwise_relative),
    _Metric("sum residual", "", lambda c: c.sum_residual),
    _Metric("KL", "nat", lambda c: c.kl_divergence),
    _Metric("total variation", "", lambda c: c.total_variation),
    _Metric("flushed", "elements", lambda c: c.flushed_count, _total),
    _Metric("wrong argmax", "rows", lambda c: c.wrong_argmax, _total),
    _Metric("wrong order", "pairs", lambda c: c.wrong_order, _total),
    _Metric("not finite", "elements", lambda c: c.nonfinite, _total),
)


def metrics(run: RunData, dtype: str, operation: str) -> Table:
    """Every metric, worst over the cells of an implementation."""
    rows = []
    for name in run.implementations:
        records = run.select(AccuracyRecord, implementation=name, dtype=dtype, operation=operation)
        good = measured(records)
        if not good:
            gap = missing(*run.why(name, records, dtype, operation))
            rows.append([words(name), *[gap] * (len(_METRICS) + 1)])
            continue
        reasons = sorted({f"{c.status} ({c.reason or 'no reason recorded'})"
                          for c in records if c.status not in MEASURED})  # fmt: skip
        note = f"{name}: {'; '.join(reasons)}" if reasons else None
        share = Entry(f"{len(good)}/{len(records)}", note=note)
        rows.append([words(name), share, *(m.entry(good) for m in _METRICS)])
    columns = [*texts("Implementation"), Column("Cells", "measured/all")]
    columns += [Column(m.header, m.unit) for m in _METRICS]
    caption = f"Metrics, {dtype}: the worst over all cells of the implementation"
    return Table(f"metrics-{dtype}", caption, columns, rows, [prose("metrics")],
                 repeat=_again(run, dtype, operation))  # fmt: skip


def _again(run: RunData, dtype: str, operation: str) -> str:
    """The command that measures the errors of a format again."""
    which = "" if operation == "softmax" else f" --operation {shlex.quote(operation)}"
    return repeat(run.info, f"--experiment accuracy --dtype {shlex.quote(dtype)}{which}")


def by_workload(run: RunData, dtype: str, operation: str) -> Table:
    """Workload × implementation: the largest error over all class counts."""
    by_id: dict[str, list[AccuracyRecord]] = {}
    for c in run.select(AccuracyRecord, dtype=dtype, operation=operation):
        if c.workload:
            by_id.setdefault(c.workload, []).append(c)
    names = [n for n in run.implementations if (a := run.about(n)) is None or a.available]
    rows = []
    for workload in sorted(by_id):
        counts = class_counts(by_id[workload])
        spread = "–".join(integer(n) for n in dict.fromkeys([*counts[:1], *counts[-1:]]))
        errors = [
            _workload_entry(run, name, of(by_id[workload], name), dtype, operation)
            for name in names
        ]
        rows.append([words(workload), words(spread), *errors])
    columns = [*texts("Workload"), Column("Classes")]
    columns += [Column(name, "ulp") for name in names]
    caption = f"Largest error by workload, {dtype}, over all class counts measured"
    return Table(f"workloads-{dtype}", caption, columns, rows)


def _workload_entry(
    run: RunData, name: str, records: Sequence[AccuracyRecord], dtype: str, operation: str
) -> Entry:
    found = worst_error(records)
    if found is None:
        return missing(*run.why(name, records, dtype, operation))
    ulp, c = found
    if c.status == "failed" or (c.error_over_bound is not None and c.error_over_bound > 1):
        return number(ulp, kind="bad", note=f"{name}: {c.reason or 'above its bound'}")
    return number(ulp)


def worst_inputs(run: RunData, operation: str) -> Table:
    """For each implementation and dtype, the element with the largest error, in hexadecimal."""
    rows = []
    for name in run.implementations:
        for dtype in run.dtypes(AccuracyRecord):
            found = worst_error(run.select(
                AccuracyRecord, implementation=name, dtype=dtype, operation=operation
            ))  # fmt: skip
            if found is None:
                continue
            ulp, c = found
            element = (c.worst_logit, c.worst_got, c.worst_expected)
            rows.append([
                words(name), words(dtype), number(ulp), words(c.workload), count(c.classes),
                Entry(str(c.seed), c.seed), words(f"{c.worst_row}, {c.worst_class}"),
                *(words(value or "not recorded") for value in element),
            ])  # fmt: skip
    columns = [
        *texts("Implementation", "dtype"), Column("Error", "ulp"), *texts("Workload"),
        Column("Classes"), Column("Seed"), Column("Row, class"),
        Column("Logit", "hex", numeric=False), Column("Result", "hex", numeric=False),
        Column("Correctly rounded", "hex", numeric=False),
    ]  # fmt: skip
    notes = ("An implementation without any accuracy figure has no line; the metrics say why.",)
    return Table("worst-inputs", "Where the largest errors were found", columns, rows, notes)
