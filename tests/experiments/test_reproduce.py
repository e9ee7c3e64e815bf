"""Papers made again: what is computed of them, and verdicts that follow from the numbers alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from harness.cli.reproduce import reproduce
from harness.errors import UserError
from harness.experiments.context import Context
from harness.experiments.profiles import FULL, Timing
from harness.experiments.reproductions import blanchard, half_precision, papers, passes, plan
from harness.experiments.reproductions.half_precision import Formulas, Trial, formulas, trial
from harness.experiments.reproductions.passes import Times
from harness.numerics.formats import Float64Array, FloatFormat, float_format, round_pair
from harness.records import ClaimRecord, ThroughputRecord
from harness.records.reader import read_runs
from harness.registry.discovery import load
from harness.worker.client import Pool

CLAIMS = {c.id: c for p in papers.PAPERS.values() for c in p.claims}


def _verdict(claim: str, evidence: Any) -> str:
    return plan.audited(CLAIMS[claim], evidence).verdict


@pytest.fixture(scope="module")
def few() -> list[Trial]:
    """A few rows of every kind that the trials have."""
    return [Trial(t.what, t.fmt, t.x[::7]) for t in half_precision.trials()]


@pytest.mark.parametrize(
    ("beginning", "name"),
    [("blanchard", "blanchard-higham-higham-2021"), ("m", "milakov-gimelshein-2018"),
     ("dukhan-ablavatski-2020", "dukhan-ablavatski-2020")],
)  # fmt: skip
def test_a_paper_is_found_by_the_beginning_of_its_name(beginning: str, name: str) -> None:
    assert papers.paper_named(beginning).source.id == name


@pytest.mark.parametrize("name", ["", "x", "blanchard-higham-higham-2021-2"])
def test_another_name_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(UserError, match=f"milakov-gimelshein-2018.*; got '{name}'"):
        papers.paper_named(name)


def test_every_claim_has_a_place_in_its_paper_and_an_examination(few: list[Trial]) -> None:
    assert len(CLAIMS) == sum(len(p.claims) for p in papers.PAPERS.values())
    assert all(c.place and c.source.setting for c in CLAIMS.values())
    for name, examinations in passes.EXAMINATIONS.items():
        assert list(examinations) == [c.id for c in papers.PAPERS[name].claims]
    for claim in papers.BLANCHARD.claims:
        assert blanchard.examine(claim.id, few).certified


# Blanchard, Higham and Higham


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ("BHH-range", "wrong"), ("BHH-vectors", "not yet measured"), ("BHH-overflow", "holds"),
        ("BHH-shift", "holds"), ("BHH-division", "holds"), ("BHH-3.2", "holds"),
        ("BHH-3.3", "holds"), ("BHH-3.4", "holds"), ("BHH-4.2", "wrong"), ("BHH-4.3", "holds"),
        ("BHH-4.4", "wrong"),
    ],
)  # fmt: skip
def test_verdicts_on_the_paper_of_2021(claim: str, verdict: str, few: list[Trial]) -> None:
    assert _verdict(claim, blanchard.examine(claim, few)) == verdict


def test_theorem_4_4_as_printed_is_violated_by_the_stored_row_and_our_bound_is_not() -> None:
    t = half_precision.witness()
    assert t.x.astype(np.float32).tolist() == t.x.tolist()
    error, printed = (float(v[0]) for v in t.judged("4.4"))
    assert error > 100 * printed
    assert t.beyond("4.4").all()
    assert t.over_derived("4.4").max() < 1.0
    assert not t.beyond("4.3").any()  # the quotient of the same row is as good as it should be


def test_the_stored_row_is_the_worst_of_its_trial() -> None:
    far = next(t for t in half_precision.trials() if t.what == half_precision.FAR)
    error, bound = far.judged("4.4")
    assert far.x[int((error / bound).argmax())].tolist() == half_precision.witness().x[0].tolist()


def test_numpy_computes_the_stored_row_as_badly() -> None:
    finding = blanchard._by_numpy()
    assert (finding.role, finding.cases, finding.held) == ("remark", 1, 0)


def _changed(number: str, other: Callable[[Float64Array], Float64Array]) -> Any:
    """The formulas with one of another kind in place of a theorem's, rounded once."""

    def computed(x: Float64Array, fmt: FloatFormat) -> Formulas:
        with np.errstate(all="ignore"):
            wrong = round_pair(other(x), 0.0, 0, fmt).astype(np.float64)
        return {**formulas(x, fmt), number: wrong}

    return computed


def _quotient(x: Float64Array) -> Float64Array:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


KERNELS: Mapping[str, tuple[str, Callable[[Float64Array], Float64Array], str]] = {
    "a term left out of the sum": (
        "4.3", lambda x: _quotient(x) / (1.0 - _quotient(x).min(axis=1, keepdims=True)), "wrong",
    ),
    "no shift": ("4.3", lambda x: np.exp(x) / np.exp(x).sum(axis=1, keepdims=True), "wrong"),
    "a sum 2% too large": ("3.3", lambda x: _quotient(x) / 1.02, "wrong"),
    "a log-sum-exp 5% too large": (
        "3.2", lambda x: 1.05 * np.log(np.exp(x).sum(axis=1, keepdims=True)), "wrong",
    ),
    "rounded once": ("4.4", _quotient, "holds"),
}  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS)
def test_another_kernel_changes_the_verdict_on_its_theorem(
    kernel: str, few: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    number, other, verdict = KERNELS[kernel]
    compute = _changed(number, other)
    monkeypatch.setattr(half_precision, "formulas", compute)
    found = [Trial(t.what, t.fmt, t.x, compute) for t in few]
    assert _verdict(f"BHH-{number}", blanchard.examine(f"BHH-{number}", found)) == verdict


def test_an_unshifted_kernel_in_the_place_of_the_shifted_overflows(few: list[Trial]) -> None:
    compute = _changed("4.3", KERNELS["no shift"][1])
    found = [Trial(t.what, t.fmt, t.x, compute) for t in few]
    assert _verdict("BHH-overflow", blanchard.examine("BHH-overflow", found)) == "misleading"


def test_formulas_that_change_places_are_told(few: list[Trial]) -> None:
    """The quotient as the less accurate, and a shift that costs accuracy, are both noticed."""

    def swapped(x: Float64Array, fmt: FloatFormat) -> Formulas:
        found = formulas(x, fmt)
        return {**found, "3.3": found["3.4"], "3.4": found["3.3"],
                "4.3": found["4.4"], "4.4": found["4.3"]}  # fmt: skip

    def coarser(x: Float64Array, fmt: FloatFormat) -> Formulas:
        found = formulas(x, fmt)
        return {**found, "4.3": found["4.3"] * (1.0 + 8.0 * fmt.unit_roundoff)}

    for claim, kernel, verdict in (
        ("BHH-division", swapped, "wrong"), ("BHH-shift", coarser, "misleading"),
    ):  # fmt: skip
        found = [Trial(t.what, t.fmt, t.x, kernel) for t in few]
        assert _verdict(claim, blanchard.examine(claim, found)) == verdict


@pytest.mark.parametrize(
    ("largest", "verdict"), [("11.1", "holds to the digits printed"), ("11.2", "wrong")]
)
def test_printed_logarithms_are_held_against_their_digits(
    largest: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(blanchard._TABLE_2, "float16", ("-16.6", "-9.70", largest))
    assert _verdict("BHH-range", blanchard.examine("BHH-range", [])) == verdict


def test_other_logits_are_not_taken_for_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    own = half_precision.trials(np.linspace(-20.0, 20.0, 50).reshape(5, 10))
    evidence = blanchard.examine("BHH-vectors", own)
    assert _verdict("BHH-vectors", evidence) == "not yet measured"
    assert "not the paper's vectors" in evidence.findings[0].measured
    monkeypatch.setattr(blanchard, "input_sha256", lambda _: blanchard.PAPERS_VECTORS)
    assert _verdict("BHH-vectors", blanchard.examine("BHH-vectors", own)) == "misleading"


def test_arithmetic_is_rounded_after_every_operation() -> None:
    """A sum of 4096 float16 ones stops at 2048, and so do the formulas that have such a sum."""
    t = trial("ones", "float16", np.zeros((1, 4096)))
    found = formulas(t.x, float_format("float16"))
    assert float(found["3.3"][0, 0]) == 1 / 2048
    assert float(found["4.3"][0, 0]) == 1 / 2048
    for number, computed in found.items():
        again = round_pair(computed, 0.0, 0, t.fmt).astype(np.float64)
        assert np.array_equal(again, computed), number


# Milakov and Gimelshein, Dukhan and Ablavatski

CACHE = 1 << 20


def _time(name: str, classes: int, speedup: float, spread: float = 1.01, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "implementation": name, "status": "ok", "dtype": "float32", "threads": 1, "rows": 1,
        "classes": classes, "regime": "streaming", "array_bytes": 4 * classes, "ranked": True,
        "baseline": "three_pass_numba", "speedup": speedup, "speedup_low": speedup / spread,
        "speedup_high": speedup * spread,
    }  # fmt: skip
    return ThroughputRecord(**{**fields, **changes})


def _times(cells: Mapping[str, float], spread: float = 1.01, copy: float | None = 2.2) -> Times:
    """Each implementation at a point in cache and at one beyond it, beside copies so fast."""
    base = [_time("three_pass_numba", n, 1.0) for n in (4096, 1 << 22)]
    for n in (4096, 1 << 22) if copy is not None else ():
        kind = {"operation": "copy", "role": "limit"}
        base += [
            _time("copy_regular", n, copy, spread, **kind),
            _time("copy_nontemporal", n, 0.5 * copy, spread, **kind),
        ]
    others = [_time(name, n, s, spread) for name, s in cells.items() for n in (4096, 1 << 22)]
    return Times([*base, *others], CACHE)


@pytest.mark.parametrize(
    ("online", "lazy", "spread", "verdict"),
    [
        (1.3, 1.3, 1.01, "holds"), (0.8, 1.05, 1.01, "wrong"), (0.8, 1.3, 1.01, "misleading"),
        (1.15, 1.15, 1.1, "not yet measured"), (1.3, 1.15, 1.05, "holds"),
    ],
)  # fmt: skip
def test_verdict_on_online_softmax_follows_from_the_times(
    online: float, lazy: float, spread: float, verdict: str
) -> None:
    found = _times({"online_numba": online, "online_lazy_numba": lazy}, spread)
    assert _verdict("MG-cpu", passes._mg_cpu(found)) == verdict


def test_a_time_that_is_struck_out_or_failed_counts_for_nothing() -> None:
    for changes in ({"ranked": False}, {"status": "failed"}, {"speedup": None}):
        cells = [_time("online_numba", 1 << 22, 1.3).model_copy(update=changes)]
        assert _verdict("MG-cpu", passes._mg_cpu(Times(cells, CACHE))) == "not yet measured"


@pytest.mark.parametrize(
    ("two", "loading", "verdict"),
    [(1.2, 0.9, "holds"), (0.9, 0.8, "misleading"), (0.9, 1.1, "wrong")],
)
def test_verdict_on_two_passes_is_against_both_kinds_of_three(
    two: float, loading: float, verdict: str
) -> None:
    found = _times({"two_pass_numba": two, "three_pass_reload_numba": loading})
    assert _verdict("DA-elsewhere", passes._da_elsewhere(found)) == verdict


def test_two_passes_that_lose_in_cache_alone_are_as_said() -> None:
    cells = [_time("three_pass_numba", n, 1.0) for n in (4096, 1 << 22)]
    cells += [_time("two_pass_numba", 4096, 0.8), _time("two_pass_numba", 1 << 22, 1.1)]
    assert _verdict("DA-elsewhere", passes._da_elsewhere(Times(cells, CACHE))) == "holds"


@pytest.mark.parametrize(
    ("copy", "spread", "two", "verdict"),
    [
        (2.2, 1.01, 1.2, "holds"), (2.6, 1.01, 1.2, "misleading"), (2.6, 1.01, 0.9, "wrong"),
        (2.6, 1.2, 1.2, "not yet measured"), (None, 1.01, 1.2, "not yet measured"),
    ],
)  # fmt: skip
def test_memory_is_the_limit_where_accesses_come_near_a_copy(
    copy: float | None, spread: float, two: float, verdict: str
) -> None:
    """Four accesses in the time of 2.2 copies, of two each, are 91% of their bandwidth.

    Where they are not, but fewer accesses are faster, memory is a part of the limit.
    """
    found = _times({"two_pass_numba": two}, spread, copy)
    assert _verdict("DA-bandwidth", passes._da_bandwidth(found)) == verdict


@pytest.mark.parametrize("claim", ["MG-gpu", "DA-skylake"])
def test_what_was_measured_on_hardware_that_is_not_here_is_left_open(claim: str) -> None:
    paper = papers.MILAKOV if claim.startswith("MG") else papers.DUKHAN
    evidence = passes.EXAMINATIONS[paper.source.id][claim](_times({"online_numba": 1.3}))
    assert _verdict(claim, evidence) == "not yet measured"


@pytest.mark.parametrize("claim", ["MG-accesses", "DA-accesses"])
def test_declared_accesses_are_those_of_the_papers(
    claim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine = {c: e for found in passes.EXAMINATIONS.values() for c, e in found.items()}[claim]
    assert _verdict(claim, examine(Times([], CACHE))).startswith("holds")
    monkeypatch.setattr(passes, "_accesses", lambda name: 4)
    assert _verdict(claim, examine(Times([], CACHE))) == "wrong"


@pytest.mark.parametrize("paper", [papers.MILAKOV, papers.DUKHAN])
@pytest.mark.parametrize("cores", [1, 2])
def test_points_lie_in_the_caches_and_well_beyond(paper: papers.Paper, cores: int) -> None:
    timing = {"streaming": Timing((), 0, seconds=0.25)}
    with Pool() as pool:
        context = Context(
            implementations=[load(n) for n in paper.implementations], pool=pool,
            profile=replace(FULL, timing=timing, operations=("softmax",)), seed=0, cores=cores,
            last_level_cache=CACHE, baseline=paper.implementations[0],
        )  # fmt: skip
        units = list(passes.timed(context, paper.source.id))
    found = Times(
        [c for u in units for c in u.coordinates if isinstance(c, ThroughputRecord)], CACHE
    )
    names = {r.implementation for r in found.records}
    assert names >= set(paper.implementations)
    assert {r.threads for r in found.records} == {1, cores}
    for threads in {1, cores}:
        own = [r for r in found.records if r.threads == threads]
        assert {passes._beyond(found, r) for r in own} == {False, True}
        assert all((r.rows or 0) >= threads for r in own)


# The command


def _run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(reproduce)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_without_a_name_the_papers_are_listed() -> None:
    code, text = _run()
    assert code == 0
    assert [name for name in papers.PAPERS if name in text] == list(papers.PAPERS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "unambiguous beginning"),
        (["blanchard", "--seconds", "1"], "times nothing"),
        (["milakov", "--logits", "x.npy"], "leave it out"),
        (["blanchard", "--logits", "absent.npy"], "absent.npy"),
    ],
)
def test_what_a_paper_does_not_take_is_refused_in_one_line(arguments: list[str], said: str) -> None:
    code, text = _run(*arguments)
    assert (code, len(text.strip().splitlines())) == (2, 1)
    assert said in text


def test_the_command_leaves_a_run_and_a_page_that_says_how_to_make_it_again(
    tmp_path: Path,
) -> None:
    output = tmp_path / "claims.json"
    code, text = _run(
        "blanchard", "--results", str(tmp_path / "results"), "--reports", str(tmp_path / "site"),
        "--json", str(output), "--debug",
    )  # fmt: skip
    assert code == 0, text
    assert "BHH-4.4: wrong" in text
    (run,) = read_runs([tmp_path / "results"])
    found = [r for r in run.records if isinstance(r, ClaimRecord)]
    assert [c.claim for c in found] == [c.id for c in papers.BLANCHARD.claims]
    assert not run.problems
    assert len(json.loads(output.read_text())) == len(found)
    (page,) = (tmp_path / "site").rglob("claims.html")
    html = page.read_text(encoding="utf-8")
    assert "softmax-bench reproduce blanchard-higham-higham-2021" in html
    for told in ("Theorem 4.4", half_precision.WITNESS[0], "δ₄", "<h1>Reproduction</h1>"):
        assert told in html
