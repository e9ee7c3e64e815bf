"""The judge of the catalogue against broken and correct implementations: none missed, none blamed.

Everything runs in this process; a mutant is judged until its first failure.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.experiments.conformance.judge import Options, judge
from harness.experiments.conformance.target import LocalSubject
from harness.records import ConformanceRecord

HERE = Path(__file__).parent
MUTANTS = sorted((HERE / "mutants").glob("*.py"))
CORRECT = sorted((HERE / "correct").glob("*.py"))

CAUGHT_BY = {
    "caller_byte_order": "byte-order",
    "caller_clamped_targets": "targets-that-are-no-class",
    "caller_cleared_by_fork": "after-fork",
    "caller_global_axis": "two-threads",
    "caller_narrow_index": "targets-of-every-width",
    "caller_positional_axis": "positional-axis",
    "caller_shared_scratch": "two-threads",
    "caller_small_scratch": "two-threads",
    "caller_thread_without_settings": "second-thread",
    "caller_unsigned_targets": "targets-of-every-width",
    "count_8193": "31-tails",
    "equal_logits_off": "equal-logits",
    "exponential_of_one_interval": "exponential",
    "gradient_one_count": "28-counts",
    "gradient_strides_of_y": "38-unlike-layouts",
    "input_overrun": "36-gaps",
    "leading_axis_of_one": "41-axes",
    "logsumexp_is_a_view": "10-one-class",
    "logsumexp_of_nothing": "1-log-of-zero",
    "never_vanishes": "17-vanishing",
    "out_overruns": "39-out",
    "size_columns_beyond_2_22": "31-millions-of-rows",
    "size_float32_index": "31-millions-of-classes",
    "size_half_of_a_long_row": "31-millions-of-classes",
    "size_one_row_lost": "31-millions-of-rows",
    "size_row_in_a_thousand": "31-millions-of-rows",
    "size_row_index_wraps": "31-millions-of-rows",
    "size_rows_beyond_2_22": "31-millions-of-rows",
    "size_tail_of_a_long_row": "31-millions-of-classes",
    "slices_beyond_65535": "31-many-rows",
    "state_backward_of_last_forward": "state",
    "state_counts_calls": "state",
    "state_cutoff_of_half": "state",
    "state_first_format": "state",
    "state_mask_stays": "state",
    "state_one_memo_for_all": "state",
    "state_scratch_by_shape": "state",
    "state_sum_of_logsumexp": "state",
    "strided_beyond_65535": "31-tails",
    "swaps_two_of_19": "28-every-count",
    "unshifted_when_moderate": "31-tails",
    "wide_columns_left": "31-many-rows",
    "wide_cubic_exponential": "wide-rows",
    "wide_gradient_sum_off": "wide-rows",
    "wide_half_sum": "wide-rows",
    "wide_lane_of_the_sum": "wide-exact-sums",
    "wide_log_off": "wide-rows",
    "wide_logsumexp_off": "wide-exact-sums",
    "wide_reciprocal_12_bits": "wide-exact-sums",
    "wide_schraudolph_half": "wide-rows",
    "wide_sum_off": "wide-rows",
    "wide_tile_forgotten": "wide-rows",
}
"""Mutants that one case is there for: it alone must catch them."""

QUICK_TO_JUDGE = {"with_out", "one_by_one"}


def failed(result: ConformanceRecord) -> bool:
    return result.verdict == "failure"


def failures(path: Path, options: Options) -> list[ConformanceRecord]:
    """Failures over the operations and formats on which the module is judged, or the first."""
    subject = LocalSubject.from_path(path)
    found: list[ConformanceRecord] = []
    for operation in subject.metadata.operations:
        for dtype in subject.metadata.dtypes or ("float32", "float64"):
            found += filter(failed, judge(subject, operation, dtype, options=options))
            if found and options.stop is failed:
                return found
    return found


@pytest.mark.parametrize("path", MUTANTS, ids=lambda p: p.stem)
def test_mutant_is_caught(path: Path) -> None:
    # A selection first: most are caught there, and the rest are put to everything.
    cases = (CAUGHT_BY[path.stem],) if path.stem in CAUGHT_BY else ()
    found = failures(path, Options(thorough=False, budget_s=0.3, stop=failed, cases=cases))
    if cases:
        assert found, f"{path.stem} was not caught by {cases[0]}"
    found = found or failures(path, Options(stop=failed))
    assert found, f"{path.stem} was not caught"
    name = found[0].case if found[0].number is None else f"case {found[0].number}"
    assert str(name) in (found[0].message or "")


@pytest.mark.parametrize(
    "path",
    [
        p if p.stem in QUICK_TO_JUDGE else pytest.param(p, marks=pytest.mark.slow)
        for p in CORRECT
        if p.stem != "torch_functional"
    ],
    ids=lambda p: p.stem,
)
def test_correct_implementation_has_no_failure(path: Path) -> None:
    thorough = path.stem not in QUICK_TO_JUDGE
    found = failures(path, Options(thorough=thorough, budget_s=2.0 if thorough else 0.3))
    assert [o.message for o in found] == []


@pytest.mark.slow
def test_torch_functional_has_no_failure() -> None:
    pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    found = failures(HERE / "correct" / "torch_functional.py", Options(thorough=False))
    assert [o.message for o in found] == []


def test_there_are_enough_of_both() -> None:
    assert len(MUTANTS) >= 40
    assert len(CORRECT) >= 12
