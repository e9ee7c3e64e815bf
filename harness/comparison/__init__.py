"""The verdict between two measurements: two runs, or two implementations in one run.

Deterministic numbers (errors, thresholds, statuses) are compared as they are; timings by
intervals, with the drift of the machine between the runs and the number of comparisons taken
into account (docs/comparing.md). Nothing is called better or worse that the samples do not bear
out, and nothing that could not be compared goes unsaid.
"""

from __future__ import annotations

from harness.comparison.compare import compare
from harness.comparison.verdict import Comparison, Item, Missing, Verdict

__all__ = ["Comparison", "Item", "Missing", "Verdict", "compare"]
