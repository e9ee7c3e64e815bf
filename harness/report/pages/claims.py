"""The claims page: published statements about softmax, beside their certified values."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records import ClaimRecord, ThroughputRecord
from harness.records.claims import EvidenceTable, Finding, PrintedNumber, Role
from harness.report.drawing.formatting import figure, integer
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import slug
from harness.report.drawing.tables import Column, Entry, Kind, Table, count, texts, words
from harness.report.run_data import RunData

UNMEASURED = "not yet measured"
VERDICTS: Mapping[str, tuple[str, Kind, str]] = {
    "holds": ("✓", "pass", "as stated"),
    "holds to the digits printed": ("✓", "pass", "every printed digit is right"),
    "misleading": ("◆", "finding", "part of it holds, or it holds under conditions not stated"),
    "wrong": ("✗", "failure", "does not agree with the certified value"),
    UNMEASURED: ("…", "unjudged", "needs a measurement that this run does not have"),
}
ROLES: Mapping[Role, str] = {"claim": "the claim", "premise": "a premise", "remark": "remark"}


@dataclass(frozen=True)
class ShownClaim:
    """One claim as the page shows it.

    Attributes:
        facts: (term, text) pairs, absent ones left out.
        tables: of its printed numbers, its findings and its series.
    """

    id: str
    anchor: str
    source: str
    verdict: Entry
    claimed: str
    facts: Sequence[tuple[str, str]]
    tables: Sequence[Table]


def verdict_entry(record: ClaimRecord) -> Entry:
    """The verdict by symbol and word. A record without one says what happened instead."""
    verdict = record.verdict
    if verdict is not None:
        symbol, kind, _ = VERDICTS[verdict]
        return Entry(f"{symbol} {verdict}", verdict, kind)
    if record.status == "skipped":
        return Entry(f"… {UNMEASURED}", UNMEASURED, "unjudged", record.reason)
    text = record.status.replace("_", " ")
    return Entry(f"▽ no verdict: {text}", text, "failure", record.reason)


def _identity(record: ClaimRecord) -> str:
    return record.claim or record.workload or "?"


def _source(record: ClaimRecord) -> str:
    return record.place or record.source_title or record.source_id or "not recorded"


def heading(run: RunData) -> tuple[str, str]:
    """The title of the page, and what to know before its figures: of claims, or of one paper."""
    first = next(iter(run.select(ClaimRecord)))
    if run.info.profile != "reproduce":
        return "Claims", prose("claims_lead")
    machine, asked = run.info.machine, run.info.filters
    command = ["softmax-bench", "reproduce", str(first.source_id)]
    for option in ("seconds", "logits"):
        values = asked.get(option) or []
        for value in values if isinstance(values, list | tuple) else [values]:
            command += [f"--{option}", str(value)]
    lead = prose(
        "reproduction_lead", title=first.source_title, setting=first.source_setting,
        cpu=machine.get("cpu") or machine.get("slug"), cores=machine.get("logical_cores"),
        virtual=machine.get("virtual"), timed=bool(run.select(ThroughputRecord)),
        command=shlex.join(command),
    )  # fmt: skip
    return "Reproduction", lead


def register(run: RunData) -> Table:
    """All claims: what is stated, what is certified, the verdict, and what decided it."""
    rows = []
    for c in run.select(ClaimRecord):
        identity = _identity(c)
        rows.append([
            Entry(identity, identity, href=f"#{anchor(identity)}"),
            words(_source(c)), words(c.claimed or "not recorded"),
            words(c.certified or "–"), verdict_entry(c),
            words(c.because or c.reason or "not recorded"),
        ])  # fmt: skip
    columns = texts("Claim", "Source", "As published", "Certified", "Verdict", "Because")
    return Table("claims-register", "Published claims and their certified values", columns, rows)


def tally(run: RunData) -> Table:
    """How many claims have each verdict."""
    found = Counter(verdict_entry(c).raw for c in run.select(ClaimRecord))
    rows = []
    for verdict, (symbol, kind, meaning) in VERDICTS.items():
        n = found.pop(verdict, 0)
        rows.append([Entry(f"{symbol} {verdict}", verdict, kind), count(n), words(meaning)])
    for other, n in found.items():
        rows.append([Entry(f"▽ no verdict: {other}", other, "failure"), count(n),
                     words("no verdict was reached; the reason stands below")])  # fmt: skip
    columns = [*texts("Verdict"), Column("Claims"), *texts("Meaning")]
    return Table("claims-verdicts", "Verdicts", columns, rows)


def anchor(identity: str) -> str:
    return f"claim-{slug(identity)}"


def audits(run: RunData) -> list[ShownClaim]:
    """The evidence behind every claim, in the order of the register."""
    found = []
    for c in run.select(ClaimRecord):
        identity = _identity(c)
        facts = [
            ("Certified", c.certified), ("Because", c.because),
            ("How", c.derivation), ("Differs", c.differs), ("Note", c.note),
            ("Reason", c.reason if c.reason != c.derivation else None),
        ]  # fmt: skip
        found.append(ShownClaim(
            identity, anchor(identity), _source(c), verdict_entry(c),
            c.claimed or "not recorded", [(k, v) for k, v in facts if v],
            _tables(c, f"claim-{slug(identity)}"),
        ))  # fmt: skip
    return found


def _tables(record: ClaimRecord, stem: str) -> list[Table]:
    tables = [_numbers(record.numbers, f"{stem}-numbers")] if record.numbers else []
    tables += [_findings(record.findings, f"{stem}-findings")] if record.findings else []
    series = enumerate(record.tables or ())
    return tables + [_series(one, f"{stem}-series-{k}") for k, one in series]


def _numbers(numbers: Sequence[PrintedNumber], name: str) -> Table:
    rows = []
    for n in numbers:
        if n.exact:
            verdict = Entry("✓ exact", "exact", "pass")
        elif n.to_the_digits:
            verdict = Entry("✓ to the digits printed", "to the digits printed", "pass")
        else:
            verdict = Entry("✗ differs", "differs", "failure")
        rows.append(
            [words(n.label), words(n.claimed), words(n.rounded), words(n.certified), verdict]
        )
    columns = [
        *texts("Number"), Column("Printed"), Column("Certified", "to the digits printed"),
        Column("Certified", "more digits"), *texts("Verdict"),
    ]  # fmt: skip
    return Table(name, "Printed numbers", columns, rows)


def _findings(findings: Sequence[Finding], name: str) -> Table:
    rows = []
    for f in findings:
        if f.cases == 0:
            share = Entry("… not decided", "not decided", "unjudged")
        elif f.held == f.cases:
            share = Entry(f"✓ all of {integer(f.cases)}", f"{f.held}/{f.cases}", "pass")
        else:
            all_of = integer(f.cases)
            some = f"in {integer(f.held)} of {all_of}" if f.held else f"none of {all_of}"
            remark = f.role == "remark"  # decides nothing: neither right nor wrong
            share = Entry(some if remark else f"✗ {some}", f"{f.held}/{f.cases}",
                          "" if remark else "failure")  # fmt: skip
        rows.append([words(f.statement), share, words(f.measured), words(ROLES[f.role]),
                     words(_figures(f.figures))])  # fmt: skip
    columns = texts("Statement examined", "Is it so?", "Measured", "Part in the verdict", "Figures")
    return Table(name, "What was examined", columns, rows)


def _figures(figures: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        return figure(value, 6) if isinstance(value, float) else str(value)

    return "; ".join(f"{str(k).replace('_', ' ')} {text(v)}" for k, v in figures.items())


def _series(series: EvidenceTable, name: str) -> Table:
    width = max([1, len(series.columns), *(len(r) for r in series.rows)])
    headers = [*series.columns, *[""] * (width - len(series.columns))]
    rows = [[words(v) for v in [*r, *[""] * (width - len(r))]] for r in series.rows]
    columns = [Column(h, numeric=k > 0 and _numeric(rows, k)) for k, h in enumerate(headers)]
    return Table(name, series.caption or "Measured", columns, rows)


def _numeric(rows: Sequence[Sequence[Entry]], k: int) -> bool:
    def number(text: str) -> bool:
        try:
            float(text)
        except ValueError:
            return False
        return True

    return all(number(row[k].text) for row in rows)


def counted(run: RunData) -> str:
    """The verdicts in one sentence."""
    found = Counter(verdict_entry(c).raw for c in run.select(ClaimRecord))
    order = [*VERDICTS, *(v for v in found if v not in VERDICTS)]
    return ", ".join(f"{integer(found[v])} {v}" for v in order if found[v])
