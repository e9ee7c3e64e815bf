"""Tables of the accuracy experiment: histogram of ulps, metrics, worst inputs, workloads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.report.drawing.formatting import figure, integer, percent
from harness.report.drawing.tables import Column, Entry, Table, missing, texts, words
from harness.report.pages.overview import quotient
from harness.report.run_data import Cell, RunData, measured, of, worst

CLASSES_OF_ERROR = ("0", "<=0.5", "<=1", "<=2", "<=4", ">4", "wrong")


def _cells(run: RunData, name: str, dtype: str, operation: str) -> list[Cell]:
    return run.select("accuracy", implementation=name, dtype=dtype, operation=operation)


def histogram(run: RunData, dtype: str, operation: str) -> Table:
    """Share of the elements in each class of error, over all cells of an implementation."""
    rows = []
    for name in run.implementations:
        cells = _cells(run, name, dtype, operation)
        counts: Counter[str] = Counter()
        for c in measured(cells):
            counts.update(c.get("ulp_histogram") or {})
        total = sum(counts.values())
        row = [words(name)]
        if total == 0:
            gap = missing(*run.why(name, cells, dtype=dtype, operation=operation))
            rows.append([*row, *[gap] * (len(CLASSES_OF_ERROR) + 1)])
            continue
        for key in CLASSES_OF_ERROR:
            n = counts[key]
            alarming = key in (">4", "wrong") and n > 0
            shown = percent(n / total) if n else "0"
            row.append(Entry(shown, n, "bad" if alarming else "quiet" if n == 0 else ""))
        row.append(Entry(integer(total), total))
        rows.append(row)
    columns = texts("Implementation")
    columns += [
        Column(key.replace("<=", "≤ "), "%", group="Error in ulp") for key in CLASSES_OF_ERROR
    ]
    columns.append(Column("Elements"))
    return Table(
        f"histogram-{dtype}",
        f"Distribution of the errors, {dtype}: share of the elements in each class",
        columns,
        rows,
        (
            "Classes exclude the one before: “≤ 1” is above 0.5 and at most 1 ulp. “Wrong” is "
            "not finite where the result is, or the reverse, or without a correct digit. The CSV "
            "holds counts.",
        ),
    )


_METRICS: Sequence[tuple[str, str, str, str]] = (
    # field, header, unit, how the worst over the cells is taken
    ("max_ulp", "max", "ulp", "max"),
    ("p999_ulp", "p99.9", "ulp", "max"),
    ("p99_ulp", "p99", "ulp", "max"),
    ("p50_ulp", "median", "ulp", "max"),
    ("bias_ulp", "bias", "ulp", "abs"),
    ("correctly_rounded", "correctly rounded", "%", "min"),
    ("error_over_bound", "error ÷ bound", "", "max"),
    ("exp_error_u", "E of exp", "u", "max"),
    ("max_relative", "relative", "", "max"),
    ("normwise_relative", "normwise", "", "max"),
    ("sum_residual", "sum residual", "", "max"),
    ("kl_divergence", "KL", "nat", "max"),
    ("total_variation", "total variation", "", "max"),
    ("flushed_count", "flushed", "elements", "sum"),
    ("wrong_argmax", "wrong argmax", "rows", "sum"),
    ("wrong_order", "wrong order", "pairs", "sum"),
    ("nonfinite", "not finite", "elements", "sum"),
)


def _reduced(cells: Sequence[Cell], field: str, how: str) -> float | None:
    values = [float(c[field]) for c in measured(cells) if c.get(field) is not None]
    if not values:
        return None
    if how == "sum":
        return sum(values)
    if how == "abs":
        return max(values, key=abs)
    return min(values) if how == "min" else max(values)


def _metric(value: float | None, unit: str, how: str, field: str) -> Entry:
    if value is None:
        return Entry("none", "none", "quiet", note="none: does not apply to these cells")
    if how == "sum":
        return Entry(integer(int(value)), int(value), "quiet" if value == 0 else "")
    if unit == "%":
        return Entry(percent(value), 100 * value)
    bad = field == "error_over_bound" and value > 1
    shown = quotient(value) if field == "error_over_bound" else figure(value)
    return Entry(shown, value, "bad" if bad else "")


def metrics(run: RunData, dtype: str, operation: str) -> Table:
    """Every metric, worst over the cells of an implementation."""
    rows = []
    for name in run.implementations:
        cells = _cells(run, name, dtype, operation)
        good = measured(cells)
        if not good:
            gap = missing(*run.why(name, cells, dtype=dtype, operation=operation))
            rows.append([words(name), *[gap] * (len(_METRICS) + 1)])
            continue
        short = [c for c in cells if c not in good]
        note = None
        if short:
            note = f"{name}: " + "; ".join(
                sorted({f"{c['status']} ({c.get('reason') or 'no reason recorded'})"
                        for c in short})
            )  # fmt: skip
        row = [words(name), Entry(f"{len(good)}/{len(cells)}", note=note)]
        for field, _, unit, how in _METRICS:
            row.append(_metric(_reduced(cells, field, how), unit, how, field))
        rows.append(row)
    columns = [*texts("Implementation"), Column("Cells", "measured/all")]
    columns += [Column(header, unit) for _, header, unit, _ in _METRICS]
    return Table(
        f"metrics-{dtype}",
        f"Metrics, {dtype}: the worst over all cells of the implementation",
        columns,
        rows,
        (
            "Counts are sums over the cells; correctly rounded is the smallest fraction of any "
            "cell; bias is the signed mean error of the cell where it is largest. The sum residual "
            "is blind to errors of exp, which cancel in the quotient: it shows stalled sums only.",
        ),
    )


def by_workload(run: RunData, dtype: str, operation: str) -> Table:
    """Workload × implementation: the largest error over all class counts."""
    everything = run.select("accuracy", dtype=dtype, operation=operation)
    workloads = sorted({str(c["workload"]) for c in everything if c.get("workload")})
    rows = []
    for workload in workloads:
        here = [c for c in everything if c.get("workload") == workload]
        counts = sorted({c["classes"] for c in here if c.get("classes")})
        spread = integer(counts[0]) if counts else ""
        if len(counts) > 1:
            spread += f"–{integer(counts[-1])}"
        row = [words(workload), Entry(spread, spread)]
        for name in run.implementations:
            mine = of(here, name)
            cell = worst(mine, "max_ulp")
            if cell is None:
                row.append(missing(*run.why(name, mine, dtype=dtype, operation=operation)))
                continue
            over = cell.get("error_over_bound")
            bad = cell["status"] == "failed" or (over is not None and over > 1)
            note = None
            if bad:
                note = f"{name}: {cell.get('reason') or 'above its bound'}"
            row.append(Entry(figure(cell["max_ulp"]), cell["max_ulp"], "bad" if bad else "", note))
        rows.append(row)
    columns = [*texts("Workload"), Column("Classes")]
    columns += [Column(name, "ulp") for name in run.implementations]
    return Table(
        f"workloads-{dtype}",
        f"Largest error by workload, {dtype}, over all class counts measured",
        columns,
        rows,
    )


def worst_inputs(run: RunData, operation: str) -> Table:
    """For each implementation and dtype, the element with the largest error, in hexadecimal."""
    rows = []
    for name in run.implementations:
        for dtype in run.dtypes("accuracy"):
            cell = worst(_cells(run, name, dtype, operation), "max_ulp")
            if cell is None:
                continue
            place = f"{cell.get('worst_row')}, {cell.get('worst_class')}"
            rows.append([
                words(name), words(dtype), Entry(figure(cell["max_ulp"]), cell["max_ulp"]),
                words(cell.get("workload")), Entry(integer(cell["classes"] or 0), cell["classes"]),
                Entry(str(cell.get("seed")), cell.get("seed")), words(place),
                words(cell.get("worst_logit") or "not recorded"),
                words(cell.get("worst_got") or "not recorded"),
                words(cell.get("worst_expected") or "not recorded"),
            ])  # fmt: skip
    columns = [
        *texts("Implementation", "dtype"), Column("Error", "ulp"), *texts("Workload"),
        Column("Classes"), Column("Seed"), Column("Row, class"),
        Column("Logit", "hex", numeric=False), Column("Result", "hex", numeric=False),
        Column("Correctly rounded", "hex", numeric=False),
    ]  # fmt: skip
    notes = ("An implementation without any accuracy figure has no line; the metrics say why.",)
    return Table("worst-inputs", "Where the largest errors were found", columns, rows, notes)
