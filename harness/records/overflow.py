"""The record of one overflow threshold, or of one cell of the map of outcomes."""

from __future__ import annotations

from typing import Literal

from harness.records.base import Outcome, Record, maybe


class OverflowRecord(Record):
    """Where results stop being right as logits grow, or one cell of the offset map.

    For ``kind="threshold"``, the probe is the row [t, 0] (``dominant``) or [t, t] (``tie``),
    t runs from 0 to the largest finite value in the direction of `sign`, and `last_good` and
    `first_bad` are neighbours in the format. Both are None when the event never happens.
    For ``kind="map"``, rows of normal logits plus `offset`.
    """

    experiment: Literal["overflow"] = "overflow"
    kind: Literal["threshold", "map"] | None = None
    probe: Literal["dominant", "tie"] | None = None
    sign: Literal[-1, 1] | None = None
    event: Literal["nonfinite", "zero", "inaccurate"] | None = None
    occurs: bool | None = None
    last_good: float | None = None
    last_good_hex: str | None = None
    first_bad: float | None = None
    first_bad_hex: str | None = None
    got_at_first_bad: list[str] | None = maybe("hexadecimal")
    expected_at_first_bad: list[str] | None = maybe("hexadecimal")
    tolerance_ulp: float | None = maybe("limit of the event `inaccurate`")
    evaluations: int | None = None
    offset: float | None = None
    outcome: Outcome | None = None
    max_ulp: float | None = None
    deviation: str | None = maybe("declared deviation that explains what is beyond the bound")
