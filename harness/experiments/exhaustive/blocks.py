"""Block after block of a domain through an implementation, with progress, resume and a judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.experiments.exhaustive.calls import Crew, default_workers, in_parallel
from harness.experiments.exhaustive.results import ExhaustiveResult, Experiment, Worst, histogram
from harness.experiments.exhaustive.tally import Tally, identity, restore, save
from harness.numerics.formats import FloatFormat, to_hex
from harness.numerics.ulps import ulp_error, wrong_threshold
from harness.records import Status
from harness.reference import softmax_exact
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault

OnProgress = Callable[[int, int], None]
BLOCK_ROWS = 1 << 20
_SAVE_EVERY_S = 30.0


class BlockJudge(Protocol):
    """A domain in blocks: inputs go out, results come in and are added to a tally."""

    experiment: Any
    dtype: str
    domain: str
    rounding: str | None
    operation: str
    measures_error: bool
    blocks: int
    total: int

    def tally(self) -> Tally:
        """An empty one."""

    def rows_of(self, block: int) -> int:
        """How many rows a block has."""

    def inputs(self, block: int) -> NDArray[Any]:
        """(rows, classes) of a block."""

    def judge(self, block: int, y: NDArray[Any], tally: Tally) -> None:
        """Add the results of a block."""

    def worst(self, tally: Tally) -> Worst | None:
        """The largest error, certified; None if nothing was judged."""

    def figures(self, tally: Tally) -> dict[str, Any] | None:
        """What else the domain counts."""


def class_of(error: float, fmt: FloatFormat, *, misrounded: bool = False) -> int:
    """The index in `HISTOGRAM_KEYS` of a nonzero error; a misrounded one is beyond 0.5."""
    if error >= wrong_threshold(fmt):
        return 6
    found = 1 + int(np.searchsorted([0.5, 1.0, 2.0, 4.0], error))
    return max(found, 2) if misrounded else found


def report_worst(row: NDArray[Any], output: int, value: float, fmt: FloatFormat) -> Worst:
    """The worst result, its error taken from the certified reference."""
    exact = softmax_exact(row)
    with np.errstate(invalid="ignore"):
        y = np.array([value]).astype(fmt.dtype)
    return Worst(
        logits=tuple(to_hex(v) for v in row),
        output=output,
        computed=to_hex(y[0]),
        expected=to_hex(exact.round_to(fmt)[output]),
        ulp=float(ulp_error(y, exact[output : output + 1])[0]),
    )


def run_blocks(
    implementation: Implementation,
    judge: BlockJudge,
    *,
    workers: int | None = None,
    checkpoint: Path | None = None,
    every: int = 1,
    on_progress: OnProgress | None = None,
) -> ExhaustiveResult:
    """Every block of a domain, or every so manyth, through worker processes.

    Args:
        implementation: any that offers softmax in the format of the inputs.
        judge: the domain.
        workers: processes, each with one thread; by default one a core, at most four.
        checkpoint: file to save to every half minute and at the end or on interruption, and to
            resume from where it exists.
        every: judge every so manyth block only: a sample, and labelled as one.
        on_progress: called with (rows judged, rows to judge), from several threads.

    Returns:
        The result; a worker's fault is its status, with the counts up to then.

    Raises:
        CheckpointError: the checkpoint is of another judgement.
        ValueError: for `every` or `workers` below 1.
    """
    if every < 1 or (workers is not None and workers < 1):
        raise ValueError(f"every, workers: expected at least 1; got {every}, {workers}")
    tally = judge.tally()
    experiment: Experiment = judge.experiment
    key = identity(implementation, experiment=experiment, dtype=judge.dtype, blocks=judge.blocks)
    if checkpoint is not None and checkpoint.exists():
        restore(tally, checkpoint, key)
    started = time.monotonic() - tally.elapsed_s
    asked = range(0, judge.blocks, every)
    goal = sum(judge.rows_of(b) for b in asked if not tally.done[b]) + tally.rows
    saved = time.monotonic()
    count = workers or default_workers(implementation)
    status: Status = "ok"
    reason = None

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
            status, reason = fault.status, fault.reason
        finally:
            if checkpoint is not None:
                save(tally, checkpoint, key, time.monotonic() - started)
    worst = judge.worst(tally) if tally.rows else None
    misrounded = tally.counts[:, 2:].sum(axis=1) if judge.measures_error else ()
    return ExhaustiveResult(
        experiment=experiment,
        implementation=implementation.name,
        dtype=judge.dtype,
        status=status,
        reason=reason,
        domain=judge.domain,
        rows=tally.rows,
        total=judge.total,
        exhaustive=bool(tally.done.all()),
        misrounded=tuple(int(m) for m in misrounded),
        histogram=histogram(tally.counts) if judge.measures_error else {},
        max_ulp=None if worst is None else worst.ulp,
        worst=worst,
        elapsed_s=time.monotonic() - started,
        rounding=judge.rounding,
        figures=judge.figures(tally),
    )
