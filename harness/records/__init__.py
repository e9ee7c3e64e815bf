"""The schema of what is measured: one record a cell, and the description of a run.

A record always carries its coordinates and a `status`; a cell that could not be measured is a
record that says why. Numbers that do not exist are ``None``, never a stand-in number. JSON is
strict: non-finite numbers are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.
"""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field, TypeAdapter

from harness.records.accuracy import AccuracyRecord
from harness.records.attention import AttentionRecord
from harness.records.base import Outcome, Record, Status, Witness
from harness.records.claims import ClaimRecord, ClaimVerdict
from harness.records.conformance import ConformanceRecord
from harness.records.device_throughput import DeviceThroughputRecord
from harness.records.exhaustive import ExhaustiveRecord, WorstCaseRecord
from harness.records.overflow import OverflowRecord
from harness.records.run import SCHEMA_VERSION, ImplementationInfo, RunInfo
from harness.records.throughput import Regime, ThroughputRecord
from harness.records.training import TrainingRecord

Measured = (
    ConformanceRecord
    | AccuracyRecord
    | OverflowRecord
    | ThroughputRecord
    | DeviceThroughputRecord
    | ClaimRecord
    | ExhaustiveRecord
    | WorstCaseRecord
    | TrainingRecord
    | AttentionRecord
)
AnyRecord = Annotated[Measured, Field(discriminator="experiment")]
RECORD: TypeAdapter[Measured] = TypeAdapter(AnyRecord)
EXPERIMENTS = tuple(str(m.model_fields["experiment"].default) for m in get_args(Measured))

__all__ = [
    "EXPERIMENTS",
    "RECORD",
    "SCHEMA_VERSION",
    "AccuracyRecord",
    "AnyRecord",
    "AttentionRecord",
    "ClaimRecord",
    "ClaimVerdict",
    "ConformanceRecord",
    "DeviceThroughputRecord",
    "ExhaustiveRecord",
    "ImplementationInfo",
    "Outcome",
    "OverflowRecord",
    "Record",
    "Regime",
    "RunInfo",
    "Status",
    "ThroughputRecord",
    "TrainingRecord",
    "Witness",
    "WorstCaseRecord",
]
