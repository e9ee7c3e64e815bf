"""One judgement of what a declared deviation excuses, whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contexts import MakeContext
from numpy.typing import NDArray

from harness.bounds import evaluate_bound, over_bound
from harness.experiments import accuracy_cell, overflow
from harness.experiments.judgement import excused, excuses
from harness.experiments.profiles import SMOKE
from harness.experiments.verdict import reached
from harness.experiments.worst_case.evaluate import judge_row
from harness.experiments.worst_case.search import planned
from harness.numerics.outcomes import SEVERITY, severity
from harness.numerics.ulps import ulp_error
from harness.records.base import Outcome
from harness.reference import softmax_exact
from harness.registry.contract import Deviation
from harness.worker.local import load

F = np.float32
NAIVE = """with np.errstate(all='ignore'):
        e = np.exp(x)
        return e / e.sum(axis=axis, keepdims=True)"""
SHIFT = "e = np.exp(x - x.max(axis=axis, keepdims=True)); y = e / e.sum(axis=axis, keepdims=True)\n"


def rows_with(x: NDArray[Any], y: NDArray[Any], *ids: str) -> list[str | None]:
    """What excuses results by the bound of `generic`."""
    exact = softmax_exact(x)
    limit = evaluate_bound("generic", x, exact, x.dtype.name).ulp
    ratio = over_bound(ulp_error(y, exact), limit)
    return excuses([Deviation(i, "so it is") for i in ids], x, y, exact, ratio)


X = np.array([[100.0, 0.0], [-120.0, -120.0], [1.0, 2.0], [3000.0, 3001.0], [-98.0, -98.0]], F)
RIGHT = softmax_exact(X).round_to("float32")


@pytest.mark.parametrize(
    ("ids", "row", "result", "found"),
    [
        (("overflow",), 0, [np.nan, 0.0], "overflow"),
        (("overflow",), 0, [np.inf, 0.0], "overflow"),
        (("overflow",), 0, [0.5, 0.5], None),  # a finite wrong number is no overflow
        (("underflow",), 0, [np.nan, 0.0], "underflow"),
        (("overflow",), 1, [np.nan, np.nan], "overflow"),
        (("underflow",), 1, [np.nan, np.nan], "underflow"),
        (("underflow",), 1, [0.75, 0.25], None),  # exp(-120) is 0: nothing is left to be wrong
        (("underflow",), 1, [0.0, 0.0], "underflow"),
        (("underflow",), 4, [0.5019, 0.4981], None),  # lost digits are for the bound to allow
        (("underflow",), 1, [7.0, 0.25], None),
        (("overflow", "underflow", "offset"), 2, [np.nan, np.nan], None),  # moderate logits
        (("overflow", "underflow"), 2, [0.0, 1.0], None),
        (("offset",), 2, [0.2689, 0.7311], None),  # 50 times what an offset of 2 can do
        (("offset",), 3, [0.2690, 0.7310], "offset"),
        (("offset",), 3, [0.27, 0.73], None),
        (("offset",), 3, [np.nan, 0.73], None),
        (("flushes",), 0, [1.0, 0.0], "flushes"),
        (("flushes",), 0, [1.0, 1e-38], None),  # wrong, and not 0
        (("flushes",), 2, [0.0, 1.0], None),  # 0.27 is no subnormal number
        (("strided-sum", "order"), 0, [np.nan, 0.0], None),
        ((), 0, [np.nan, 0.0], None),
    ],
)  # fmt: skip
def test_a_declaration_excuses_what_it_can_have_caused_and_no_more(
    ids: tuple[str, ...], row: int, result: list[float], found: str | None
) -> None:
    y = RIGHT.copy()
    y[row] = result
    expected: list[str | None] = [None] * len(X)
    expected[row] = found
    assert rows_with(X, y, *ids) == expected


def test_a_row_with_a_nan_or_an_infinity_is_never_excused() -> None:
    for value in (np.nan, np.inf):
        x = np.array([[value, 100.0]], F)
        ratio = np.full((1, 2), np.inf)
        found = excuses([Deviation("overflow", "no shift")], x, np.zeros((1, 2), F),
                        softmax_exact(x), ratio)  # fmt: skip
        assert found == [None]


def test_what_is_computed_in_a_wider_format_overflows_where_that_one_does(
    tmp_path: Path, make_context: MakeContext
) -> None:
    """float16 in and out, float32 inside: exp(20) is no overflow, exp(100) is."""
    path = tmp_path / "wide.py"
    path.write_text(
        '"""Wide inside."""\nimport numpy as np\nIMPLEMENTATION = {"accumulator": "float32", '
        '"dtypes": ("float16",), "deviations": ({"id": "overflow", "reason": "no shift"},)}\n\n\n'
        "def softmax(x, axis=-1):\n    return np.full_like(x, np.nan)\n",
        encoding="utf-8",
    )
    one = load(path)
    context = make_context([one], SMOKE)
    for largest, deviation in ((20.0, None), (100.0, "overflow")):
        x = np.array([[largest, 0.0]], np.float16)
        y = context.call(one, "softmax", x, axis=-1)
        blank = accuracy_cell.AccuracyRecord(implementation=one.name, status="skipped")
        record = accuracy_cell.judge(context, one, x, y, softmax_exact(x), blank)
        assert (record.status, record.deviation) == ("failed", deviation)


def test_all_rows_beyond_must_be_explained() -> None:
    ratio = np.array([[0.5, 2.0], [3.0, 0.0], [0.1, 0.2]])
    assert excused(["overflow", "offset", None], ratio) == "offset, overflow"
    assert excused(["overflow", None, None], ratio) is None
    assert excused([None, None, None], np.zeros((3, 2))) is None


@dataclass
class Judged:
    """What every judge says of one file on one row: passed, declared or failed."""

    source: str
    row: tuple[float, ...]
    expected: str


def declared(*ids: str) -> str:
    entries = "".join(f'{{"id": "{i}", "reason": "no shift"}}, ' for i in ids)
    return f'IMPLEMENTATION = {{"deviations": ({entries})}}\f'


CASES = {
    "right": Judged(SHIFT + "    return y", (100.0, 0.0), "passed"),
    "naive declares overflow": Judged(declared("overflow") + NAIVE, (100.0, 0.0), "declared"),
    "naive declares nothing": Judged(NAIVE, (100.0, 0.0), "failed"),
    "naive underflows, overflow declared": Judged(
        declared("overflow") + NAIVE, (-120.0, -121.0), "declared"
    ),
    "naive underflows, another declared": Judged(
        declared("strided-sum", "order") + NAIVE, (-120.0, -121.0), "failed"
    ),
    "a lie under a declaration": Judged(
        declared("overflow", "underflow", "offset") + SHIFT + "    return y * x.dtype.type(1.01)",
        (1.0, 2.0), "failed",
    ),
    "a NaN under a declaration": Judged(
        declared("overflow", "underflow", "offset") + SHIFT + "    return y * np.nan",
        (1.0, 2.0), "failed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_check_the_plugin_accuracy_overflow_and_worst_case_agree(
    case: str, tmp_path: Path, make_context: MakeContext, plain_file: Callable[[str, str], Path]
) -> None:
    """`check` and the plugin read the records and the figures that are compared here."""
    given = CASES[case]
    head, body = given.source.rsplit("\f") if "\f" in given.source else ("", given.source)
    path = plain_file("judged", body)
    path.write_text(path.read_text().replace("\ndef softmax", f"\n{head}\n\ndef softmax"))
    one = load(path)
    context = make_context([one], SMOKE)
    x = np.array([given.row], F)
    y = context.call(one, "softmax", x, axis=-1)
    exact = softmax_exact(x)

    def word(status: str, deviation: str | None) -> str:
        return "passed" if status == "ok" else "failed" if deviation is None else "declared"

    blank = accuracy_cell.AccuracyRecord(
        implementation=one.name, dtype="float32", classes=2, rows=1, status="skipped"
    )
    record = accuracy_cell.judge(context, one, x, y, exact, blank)
    assert word(record.status, record.deviation) == given.expected
    (cell,) = overflow._judge_map(context, one, "float32", [_map_record(one.name)], x, y, exact)
    assert word(cell.status, cell.deviation) == given.expected
    report = reached(one.metadata, [record, cell])
    assert report.verdict.name == ("FAIL" if given.expected == "failed" else "PASS")
    assert bool(report.expected) == (given.expected == "declared")
    row = judge_row(context, one, x[0], planned(one, "float32", 2, 0))
    assert row.status == ("failed" if given.expected == "failed" else "ok")
    assert ("as declared" in (row.reason or "")) == (given.expected == "declared")


def _map_record(name: str) -> Any:
    return overflow.OverflowRecord(
        implementation=name, dtype="float32", kind="map", classes=2, rows=1, status="skipped"
    )


def test_one_order_of_severity_holds_every_outcome() -> None:
    assert sorted(SEVERITY) == sorted(Outcome.__args__)  # type: ignore[attr-defined]
    assert severity("exact") == severity("accurate")
    ranks = [severity(o) for o in ("accurate", "inaccurate", "inf", "nan", "wrong", "crashed")]
    assert ranks == sorted(set(ranks))


@pytest.mark.parametrize(
    ("error", "limit", "ratio"),
    [(0.0, 0.0, 0.0), (0.0, np.inf, 0.0), (3.0, np.inf, 0.0), (np.inf, np.inf, np.inf),
     (np.nan, np.inf, np.inf), (1.0, 0.0, np.inf), (3.0, 2.0, 1.5), (np.inf, 2.0, np.inf)],
)  # fmt: skip
def test_no_bound_excuses_what_is_no_number(error: float, limit: float, ratio: float) -> None:
    assert over_bound(np.array([error]), np.array([limit]))[0] == ratio
