"""The search: hill-climbing on error ÷ bound, in steps of ulps, from many beginnings."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.context import Context, blank
from harness.experiments.worst_case import seeds
from harness.experiments.worst_case.evaluate import Evaluated, evaluate, judge_row, open_context
from harness.numerics.formats import FloatFormat, float_format, to_hex
from harness.records import WorstCaseRecord
from harness.registry.discovery import Implementation, load
from harness.worker.client import WorkerFault

Array = NDArray[Any]
CHAINS = 8
"""One for each kind of seed. With fewer a kind is left out at first, with more each climbs less."""
PROPOSALS = 16
"""Of each chain a round: all are one batch, whose fixed cost fewer would not pay for; more would
only move less often in the same time."""
_PATIENCE = 60  # rounds without progress before a chain begins anew


class _Climb:
    """The chains of one search: the row at which each stands, and the best row of all."""

    def __init__(self, rows: Array, names: list[str], found: Evaluated) -> None:
        self.nonfinite = 0
        self.nonfinite_row: Array | None = None
        self.excused: set[str | None] = set()
        merit = self._climbable(rows, found)
        order = np.argsort(-merit, kind="stable")
        best_of: dict[str, int] = {}
        for i in order:
            best_of.setdefault(names[i], int(i))
        rest = [int(i) for i in order if i not in best_of.values()]
        kept = [*best_of.values(), *rest][:CHAINS]
        self.rows = rows[kept].copy()
        self.names = [names[k] for k in kept]
        self.merit, self.ratio = merit[kept].copy(), found.ratio[kept].copy()
        self.stale = np.zeros(len(kept), np.int64)
        self.best_row, self.best_name = self.rows[0], self.names[0]
        self.best, self.best_ratio = -np.inf, 0.0
        self._note_best()

    def _climbable(self, rows: Array, found: Evaluated) -> NDArray[np.float64]:
        """The merit of each row, -1 for those that are not `finite`, which are counted."""
        bad = ~found.finite
        if bad.any():
            self.nonfinite += int(bad.sum())
            self.excused |= {found.excused[i] for i in np.flatnonzero(bad)}
            if self.nonfinite_row is None:
                self.nonfinite_row = rows[int(np.argmax(bad))].copy()
        return np.where(bad, -1.0, found.merit)

    def _note_best(self) -> None:
        top = int(np.argmax(self.merit))
        if self.merit[top] > self.best:
            self.best, self.best_ratio = float(self.merit[top]), float(self.ratio[top])
            self.best_row, self.best_name = self.rows[top].copy(), self.names[top]

    def step(self, proposals: Array, found: Evaluated) -> None:
        """Move each chain to the best of its proposals, if that is no worse."""
        merit = self._climbable(proposals, found).reshape(len(self.rows), -1)
        ratio = found.ratio.reshape(merit.shape)
        shaped = proposals.reshape(*merit.shape, -1)
        best = merit.argmax(axis=1)
        for chain, k in enumerate(best):
            gain = merit[chain, k] > self.merit[chain]
            self.stale[chain] = 0 if gain else self.stale[chain] + 1
            if merit[chain, k] >= self.merit[chain]:
                self.rows[chain], self.merit[chain] = shaped[chain, k], merit[chain, k]
                self.ratio[chain] = ratio[chain, k]
        self._note_best()

    def restart(self, chain: int, row: Array, name: str) -> None:
        self.rows[chain], self.names[chain] = row, name
        self.merit[chain], self.stale[chain] = -1.0, 0


def planned(implementation: Implementation, dtype: str, classes: int, seed: int) -> WorstCaseRecord:
    """The record of a search that is still to be made."""
    return blank(
        WorstCaseRecord, implementation, dtype, classes=classes, workload="search", seed=seed,
        kind="search",
    )  # fmt: skip


def search_worst_case(
    implementation: Implementation | str | Path,
    dtype: str = "float32",
    classes: int = 2,
    *,
    seconds: float | None = 10.0,
    evaluations: int | None = None,
    seed: int = 0,
) -> WorstCaseRecord:
    """Climb towards the largest error ÷ bound of softmax rows of so many classes.

    The same seed and number of evaluations find the same row; a budget in seconds ends where the
    clock says. Rows whose results are not finite are counted and reported, not climbed.

    Args:
        implementation: an implementation, its name or the path of its file.
        dtype: format of the rows. classes: at least 1.
        seconds: budget; None for none.
        evaluations: budget in rows; None for none. At least one batch is always evaluated.
        seed: of everything random.

    Raises:
        ValueError: for no budget, or classes below 1. TypeError: for an unknown format.
        ImplementationError: no such implementation.
    """
    if seconds is None and evaluations is None:
        raise ValueError("seconds, evaluations: expected a budget in one of them; got neither")
    if classes < 1:
        raise ValueError(f"classes: expected at least 1; got {classes}")
    fmt = float_format(dtype)
    if not isinstance(implementation, Implementation):
        implementation = load(implementation)
    cell = planned(implementation, fmt.name, classes, seed)
    started = time.monotonic()

    def spent(rows: int) -> bool:
        over_time = seconds is not None and time.monotonic() - started >= seconds
        return over_time or (evaluations is not None and rows >= evaluations)

    with open_context(implementation) as context:
        refusal = context.refusal(implementation, "softmax", fmt.name)
        if refusal is not None:
            return cell.ended(*refusal)
        try:
            rng = np.random.default_rng([seed, classes, fmt.bits, fmt.precision])
            climb, rows = _climbed(context, implementation, rng, classes, fmt, spent)
            found = judge_row(context, implementation, climb.best_row, cell)
            found = found.model_copy(update=_of_the_search(found, climb, rows))
        except WorkerFault as fault:
            found = cell.ended(fault.status, fault.reason)
    return found.model_copy(update={"elapsed_s": time.monotonic() - started})


def _climbed(
    context: Context,
    implementation: Implementation,
    rng: np.random.Generator,
    classes: int,
    fmt: FloatFormat,
    spent: Callable[[int], bool],
) -> tuple[_Climb, int]:
    """The chains at the end of the budget, and how many rows were tried."""
    rows, names = seeds.draw(rng, CHAINS * PROPOSALS, classes, fmt)
    climb = _Climb(rows, names, evaluate(context, implementation, rows))
    done = len(rows)
    while not spent(done):
        for chain in np.nonzero(climb.stale >= _PATIENCE)[0]:
            fresh, kind = seeds.draw(rng, len(seeds.SEEDS), classes, fmt)
            pick = int(rng.integers(len(fresh)))
            climb.restart(int(chain), fresh[pick], kind[pick])
        proposals = np.concatenate([seeds.mutate(rng, row, PROPOSALS, fmt) for row in climb.rows])
        climb.step(proposals, evaluate(context, implementation, proposals))
        done += len(proposals)
    return climb, done


def _of_the_search(best: WorstCaseRecord, climb: _Climb, rows: int) -> dict[str, Any]:
    """What a record says of the whole search, beside its best row."""
    fields: dict[str, Any] = {"origin": climb.best_name, "evaluations": rows}
    if climb.best_ratio != best.error_over_bound:
        fields["in_batch"] = climb.best_ratio
    if climb.nonfinite_row is not None:
        fields["nonfinite"] = climb.nonfinite
        fields["nonfinite_logits"] = [to_hex(v) for v in climb.nonfinite_row]
        reason = f"{climb.nonfinite} of {rows} rows are out of range"
        if None in climb.excused:
            fields |= {"status": "failed", "reason": f"{reason}: a result is not finite"}
        else:
            declared = ", ".join(sorted(d for d in climb.excused if d))
            fields["reason"] = f"{reason}, as declared: {declared}"
    return fields
