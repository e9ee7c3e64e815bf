"""The record of one case of the catalogue on one implementation, operation and format."""

from __future__ import annotations

from typing import Literal

from harness.records.base import Outcome, Record, Witness, maybe

Kind = Literal["contradiction", "convention", "finding"]
Verdict = Literal[
    "pass", "failure", "finding", "expected", "unexpected_pass", "unsupported", "skipped"
]


DEVIATIONS = "all"
"""The operation under which declared deviations are recorded."""


class ConformanceRecord(Record):
    """Verdict and class of outcome of one case; `workload` is the id of the case.

    ``failed`` is a failure or an unexpected pass, ``skipped`` and ``unsupported`` have their
    reason, everything else that was judged is ``ok``; a crash or a hang is ``crashed``.
    """

    experiment: Literal["conformance"] = "conformance"
    case: str | None = maybe("id of the case, as `workload`")
    number: int | None = maybe("kept from the first catalogue; none for a case that came later")
    title: str | None = None
    kind: Kind | None = None
    verdict: Verdict | None = None
    outcome: Outcome | None = maybe("class of the most serious observation")
    message: str | None = None
    deviation: str | None = maybe("id of the declared deviation that explains it")
    deviation_reason: str | None = None
    case_input: list[str] | None = maybe(
        "the row in hexadecimal, 64 elements at most, or how it was made"
    )
    got: str | None = maybe("hexadecimal")
    expected: str | None = maybe("hexadecimal, correctly rounded")
    error_ulp: float | None = None
    allowed_ulp: float | None = None
    observations: int | None = maybe("calls or comparisons that were judged")
    others: list[str] | None = maybe("further ones of that grade, 8 at most")
    upstream: list[str] | None = maybe("issues in which it was reported")
    witness: Witness | None = maybe("the smallest call found on which it fails; of failures alone")
    diagnosis: str | None = maybe("what is wrong, in a sentence, where that can be told")
