"""One function for all exhaustive tables: which domain, and whether it can be judged at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.experiments.context import refusal_of
from harness.experiments.exhaustive.block_judge import BlockJudge
from harness.experiments.exhaustive.blocks import Blocks, OnProgress, run_blocks
from harness.experiments.exhaustive.constant import ConstantJudge
from harness.experiments.exhaustive.exp_order import OrderJudge
from harness.experiments.exhaustive.line import LineJudge, TripleJudge
from harness.experiments.exhaustive.pairs import PairJudge
from harness.experiments.exhaustive.sampled import BoundsJudge, TripleSample
from harness.experiments.exhaustive.tables import DTYPES, planned
from harness.records import ExhaustiveRecord
from harness.records.exhaustive import ExhaustiveTable
from harness.registry.discovery import Implementation, load


def _judge(
    implementation: Implementation, table: ExhaustiveTable, dtype: str, *, direct: bool
) -> BlockJudge:
    """The judge of a table; `direct`: the implementation takes that format itself."""
    if table == "pairs":
        return PairJudge(dtype)
    if table == "line":
        return LineJudge()
    if table == "constant":
        return ConstantJudge(dtype)
    if table == "exp_order":
        return OrderJudge(dtype)
    if table == "triples":
        return TripleSample(dtype)
    if table == "bounds":
        return BoundsJudge(dtype, implementation)
    return TripleJudge(dtype, direct)


def blocks_of(
    implementation: Implementation, table: ExhaustiveTable, dtype: str, **more: Any
) -> Blocks | ExhaustiveRecord:
    """The blocks of a table; its record, where the implementation cannot be asked."""
    declared = implementation.metadata.dtypes
    direct = dtype in (declared or ())
    passed = "float32" if table == "float8" and declared is not None and not direct else dtype
    operation = None if table == "exp_order" else "softmax"
    refusal = refusal_of(implementation, implementation.unavailable_reason, operation, passed)
    if refusal is not None:
        asked = {k: more.get(k) for k in ("every", "workers")}
        return planned(implementation, table, dtype, **asked, elapsed_s=0.0).ended(*refusal)
    return Blocks(implementation, _judge(implementation, table, dtype, direct=direct), **more)


def run_exhaustive(
    implementation: Implementation | str | Path,
    experiment: ExhaustiveTable = "pairs",
    dtype: str | None = None,
    *,
    workers: int | None = None,
    checkpoint: Path | None = None,
    every: int = 1,
    on_progress: OnProgress | None = None,
) -> ExhaustiveRecord:
    """Judge a whole domain; `harness.experiments.exhaustive` says which there are.

    Args:
        implementation: an implementation, its name or the path of its file.
        experiment: which table.
        dtype: one of `DTYPES[experiment]`; by default the first.
        workers: processes, each with one thread; by default one a core, at most four.
        checkpoint: file to save to every half minute and at the end or on interruption, and to
            resume from where it exists.
        every: judge only every N-th block: a sample, labelled as one.
        on_progress: called with (rows judged, rows to judge), from several threads.

    Returns:
        The record. What cannot run has the status ``unavailable`` or ``unsupported``; a fault of
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
    blocks = blocks_of(
        implementation, experiment, dtype,
        workers=workers, checkpoint=checkpoint, every=every, on_progress=on_progress,
    )  # fmt: skip
    return blocks if isinstance(blocks, ExhaustiveRecord) else run_blocks(blocks, workers)
