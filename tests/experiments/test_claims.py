"""The audit of claims: the rules, with planted true and false claims, and the register."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from harness.experiments.claims import audit as audit_module
from harness.experiments.claims import calculus, timing
from harness.experiments.claims.audit import audit_claims
from harness.experiments.claims.claim import Evidence, Kind
from harness.experiments.claims.growth import exponential_growth, growth_slope, is_faster
from harness.experiments.claims.register import CLAIMS
from harness.experiments.claims.verdicts import decide
from harness.experiments.claims.worked import compare_number, worked_example
from harness.experiments.profiles import PROFILES, Filters, narrow
from harness.numerics.statistics import Ratio
from harness.records import ClaimRecord, ClaimVerdict
from harness.records.claims import EvidenceTable, Finding
from harness.text import strict_json

TIMED = {"B4", "C3", "D3"}
EXPECTED: dict[str, ClaimVerdict] = {
    "A1": "wrong",
    "A2": "wrong",
    "A3": "holds",
    "B1": "wrong",
    "B2": "misleading",
    "B3": "misleading",
    "C1": "wrong",
    "C2": "misleading",
    "D1": "wrong",
    "D2": "wrong",
    "D4": "holds",
    "D5": "misleading",
    "D6": "holds",
    "D7": "holds",
    "E1": "wrong",
    "E2": "holds",
    "E3": "holds",
    "E4": "holds",
}


def _finding(held: int, cases: int = 4, role: str = "claim") -> Finding:
    return Finding("s", cases, held, "m", role)  # type: ignore[arg-type]


def _evidence(*findings: Finding) -> Evidence:
    return Evidence("", "", findings=findings)


@pytest.mark.parametrize(
    ("kind", "evidence", "verdict"),
    [
        ("formula", _evidence(_finding(4)), "holds"),
        ("formula", _evidence(_finding(3)), "wrong"),
        ("formula", _evidence(_finding(4), _finding(0, role="remark")), "holds"),
        ("formula", _evidence(_finding(0, 0)), "not yet measured"),
        ("statement", _evidence(_finding(4)), "holds"),
        ("statement", _evidence(_finding(0)), "wrong"),
        ("statement", _evidence(_finding(1)), "misleading"),
        ("statement", _evidence(_finding(4), _finding(0)), "misleading"),
        ("statement", _evidence(_finding(0), _finding(4, role="premise")), "misleading"),
        ("statement", _evidence(_finding(0), _finding(2, role="premise")), "wrong"),
        ("statement", _evidence(_finding(0), _finding(4, role="remark")), "wrong"),
        ("statement", _evidence(_finding(4), _finding(0, 0)), "holds"),
        ("statement", _evidence(_finding(0, 0)), "not yet measured"),
    ],
)
def test_verdict_follows_from_the_findings(
    kind: Kind, evidence: Evidence, verdict: ClaimVerdict
) -> None:
    assert decide(kind, evidence)[0] == verdict


@pytest.mark.parametrize(
    ("printed", "verdict"),
    [
        (("0.66", "0.24", "0.10"), "holds to the digits printed"),
        (("0.65900", "0.24243", "0.09857"), "holds to the digits printed"),
        (("0.66", "0.24", "0.1"), "holds to the digits printed"),
        (("0.65", "0.24", "0.10"), "wrong"),
        (("0.65900", "0.24243", "0.09858"), "wrong"),
        (("0.24", "0.66", "0.10"), "wrong"),
    ],
)
def test_a_worked_example_is_judged_by_its_digits(
    printed: tuple[str, ...], verdict: ClaimVerdict
) -> None:
    assert decide("numbers", worked_example(("2", "1", "0.1"), (printed,)))[0] == verdict


@pytest.mark.parametrize(
    ("hardmax", "verdict"), [(("0", "1", "0"), "wrong"), (("1", "0", "0"), "holds")]
)
def test_exact_numbers_hold(hardmax: tuple[str, ...], verdict: ClaimVerdict) -> None:
    evidence = worked_example(("2", "1", "0.1"), (), hardmax)
    assert decide("numbers", evidence)[0] == verdict


def test_true_digits_of_a_wrong_statement_are_wrong() -> None:
    evidence = worked_example(("0", "0"), (), ("1", "0"))
    evidence = replace(evidence, findings=(_finding(0),))
    assert decide("numbers", evidence)[0] == "wrong"


def test_numbers_without_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        decide("numbers", _evidence())


@pytest.mark.parametrize(
    ("claimed", "close"), [("0.3", True), ("0.33", True), ("0.34", False), ("0.333333", True)]
)
def test_compare_number_rounds_to_half_a_unit(claimed: str, close: bool) -> None:
    number = compare_number("third", claimed, None, Fraction(1, 3))
    assert number.to_the_digits is close
    assert not number.exact


def test_a_finding_cannot_hold_more_often_than_it_was_tried() -> None:
    with pytest.raises(ValueError, match="held <= cases"):
        Finding("s", 1, 2, "m")


def _times(sizes: list[int], law: str, noise: float = 0.02) -> list[list[float]]:
    rng = np.random.default_rng(1)
    laws = {
        "linear": lambda n: n,
        "fixed cost": lambda n: 100.0 + n,
        "fixed cost alone": lambda n: 5000.0 + n,
        "quadratic": lambda n: n**2,
        "exponential": lambda n: 2.0 ** (n / 16),
        "slow exponential": lambda n: 1.01**n,
    }
    return [(laws[law](n) * rng.uniform(1, 1 + noise, 15)).tolist() for n in sizes]


@pytest.mark.parametrize(
    ("law", "verdict"),
    [
        ("linear", "wrong"),
        ("fixed cost", "wrong"),
        ("fixed cost alone", "not yet measured"),
        ("quadratic", "wrong"),
        ("exponential", "holds"),
        ("slow exponential", "holds"),
    ],
)
def test_exponential_growth_is_told_from_powers(law: str, verdict: ClaimVerdict) -> None:
    sizes = [64, 128, 256, 512, 1024]
    finding = exponential_growth(growth_slope(sizes, _times(sizes, law)))
    assert decide("statement", _evidence(finding))[0] == verdict


def test_the_slope_of_linear_growth_is_one() -> None:
    sizes = [16, 64, 256]
    slope = growth_slope(sizes, _times(sizes, "linear", 0.0))
    assert slope.value == pytest.approx(1.0)
    assert slope.low <= slope.value <= slope.high


def test_sizes_must_grow_by_one_factor() -> None:
    with pytest.raises(ValueError, match="constant ratio"):
        growth_slope([1, 2, 5], [[1.0], [2.0], [5.0]])


@pytest.mark.parametrize(
    ("low", "high", "cases", "held"), [(0.5, 0.9, 1, 1), (1.1, 1.3, 1, 0), (0.9, 1.1, 0, 0)]
)
def test_a_ratio_decides_only_clear_of_one(low: float, high: float, cases: int, held: int) -> None:
    finding = is_faster("faster", Ratio((low + high) / 2, low, high), 9)
    assert (finding.cases, finding.held) == (cases, held)


@pytest.mark.parametrize(
    ("entry", "verdict"),
    [
        (lambda p, i, j: p[i] * (int(i == j) - p[j]), "holds"),
        (lambda p, i, j: p[i] * (int(i == j) - p[i]), "wrong"),
        (lambda p, i, j: p[i] * (int(i == j) - p[j]) * (1 + calculus.arb(2) ** -60), "wrong"),
    ],
)
def test_a_planted_jacobian_is_judged(entry: calculus.Entry, verdict: ClaimVerdict) -> None:
    finding = calculus._jacobian_finding("planted", entry)
    assert decide("formula", _evidence(finding))[0] == verdict


@pytest.mark.parametrize(
    ("right", "verdict"),
    [(lambda x: 1 / (1 + (-x).exp()), "holds"), (lambda x: 1 / (1 + (-2 * x).exp()), "wrong")],
)
def test_a_planted_identity_is_judged(right: object, verdict: ClaimVerdict) -> None:
    finding = calculus._identity("planted", calculus._sigma, right)  # type: ignore[arg-type]
    assert decide("formula", _evidence(finding))[0] == verdict


def test_every_claim_is_registered_once_and_examined() -> None:
    ids = [c.id for c in CLAIMS]
    assert len(ids) == len(set(ids)) == 21
    assert set(ids) == set(audit_module.EXAMINATIONS) == set(EXPECTED) | TIMED


@pytest.mark.parametrize(
    ("profile", "asked", "there"),
    [("smoke", (), False), ("quick", (), False), ("full", (), True), ("quick", ("claims",), True)],
)
def test_a_run_audits_them_in_full_or_when_asked(
    profile: str, asked: tuple[str, ...], there: bool
) -> None:
    grid = narrow(PROFILES[profile], Filters(experiments=asked))
    assert ("claims" in grid.experiments) is there


def test_untimed_claims_get_the_verdicts_that_were_expected() -> None:
    found = {a.claim.id: a.verdict for a in audit_claims(EXPECTED)}
    assert found == EXPECTED


def test_a_planted_claim_changes_its_verdict_with_its_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    true = {"A1": lambda: worked_example(("2", "3", "1"), (("0.2447", "0.6652", "0.0900"),))}
    monkeypatch.setattr(audit_module, "EXAMINATIONS", true)
    (audit,) = audit_claims(["A1"])
    assert audit.verdict == "holds to the digits printed"


def test_unknown_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="Z9"):
        audit_claims(["A1", "Z9"])


def test_audits_are_strict_json() -> None:
    audits = audit_claims(["A1", "E4"])
    assert [a["claim"]["id"] for a in json.loads(strict_json(audits))] == ["A1", "E4"]
    assert audits[0].evidence.certified == "[0.24473, 0.66524, 0.09003]"


def test_sparse_rows_are_those_that_are_filled_with_minus_infinity() -> None:
    dense, values, offsets = timing.sparse_rows(20, 50, 0.1)
    assert dense.dtype == values.dtype == np.float32
    for row, own in enumerate(np.split(values, offsets[1:-1])):
        assert own.size >= 1
        assert dense[row][dense[row] != -np.inf].tolist() == own.tolist()
    for density in timing.DENSITIES:
        _, values, offsets = timing.sparse_rows(100, 1000, density)
        assert len(values) / 1e5 == pytest.approx(density + (1 - density) / 1000, rel=0.1)


def test_sparse_rows_are_timed_at_every_density(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two that are compared give the same probabilities; only of few entries it is claimed."""
    seen = []

    def compared(statement: str, changed: Any, baseline: Any, rounds: int, role: str) -> Finding:
        seen.append((changed, baseline))
        return Finding(statement, 1, 1, "m", role)  # type: ignore[arg-type]

    monkeypatch.setattr(timing, "_call", lambda function: function)
    monkeypatch.setattr(timing, "against", compared)
    found = timing._sparse(3)
    assert len(found) == len(seen) == 2 * len(timing.DENSITIES)
    for ragged, dense in seen:
        whole = dense()
        np.testing.assert_allclose(ragged(), whole[whole != 0], rtol=1e-5)
    claimed = [f.statement for f, _ in found if f.role == "claim"]
    assert [s.rpartition(": ")[2] for s in claimed] == [
        f"numba_cpu, {d} stored" for d in ("10.0%", "1.0%", "0.1%")
    ]


@pytest.mark.slow
def test_timed_claims_are_decided_or_say_why() -> None:
    for audit in audit_claims(TIMED):
        assert audit.verdict in get_args(ClaimVerdict)
        assert audit.reason
    slope = next(a for a in audit_claims(["D3"])).evidence.findings[0].figures["slope"]
    assert 0 < slope < 3


def _run(arguments: list[str]) -> tuple[int, str]:
    import typer
    from typer.testing import CliRunner

    from harness.cli.claims import claims

    app = typer.Typer()
    app.command()(claims)
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_the_command_prints_verdicts_and_writes_json(tmp_path: Path) -> None:
    output = tmp_path / "claims.json"
    code, text = _run(["A1", "E4", "--details", "--json", str(output)])
    assert code == 0
    assert "wrong" in text
    assert [a["claim"]["id"] for a in json.loads(output.read_text())] == ["A1", "E4"]
    assert _run(["Z9"])[0] == 2


def test_a_record_gives_back_what_was_found_typed_and_as_plain_rows() -> None:
    number = compare_number("third", "0.3", None, Fraction(1, 3))
    found = Finding("s", 2, 1, "m", figures={"ratio": float("nan")})
    table = EvidenceTable("t", ("a", "b"), (("1", "2"),))
    record = ClaimRecord(
        implementation="reference", status="ok", numbers=[number], findings=[found], tables=[table]
    )
    line = record.model_dump_json(exclude_none=True)
    again = ClaimRecord.model_validate_json(line)
    assert (again.numbers, again.tables) == ([number], [table])
    assert again.model_dump_json(exclude_none=True) == line
    assert again.findings is not None
    assert again.findings[0].figures == {"ratio": "NaN"}  # strict JSON has no other
    rows = record.model_dump()
    assert rows["findings"][0]["held"] == 1
    assert rows["numbers"][0]["claimed"] == "0.3"
    unknown = line.replace('"held":1', '"hold":1')
    with pytest.raises(ValidationError):
        ClaimRecord.model_validate_json(unknown)
