"""The search for worst cases and its corpus: planted errors are found, and replayed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.experiments.worst_case.corpus import (
    CORPUS,
    CorpusError,
    add_to_corpus,
    entry_of,
    read_corpus,
    replay,
)
from harness.experiments.worst_case.search import search_worst_case
from harness.experiments.worst_case.seeds import SEEDS, draw, mutate
from harness.numerics.formats import float_format, from_hex, to_float64, to_ordinal
from harness.records import WorstCaseRecord

FORMATS = ("float64", "float32", "float16", "bfloat16")


def _module(folder: Path, body: str, head: str = "", name: str = "mine") -> Path:
    path = folder / f"{name}.py"
    path.write_text(
        f'"""An implementation of a test."""\nimport numpy as np\n{head}\n'
        "def softmax(x, axis=-1):\n"
        "    with np.errstate(all='ignore'):\n"
        "        e = np.exp(x - x.max(axis=axis, keepdims=True))\n"
        "        y = e / e.sum(axis=axis, keepdims=True)\n"
        f"{body}\n        return y\n"
    )
    return path


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("classes", [1, 2, 3, 70])
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_beginnings_are_finite_rows_of_the_format(dtype: str, classes: int) -> None:
    fmt = float_format(dtype)
    rows, names = draw(np.random.default_rng(1), 40, classes, fmt)
    assert rows.shape == (40, classes)
    assert rows.dtype == fmt.dtype
    assert np.isfinite(to_float64(rows)).all()
    assert set(names) == set(SEEDS)


@pytest.mark.parametrize("dtype", FORMATS)
def test_neighbours_are_finite_and_mostly_other_rows(dtype: str) -> None:
    fmt = float_format(dtype)
    row = np.array([fmt.max, -fmt.max, 0.0, 1.0]).astype(fmt.dtype)
    near = mutate(np.random.default_rng(1), row, 200, fmt)
    assert np.isfinite(to_float64(near)).all()
    assert np.mean((to_ordinal(near) != to_ordinal(row)).any(axis=1)) > 0.5


def test_the_same_seed_and_evaluations_find_the_same_row() -> None:
    first, second = (
        search_worst_case("max_shift", "float32", 3, seconds=None, evaluations=1500, seed=4)
        for _ in range(2)
    )
    assert first == second.model_copy(update={"elapsed_s": first.elapsed_s})
    assert (first.evaluations or 0) >= 1500


def test_climbing_finds_more_than_drawing() -> None:
    drawn = search_worst_case("max_shift", "float32", 2, seconds=None, evaluations=1)
    climbed = search_worst_case("max_shift", "float32", 2, seconds=None, evaluations=6000)
    assert drawn.error_over_bound is not None
    assert climbed.error_over_bound is not None
    assert climbed.error_over_bound > drawn.error_over_bound
    assert climbed.error_over_bound <= 1.0
    assert climbed.status == "ok"


def test_a_budget_in_seconds_ends() -> None:
    found = search_worst_case("max_shift", "float32", 2, seconds=0.2)
    assert found.elapsed_s is not None
    assert found.elapsed_s < 10


@pytest.mark.parametrize(
    ("body", "head"),
    [
        ("        y[np.abs(x).max(axis=-1) > 30] *= np.float32(1.001)", ""),
        ("        y = y * (1 - 2.0**-10 * (x == x.max(axis=axis, keepdims=True)))\n"
         "        y = y.astype(x.dtype)", ""),
    ],
)  # fmt: skip
def test_a_planted_error_is_above_the_bound(tmp_path: Path, body: str, head: str) -> None:
    path = _module(tmp_path, body, head)
    found = search_worst_case(path, "float32", 2, seconds=None, evaluations=500)
    assert found.status == "failed"
    assert found.error_over_bound is not None
    assert found.error_over_bound > 10
    assert "times the bound" in (found.reason or "")


def test_an_error_that_only_a_climb_reaches_is_reached(tmp_path: Path) -> None:
    """Wrong by 0.2% per unit of nearness to one gap, in a region that is seldom drawn."""
    body = (
        "        d = np.abs(x[:, 0] - x[:, 1])\n"
        "        y[:, 0] *= (1 + 0.002 * np.exp2(-abs(d - 5.0) * 64)).astype(np.float32)"
    )
    path = _module(tmp_path, body)
    drawn = search_worst_case(path, "float32", 2, seconds=None, evaluations=1)
    found = search_worst_case(path, "float32", 2, seconds=None, evaluations=8000)
    high, low = (float.fromhex(v) for v in found.worst_logits or ())
    gap = abs(high - low)
    assert abs(gap - 5.0) < 0.01
    assert (found.error_over_bound or 0) > 1.5 * (drawn.error_over_bound or 0)


def test_results_that_are_not_finite_fail_unless_declared(tmp_path: Path) -> None:
    body = "        y[np.abs(x).max(axis=-1) > 20] = np.nan"
    found = search_worst_case(_module(tmp_path, body), seconds=None, evaluations=300)
    assert found.status == "failed"
    assert (found.nonfinite or 0) > 0
    lost = found.nonfinite_logits or ()
    assert len(lost) == 2
    assert max(abs(float.fromhex(v)) for v in lost) > 20
    assert found.error_over_bound is not None
    assert np.isfinite(found.error_over_bound)
    naive = search_worst_case("naive", seconds=None, evaluations=300)
    assert (naive.nonfinite or 0) > 0
    assert naive.status == "ok"
    assert "declared" in (naive.reason or "")


@pytest.mark.parametrize(
    ("body", "status"),
    [("        raise ValueError('no')", "error"), ("        import os; os._exit(1)", "crashed")],
)
def test_a_broken_implementation_is_a_status(tmp_path: Path, body: str, status: str) -> None:
    found = search_worst_case(_module(tmp_path, body), seconds=None, evaluations=10)
    assert found.status == status
    assert found.error_over_bound is None


def test_a_format_that_is_not_offered_is_a_status() -> None:
    found = search_worst_case("scipy", "bfloat16", seconds=None, evaluations=10)
    assert found.status == "unsupported"


@pytest.mark.parametrize(
    ("more", "message"),
    [({"seconds": None}, "budget"), ({"classes": 0}, "classes"), ({"dtype": "int8"}, "dtype")],
)
def test_bad_requests_are_refused(more: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        search_worst_case("max_shift", **more)  # type: ignore[arg-type]


def test_what_is_found_is_kept_and_replays_to_the_same_figures(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    found = search_worst_case("max_shift", "bfloat16", 3, seconds=None, evaluations=500)
    (entry,) = add_to_corpus([found], path)
    assert add_to_corpus([found], path) == []
    assert read_corpus(path) == [entry]
    assert read_corpus(path, [entry.id[:6]]) == [entry]
    (again,) = replay("max_shift", [entry])
    assert (again.entry, again.worst_logits) == (entry.id, found.worst_logits)
    assert again.error_over_bound == found.error_over_bound
    assert again.worst_got == found.worst_got


def test_a_replay_catches_what_has_become_worse(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    add_to_corpus([search_worst_case("max_shift", seconds=None, evaluations=300)], path)
    broken = _module(tmp_path, "        y = y * np.float32(1.0001)")
    (result,) = replay(broken, read_corpus(path))
    assert result.status == "failed"


def test_a_replay_says_what_is_not_supported(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    case = search_worst_case("max_shift", "bfloat16", seconds=None, evaluations=10)
    add_to_corpus([case], path)
    (result,) = replay("scipy", read_corpus(path))
    assert result.status == "unsupported"


def _case(**more: object) -> WorstCaseRecord:
    plain: dict[str, object] = {
        "implementation": "mine", "dtype": "float32", "classes": 2, "status": "ok",
        "kind": "search", "bound": "shift_divide", "error_over_bound": 0.5, "error_ulp": 1.0,
        "bound_ulp": 2.0, "worst_logits": ["0x1.0000000000000p+0", "0x0.0p+0"],
    }  # fmt: skip
    return WorstCaseRecord.model_validate({**plain, **more})


def test_an_infinite_error_is_no_corpus_entry(tmp_path: Path) -> None:
    cases = [_case(error_over_bound=float("inf")), _case(kind="replay")]
    assert add_to_corpus(cases, tmp_path / "c.jsonl") == []
    with pytest.raises(ValueError, match="finite"):
        entry_of(_case(error_ulp=float("inf")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "int8"}, "int8"),
        ({"logits": ["0x1.0000000000001p+0", "0x0.0p+0"]}, "no numbers"),
        ({"logits": ["one", "two"]}, "expected a corpus entry"),
        ({"id": "000000000000"}, "not that of its input"),
        ({"more": 1}, "expected a corpus entry"),
    ],
)
def test_a_spoilt_corpus_is_refused_with_its_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "corpus.jsonl"
    add_to_corpus([_case()], path)
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, **change}) + "\n")
    with pytest.raises(CorpusError, match=message) as caught:
        read_corpus(path)
    assert ":1:" in str(caught.value)


def test_an_unknown_id_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    add_to_corpus([_case()], path)
    with pytest.raises(ValueError, match="zzz"):
        read_corpus(path, ["zzz"])


def test_the_committed_corpus_can_be_read_and_is_in_hex() -> None:
    entries = read_corpus(CORPUS)
    assert len(entries) > 20
    assert len({e.id for e in entries}) == len(entries)
    for entry in entries:
        assert from_hex(entry.logits[0], entry.dtype) == entry.row()[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["max_shift", "numba_cpu", "online"])
def test_the_corpus_holds_no_failure_of_ours(name: str) -> None:
    records = replay(name, read_corpus())
    failed = [(r.entry, r.reason) for r in records if r.status == "failed"]
    assert failed == []


def test_the_command_searches_saves_and_replays(tmp_path: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from harness.cli.worst_case import worst_case

    app = typer.Typer()
    app.command()(worst_case)
    path = tmp_path / "corpus.jsonl"
    broken = _module(tmp_path, "        y = y * np.float32(1.0001)")
    again = ["--replay", "all", "--corpus", str(path)]
    kept = ["--results", str(tmp_path / "results"), "--machine", "box", "--no-report"]
    for arguments, code in (
        (["max_shift", "--evaluations", "200", "--save", str(path)], 0),
        (["max_shift", *again], 0),
        ([str(broken), *again], 1),
        (["max_shift", "--replay", "zzz", "--corpus", str(path)], 2),
        (["scipy", "--dtype", "bfloat16"], 3),
        (["nobody"], 2),
    ):
        result = CliRunner().invoke(app, [*arguments, *kept])
        assert result.exit_code == code, result.output
        searched = code == 0 and "--replay" not in arguments
        assert ("a lower bound" in result.output) is searched


def test_the_campaign_prints_its_size_and_keeps_to_the_bounds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from bounds_campaign import main

    code = main(["--rounds", "1", "-i", "max_shift", "-i", "naive", "--dtype", "float32"])
    text = capsys.readouterr().out
    assert code == 0
    assert "in all 26 cells" in text
    assert "shift_divide" in text


def test_the_campaign_finds_an_implementation_beyond_its_bound(tmp_path: Path) -> None:
    from bounds_campaign import campaign

    broken = _module(tmp_path, "        y = y * np.float32(1.001)")
    (score,) = campaign([str(broken)], ("float32",), (3, 10), rounds=1).values()
    assert score.ratio > 1.0
    assert score.where.startswith("float32")
    assert (score.cells, score.rows) == (2, 2048 + 1638)


@pytest.mark.slow
def test_no_bound_is_exceeded_in_a_large_campaign() -> None:
    from bounds_campaign import campaign

    scores = campaign(seconds=60)
    assert sum(s.rows for s in scores.values()) > 400_000
    assert {n: s.where for n, s in scores.items() if s.ratio > 1.0} == {}
