"""The cases of the catalogue, in order. Some have a number, kept from the first catalogue."""

from __future__ import annotations

from collections.abc import Mapping

from harness.experiments.conformance.case import Case
from harness.experiments.conformance.cases import (
    attention,
    callers,
    dtypes,
    exponential,
    gradients,
    in_parts,
    invariants,
    layouts,
    lengths,
    localised,
    long_rows,
    magnitude,
    many_elements,
    ragged,
    special,
    state,
    wide_rows,
)

AREAS = (
    "special values", "accuracy", "wide rows", "many rows", "layouts", "gradients", "state", "speed"
)  # fmt: skip
"""What a verdict is told by. The last is measured, not judged, and no case is of it."""

_MODULES = {
    special: "special values",
    magnitude: "special values",
    exponential: "accuracy",
    localised: "accuracy",
    lengths: "wide rows",
    long_rows: "wide rows",
    wide_rows: "wide rows",
    many_elements: "many rows",
    layouts: "layouts",
    dtypes: "special values",
    invariants: "state",
    gradients: "gradients",
    callers: "state",
    state: "state",
    attention: "special values",
    in_parts: "accuracy",
    ragged: "special values",
}
"""Modules of cases in the order of the catalogue, and the area of theirs."""
_AREA_OF = {
    **{case.id: area for module, area in _MODULES.items() for case in module.CASES},
    **dict.fromkeys(("29-beyond-int32", "31-many-rows", "31-large"), "many rows"),
    **dict.fromkeys(("54-batches", "55-permutation", "57-shift", "58-distribution"), "accuracy"),
    **dict.fromkeys(("56-memory-order", "byte-order", "positional-axis", "52-overlap"), "layouts"),
    **dict.fromkeys(("changed-layouts", "changed-out", "mask-broadcast"), "layouts"),
    **dict.fromkeys(("scale-exact", "scale-rounded", "cap", "ragged"), "accuracy"),
    **dict.fromkeys(("ragged-lengths", "ragged-uneven"), "many rows"),
    **dict.fromkeys(("ragged-int32", "ragged-layouts", "ragged-out"), "layouts"),
}

CASES: tuple[Case, ...] = tuple(case for module in _MODULES for case in module.CASES)
BY_ID: Mapping[str, Case] = {c.id: c for c in CASES}
MODULE_OF: Mapping[str, str] = {
    case.id: module.__name__.rpartition(".")[2] for module in _MODULES for case in module.CASES
}
"""The module of a case, by its id."""


def area_of(case: str, operation: str) -> str:
    """Which of `AREAS` a case of the catalogue is of, by its id, on an operation."""
    if operation in ("softmax_backward", "cross_entropy"):
        return "gradients"
    return _AREA_OF[case]
