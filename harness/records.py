"""The schema of what is measured: one record a cell, and the description of a run.

A record always carries its coordinates and a `status`; a cell that could not be measured is a
record that says why. Figures that do not exist are ``None``, never a stand-in number. JSON is
strict: non-finite figures are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

SCHEMA_VERSION = 1

Status = Literal[
    "ok",
    "failed",
    "unsupported",
    "unavailable",
    "error",
    "crashed",
    "timeout",
    "out_of_memory",
    "skipped",
]

Outcome = Literal[
    "exact",
    "accurate",
    "inaccurate",
    "limit",
    "nan",
    "zero",
    "inf",
    "raises",
    "wrong",
    "crashed",
]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, ser_json_inf_nan="strings", protected_namespaces=()
    )


class Record(_Strict):
    """The coordinates of a cell, its status, and what it cost to measure.

    Attributes:
        experiment: which experiment measured it; selects the record's own figures.
        implementation: name of the implementation (a limit has the name of its copy kernel).
        operation: ``"softmax"``, ...; ``"copy"`` for a limit.
        dtype: name of the format of input and output.
        device: ``"cpu"`` or ``"cuda"``.
        threads: threads the implementation was given; None where it was left alone.
        workload: workload id, such as ``"normal(scale=10)"``.
        classes, rows: length of the softmax axis, and the product of the others.
        seed: seed of the workload.
        status, reason: what happened; the reason is there for every status but ``ok``.
        elapsed_s: seconds the cell took, reference included.
    """

    experiment: str
    implementation: str
    operation: str = "softmax"
    dtype: str | None = None
    device: str | None = None
    threads: int | None = None
    workload: str | None = None
    classes: int | None = None
    rows: int | None = None
    seed: int | None = None
    status: Status
    reason: str | None = None
    elapsed_s: float | None = None

    def ended(self, status: Status, reason: str) -> Self:
        """These coordinates with the status and the reason of a cell that gave no figures."""
        return self.model_copy(update={"status": status, "reason": reason})


class AccuracyRecord(Record):
    """Errors of one call against the certified reference.

    All errors in ulps are of the result's format, against the unrounded reference.
    ``failed`` means that a result exceeded the bound of its algorithm (`error_over_bound` > 1)
    or was wrong outright where no deviation is declared.
    """

    experiment: Literal["accuracy"] = "accuracy"
    elements: int | None = None
    max_ulp: float | None = None
    p50_ulp: float | None = None
    p99_ulp: float | None = None
    p999_ulp: float | None = None
    bias_ulp: float | None = None
    correctly_rounded: float | None = Field(default=None, description="fraction of the elements")
    ulp_histogram: dict[str, int] | None = Field(
        default=None, description="counts by class: 0, <=0.5, <=1, <=2, <=4, >4, wrong"
    )
    max_relative: float | None = None
    normwise_relative: float | None = None
    max_absolute: float | None = None
    sum_residual: float | None = Field(default=None, description="blind to errors of exp")
    kl_divergence: float | None = None
    total_variation: float | None = None
    flushed_count: int | None = None
    flushed_mass: float | None = None
    wrong_argmax: int | None = None
    wrong_order: int | None = None
    nonfinite: int | None = None
    outcome: Outcome | None = Field(
        default=None, description="worst class of outcome over the rows"
    )
    bound: str | None = Field(default=None, description="name of the bound that applies")
    bound_ulp: float | None = Field(
        default=None, description="largest bound over the elements, in ulps"
    )
    bound_ulp_at_worst: float | None = None
    error_over_bound: float | None = Field(
        default=None, description="largest error / bound, elementwise"
    )
    published_bound: str | None = None
    published_bound_ulp: float | None = None
    error_over_published: float | None = None
    exp_error_u: float | None = Field(default=None, description="measured error E of exp, in u")
    worst_row: int | None = None
    worst_class: int | None = None
    worst_logit: str | None = Field(default=None, description="hexadecimal")
    worst_got: str | None = Field(default=None, description="hexadecimal")
    worst_expected: str | None = Field(default=None, description="hexadecimal, correctly rounded")
    worst_logits: list[str] | None = Field(
        default=None, description="the whole row in hex, 16 at most"
    )
    input_sha256: str | None = None


class OverflowRecord(Record):
    """Where results stop being right as logits grow, or one cell of the offset map.

    For ``kind="threshold"``, the probe is the row [t, 0] (``dominant``) or [t, t] (``tie``),
    t runs from 0 to the largest finite value in the direction of `sign`, and `last_good` and
    `first_bad` are neighbours in the format. Both are None when the event never happens.
    For ``kind="map"``, rows of normal logits plus `offset`.
    """

    experiment: Literal["overflow"] = "overflow"
    kind: Literal["threshold", "map"] | None = None
    probe: Literal["dominant", "tie"] | None = None
    sign: Literal[-1, 1] | None = None
    event: Literal["nonfinite", "zero", "inaccurate"] | None = None
    occurs: bool | None = None
    last_good: float | None = None
    last_good_hex: str | None = None
    first_bad: float | None = None
    first_bad_hex: str | None = None
    got_at_first_bad: list[str] | None = Field(default=None, description="hexadecimal")
    expected_at_first_bad: list[str] | None = Field(default=None, description="hexadecimal")
    tolerance_ulp: float | None = Field(default=None, description="limit of the event `inaccurate`")
    evaluations: int | None = None
    offset: float | None = None
    outcome: Outcome | None = None
    max_ulp: float | None = None


Regime = Literal["latency", "cached", "streaming"]


class ThroughputRecord(Record):
    """Time of one operation in one regime.

    Times are of one call, in nanoseconds; bandwidth counts one read and one write of the array,
    whatever the implementation does, in GB/s (1e9 bytes). Intervals are 95% bootstrap intervals
    of the median. `percent_of_limit` is against the best copy of the same bytes and threads,
    taken in the same rounds.
    """

    experiment: Literal["throughput"] = "throughput"
    role: Literal["implementation", "control", "limit"] = "implementation"
    regime: Regime | None = None
    allocating: bool | None = Field(default=None, description="True: the call allocates its result")
    array_bytes: int | None = Field(
        default=None, description="bytes of the input; the output has as many"
    )
    fits: str | None = Field(default=None, description="how the two arrays compare with the caches")
    samples_ns: list[float] | None = Field(default=None, description="one a round, per call")
    calls_per_sample: int | None = None
    first_call_ns: float | None = Field(
        default=None, description="compilation and warm-up included"
    )
    median_ns: float | None = None
    ci_low_ns: float | None = None
    ci_high_ns: float | None = None
    gbps: float | None = None
    gbps_low: float | None = None
    gbps_high: float | None = None
    baseline: str | None = None
    speedup: float | None = Field(default=None, description="baseline time / time, paired by round")
    speedup_low: float | None = None
    speedup_high: float | None = None
    limit: str | None = Field(default=None, description="the copy that percent_of_limit refers to")
    percent_of_limit: float | None = None
    gate_ulp: float | None = Field(
        default=None, description="max ulp on sampled rows of this workload"
    )
    gate_error_over_bound: float | None = None
    ranked: bool | None = Field(default=None, description="False: struck out by the accuracy gate")
    noisy: bool | None = Field(default=None, description="the control's interval does not hold 1.0")
    implausible: bool | None = Field(
        default=None, description="faster than a copy of data beyond cache"
    )


AnyRecord = Annotated[
    AccuracyRecord | OverflowRecord | ThroughputRecord, Field(discriminator="experiment")
]
RECORD: TypeAdapter[AccuracyRecord | OverflowRecord | ThroughputRecord] = TypeAdapter(AnyRecord)
EXPERIMENTS = ("accuracy", "overflow", "throughput")


class ImplementationInfo(_Strict):
    """What a run knows of an implementation: its metadata, and whether it could run."""

    name: str
    description: str
    documentation: str
    backend: str
    device: str
    dtypes: list[str]
    operations: list[str]
    operations_with_out: list[str]
    requires: list[str] = []
    source: str | None = None
    formula: str | None = None
    bound: str | None = None
    passes: int | None = None
    threads: str | None = None
    deviations: list[dict[str, str]] = []
    available: bool
    unavailable_reason: str | None = None
    compiled: list[dict[str, Any]] = Field(
        default=[], description="outcome of compiling device code without a device, one a target"
    )
    sha256: str | None = Field(default=None, description="of the source files")
    exp_error_u: dict[str, float] = Field(
        default={}, description="measured error of exp by dtype, in u"
    )
    exp_error_points: dict[str, int] = {}


class RunInfo(_Strict):
    """run.json: everything that the cells of a run have in common.

    `machine` is `harness.machine.Machine` as plain data.
    """

    schema_version: int = SCHEMA_VERSION
    id: str
    created: str = Field(description="UTC, ISO 8601")
    finished: str | None = Field(default=None, description="UTC; None while running or interrupted")
    command: list[str]
    profile: str
    filters: dict[str, Any] = {}
    seed: int
    baseline: str | None = Field(default=None, description="implementation speeds are ratios to")
    workload_version: int
    harness_version: str
    git_commit: str | None = None
    git_dirty: bool | None = None
    machine: dict[str, Any]
    versions: dict[str, str]
    environment: dict[str, str] = Field(
        default={}, description="variables that change threads or speed"
    )
    implementations: list[ImplementationInfo]
    planned_cells: int
    warnings: list[str] = []
    workloads: dict[str, str] = Field(default={}, description="workload id to what it is")
