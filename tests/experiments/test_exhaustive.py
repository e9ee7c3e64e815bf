"""The exhaustive tables: the oracle, the judge against known-wrong results, resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.experiments.exhaustive.block_judge import BlockJudge, class_of
from harness.experiments.exhaustive.blocks import Blocks, run_blocks
from harness.experiments.exhaustive.constant import ConstantJudge, lengths, reciprocal
from harness.experiments.exhaustive.exp_order import OrderJudge
from harness.experiments.exhaustive.kernels import (
    UNDECIDED,
    Counts,
    classify,
    inversions,
    smaller_of_two,
)
from harness.experiments.exhaustive.line import LineJudge, TripleJudge
from harness.experiments.exhaustive.pairs import PairJudge
from harness.experiments.exhaustive.run import run_exhaustive
from harness.experiments.exhaustive.tally import CheckpointError, empty_tally, save
from harness.experiments.exhaustive.thresholds import finite_values, float64_below, thresholds
from harness.numerics.formats import float_format, from_ordinal, to_float64, to_ordinal
from harness.numerics.metrics import HISTOGRAM_KEYS
from harness.numerics.ulps import ulp_error
from harness.records import ExhaustiveRecord
from harness.reference import softmax_exact
from harness.registry.discovery import Implementation

Array = NDArray[Any]
HALF = ("float16", "bfloat16")


@pytest.mark.parametrize(("dtype", "count"), [("float16", 15360), ("bfloat16", 16256)])
def test_there_is_a_threshold_between_every_two_results(dtype: str, count: int) -> None:
    floors = thresholds(dtype).floors
    assert floors.size == count
    assert np.all(np.diff(floors) > 0)


@pytest.mark.parametrize("dtype", HALF)
def test_thresholds_agree_with_a_second_engine(dtype: str) -> None:
    oracle = thresholds(dtype)
    grid = from_ordinal(np.arange(oracle.floors.size + 1), dtype).astype(np.float64)
    with mpmath.workprec(200):
        for k in range(0, oracle.floors.size, 997):
            m = (mpmath.mpf(grid[k]) + mpmath.mpf(grid[k + 1])) / 2
            t = mpmath.log(m / (1 - m))
            assert mpmath.mpf(oracle.floors[k]) < t
            assert t < mpmath.mpf(float(np.nextafter(oracle.floors[k], np.inf)))


@pytest.mark.parametrize("dtype", HALF)
def test_the_oracle_agrees_with_the_reference_on_random_pairs(dtype: str) -> None:
    oracle = thresholds(dtype)
    numbers = finite_values(oracle.fmt)
    rng = np.random.default_rng(5)
    x = rng.choice(numbers, (20000, 2))
    near = np.abs(to_float64(x)) < 100
    x = np.where(near, x, (to_float64(x) % 20).astype(x.dtype))
    bits = softmax_exact(x).round_to(oracle.fmt).view(np.uint16)
    lifted = to_float64(x)
    for k, d in ((0, lifted[:, 0] - lifted[:, 1]), (1, lifted[:, 1] - lifted[:, 0])):
        assert np.all((oracle.above[bits[:, k]] < d) & (d <= oracle.upto[bits[:, k]]))
        for step in (-1, 1):
            other = (bits[:, k].astype(np.int64) + step) & 0xFFFF
            assert not np.any((oracle.above[other] < d) & (d <= oracle.upto[other]))


@pytest.mark.parametrize(
    ("dtype", "count"), [("float16", 63488), ("bfloat16", 65280), ("float8_e4m3fn", 254)]
)
def test_finite_values_are_all_there_and_in_order(dtype: str, count: int) -> None:
    values = to_float64(finite_values(float_format(dtype)))
    assert values.size == count
    assert np.all(np.diff(values) >= 0)
    assert np.isfinite(values).all()


def all_blocks(
    implementation: Implementation, judge: BlockJudge, *, workers: int, **more: Any
) -> ExhaustiveRecord:
    """All blocks of a domain, by so many workers."""
    return run_blocks(Blocks(implementation, judge, workers=workers, **more), workers)


def test_thresholds_are_for_sixteen_bits() -> None:
    with pytest.raises(TypeError, match="float32"):
        thresholds("float32")


def test_a_ball_that_is_too_wide_decides_no_threshold() -> None:
    from flint import arb

    with pytest.raises(ArithmeticError, match="two float64"):
        float64_below(arb(1.0, 1e-10))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_classes_of_error_agree_with_the_reference(dtype: str) -> None:
    fmt = float_format(dtype)
    rng = np.random.default_rng(7)
    scale = 10 if dtype == "float16" else 60
    d = rng.normal(0.0, scale, 3000).astype(fmt.dtype)
    rows = np.stack([d, np.zeros_like(d)], axis=1)
    exact = softmax_exact(rows)[:, 0]
    right = to_ordinal(exact.round_to(fmt))
    step = rng.choice([-300, -5, -3, -2, -1, 0, 1, 2, 3, 5, 300], d.size)
    y = from_ordinal(right + step, fmt)
    errors = ulp_error(y, exact, fmt)
    for value, di, error in zip(to_float64(y), to_float64(d), errors, strict=True):
        small = smaller_of_two(di)
        found, size = classify(value, small, di > 0, fmt.precision, fmt.emin)
        if found == UNDECIDED or abs(error - round(2 * float(error)) / 2) < 1e-6:
            continue  # the edge of a class, where float64 may round the error onto it
        assert found == class_of(float(error), fmt)
        assert size == pytest.approx(float(error), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("y", "d", "expected"),
    [
        (1.0, 800.0, 1),
        (0.0, -800.0, 1),
        (1.0 - 2.0**-11, 800.0, 2),
        (1.0 + 2.0**-10, 800.0, 4),  # 2 ulp and a little: ulps are those just below 1
        (2.0**-24, -800.0, 2),
        (-(2.0**-24), -800.0, 3),
        (0.0, 800.0, 6),
        (float("nan"), 0.25, 6),
        (float("inf"), 0.25, 6),
    ],
)
def test_saturated_results_fall_on_the_right_side_of_an_edge(
    y: float, d: float, expected: int
) -> None:
    assert classify(y, smaller_of_two(d), d > 0, 11, -14)[0] == expected


def _block(judge: PairJudge, block: int, spoil: Callable[[Array], Array]) -> Any:
    tally = judge.tally()
    x = judge.inputs(block)
    y = softmax_exact(x).round_to(judge.fmt)
    judge.judge(block, spoil(y), tally)
    return tally


def _same(y: Array) -> Array:
    return y


def _one_up(y: Array) -> Array:
    y = y.copy()
    y[777, 1] = from_ordinal(to_ordinal(y[777, 1]) + 1, y.dtype)
    return y


def _zeros(y: Array) -> Array:
    return np.zeros_like(y)


def _one_nan(y: Array) -> Array:
    y = y.copy()
    y[5, 0] = np.nan
    return y


def _swapped(y: Array) -> Array:
    return np.ascontiguousarray(y[:, ::-1])


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(
    ("spoil", "misrounded"), [(_same, 0), (_one_up, 1), (_one_nan, 1), (_zeros, None)]
)
def test_the_judge_of_pairs_counts_every_wrong_result(
    dtype: str, spoil: Callable[[Array], Array], misrounded: int | None
) -> None:
    judge = PairJudge(dtype, block_pairs=1)
    block = int(np.argmax(judge.lifted >= 0.75))
    tally = _block(judge, block, spoil)
    x = judge.inputs(block)
    exact = softmax_exact(x)
    y = spoil(exact.round_to(dtype))
    wrong = np.count_nonzero(to_float64(y) != to_float64(exact.round_to(dtype)), axis=0)
    assert tally.counts[:, 2:].sum(axis=1).tolist() == wrong.tolist()
    if misrounded is not None:
        assert wrong.sum() == misrounded
    errors = ulp_error(y, exact)
    assert judge.worst(tally)["max_ulp"] == pytest.approx(float(errors.max()), rel=1e-9)
    assert tally.counts.sum() == y.size


def test_a_swap_of_the_classes_is_wrong_but_where_they_tie() -> None:
    judge = PairJudge("float16", block_pairs=1)
    block = int(np.argmax(judge.lifted >= 3.0))
    tally = _block(judge, block, _swapped)
    assert tally.counts[0, 0] == 1  # 3 beside 3
    assert tally.counts[0, 6] > judge.numbers.size // 4


def test_rounded_differences_of_bfloat16_pass_no_threshold() -> None:
    numbers = finite_values(float_format("bfloat16")).astype(np.float64)
    floors = thresholds("bfloat16").floors
    for edge in (floors, np.nextafter(floors, np.inf)):
        assert not np.isin(edge, numbers).any()
        assert not np.isin(np.nextafter(edge, np.inf), numbers).any()


def _module(folder: Path, body: str, name: str = "mine") -> Path:
    path = folder / f"{name}.py"
    path.write_text(
        '"""An implementation of a test."""\nimport numpy as np\n'
        "def softmax(x, axis=-1):\n"
        "    w = x.astype(np.float32)\n"
        "    e = np.exp(w - w.max(axis=axis, keepdims=True))\n"
        f"    y = (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)\n{body}\n    return y\n"
    )
    return path


def test_a_sample_of_pairs_runs_through_a_worker_and_says_that_it_is_one(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    result = run_exhaustive(
        _module(tmp_path, ""), "pairs", "float16", workers=1, every=1300,
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert result.status == "ok"
    assert not result.exhaustive
    assert result.judged == seen[-1][0] == seen[-1][1]
    assert sum((result.ulp_histogram or {}).values()) == 2 * result.judged
    assert 0.5 < (result.max_ulp or 0) < 0.51


def test_a_planted_error_is_found_at_its_place(tmp_path: Path) -> None:
    path = _module(tmp_path, "    y[(x[:, 0] == 1.5) & (x[:, 1] == 1.25), 0] = 0.25")
    judge = PairJudge("float16")
    block = next(b for b in range(judge.blocks) if np.any(judge.lifted[judge.rows(b)] == 1.5))
    result = run_exhaustive(path, "pairs", workers=1, every=block)
    assert [float.fromhex(v) for v in result.worst_logits or ()] == [1.5, 1.25]
    assert float.fromhex(result.worst_got or "") == 0.25
    assert result.worst_class == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("    raise ValueError('no')", "error"),
        ("    y = y.astype(np.float64)", "failed"),
        ("    x[0] = 0", "failed"),
        ("    import os; os._exit(3)", "crashed"),
    ],
)
def test_a_broken_implementation_is_a_status(tmp_path: Path, body: str, status: str) -> None:
    result = run_exhaustive(_module(tmp_path, body), "pairs", workers=1, every=2000)
    assert result.status == status
    assert result.reason
    assert result.max_ulp is None


class _Lines(LineJudge):
    """Few blocks of the line, around zero."""

    def __init__(self) -> None:
        super().__init__(1 << 12)
        self.lowest, self.total, self.blocks = -(1 << 13), 1 << 14, 4


def _load(path: Path) -> Any:
    from harness.worker.local import load

    return load(path)


def test_a_checkpoint_resumes_to_the_same_result(tmp_path: Path) -> None:
    implementation = _load(_module(tmp_path, ""))
    point = tmp_path / "point.npz"
    whole = all_blocks(implementation, _Lines(), workers=1)
    part = all_blocks(implementation, _Lines(), workers=1, every=3, checkpoint=point)
    assert (part.exhaustive, part.judged) == (False, 2 << 12)
    rest = all_blocks(implementation, _Lines(), workers=1, checkpoint=point)
    assert rest.exhaustive
    assert rest == whole.model_copy(update={"elapsed_s": rest.elapsed_s})


def test_progress_survives_a_fault(tmp_path: Path) -> None:
    point = tmp_path / "point.npz"
    marker = tmp_path / "fixed"
    body = (
        "    import os\n"
        f"    if x[0, 0] > 0 and not os.path.exists({str(marker)!r}): raise ValueError('later')"
    )
    implementation = _load(_module(tmp_path, body))
    first = all_blocks(implementation, _Lines(), workers=1, checkpoint=point)
    assert first.status == "error"
    marker.touch()
    second = all_blocks(implementation, _Lines(), workers=1, checkpoint=point)
    assert (second.status, second.exhaustive) == ("ok", True)


def test_an_interruption_keeps_what_was_all_blocks(tmp_path: Path) -> None:
    implementation = _load(_module(tmp_path, ""))
    point = tmp_path / "point.npz"

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        all_blocks(implementation, _Lines(), workers=1, checkpoint=point, on_progress=interrupt)
    judged: list[int] = []
    result = all_blocks(
        implementation, _Lines(), workers=1, checkpoint=point,
        on_progress=lambda done, total: judged.append(done),
    )  # fmt: skip
    assert result.exhaustive
    assert len(judged) < _Lines().blocks


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    point = tmp_path / "point.npz"
    all_blocks(_load(_module(tmp_path, "")), _Lines(), workers=1, every=4, checkpoint=point)
    with pytest.raises(CheckpointError, match="sha256"):
        all_blocks(_load(_module(tmp_path, "    y = y")), _Lines(), workers=1, checkpoint=point)
    point.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="delete it"):
        all_blocks(_load(_module(tmp_path, "")), _Lines(), workers=1, checkpoint=point)


def test_a_tally_keeps_the_first_of_equal_errors_in_any_order(tmp_path: Path) -> None:
    tally = empty_tally(3, 1)
    found = Counts.empty(1)
    for block, place in ((2, 20), (0, 3), (1, 10)):
        found.worst[0], found.place[0] = (1.5, 0.0), place
        tally.add(block, 1, found)
    assert tally.worst_place.tolist() == [3]
    save(tally, tmp_path / "t.npz", {}, 1.0)
    assert not (tmp_path / "t.npz.part").exists()


@pytest.mark.parametrize("offset", [0, 1, 5])
def test_the_line_is_judged_as_the_reference_judges_it(offset: int) -> None:
    judge = LineJudge(1 << 12)
    block = int((to_ordinal(np.array([-5.0 * offset - 1], np.float32))[0] - judge.lowest) >> 12)
    x = judge.inputs(block)
    exact = softmax_exact(x)
    y = exact.round_to("float32")
    y[17, 1] = from_ordinal(to_ordinal(y[17, 1]) - 4, "float32")
    tally = judge.tally()
    judge.judge(block, y, tally)
    assert tally.counts[:, 2:].sum() == 1
    worst = judge.worst(tally)
    assert worst["max_ulp"] == pytest.approx(float(ulp_error(y, exact).max()))
    assert worst["worst_logits"][0] == float(x[17, 0]).hex()


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("direct", [True, False])
def test_triples_are_judged_as_the_reference_judges_them(dtype: str, direct: bool) -> None:
    judge = TripleJudge(dtype, direct)
    block = judge.blocks * 5 // 8
    x = judge.inputs(block)
    assert x.dtype.name == (dtype if direct else "float32")
    exact = softmax_exact(x)
    y = exact.round_to(dtype if direct else "float32")
    tally = judge.tally()
    judge.judge(block, y, tally)
    assert tally.counts[0, 2:].sum() == 0
    y[1234, 2] = 0.375 if float(y[1234, 2]) != 0.375 else 0.25
    tally = judge.tally()
    judge.judge(block, y, tally)
    assert tally.counts[0, 2:].sum() == 1
    worst = judge.worst(tally)["worst_logits"]
    assert [float.fromhex(v) for v in worst] == to_float64(x[1234]).tolist()


def test_lengths_are_those_asked_for() -> None:
    ns = lengths()
    assert ns == lengths()
    assert ns[: 1 << 16] == list(range(1, (1 << 16) + 1))
    assert {(1 << k) + d for k in range(17, 20) for d in (-1, 0, 1)} < set(ns)
    assert {(1 << 16) + 1, (1 << 20) - 1, 1 << 20} < set(ns)
    assert max(ns) == 1 << 20
    assert len(ns) == (1 << 16) + 12 + 1000


@pytest.mark.parametrize("n", [1, 2, 3, 7, 1000, 65536])
def test_the_reciprocal_is_the_softmax_of_a_constant_row(n: int) -> None:
    exact = softmax_exact(np.zeros((1, n)))
    mine = reciprocal(n)
    assert mine.hi[0] == exact.hi[0, -1]
    assert mine.lo[0] == pytest.approx(exact.lo[0, -1], rel=1e-9)


@pytest.mark.parametrize(
    ("change", "misrounded", "wrong"),
    [
        (lambda y: y, 0, 0),
        (lambda y: y * 0, 3000, 1),
        (lambda y: np.concatenate([y[:, :-1], y[:, :1] * np.float32(1.0000002)], axis=1), 1, 1),
        (lambda y: y * np.float32("nan"), 3000, 1),
    ],
)
def test_constant_rows_are_judged_in_every_place(
    change: Callable[[Array], Array], misrounded: int, wrong: int
) -> None:
    judge = ConstantJudge("float32", ns=[3000])
    tally = judge.tally()
    judge.judge(0, change(np.full((1, 3000), 1 / 3000, np.float32)), tally)
    assert tally.counts[0, 2:].sum() == misrounded
    assert tally.counts.sum() == 3000
    assert judge.figures(tally) == {
        "wrong lengths": wrong,
        "first wrong length": 3000 if wrong else None,
    }


def test_a_wrong_length_is_found_through_a_worker(tmp_path: Path) -> None:
    path = _module(tmp_path, "    if x.shape[-1] == 77: y[..., -1] = 0")
    result = all_blocks(_load(path), ConstantJudge("float32", ns=list(range(60, 90))), workers=1)
    assert result.figures == {"wrong lengths": 1, "first wrong length": 77}
    assert result.worst_repeat == 77


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0], (0, -1, 0)),
        ([1.0, 1.0, 1.0], (0, -1, 0)),
        ([1.0, 0.5, 2.0, 1.0], (2, 0, 0)),
        ([1.0, 2.0, 1.5], (1, 1, 0)),
        ([1.0, np.nan, 0.5], (0, -1, 1)),
    ],
)
def test_inversions_are_counted(values: list[float], expected: tuple[int, int, int]) -> None:
    assert inversions(np.array(values)) == expected


def test_an_inversion_across_blocks_is_counted_once() -> None:
    judge = OrderJudge("float16", block=1000)
    tally = judge.tally()
    fall = 2000  # the first of the third block, the last of the second
    for block in range(judge.blocks):
        x = judge.inputs(block)
        y = np.exp(x.astype(np.float64))
        y[np.arange(block * 1000, block * 1000 + x.size) >= fall] *= 0.5
        judge.judge(block, y.astype(np.float32), tally)
    figures = judge.figures(tally)
    assert figures is not None
    assert figures["inversions"] == figures["at arguments of at most 0"] == 1
    assert tally.rows == judge.total
    assert to_ordinal(np.array([float.fromhex(figures["first"].split("(")[1].split(")")[0])]),
                      "float16")[0] == judge.low + fall - 1  # fmt: skip


def test_the_exponential_of_numpy_is_monotone_in_float16() -> None:
    result = run_exhaustive("max_shift", "exp_order", "float16", workers=1)
    assert result.exhaustive
    assert result.figures is not None
    counts = {k: result.figures[k] for k in ("inversions", "at arguments of at most 0", "NaN")}
    assert set(counts.values()) == {0}
    assert 0.5 < result.figures["largest error, ulp"] < 0.51
    assert result.ulp_histogram is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("max_shift", "pairs", "float32"), "float32"), (("max_shift", "nothing"), "nothing")],
)
def test_unknown_tables_and_formats_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_exhaustive(*arguments)


def test_what_is_not_offered_is_a_status() -> None:
    result = run_exhaustive("scipy", "pairs", "bfloat16")
    assert (result.status, result.judged) == ("unsupported", None)
    assert result.max_ulp is None


def test_histograms_have_the_classes_of_the_metrics() -> None:
    result = run_exhaustive("max_shift", "float8", workers=1, every=250)
    assert tuple(result.ulp_histogram or ()) == HISTOGRAM_KEYS
    assert result.rounding is not None


def test_the_command_has_the_exit_codes_of_the_others(tmp_path: Path) -> None:
    import json

    import typer
    from typer.testing import CliRunner

    from harness.cli.exhaustive import exhaustive

    app = typer.Typer()
    app.command()(exhaustive)
    output = tmp_path / "result.json"
    kept = ["--results", str(tmp_path / "results"), "--machine", "box", "--no-report"]
    sample = ["-i", "max_shift", "--every", "3000", "--workers", "1", "--json", str(output)]
    for arguments, code in (
        (sample, 0),
        (["-i", "scipy", "--dtype", "bfloat16"], 3),
        (["-i", "nobody"], 2),
        (["-i", "max_shift", "--table", "none"], 2),
        (["-i", str(_module(tmp_path, "    raise ValueError"))], 1),
    ):
        done = CliRunner().invoke(app, [*arguments, *kept])
        assert done.exit_code == code, done.output
        if arguments is sample:
            assert "(lower bound)" in done.output
    (record,) = json.loads(output.read_text())
    assert record["exhaustive"] is False


def test_what_the_page_says_of_scipys_float16_sums() -> None:
    """docs/exhaustive.md: the first wrong row of equal logits, and from where all are 0."""
    special = pytest.importorskip("scipy.special")
    wrong, zero = None, None
    for n in (*range(2, 2100), *range(65_500, 65_540)):
        with np.errstate(over="ignore"):
            result = special.softmax(np.zeros(n, np.float16))
        if wrong is None and (result != np.float16(1 / n)).any():
            wrong = n
        if zero is None and (result == 0).all():
            zero = n
    assert (wrong, zero) == (2049, 65_520)
