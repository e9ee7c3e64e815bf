"""Block after block of a domain through an implementation, with progress, resume and a judge.

Several workers at a time are called.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

from harness.experiments.context import checked_call, worker_for
from harness.experiments.exhaustive.block_judge import BlockJudge
from harness.experiments.exhaustive.tables import planned
from harness.experiments.exhaustive.tally import identity, packed, restore, save
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


class Blocks:
    """The blocks of a domain that are asked for: what is left of them, and what was found.

    Args:
        implementation: any that offers softmax in the format of the inputs.
        judge: the domain.
        workers, checkpoint, every, on_progress: as of `run_exhaustive`.

    Raises:
        CheckpointError: the checkpoint is of another judgement.
        ValueError: for `every` or `workers` below 1.
    """

    def __init__(
        self, implementation: Implementation, judge: BlockJudge, *, workers: int | None = None,
        checkpoint: Path | None = None, every: int = 1, on_progress: OnProgress | None = None,
    ) -> None:  # fmt: skip
        if every < 1 or (workers is not None and workers < 1):
            raise ValueError(f"every, workers: expected at least 1; got {every}, {workers}")
        self.implementation, self.judge = implementation, judge
        self.tally = judge.tally()
        self._checkpoint, self._on_progress = checkpoint, on_progress
        dtype = judge.fmt.name
        self._key = identity(
            implementation, experiment=judge.table, dtype=dtype, blocks=judge.blocks
        )
        if checkpoint is not None and checkpoint.exists():
            restore(self.tally, checkpoint, self._key)
        self.begin()
        self.left = [b for b in range(0, judge.blocks, every) if not self.tally.done[b]]
        self._goal = sum(map(judge.rows_of, self.left)) + self.tally.rows
        self._saved = time.monotonic()
        self._record = planned(implementation, judge.table, dtype, every=every, workers=workers)
        self._crew: list[RemoteImplementation] = []
        self.over = False

    def begin(self) -> None:
        """`Divided.begin`; without others, when it is made."""
        self._started = time.monotonic() - self.tally.elapsed_s

    def crew(self, count: int) -> list[RemoteImplementation]:
        """So many workers, of one thread each where there are several; ended with `close`."""
        self._crew = [worker_for(self.implementation) for _ in range(count)]
        if count > 1:
            for worker in self._crew:
                worker.expect_threads(1)
        return self._crew

    def judge_block(self, worker: RemoteImplementation, block: int) -> None:
        """Have a worker compute a block, and judge it.

        Raises:
            WorkerFault: it did not, or broke the contract.
        """
        judge = self.judge
        options = {"axis": -1} if judge.operation == "softmax" else {}
        y = checked_call(worker, judge.operation, (judge.inputs(block),), options, TIMEOUT_S)
        judge.judge(block, y, self.tally)
        self._judged()

    def _judged(self) -> None:
        """Keep what was found every half minute, and tell of it."""
        if self._checkpoint is not None and time.monotonic() - self._saved > _SAVE_EVERY_S:
            self._saved = time.monotonic()
            self._save(self._checkpoint)
        if self._on_progress is not None:
            self._on_progress(self.tally.rows, self._goal)

    def _save(self, path: Path) -> None:
        save(self.tally, path, self._key, time.monotonic() - self._started)

    def close(self) -> None:
        """Keep what was found, and end the workers."""
        try:
            if self._checkpoint is not None:
                self._save(self._checkpoint)
        finally:
            stop(self._crew)

    def shares(self, most: int) -> list[tuple[int, ...]]:
        """`Divided.shares`: blocks that follow each other."""
        size = max(-(-len(self.left) // most), self.judge.least)
        return [tuple(self.left[k : k + size]) for k in range(0, len(self.left), size)]

    def made(self, share: tuple[int, ...]) -> bytes:
        """`Divided.made`: the tally of these blocks alone, in one worker of one thread."""
        if not self._crew:
            self.crew(1)[0].expect_threads(1)
        self.tally = self.judge.tally()
        for block in share:
            self.judge_block(self._crew[0], block)
        return packed(self.tally, self._key, 0.0)

    def add(self, made: bytes) -> None:
        """`Divided.add`."""
        part = self.judge.tally()
        restore(part, BytesIO(made), self._key)
        self.tally.merge(part)
        self._judged()

    def ended(self, fault: WorkerFault | None = None) -> ExhaustiveRecord:
        """The record of what was judged, and of what ended it before its time."""
        judge, tally, self.over = self.judge, self.tally, True
        fields: dict[str, Any] = {
            "status": "ok" if fault is None else fault.status,
            "reason": None if fault is None else fault.reason,
            "domain": judge.domain,
            "judged": tally.rows,
            "total": judge.total,
            "exhaustive": bool(tally.done.all()) and not judge.sampled,
            "rounding": judge.rounding,
            "elapsed_s": time.monotonic() - self._started,
        }
        if tally.rows:  # counts of nothing are no numbers
            fields |= {"figures": judge.figures(tally), **judge.worst(tally)}
            if judge.measures_error:
                by_class = tally.counts.sum(axis=0).tolist()
                fields["misrounded"] = tally.counts[:, 2:].sum(axis=1).tolist()
                fields["ulp_histogram"] = dict(zip(HISTOGRAM_KEYS, by_class, strict=True))
        return self._record.model_copy(update=fields)


def run_blocks(blocks: Blocks, workers: int | None = None) -> ExhaustiveRecord:
    """Judge what is left, in worker processes.

    Args:
        workers: how many; by default one a core, at most four.
    """
    fault = None
    try:
        crew = blocks.crew(workers or default_workers(blocks.implementation))
        in_parallel(blocks.judge_block, crew, blocks.left)
    except WorkerFault as e:
        fault = e
    finally:
        blocks.close()
    return blocks.ended(fault)
