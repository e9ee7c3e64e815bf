"""The plan of every experiment, by its name: what yields its units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from harness.experiments import accuracy, overflow
from harness.experiments.attention import plan as attention
from harness.experiments.claims import plan as claims
from harness.experiments.conformance import plan as conformance
from harness.experiments.context import Context, Unit
from harness.experiments.exhaustive import plan as exhaustive
from harness.experiments.throughput import device as device_throughput
from harness.experiments.throughput import host as throughput
from harness.experiments.training import plan as training
from harness.experiments.worst_case import plan as worst_case

EXPERIMENTS: Mapping[str, Callable[[Context], Iterator[Unit]]] = {
    "conformance": conformance.plan,
    "accuracy": accuracy.plan,
    "overflow": overflow.plan,
    "throughput": throughput.plan,
    "device_throughput": device_throughput.plan,
    "claims": claims.plan,
    "exhaustive": exhaustive.plan,
    "worst_case": worst_case.plan,
    "training": training.plan,
    "attention": attention.plan,
}
