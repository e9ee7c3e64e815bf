"""The conformance catalogue: cases as data, what they expect, and how a subject is put to them.

The room of the questions; the verdicts are in `harness.conformance`. Numbers are those of the
numerics catalogue (docs), cases without one have a name alone.
"""

from harness.catalogue import (
    dtypes,
    exponential,
    gradients,
    invariants,
    lanes,
    layouts,
    lengths,
    magnitude,
    special,
    tails,
)
from harness.catalogue.case import Case

CASES: tuple[Case, ...] = (
    *special.CASES,
    *magnitude.CASES,
    *exponential.CASES,
    *lanes.CASES,
    *lengths.CASES,
    *tails.CASES,
    *layouts.CASES,
    *dtypes.CASES,
    *invariants.CASES,
    *gradients.CASES,
)

__all__ = ["CASES", "Case"]
