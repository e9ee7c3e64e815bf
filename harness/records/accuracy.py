"""The record of one accuracy cell."""

from __future__ import annotations

from typing import Literal

from harness.records.base import Outcome, Record, Witness, maybe


class AccuracyRecord(Record):
    """Errors of one call against the certified reference.

    All errors in ulps are of the result's format, against the unrounded reference.
    ``failed`` means that a result exceeded the bound of its algorithm (`error_over_bound` > 1)
    or was wrong outright; `deviation` names the declared one that explains it, if one does.
    """

    experiment: Literal["accuracy"] = "accuracy"
    elements: int | None = None
    max_ulp: float | None = None
    p50_ulp: float | None = None
    p99_ulp: float | None = None
    p999_ulp: float | None = None
    bias_ulp: float | None = None
    correctly_rounded: float | None = maybe("fraction of the elements")
    ulp_histogram: dict[str, int] | None = maybe(
        "counts by class: 0, <=0.5, <=1, <=2, <=4, >4, wrong"
    )
    max_relative: float | None = None
    normwise_relative: float | None = None
    max_absolute: float | None = None
    sum_residual: float | None = maybe("blind to errors of exp")
    kl_divergence: float | None = None
    total_variation: float | None = None
    flushed_count: int | None = None
    flushed_mass: float | None = None
    wrong_argmax: int | None = None
    wrong_order: int | None = None
    nonfinite: int | None = None
    outcome: Outcome | None = maybe("worst class of outcome over the rows")
    bound: str | None = maybe("name of the bound that applies")
    bound_ulp: float | None = maybe("largest bound over the elements, in ulps")
    bound_ulp_at_worst: float | None = None
    error_over_bound: float | None = maybe("largest error / bound, elementwise")
    deviation: str | None = maybe("declared deviation that explains what is beyond the bound")
    published_bound: str | None = maybe("name of the literature's bound for the same algorithm")
    published_bound_ulp: float | None = maybe(
        "largest published bound over the elements, in ulps; none where the theorem "
        "claims nothing of some element (its algorithm overflows there)"
    )
    error_over_published: float | None = maybe(
        "largest error / published bound, elementwise, where the theorem claims "
        "anything; above 1 is no failure"
    )
    exp_error_u: float | None = maybe("measured error E of exp, in u")
    worst_row: int | None = None
    worst_class: int | None = None
    worst_logit: str | None = maybe("hexadecimal")
    worst_got: str | None = maybe("hexadecimal")
    worst_expected: str | None = maybe("hexadecimal, correctly rounded")
    worst_logits: list[str] | None = maybe("the whole row in hex, 16 at most")
    rows_at_once: int | None = maybe(
        "rows of a call, of logits that were judged in blocks; then p50_ulp, p99_ulp and p999_ulp "
        "are at most 2**-12 of themselves too large"
    )
    classes_at_once: int | None = maybe(
        "classes of a call, where rows were put together of softmax and logsumexp of parts of "
        "their classes; wrong_order is then not known"
    )
    input_sha256: str | None = None
    witness: Witness | None = maybe("the smallest call found on which it fails; of failures alone")
    diagnosis: str | None = maybe("what is wrong, in a sentence, where that can be told")
