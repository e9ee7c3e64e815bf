"""Block after block of a domain through an implementation, with progress, resume and a judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.experiments.exhaustive.block_judge import BlockJudge
from harness.experiments.exhaustive.calls import Crew, default_workers, in_parallel
from harness.experiments.exhaustive.tables import planned
from harness.experiments.exhaustive.tally import identity, restore, save
from harness.numerics.metrics import HISTOGRAM_KEYS
from harness.records import ExhaustiveRecord
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault

OnProgress = Callable[[int, int], None]
_SAVE_EVERY_S = 30.0


def run_blocks(
    implementation: Implementation,
    judge: BlockJudge,
    *,
    workers: int | None = None,
    checkpoint: Path | None = None,
    every: int = 1,
    on_progress: OnProgress | None = None,
) -> ExhaustiveRecord:
    """Judge every block of a domain, or every N-th, in worker processes.

    Args:
        implementation: any that offers softmax in the format of the inputs.
        judge: the domain.
        workers, checkpoint, every, on_progress: as of `run_exhaustive`, as is what is returned.

    Raises:
        CheckpointError: the checkpoint is of another judgement.
        ValueError: for `every` or `workers` below 1.
    """
    if every < 1 or (workers is not None and workers < 1):
        raise ValueError(f"every, workers: expected at least 1; got {every}, {workers}")
    tally = judge.tally()
    dtype = judge.fmt.name
    key = identity(implementation, experiment=judge.table, dtype=dtype, blocks=judge.blocks)
    if checkpoint is not None and checkpoint.exists():
        restore(tally, checkpoint, key)
    started = time.monotonic() - tally.elapsed_s
    asked = range(0, judge.blocks, every)
    goal = sum(judge.rows_of(b) for b in asked if not tally.done[b]) + tally.rows
    saved = time.monotonic()
    count = workers or default_workers(implementation)
    record = planned(implementation, judge.table, dtype, every=every, workers=workers)
    record = record.model_copy(update={"status": "ok"})
    options = {"axis": -1} if judge.operation == "softmax" else {}
    with Crew(implementation, count) as crew:

        def work(block: int) -> None:
            nonlocal saved
            y = crew.call(judge.inputs(block), judge.operation, **options)
            judge.judge(block, y, tally)
            if checkpoint is not None and time.monotonic() - saved > _SAVE_EVERY_S:
                saved = time.monotonic()
                save(tally, checkpoint, key, time.monotonic() - started)
            if on_progress is not None:
                on_progress(tally.rows, goal)

        try:
            in_parallel(work, (b for b in asked if not tally.done[b]), count)
        except WorkerFault as fault:
            record = record.ended(fault.status, fault.reason)
        finally:
            if checkpoint is not None:
                save(tally, checkpoint, key, time.monotonic() - started)
    fields: dict[str, Any] = {
        "domain": judge.domain,
        "judged": tally.rows,
        "total": judge.total,
        "exhaustive": bool(tally.done.all()),
        "rounding": judge.rounding,
        "elapsed_s": time.monotonic() - started,
    }
    if tally.rows:  # counts of nothing are no numbers
        fields |= {"figures": judge.figures(tally), **judge.worst(tally)}
        if judge.measures_error:
            by_class = tally.counts.sum(axis=0).tolist()
            fields["misrounded"] = tally.counts[:, 2:].sum(axis=1).tolist()
            fields["ulp_histogram"] = dict(zip(HISTOGRAM_KEYS, by_class, strict=True))
    return record.model_copy(update=fields)
