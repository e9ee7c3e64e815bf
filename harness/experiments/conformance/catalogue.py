"""The cases of the catalogue, in order. Numbers are those of the numerics catalogue (docs)."""

from __future__ import annotations

from collections.abc import Mapping

from harness.experiments.conformance.case import Case
from harness.experiments.conformance.cases import (
    dtypes,
    exponential,
    gradients,
    invariants,
    layouts,
    lengths,
    localised,
    long_rows,
    magnitude,
    special,
    wide_rows,
)

CASES: tuple[Case, ...] = (
    *special.CASES,
    *magnitude.CASES,
    *exponential.CASES,
    *localised.CASES,
    *lengths.CASES,
    *long_rows.CASES,
    *wide_rows.CASES,
    *layouts.CASES,
    *dtypes.CASES,
    *invariants.CASES,
    *gradients.CASES,
)
BY_ID: Mapping[str, Case] = {c.id: c for c in CASES}
