"""The conformance catalogue: cases as data, what they expect, and how a subject is put to them.

The room of the questions; the verdicts are in `judge`. Numbers are those of the
numerics catalogue (docs), cases without one have a name alone.
"""

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
)

CASES: tuple[Case, ...] = (
    *special.CASES,
    *magnitude.CASES,
    *exponential.CASES,
    *localised.CASES,
    *lengths.CASES,
    *long_rows.CASES,
    *layouts.CASES,
    *dtypes.CASES,
    *invariants.CASES,
    *gradients.CASES,
)

__all__ = ["CASES", "Case"]
