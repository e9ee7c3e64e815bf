"""The record of a softmax whose logits are scaled, capped, masked or beside a sink."""

from __future__ import annotations

from typing import Literal

from harness.records.base import Outcome, Record, maybe


class AttentionRecord(Record):
    """Errors of one operation of attention, or where it stops being finite.

    `parameter` and `value` are of the call: the scale, the cap, the sink, or the share of the
    classes that a mask keeps out. For ``kind="onset"`` the row is [t, 0.75 t, 0.5 t, 0] of a
    growing t (``over="logits"``), that of t = 10 under a growing scale (``over="scale"``), or
    [t, t - 1, t - 2, t - 3] (``over="offset"``). Points of random digits are tried, since what a
    compiler contracts shows at some only (in ``linear_cross_entropy`` t is the input of one
    feature, in ``merge_logsumexp`` the larger maximum); `last_good` and `first_bad` are then found
    by bisection between the first bad one and the one before: neighbours in the format.
    """

    experiment: Literal["attention"] = "attention"
    kind: Literal["accuracy", "onset", "merge", "disagreement", "layer", "weights"] | None = None
    result: Literal["loss", "hidden", "weight"] | None = maybe(
        "of linear_cross_entropy: the loss, or the gradient in the inputs or in the weights"
    )
    parameter: Literal["scale", "cap", "sink", "mask"] | None = None
    value: float | None = None
    setting: str | None = maybe("of the parameters of attention_weights, such as tau=8")
    input_sha256: str | None = None
    max_ulp: float | None = None
    p99_ulp: float | None = None
    correctly_rounded: float | None = maybe("fraction of the elements")
    nonfinite: int | None = maybe("results that are not finite where a finite one is due")
    leaked: int | None = maybe("masked places with another result than 0")
    empty_rows: str | None = maybe("what rows without any class give: zeros, NaN or something else")
    outcome: Outcome | None = maybe("worst class of outcome over the rows")
    bound: str | None = maybe("name of the bound that applies to softmax itself")
    bound_ulp: float | None = maybe("largest bound over the elements, in ulps")
    error_over_bound: float | None = maybe("largest error / bound, elementwise")
    deviation: str | None = maybe("declared deviation that explains what is beyond the bound")
    worst_row: int | None = None
    worst_class: int | None = None
    worst_got: str | None = maybe("hexadecimal")
    worst_expected: str | None = maybe("hexadecimal, correctly rounded")
    worst_logits: list[str] | None = maybe("the whole row in hex, 16 at most")
    over: Literal["logits", "scale", "offset"] | None = maybe("what grows")
    occurs: bool | None = None
    last_good: float | None = None
    first_bad: float | None = None
    first_bad_logits: list[str] | None = maybe("hexadecimal")
    first_bad_scale: str | None = maybe("hexadecimal")
    got_at_first_bad: list[str] | None = maybe("hexadecimal")
    together: float | None = maybe(
        "the first t that is bad in one call with the rows of all others"
    )
    other: str | None = maybe("the implementation that it is compared with")
    max_ratio: float | None = maybe("largest p / q, or q / p, of all classes")
    likely_ratio: float | None = maybe("the same of classes with a probability of 1e-4 and more")
    kl: float | None = maybe("largest magnitude of KL(p, q) over the rows, nats")
    argmax_differs: int | None = maybe("rows whose most likely class is another")
    same_bits: bool | None = None
    maxima_wrong: int | None = maybe("merged maxima that are not the larger of the two, exactly")
    order_ulp: float | None = maybe("by how much sums of the same parts differ with the order")
    parts: int | None = maybe("that a row was merged from")
    points: int | None = maybe("that were tried, each alone in a call")
    norm_u: float | None = maybe(
        "largest error over the largest entry of the result, in unit roundoffs of the format"
    )
    total_variation: float | None = maybe("largest of the rows, half the sum of abs(y - p)")
    misrounded_float32: float | None = maybe("fraction of the results that are not the nearest")
    misrounded_float16: float | None = maybe("the same when they are rounded to float16")
    misrounded_bfloat16: float | None = None
    misrounded_float8_e4m3fn: float | None = None
    misrounded_float8_e5m2: float | None = None
