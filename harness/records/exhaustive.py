"""The records of exhaustive tables and of worst cases."""

from __future__ import annotations

from typing import Any, Literal

from harness.records.base import Record, maybe

ExhaustiveTable = Literal["pairs", "line", "constant", "float8", "exp_order", "triples", "bounds"]


class ExhaustiveRecord(Record):
    """One table of one implementation; `workload` is the table's name.

    ``ok`` means that it was judged, not that it is right: the counts say that. After a fault the
    numbers are of what was judged until then. `max_ulp` is a true maximum where `exhaustive` is
    true, else a lower bound.
    """

    experiment: Literal["exhaustive"] = "exhaustive"
    table: ExhaustiveTable | None = None
    domain: str | None = maybe("what the rows were, in words")
    judged: int | None = maybe("rows judged")
    total: int | None = maybe("rows there are")
    exhaustive: bool | None = maybe("every row of the domain was judged")
    every: int | None = maybe("one block of so many was asked for")
    workers: int | None = maybe("processes, each with one thread")
    misrounded: list[int] | None = maybe("results, by output")
    ulp_histogram: dict[str, int] | None = maybe(
        "results by class: 0, <=0.5, <=1, <=2, <=4, >4, wrong"
    )
    max_ulp: float | None = None
    worst_logits: list[str] | None = maybe("hexadecimal")
    worst_repeat: int | None = maybe("length of a constant row, of which `worst_logits` has one")
    worst_class: int | None = None
    worst_got: str | None = maybe("hexadecimal")
    worst_expected: str | None = maybe("hexadecimal, correctly rounded")
    rounding: str | None = maybe("how results came to be in the format, where not by itself")
    figures: dict[str, Any] | None = maybe("what else the table counts")


class WorstCaseRecord(Record):
    """The largest error ÷ bound that a search found, or what became of a row of the corpus.

    A search gives a lower bound on the largest error. ``failed`` where the bound is exceeded, or
    a result is not finite where one is due and no deviation is declared. For a replay `workload`
    is ``corpus <id>``, and the rows of one corpus are compared between runs.
    """

    experiment: Literal["worst_case"] = "worst_case"
    kind: Literal["search", "replay"] | None = None
    bound: str | None = maybe("name of the bound")
    error_over_bound: float | None = None
    error_ulp: float | None = None
    bound_ulp: float | None = None
    in_batch: float | None = maybe(
        "error / bound of the row among others, where it was another one"
    )
    evaluations: int | None = maybe("rows tried")
    origin: str | None = maybe("kind of row that the climb began from")
    entry: str | None = maybe("id of the input in the corpus")
    worst_logits: list[str] | None = maybe("the row in hexadecimal")
    worst_class: int | None = None
    worst_got: str | None = maybe("hexadecimal")
    worst_expected: str | None = maybe("hexadecimal, correctly rounded")
    nonfinite: int | None = maybe("rows out of the algorithm's range")
    nonfinite_logits: list[str] | None = maybe("the first, hexadecimal")
