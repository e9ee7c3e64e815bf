"""The description of a run: everything that its cells have in common."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from harness.records.base import Strict, maybe

SCHEMA_VERSION = 1


class DeclaredDeviation(Strict):
    """A departure that an implementation declares.

    Attributes:
        id: what deviates.
        reason: why, in a sentence.
    """

    id: str
    reason: str


class ImplementationInfo(Strict):
    """What a run knows of an implementation: its metadata, and whether it could run."""

    name: str
    description: str
    documentation: str
    backend: str
    device: str
    dtypes: list[str]
    operations: list[str]
    operations_with_out: list[str]
    requires: list[str] = Field(default=[])
    source: str | None = None
    formula: str | None = None
    bound: str | None = None
    passes: int | None = None
    threads: str | None = None
    deviations: list[DeclaredDeviation] = Field(default=[])
    available: bool
    unavailable_reason: str | None = None
    compiled: list[dict[str, Any]] = Field(
        default=[], description="outcome of compiling device code without a device, one a target"
    )
    sha256: str | None = maybe("of the source files")
    file: str | None = maybe("path as it was given; None for one that is found by its name")
    exp_error_u: dict[str, float] = Field(
        default={}, description="measured error of exp by dtype, in u"
    )
    exp_error_points: dict[str, int] = Field(default={})


class RunInfo(Strict):
    """run.json: everything that the cells of a run have in common.

    `machine` is `description.Machine` as plain data.
    """

    schema_version: int = SCHEMA_VERSION
    id: str
    created: str = Field(description="UTC, ISO 8601")
    finished: str | None = maybe("UTC; None while running or interrupted")
    command: list[str]
    working_directory: str | None = maybe(
        "where the command was given, relative to the run's folder: paths in the "
        "command, the filters and the implementations start there"
    )
    profile: str
    filters: dict[str, Any] = Field(default={})
    seed: int
    baseline: str | None = maybe("implementation speeds are ratios to")
    workload_version: int
    harness_version: str
    git_commit: str | None = None
    git_dirty: bool | None = None
    machine: dict[str, Any]
    versions: dict[str, str]
    environment: dict[str, str] = Field(
        default={}, description="variables that change threads or speed"
    )
    worker_environment: dict[str, str] = Field(
        default={}, description="variables that every worker is given: memory, threads"
    )
    implementations: list[ImplementationInfo]
    planned_cells: int
    seconds: dict[str, float] = Field(
        default={}, description="where the time of the run went (of a resumed run, its last part)"
    )
    warnings: list[str] = Field(default=[])
    hosts: dict[str, dict[str, Any]] = Field(
        default={},
        description="machines whose workers took part by way of a scheduler: versions, "
        "processor, and what they differ in from the machine of the run",
    )
    workloads: dict[str, str] = Field(default={}, description="workload id to what it is")
