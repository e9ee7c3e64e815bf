"""What the catalogue's cases of properties say, and what they hand over to be reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from local_subject import LocalSubject

from harness.experiments.conformance.cases import lengths
from harness.experiments.conformance.judge import Options, judge
from harness.numerics.formats import from_hex
from harness.records import ConformanceRecord

SHIFTED = """\
    m = x.max(axis=axis, keepdims=True)
    e = np.exp(x.astype(np.float64) - m)
    y = (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)
"""


def result(tmp_path: Path, body: str, case: str, dtype: str = "float32") -> ConformanceRecord:
    path = tmp_path / "mine.py"
    path.write_text(
        f'"""Of a test."""\nimport numpy as np\n\n\ndef softmax(x, axis=-1):\n{body}    return y\n'
    )
    options = Options(cases=(case,), also=(case,), thorough=False, budget_s=0.3)
    subject = LocalSubject.from_path(path)
    (found,) = judge(subject, "softmax", dtype, options=options)
    return found


def test_another_last_bit_of_a_permuted_sum_is_no_finding(tmp_path: Path) -> None:
    body = SHIFTED.replace("np.float64", "x.dtype")
    found = result(tmp_path, body, "55-permutation")
    assert found.verdict == "pass"


def test_an_element_that_depends_on_its_place_is_one(tmp_path: Path) -> None:
    """Half of what the bound of a long row allows, in one place."""
    body = SHIFTED + "    y[..., 7:8] *= x.dtype.type(1 + 30 * 2.0**-23)\n"
    found = result(tmp_path, body, "55-permutation")
    assert found.verdict in ("finding", "failure")
    assert found.case_input


def test_the_recipe_of_a_permuted_input_gives_that_input(tmp_path: Path) -> None:
    body = SHIFTED + "    y[..., 7:8] *= x.dtype.type(1 + 30 * 2.0**-23)\n"
    found = result(tmp_path, body, "55-permutation")
    if found.verdict == "finding":
        made = eval((found.case_input or ())[0], {"numpy": np})
        assert made.dtype == np.float32
        assert made.shape[0] == 8


def test_an_inversion_is_handed_over_as_a_row_of_three(tmp_path: Path) -> None:
    """Every other neighbour is a little lower than the one before."""
    body = SHIFTED + (
        "    odd = (x.view(np.uint32) & 1).astype(x.dtype)\n"
        "    y = (y * (1 - 2.0**-22 * odd)).astype(x.dtype)\n"
    )
    found = result(tmp_path, body, "58-order")
    assert found.verdict == "finding"
    zero, low, high = (float(from_hex(t, "float32")) for t in found.case_input or ())
    assert zero == 0.0
    assert low < high
    assert found.got is not None
    assert found.expected is not None
    assert float.fromhex(found.got) < float.fromhex(found.expected.removeprefix("at least "))


def test_batches_that_differ_are_handed_over_with_both_values(tmp_path: Path) -> None:
    body = SHIFTED + "    y = np.nextafter(y, x.dtype.type(1)) if x.size > 2000 else y\n"
    found = result(tmp_path, body, "54-batches")
    assert found.verdict == "finding"
    assert found.got != found.expected
    made = eval((found.case_input or ())[0], {"numpy": np})
    assert made.shape == (64, 33)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """2**31 is 2**16 here."""
    monkeypatch.setattr(lengths, "_BEYOND", 1 << 16)
    return 1 << 16


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_beyond_int32_passes_what_is_right(tmp_path: Path, few: int, dtype: str) -> None:
    assert result(tmp_path, SHIFTED, "29-beyond-int32", dtype).verdict in ("pass", "unsupported")


def test_beyond_int32_finds_an_end_that_is_not_written(tmp_path: Path, few: int) -> None:
    body = SHIFTED + f"    y.reshape(-1)[{few}:] = 0\n"
    found = result(tmp_path, body, "29-beyond-int32")
    assert found.verdict == "failure"


def test_beyond_int32_is_skipped_with_its_size_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lengths, "_BEYOND", 1 << 50)
    found = result(tmp_path, SHIFTED, "29-beyond-int32")
    assert found.verdict == "skipped"
    assert "GiB are free" in (found.reason or "")
