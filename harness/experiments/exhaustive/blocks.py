"""Block after block of a domain through an implementation, with progress, resume and a judge.

Several workers at a time are called.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

from harness.experiments.context import checked_call, worker_for
from harness.experiments.exhaustive.block_judge import BlockJudge
from harness.experiments.exhaustive.tables import planned
from harness.experiments.exhaustive.tally import identity, restore, save
from harness.numerics.metrics import HISTOGRAM_KEYS
from harness.records import ExhaustiveRecord
from harness.registry.discovery import Implementation
from harness.worker.client import RemoteImplementation, WorkerFault, stop

OnProgress = Callable[[int, int], None]
TIMEOUT_S = 600.0
_SAVE_EVERY_S = 30.0


def default_workers(implementation: Implementation) -> int:
    """One worker for each usable core, at most four; a single one for a device."""
    if implementation.metadata.device != "cpu":
        return 1
    return max(1, min(4, len(os.sched_getaffinity(0))))


def in_parallel(
    work: Callable[[RemoteImplementation, int], None],
    workers: Sequence[RemoteImplementation],
    blocks: Sequence[int],
) -> None:
    """`work(worker, block)` for all blocks, in a thread for each worker.

    After the first exception (also Ctrl-C) no block is begun; those at work end, then it is raised.
    """
    left, ended = iter(blocks), Event()  # each block goes to one thread alone

    def serve(worker: RemoteImplementation) -> None:
        for block in left:
            if ended.is_set():
                return
            try:
                work(worker, block)
            except BaseException:
                ended.set()
                raise

    with ThreadPoolExecutor(len(workers)) as pool:
        try:
            for served in [pool.submit(serve, worker) for worker in workers]:
                served.result()
        finally:
            ended.set()


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
    left = [b for b in asked if not tally.done[b]]
    goal = sum(map(judge.rows_of, left)) + tally.rows
    saved = time.monotonic()
    count = workers or default_workers(implementation)
    crew = [worker_for(implementation) for _ in range(count)]
    if count > 1:
        for worker in crew:
            worker.expect_threads(1)
    record = planned(implementation, judge.table, dtype, every=every, workers=workers)
    record = record.model_copy(update={"status": "ok"})
    options = {"axis": -1} if judge.operation == "softmax" else {}

    def work(worker: RemoteImplementation, block: int) -> None:
        nonlocal saved
        y = checked_call(worker, judge.operation, (judge.inputs(block),), options, TIMEOUT_S)
        judge.judge(block, y, tally)
        if checkpoint is not None and time.monotonic() - saved > _SAVE_EVERY_S:
            saved = time.monotonic()
            save(tally, checkpoint, key, time.monotonic() - started)
        if on_progress is not None:
            on_progress(tally.rows, goal)

    try:
        in_parallel(work, crew, left)
    except WorkerFault as fault:
        record = record.ended(fault.status, fault.reason)
    finally:
        try:
            if checkpoint is not None:
                save(tally, checkpoint, key, time.monotonic() - started)
        finally:
            stop(crew)
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
