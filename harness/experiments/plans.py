"""The plan of every experiment, by its name, and of a whole run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

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

OF_COMMANDS: Mapping[str, Callable[[Context, Any], Iterator[Unit]]] = {
    "exhaustive": exhaustive.plan,
    "worst-case": worst_case.plan,
}
"""The plan of commands of their own, by the name of their profile; it takes what was asked for."""


def plan(context: Context) -> list[Unit]:
    """All units of a run, in the order in which they are measured."""
    units: list[Unit] = []
    for name in context.profile.experiments:
        units.extend(EXPERIMENTS[name](context))
    return sorted(units, key=lambda unit: unit.concluding)
