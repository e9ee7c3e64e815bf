"""One function for all exhaustive tables: which domain, and whether it can be judged at all."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from harness.experiments.exhaustive.blocks import BlockJudge, OnProgress, run_blocks
from harness.experiments.exhaustive.constant import ConstantJudge
from harness.experiments.exhaustive.exp_order import OrderJudge
from harness.experiments.exhaustive.line import FLOAT8, LineJudge, TripleJudge
from harness.experiments.exhaustive.pairs import PairJudge
from harness.experiments.exhaustive.results import ExhaustiveResult, Experiment
from harness.numerics.formats import FORMATS
from harness.records import Status
from harness.registry.discovery import Implementation, load

EXPERIMENTS: tuple[Experiment, ...] = get_args(Experiment)
DTYPES = {
    "pairs": ("float16", "bfloat16"),
    "line": ("float32",),
    "constant": tuple(FORMATS),
    "float8": FLOAT8,
    "exp_order": ("float32", "float16", "bfloat16"),
}
"""The formats of each table; the first is the default."""


def _judge(implementation: Implementation, experiment: Experiment, dtype: str) -> BlockJudge:
    if experiment == "pairs":
        return PairJudge(dtype)
    if experiment == "line":
        return LineJudge()
    if experiment == "constant":
        return ConstantJudge(dtype)
    if experiment == "exp_order":
        return OrderJudge(dtype)
    declared = implementation.metadata.dtypes or ()
    return TripleJudge(dtype, direct=dtype in declared)


def _refusal(
    implementation: Implementation, experiment: Experiment, dtype: str
) -> tuple[Status, str] | None:
    """As `harness.experiments.context.Context.refusal`, for the dtype that is really passed."""
    reason = implementation.unavailable_reason
    if reason is not None:
        return "unavailable", reason
    if experiment != "exp_order" and "softmax" not in implementation.operations:
        return "unsupported", "offers no softmax"
    declared = implementation.metadata.dtypes
    wanted = dtype
    if experiment == "float8" and declared is not None and dtype not in declared:
        wanted = "float32"
    if declared is not None and wanted not in declared:
        return "unsupported", f"declares {', '.join(declared)}; not {wanted}"
    return None


def run_exhaustive(
    implementation: Implementation | str | Path,
    experiment: Experiment = "pairs",
    dtype: str | None = None,
    *,
    workers: int | None = None,
    checkpoint: Path | None = None,
    every: int = 1,
    on_progress: OnProgress | None = None,
) -> ExhaustiveResult:
    """Judge a whole domain; see `EXPERIMENTS` and `exhaustive`.

    Args:
        implementation: an implementation, its name or the path of its file.
        experiment: which table.
        dtype: one of `DTYPES[experiment]`; by default the first.
        workers: processes; by default one a core, at most four.
        checkpoint: file to save progress to, and to resume from where it exists.
        every: judge every so manyth block only: a sample, labelled as one.
        on_progress: called with (rows judged, rows to judge), from several threads.

    Returns:
        The result. What cannot run has the status ``unavailable`` or ``unsupported``; a fault of
        a worker is the status, beside the counts up to then.

    Raises:
        ValueError: for an unknown experiment or a format that it does not have.
        CheckpointError: the checkpoint is of another judgement.
        ImplementationError: no such implementation.
    """
    if experiment not in DTYPES:
        raise ValueError(f"experiment: expected one of {', '.join(DTYPES)}; got {experiment}")
    dtype = DTYPES[experiment][0] if dtype is None else dtype
    if dtype not in DTYPES[experiment]:
        raise ValueError(f"dtype: {experiment} has {', '.join(DTYPES[experiment])}; got {dtype}")
    if not isinstance(implementation, Implementation):
        implementation = load(implementation)
    refusal = _refusal(implementation, experiment, dtype)
    if refusal is not None:
        return ExhaustiveResult(
            experiment, implementation.name, dtype, *refusal, domain="", rows=0, total=0,
            exhaustive=False, misrounded=(), histogram={}, max_ulp=None, worst=None,
            elapsed_s=0.0,
        )  # fmt: skip
    return run_blocks(
        implementation,
        _judge(implementation, experiment, dtype),
        workers=workers,
        checkpoint=checkpoint,
        every=every,
        on_progress=on_progress,
    )
