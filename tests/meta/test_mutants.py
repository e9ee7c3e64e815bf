"""The judge of the catalogue against broken and correct implementations: none missed, none blamed.

Everything runs in this process; a mutant is judged until its first failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_subject import LocalSubject

from harness.experiments.conformance.judge import Options, judge
from harness.experiments.conformance.target import RemoteSubject, Subject
from harness.records import ConformanceRecord
from harness.worker.local import load

HERE = Path(__file__).parent
MUTANTS = sorted((HERE / "mutants").glob("*.py"))
CORRECT = sorted((HERE / "correct").glob("*.py"))

CAUGHT_BY = {
    "beyond_65536_rows": "31-many-rows",
    "beyond_a_million": "31-large",
    "broadcast_wrong": "37-broadcast",
    "cache_by_id": "fresh-values",
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
    "column_off": "localised-strided",
    "count_100_bias": "localised",
    "count_8193": "31-tails",
    "default_is_first": "40-default-axis",
    "equal_logits_off": "equal-logits",
    "exp_1e_6": "localised",
    "exponential_of_one_interval": "exponential",
    "flushes_results": "16-subnormal",
    "flushes_small": "16-subnormal",
    "gradient_lane": "localised",
    "gradient_one_count": "28-counts",
    "gradient_strides_of_y": "38-unlike-layouts",
    "ignores_strides": "35-transposed",
    "input_overrun": "36-gaps",
    "lane_0_of_8": "localised",
    "lane_31_of_32": "localised",
    "lane_3_of_4": "localised",
    "lane_5_of_16": "localised",
    "lane_narrow_rows": "localised",
    "last_entry_off": "localised",
    "leading_axis_of_one": "41-axes",
    "logsumexp_is_a_view": "10-one-class",
    "logsumexp_of_nothing": "1-log-of-zero",
    "middle_axis": "localised-strided",
    "nan_ignored": "8-nan",
    "narrow_result": "1-all-masked",
    "negative_axis": "41-axes",
    "negative_strides": "36-reversed",
    "never_vanishes": "17-vanishing",
    "odd_above_512": "28-every-count",
    "odd_count_drops": "28-every-count",
    "one_odd_count": "28-every-count",
    "out_overruns": "39-out",
    "random": "53-repeatable",
    "row_65536_wraps": "31-many-rows",
    "row_off": "localised",
    "rows_above_1000": "31-many-rows",
    "single_inside": "1-all-masked",
    "size_columns_beyond_2_22": "31-millions-of-rows",
    "size_exponential_of_long_rows": "31-millions-of-classes",
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
    "strided_accuracy": "35-transposed",
    "strided_beyond_65535": "31-tails",
    "swaps_two_of_19": "28-every-count",
    "three_dimensions": "35-transposed",
    "unshifted_when_moderate": "31-tails",
    "wide_batch_end": "wide-named",
    "wide_columns_left": "31-many-rows",
    "wide_columns_of_5000": "wide-named",
    "wide_columns_off": "wide-rows",
    "wide_columns_wrap": "31-tails",
    "wide_cubic_exponential": "wide-rows",
    "wide_element_lost": "wide-exact-sums",
    "wide_exponential_table": "wide-rows",
    "wide_exponentials_bfloat": "wide-rows",
    "wide_flush": "wide-rows",
    "wide_gradient_element_lost": "wide-exact-sums",
    "wide_gradient_sum_off": "wide-rows",
    "wide_half_sum": "wide-rows",
    "wide_lane_of_the_sum": "wide-exact-sums",
    "wide_last_tile_lost": "wide-rows",
    "wide_log_off": "wide-rows",
    "wide_logsumexp_off": "wide-exact-sums",
    "wide_masked_chunk": "wide-exact-sums",
    "wide_merge": "wide-rows",
    "wide_middle_axis_off": "wide-rows",
    "wide_odd_counts": "wide-rows",
    "wide_one_tile": "wide-rows",
    "wide_reciprocal_12_bits": "wide-exact-sums",
    "wide_schraudolph_half": "wide-rows",
    "wide_sum_off": "wide-rows",
    "wide_targets_half": "wide-exact-sums",
    "wide_tile_forgotten": "wide-rows",
    "wide_uniform_at_a_million": "wide-named",
    "wide_zeros_at_256_000": "wide-named",
}
"""Mutants that one case is there for: it alone must catch them."""

QUICK_TO_JUDGE = {"with_out"}

KEEP = {
    "asynchronous": "",
    "compiled_by_torch": "",
    "compiled_c": "",
    "executor_at_first_call": "thread",
    "executor_of_each_call": "",
    "executor_of_the_module": "threads of Python",
    "processes_kept": "1 child process",
    "threads_at_import": "",  # before the first call, as the threads of a compiled library
}
"""Unusual in what they start, and what they are seen to keep: judged in a process of their own."""

UNUSUAL = {
    "a_lambda", "applied_along", "data_class", "decorated", "einstein", "elements_of_python",
    "fractions_of_few", "generators", "guvectorized", "helper_beside", "instance", "long_double",
    "masked_arrays", "matched", "partial_functions", "vectorized_rows", "views_of_bytes",
    "workspace_of_a_thread", *KEEP,
}  # fmt: skip
"""Right ones of unusual style."""

OF_STYLE = (
    "1-all-masked", "2-some-masked", "10-one-class", "16-subnormal", "32-no-rows", "34-scalar",
    "35-transposed", "36-reversed", "36-gaps", "38-misaligned", "40-default-axis", "41-axes",
    "51-input-unchanged", "53-repeatable", "fresh-values", "56-memory-order", "58-distribution",
)  # fmt: skip
"""Cases that a style, rather than the arithmetic, could fail."""


def failed(result: ConformanceRecord) -> bool:
    return result.verdict == "failure"


def failures(path: Path, options: Options) -> Iterator[ConformanceRecord]:
    """Failures over the operations and formats on which the module is judged."""
    subject = LocalSubject.from_path(path)
    for operation in subject.metadata.operations:
        for dtype in subject.metadata.dtypes or ("float32", "float64"):
            yield from filter(failed, judge(subject, operation, dtype, options=options))


@pytest.mark.parametrize("path", MUTANTS, ids=lambda p: p.stem)
def test_mutant_is_caught(path: Path) -> None:
    # A selection first: most are caught there, and the rest are put to everything.
    cases = (CAUGHT_BY[path.stem],) if path.stem in CAUGHT_BY else ()
    first = next(failures(path, Options(thorough=False, budget_s=0.3, cases=cases)), None)
    if cases:
        assert first is not None, f"{path.stem} was not caught by {cases[0]}"
    first = first or next(failures(path, Options()), None)
    assert first is not None, f"{path.stem} was not caught"
    name = first.case if first.number is None else f"case {first.number}"
    assert str(name) in (first.message or "")


@pytest.mark.parametrize(
    "path",
    [
        p if p.stem in QUICK_TO_JUDGE else pytest.param(p, marks=pytest.mark.slow)
        for p in CORRECT
        if p.stem not in ("torch_functional", *KEEP)
    ],
    ids=lambda p: p.stem,
)
def test_correct_implementation_has_no_failure(path: Path) -> None:
    thorough = path.stem not in QUICK_TO_JUDGE | UNUSUAL
    found = list(failures(path, Options(thorough=thorough, budget_s=2.0 if thorough else 0.3)))
    assert [o.message for o in found] == []


@pytest.mark.parametrize("name", sorted(UNUSUAL - set(KEEP)))
def test_a_style_is_no_failure(name: str) -> None:
    if name == "guvectorized":
        pytest.importorskip("numba", reason="the extra 'numba' is not installed")
    assert in_one_format(LocalSubject.from_path(HERE / "correct" / f"{name}.py"), OF_STYLE) == []


def in_one_format(subject: Subject, cases: tuple[str, ...]) -> list[str | None]:
    """Messages of failures of softmax in float32."""
    options = Options(thorough=False, budget_s=0.1, cases=cases)
    found = list(judge(subject, "softmax", "float32", options=options))
    assert "pass" in {r.verdict for r in found}
    return [o.message for o in found if failed(o)]


def in_a_process(name: str, cases: tuple[str, ...]) -> tuple[list[str | None], str]:
    """The same in a process of its own, and what it was seen to keep."""
    remote = RemoteSubject(load(HERE / "correct" / f"{name}.py"))
    try:
        return in_one_format(remote, cases), remote.worker.keeps
    finally:
        remote.stop()


@pytest.mark.parametrize("name", sorted(set(KEEP) - {"compiled_by_torch"}))
@pytest.mark.parametrize(
    "cases", [OF_STYLE, pytest.param((), marks=pytest.mark.slow)], ids=["style", "all"]
)
def test_what_is_started_and_kept_is_no_failure(name: str, cases: tuple[str, ...]) -> None:
    found, keeps = in_a_process(name, cases)
    assert found == []
    assert KEEP[name] in keeps


@pytest.mark.slow
def test_a_compiler_is_no_failure_with_cold_caches_and_with_warm_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    cold, _ = in_a_process("compiled_by_torch", OF_STYLE)
    assert any(tmp_path.iterdir())
    warm, _ = in_a_process("compiled_by_torch", OF_STYLE)
    assert (cold, warm) == ([], [])


@pytest.mark.slow
def test_torch_functional_has_no_failure() -> None:
    pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    found = list(failures(HERE / "correct" / "torch_functional.py", Options(thorough=False)))
    assert [o.message for o in found] == []


def test_there_are_enough_of_both() -> None:
    assert len(MUTANTS) >= 40
    assert len(CORRECT) >= 12
    assert {p.stem for p in CORRECT} >= UNUSUAL
    assert len(UNUSUAL) >= 20
