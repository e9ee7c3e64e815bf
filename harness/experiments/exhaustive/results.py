"""The result of an exhaustive experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.numerics.metrics import HISTOGRAM_KEYS
from harness.records import Status

Experiment = Literal["pairs", "line", "constant", "float8", "exp_order"]


@dataclass(frozen=True)
class Worst:
    """The input of the largest error.

    Attributes:
        logits: the row in hex.
        output: index of the class.
        computed, expected: value that came, and the correctly rounded one, in hex.
        ulp: the error against the unrounded value, in ulps of the format.
        repeat: length of a constant row, whose one logit `logits` holds; else 1.
    """

    logits: tuple[str, ...]
    output: int
    computed: str
    expected: str
    ulp: float
    repeat: int = 1

    def __str__(self) -> str:
        if self.repeat > 1:
            return f"[{self.logits[0]}] × {self.repeat}"
        return f"[{', '.join(self.logits)}], class {self.output}"


@dataclass(frozen=True)
class ExhaustiveResult:
    """One table of one implementation.

    Attributes:
        experiment: which table.
        implementation, dtype: of what.
        status, reason: ``ok``, or what went wrong; the counts are then of what was judged.
        domain: what the rows were, in words.
        rows, total: rows judged, and rows there are.
        exhaustive: every row of the domain was judged: `max_ulp` is a true maximum; else it is a
            lower bound.
        misrounded: results that differ from the exact value rounded to nearest, by output.
        histogram: results by class of ulp error, all outputs (`harness.metrics.HISTOGRAM_KEYS`).
        max_ulp: the largest error; infinite if a result is not finite. None if nothing was judged.
        worst: where it is.
        elapsed_s: seconds, over all sessions where it was resumed.
        rounding: how results came to be in the format, where not by the implementation itself.
        figures: what else a table counts.
    """

    experiment: Experiment
    implementation: str
    dtype: str
    status: Status
    reason: str | None
    domain: str
    rows: int
    total: int
    exhaustive: bool
    misrounded: tuple[int, ...]
    histogram: Mapping[str, int]
    max_ulp: float | None
    worst: Worst | None
    elapsed_s: float
    rounding: str | None = None
    figures: Mapping[str, Any] | None = None


def histogram(counts: Any) -> dict[str, int]:
    """Counts by class, the first axes summed."""
    flat = counts.reshape(-1, len(HISTOGRAM_KEYS)).sum(axis=0)
    return {key: int(c) for key, c in zip(HISTOGRAM_KEYS, flat, strict=True)}
