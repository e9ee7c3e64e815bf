"""The page of what softmax and format do to learning: a figure, a sentence, a table a question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from harness.records import TrainingRecord
from harness.report.drawing.figure import (
    Plot,
)
from harness.report.drawing.tables import Column, Table, count, texts, words
from harness.report.pages.learning import (
    clipping,
    collapse,
    cost,
    depth,
    digits,
    nonfinite,
    vanishing,
)
from harness.report.run_data import RunData

QUESTIONS: Mapping[str, str] = {
    "digits": "What is learned",
    "nonfinite": "The first loss that is not finite",
    "vanishing": "Gradients that are exactly 0",
    "depth": "Gradients by layer",
    "collapse": "Losses that are exactly 0",
    "clipping": "Clipping, and steps that are too long",
    "cost": "The cost of classes",
}


def records_of(run: RunData, kind: str) -> list[TrainingRecord]:
    """The records of a question that were measured or whose training broke off."""
    return [c for c in run.select(TrainingRecord) if c.kind == kind and _answers(c)]


def _answers(c: TrainingRecord) -> bool:
    broke_off = c.status == "failed" and c.kind in ("digits", "collapse", "clipping")
    return c.status == "ok" or broke_off


def untrained(run: RunData) -> Table | None:
    """Why other cells have no numbers, by implementation; None where all have."""
    counts = Counter(
        (c.implementation, c.status, c.reason or "no reason recorded")
        for c in run.select(TrainingRecord)
        if not _answers(c)
    )
    rows = [[words(name), count(n), words(status.replace("_", " ")), words(reason)]
            for (name, status, reason), n in counts.items()]  # fmt: skip
    columns = [*texts("Implementation"), Column("Cells"), *texts("Status", "Reason")]
    return Table("training-not-done", "Cells without numbers", columns, rows).or_none()


def questions_of(run: RunData) -> list[str]:
    """Those that the run answers, in the order of the page."""
    return [kind for kind in QUESTIONS if records_of(run, kind)]


class Question(NamedTuple):
    """How a question is answered: in a sentence, a table and a figure."""

    told: Callable[[RunData, Sequence[TrainingRecord]], str]
    table: Callable[[RunData, Sequence[TrainingRecord]], Table]
    plot: Callable[[RunData, Sequence[TrainingRecord], str, Table], Plot]


ANSWERS: Mapping[str, Question] = {
    "digits": Question(digits.told, digits.table, digits.plot),
    "nonfinite": Question(nonfinite.told, nonfinite.table, nonfinite.plot),
    "vanishing": Question(vanishing.told, vanishing.table, vanishing.plot),
    "depth": Question(depth.told, depth.table, depth.plot),
    "collapse": Question(collapse.told, collapse.table, collapse.plot),
    "clipping": Question(clipping.told, clipping.table, clipping.plot),
    "cost": Question(cost.told, cost.table, cost.plot),
}


def told(run: RunData) -> dict[str, str]:
    """The answer to each question that the run asked, in a sentence or two."""
    return {kind: ANSWERS[kind].told(run, records_of(run, kind)) for kind in questions_of(run)}


def answered(run: RunData, kind: str) -> Plot:
    """The figure of a question, with its answer and the table behind it."""
    records = records_of(run, kind)
    answer = ANSWERS[kind]
    table = answer.table(run, records)
    return answer.plot(run, records, answer.told(run, records), table)
