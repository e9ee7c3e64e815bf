"""The report's parts: names, numbers, tables, scales, frontier, choice of timings."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import report_run
from jinja2 import UndefinedError

import implementations
from harness.records import AccuracyRecord, OverflowRecord, ThroughputRecord
from harness.report.drawing import formatting, sanitize
from harness.report.drawing import style as palette
from harness.report.drawing.figure import log_scale, power, ticks_between
from harness.report.drawing.prose import TEMPLATES, prose
from harness.report.drawing.tables import Column, Entry, Table, missing, words
from harness.report.pages.findings import noise
from harness.report.pages.overflow import outcome_of
from harness.report.pages.overview import quotient, ulp_entry
from harness.report.pages.pareto import frontier
from harness.report.run_data import RunData, from_run, worst_error
from harness.report.sections import SECTIONED
from harness.report.site import STATIC
from harness.report.timing_selection import headline, preferred


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", ".", "", "a/b", "C:\\x", "con", "\x00",
                                  "ナイーブ", "<b>", "x" * 500, "-rf", "index"])  # fmt: skip
def test_slugs_never_leave_their_folder(name: str) -> None:
    slug = sanitize.slug(name)
    assert slug
    assert not slug.startswith((".", "-"))
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert ".." not in slug
    assert slug not in ("con", "index")
    assert len(slug) <= 80


def test_different_names_have_different_slugs() -> None:
    given = ["a b", "a-b", "A-b", "a_b", "ä", "ö"]
    assert len(set(sanitize.slugs(given).values())) == len(given)
    assert sanitize.slug("max_shift") == "max_shift"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=1+1", "'=1+1"), ("+cmd", "'+cmd"), ("-2+3", "'-2+3"), ("@SUM(A1)", "'@SUM(A1)"),
        (" =1", "' =1"), ("\t=1", "'\t=1"), ("-0x1.8p+3", "-0x1.8p+3"), ("-1.5", "-1.5"),
        (-1.5, "-1.5"), (True, "true"), (None, ""), ("plain", "plain"), (math.inf, "inf"),
    ],
)  # fmt: skip
def test_csv_cells_are_neutralised(value: object, expected: str) -> None:
    assert sanitize.neutralise(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("javascript:alert(1)", None), ("data:text/html,x", None), (None, None),
        ("see https://example.org/a, p. 3", "https://example.org/a"),
        ("doi:10.1093/imanum/draa038.", "https://doi.org/10.1093/imanum/draa038"),
        ('https://example.org/"onmouseover="x', "https://example.org/"),
    ],
)  # fmt: skip
def test_only_web_addresses_become_links(text: str | None, expected: str | None) -> None:
    assert sanitize.link(text) == expected


def test_labels_are_one_short_drawable_line() -> None:
    assert sanitize.label("a\nb\x00\u202e" + "c" * 99, 20) == "a b??" + "c" * 14 + "…"


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (0.0, "0"), (1.234, "1.23"), (12.34, "12.3"), (99.96, "100"), (999.6, "1000"),
        (8140.4, "8140"), (12345.0, "12\u202f300"), (123456.0, "1.23×10⁵"), (0.00012, "1.20×10⁻⁴"),
        (-0.5, "−0.500"), (math.inf, "∞"), (math.nan, "NaN"), (99999.9, "1.00×10⁵"),
    ],
)  # fmt: skip
def test_figures_have_three_significant_digits(x: float, expected: str) -> None:
    assert formatting.figure(x) == expected


@pytest.mark.parametrize(
    ("x", "expected"),
    [(0.5, "0.500000"), (0.5000000017, "0.500000002"), (0.501043, "0.501043"), (0.75, "0.750000")],
)
def test_a_figure_is_never_rounded_to_a_limit_that_it_passes(x: float, expected: str) -> None:
    assert formatting.apart(x, 0.5, 6) == expected


@pytest.mark.parametrize(
    ("x", "dtype", "expected"),
    [
        (88.72283172607422, "float32", "88.7228317"),
        (709.782712893384, "float64", "709.782712893384"),
        (11.0859375, "float16", "11.0859375"), (88.5, "bfloat16", "88.5"),
        (-745.1332191019412, "float64", "−745.1332191019412"),
    ],
)  # fmt: skip
def test_thresholds_tell_neighbours_apart(x: float, dtype: str, expected: str) -> None:
    assert formatting.threshold(x, dtype) == expected


@pytest.mark.parametrize(
    ("x", "expected"),
    [(0.9999, ">99.9"), (1.0, "100"), (1e-6, "<0.01"), (6.52e-5, "<0.01"), (1e-4, "0.0100")],
)
def test_a_percentage_is_not_rounded_to_all_or_nothing(x: float, expected: str) -> None:
    assert formatting.percent(x) == expected


@pytest.mark.parametrize(("x", "text"), [(0.99999, "0.9999"), (1.00001, "1.0001"), (1.0, "1.00")])
def test_error_over_bound_is_not_rounded_across_one(x: float, text: str) -> None:
    assert quotient(x) == text


def test_footnotes_are_shared_and_gaps_side_by_side_joined() -> None:
    gap = missing("timeout", "60 s")
    columns = [Column("a", numeric=False), Column("b"), Column("c"), Column("d")]
    table = Table("t", "T", columns, [[words("x"), gap, gap, Entry("1", note="other")]])
    assert table.footnotes == ["timeout: 60 s", "other"]
    assert [s for _, _, s in table.spans(table.rows[0])] == [1, 2, 1]
    assert table.to_csv().splitlines()[1].count("timeout: 60 s") == 2


def test_what_is_true_of_one_entry_alone_stands_in_the_csv() -> None:
    marked = [Entry("~1", note="not known", told=f"needs {s} s more") for s in (2, 3)]
    table = Table("t", "T", [Column("a"), Column("b"), Column("c")], [[words("x"), *marked]])
    assert table.footnotes == ["not known"]
    assert "needs 2 s more" in table.to_csv()
    assert "needs 3 s more" in table.to_csv()


def test_rows_that_are_one_gap_are_gathered_by_reason_and_stay_in_the_csv() -> None:
    columns = [Column("a", numeric=False), Column("b"), Column("c")]

    def gap(name: str, reason: str) -> list[Entry]:
        return [words(name), *[missing("unavailable", reason)] * 2]

    full = [words("x"), words("1"), missing("timeout", "60 s")]
    rows = [gap("p", "no GPU"), full, gap("q", "no GPU"), gap("r", "no jax")]
    table = Table("t", "T", columns, rows)
    assert list(table.shown) == [full]
    assert table.footnotes == ["timeout: 60 s"]
    assert table.empty() == "p, q (unavailable: no GPU); r (unavailable: no jax)"
    assert table.empty({"unavailable: no GPU"}) == "r (unavailable: no jax)"
    assert table.to_csv().count("unavailable: no GPU") == 4
    assert list(Table("t", "T", columns, rows[:1]).shown) == rows[:1]


def anchors(*names: str, name: str = "t") -> list[str]:
    rows = [[words(n), words("1")] for n in names]
    return Table(name, "T", [Column("a", numeric=False), Column("b")], rows).anchors


@pytest.mark.parametrize(
    "names",
    [
        ("a", "b"), ("a", "a", "a"), ("a-1", "a", "a"), ("a-2", "a", "a"), ("a", "a", "a-1"),
        ("a", "a", "a-1", "a-1-2", "a"), ("", "", "row"), (report_run.HOSTILE, "<", ">", "a b"),
        ("x" * 500, "x" * 501),
    ],
    ids=str,
)  # fmt: skip
def test_each_row_has_an_anchor_of_its_own(names: tuple[str, ...]) -> None:
    found = anchors(*names)
    assert len(found) == len(set(found)) == len(names)
    assert all(re.fullmatch(r"t--[A-Za-z0-9._-]+", anchor) for anchor in found)


def test_the_anchor_of_a_row_does_not_depend_on_the_others() -> None:
    assert anchors("torch", "scipy") == ["t--torch", "t--scipy"]
    assert anchors("new", "scipy", "torch") == ["t--new", "t--scipy", "t--torch"]
    assert anchors("torch", name="../x")[0].endswith("--torch")


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 2 entries"):
        Table("t", "T", [Column("a"), Column("b")], [[words("x")]])


def test_zero_and_infinity_have_places_of_their_own() -> None:
    scale = log_scale([0.0, 1.0, 100.0, math.inf])
    low, high = scale.limits
    assert low < scale.place(0.0) < 1.0
    assert 100.0 < scale.place(math.inf) < high
    assert scale.place(math.nan) == scale.place(math.inf)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(2, 1e6, [10, 100, 1e3, 1e4, 1e5, 1e6]), (0.5, 20, [0.5, 1, 2, 5, 10, 20])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks_between(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(("x", "text"), [(0.5, "0.5"), (1000, "1000"), (1e4, "10⁴"),
                                         (2e-5, "2×10⁻⁵"), (20, "20")])  # fmt: skip
def test_tick_labels(x: float, text: str) -> None:
    assert power(x) == text


def test_frontier_keeps_those_that_nobody_beats() -> None:
    points = {"slow": (1.0, 0.5), "fast": (9.0, 3.0), "beaten": (1.0, 2.0), "bad": (8.0, math.inf)}
    assert frontier(points) == ["slow", "fast"]


def test_of_repeated_timings_the_slowest_counts_and_the_preallocated_comes_first() -> None:
    fields: list[dict[str, Any]] = [
        {"median_ns": 1.0, "allocating": True},
        {"median_ns": 2.0, "allocating": False},
        {"median_ns": 3.0, "allocating": False},
        {"median_ns": 0.1, "allocating": False, "implausible": True},
        {"median_ns": None, "allocating": False},
    ]
    records = [ThroughputRecord(implementation="torch", status="ok", **f) for f in fields]
    found = preferred(records)
    assert found is not None
    assert found.median_ns == 3.0
    assert preferred(records[3:]) is None


def data(records: list[dict[str, Any]]) -> RunData:
    return from_run(report_run.run(records), "")


def test_a_maximum_does_not_lose_an_infinite_error() -> None:
    record = report_run.RECORD.validate_python(
        {"experiment": "accuracy", "implementation": "naive", "dtype": "float32",
         "status": "failed", "reason": "nan", "max_ulp": None, "nonfinite": 3}
    ).model_dump()  # fmt: skip
    finite = {**record, "status": "ok", "reason": None, "max_ulp": 2.0, "nonfinite": 0}
    run = data([finite, record])
    found = worst_error(run.select(AccuracyRecord))
    assert found is not None
    assert found[0] == found[1].max_ulp == math.inf
    entry = ulp_entry(run, "naive", "float32")
    assert (entry.text, entry.kind) == ("∞", "bad")


def test_headline_is_streaming_on_all_threads_at_a_thousand_classes() -> None:
    point = headline(data(report_run.cells()))
    assert point is not None
    assert (point.regime, point.classes, point.group.threads) == ("streaming", 1000, 4)


@pytest.mark.parametrize(("low", "high", "missed"), [(0.9, 1.1, 0), (1.01, 1.2, 1), (0.8, 0.9, 1)])
def test_noise_counts_the_intervals_that_miss_one(low: float, high: float, missed: int) -> None:
    records = report_run.cells()
    control = next(c for c in records if c.get("role") == "control" and not c["noisy"])
    control = {**control, "speedup_low": 0.99, "speedup_high": 1.02}
    copy = {**control, "implementation": "copy_regular (control)", "operation": "copy",
            "speedup_low": low, "speedup_high": high}  # fmt: skip
    finding = noise(data([control, copy]))
    assert finding is not None
    assert f"{missed} of 2 controls" in finding.text


@pytest.mark.parametrize(
    ("ulp", "expected"),
    [(2.0, "accurate"), (11.0, "coarse"), (2.0**23, "lost"), (math.inf, "lost")],
)
def test_within_a_wide_bound_lost_digits_are_still_shown(ulp: float, expected: str) -> None:
    record = OverflowRecord(
        implementation="torch", outcome="accurate", max_ulp=ulp, dtype="float32", status="ok"
    )
    assert outcome_of(record) == expected


def test_absent_outcomes_and_crashes_are_not_right() -> None:
    assert outcome_of(OverflowRecord(implementation="torch", status="ok")) == "missing"
    assert outcome_of(OverflowRecord(implementation="torch", status="crashed")) == "crashed"
    assert outcome_of(None) == "missing"


def _luminance(colour: Sequence[float]) -> float:
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _channels(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_series_stands_out_from_its_ground(dark: bool) -> None:
    ground = "#15181c" if dark else "#ffffff"
    assert f"--paper: {ground};" in (STATIC / "style.css").read_text(encoding="utf-8")
    light, _, darkened = palette.sheet().partition("@media screen and (prefers-color-scheme:dark)")
    shown = dict(re.findall(r"--([a-z0-9-]+):(#[0-9a-f]{6});", darkened if dark else light))
    assert shown.keys() == set(palette.VARIABLES.values())
    behind, areas = {"f-grid", "f-context", "f-axis"}, {"f-right", "f-coarse"}
    for name in shown.keys() - behind - areas:
        low, high = sorted(_luminance(_channels(c)) for c in (shown[name], ground))
        assert (high + 0.05) / (low + 0.05) >= 3.0, (name, ground)


BUILT_IN = [p.stem for p in sorted(Path(implementations.__path__[0]).glob("[a-z]*.py"))]


def test_no_two_of_our_own_implementations_look_alike() -> None:
    found: dict[palette.Style, list[str]] = {}
    for name, style in palette.styles(BUILT_IN).items():
        found.setdefault(style, []).append(name)
    assert len(BUILT_IN) > 20
    assert [names for names in found.values() if len(names) > 1] == []


def test_nobody_else_looks_like_one_of_ours() -> None:
    own = set(palette.styles(BUILT_IN).values())
    others = palette.styles(f"mine_{i}" for i in range(200))
    assert [name for name, style in others.items() if style in own] == []


def test_a_text_is_one_line_and_lacks_no_value() -> None:
    text = prose("limit_shares", meaning="% of {{ x }} & <b>")
    assert text.startswith("% of {{ x }} & <b>. Second line: 95% interval.")
    assert "\n" not in text
    assert prose("ulp_by_classes", workload="w", absent=" X.").endswith("ones. X.")
    with pytest.raises(UndefinedError):
        prose("limit_shares")
    with pytest.raises(TypeError):
        prose("limit_shares", meaning="", other="")
    with pytest.raises(AttributeError):
        prose("nowhere")


def test_every_text_is_on_some_page() -> None:
    source = (TEMPLATES / "prose.txt").read_text(encoding="utf-8")
    code = "".join(p.read_text(encoding="utf-8") for p in TEMPLATES.parent.rglob("*.py"))
    leads = {f"{page}_lead" for page in SECTIONED}
    for name in re.findall(r"macro (\w+)\(", source):
        assert f'"{name}"' in code or name in leads


def test_every_outcome_of_the_schema_has_a_colour() -> None:
    from typing import get_args

    from harness.records import Outcome

    assert set(get_args(Outcome)) <= set(palette.OUTCOMES)
