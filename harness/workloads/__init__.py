"""Inputs: seeded and versioned families of logits, real logits, and class counts by name."""

from harness.workloads.captured import load_logits, open_logits, sources_in
from harness.workloads.class_counts import CLASS_COUNTS, parse_class_count
from harness.workloads.digits import DigitsLogits, WorkloadUnavailable, digits_logits
from harness.workloads.families import FAMILIES, Family
from harness.workloads.stored import LogitsError, Stored
from harness.workloads.workload import (
    DISTINCT_ELEMENTS,
    VERSION,
    Workload,
    generate,
    input_sha256,
    make,
    parse,
    standard_ids,
)

__all__ = [
    "CLASS_COUNTS",
    "DISTINCT_ELEMENTS",
    "FAMILIES",
    "VERSION",
    "DigitsLogits",
    "Family",
    "LogitsError",
    "Stored",
    "Workload",
    "WorkloadUnavailable",
    "digits_logits",
    "generate",
    "input_sha256",
    "load_logits",
    "make",
    "open_logits",
    "parse",
    "parse_class_count",
    "sources_in",
    "standard_ids",
]
