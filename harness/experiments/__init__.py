"""The experiments: each plans units of cells, measures one, and yields records."""

from collections.abc import Callable, Iterator, Mapping

from harness.experiments import (
    accuracy,
    claims,
    conformance,
    device_throughput,
    exhaustive,
    overflow,
    throughput,
    worst_case,
)
from harness.experiments.context import Context, Unit

EXPERIMENTS: Mapping[str, Callable[[Context], Iterator[Unit]]] = {
    "conformance": conformance.plan,
    "accuracy": accuracy.plan,
    "overflow": overflow.plan,
    "throughput": throughput.plan,
    "device_throughput": device_throughput.plan,
    "claims": claims.plan,
    "exhaustive": exhaustive.plan,
    "worst_case": worst_case.plan,
}

__all__ = ["EXPERIMENTS", "Context", "Unit"]
