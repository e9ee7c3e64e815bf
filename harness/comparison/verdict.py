"""What a comparison finds: one item a cell, the cells without a partner, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["worse", "inconclusive", "better", "equivalent"]
VERDICTS: tuple[Verdict, ...] = ("worse", "inconclusive", "better", "equivalent")
"""In the order in which they are shown, and in which they decide the whole."""


@dataclass(frozen=True)
class Item:
    """The verdict on one cell.

    Attributes:
        experiment: ``"accuracy"``, ``"overflow"``, ``"throughput"``, ...
        implementation: its name, or ``"A -> B"`` for two implementations.
        where: the other coordinates, for people.
        figure: what is compared (``"time"``, ``"max ulp"``, ``"status"``, ...).
        base, new: the number on each side; None where a side has none.
        verdict: of the new side against the base.
        reason: why, in a sentence.
        unit: of the numbers.
        ratio, low, high: new / base and its 95% interval, for timings; above 1 is slower.
    """

    experiment: str
    implementation: str
    where: str
    figure: str
    base: float | str | None
    new: float | str | None
    verdict: Verdict
    reason: str
    unit: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Missing:
    """A cell that only one side has measured.

    Attributes:
        side: ``"base"`` or ``"new"``, the one that lacks it.
        reason: the status and reason that the side gives, or that it has no such cell.
    """

    experiment: str
    implementation: str
    where: str
    side: Literal["base", "new"]
    reason: str


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison found.

    Attributes:
        base, new: what was compared, as it was given.
        items: one a compared cell; the worst first.
        missing: cells that one side lacks.
        unmeasured: cells that neither side could measure, by reason.
        notes: what the reader must know of the two sides: machines, versions, sources.
        threshold: practical threshold of timings: 0.05 is 5%.
        accuracy_factor: growth of an error that counts as worse.
        tests: hypotheses in the family of tests that the timings went through.
    """

    base: str
    new: str
    items: Sequence[Item]
    missing: Sequence[Missing] = ()
    unmeasured: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    threshold: float = 0.05
    accuracy_factor: float = 1.25
    tests: int = 0

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many items have each verdict."""
        found = Counter(i.verdict for i in self.items)
        return {v: found[v] for v in VERDICTS}

    @property
    def verdict(self) -> Verdict | Literal["nothing"]:
        """The first of worse, inconclusive, better that any item has; else equivalent."""
        if not self.items:
            return "nothing"
        return next(v for v in VERDICTS if self.counts[v])
