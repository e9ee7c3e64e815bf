"""The search: hill-climbing on error ÷ bound, in steps of ulps, from many beginnings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.discovery import Implementation, load
from harness.experiments.context import Context, worker_for
from harness.experiments.judge import bound_of
from harness.floats import float_format, to_hex
from harness.profiles import PROFILES
from harness.records import Status
from harness.reference import softmax_exact
from harness.remote import Pool, WorkerFault
from harness.ulps import ulp_error
from harness.worst_case import seeds

Array = NDArray[Any]
OnProgress = Callable[[int, float, float], None]
CHAINS = 8
PROPOSALS = 16
_PATIENCE = 60  # rounds without progress before a chain begins anew


@dataclass(frozen=True)
class WorstCase:
    """The largest error ÷ bound that a search found: a lower bound on the largest there is.

    Attributes:
        implementation, dtype, classes: of what.
        status, reason: ``ok``, ``failed`` where the bound is exceeded or a result is not finite,
            or why nothing was searched.
        bound: name of the bound.
        error_over_bound: the ratio of the row on its own. None if nothing was searched.
        error_ulp, bound_ulp: of the element where it is largest.
        output: index of that class.
        logits: the row in hex.
        computed, expected: what came there, and the correctly rounded value, in hex.
        origin: the kind of row that the climb began from.
        evaluations: rows tried; seed: of the search; elapsed_s: seconds.
        in_batch: the ratio of the row among others, where that was another one.
        nonfinite: rows with a result that is not finite where one is due; they are left out of
            the climb. nonfinite_logits: the first of them, in hex.
    """

    implementation: str
    dtype: str
    classes: int
    status: Status
    reason: str | None
    bound: str | None = None
    error_over_bound: float | None = None
    error_ulp: float | None = None
    bound_ulp: float | None = None
    output: int | None = None
    logits: tuple[str, ...] = ()
    computed: str | None = None
    expected: str | None = None
    origin: str | None = None
    evaluations: int = 0
    seed: int = 0
    elapsed_s: float = 0.0
    in_batch: float | None = None
    nonfinite: int = 0
    nonfinite_logits: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"searched, {self.evaluations:,} rows: a lower bound"

    def row(self) -> dict[str, str]:
        """The result as one line of a table."""
        shown = ", ".join(self.logits[:4]) + (", ..." if len(self.logits) > 4 else "")
        return {
            "implementation": self.implementation,
            "dtype": self.dtype,
            "classes": str(self.classes),
            "status": self.status,
            "error / bound": _number(self.error_over_bound),
            "error (ulp)": _number(self.error_ulp),
            "bound": f"{self.bound} {_number(self.bound_ulp)}" if self.bound else "–",
            "logits": f"[{shown}]" if shown else "–",
            "how": self.label,
            "reason": self.reason or "",
        }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


@dataclass
class Evaluated:
    """A batch of rows: the largest ratio of each and where."""

    ratio: NDArray[np.float64]
    error: NDArray[np.float64]
    bound: NDArray[np.float64]
    output: NDArray[np.intp]
    computed: Array
    expected: Array
    finite: NDArray[np.bool_]
    bound_name: str


@contextmanager
def open_context(implementation: Implementation, timeout_s: float = 60.0) -> Iterator[Context]:
    """A context with a worker of one implementation, for `evaluate`."""
    with Pool() as pool:
        pool.add(worker_for(implementation))
        profile = replace(PROFILES["quick"], timeout_s=timeout_s)
        yield Context((implementation,), pool, profile, seed=0, cores=1, on_note=lambda _: None)


def evaluate(context: Context, implementation: Implementation, x: Array) -> Evaluated:
    """Error ÷ bound of each row of (rows, classes), against the implementation's own bound.

    Raises:
        WorkerFault: the call failed or broke the contract.
    """
    y = context.call(implementation, "softmax", x, axis=-1)
    exact = softmax_exact(x)
    judgement = bound_of(context, implementation, x, exact, x.dtype.name)
    error = ulp_error(y, exact)
    ratio = judgement.ratio(error)
    output = ratio.argmax(axis=1)
    rows = np.arange(len(x))
    return Evaluated(
        ratio=ratio[rows, output],
        error=error[rows, output],
        bound=judgement.ulp[rows, output],
        output=output,
        computed=y[rows, output],
        expected=exact.round_to(x.dtype)[rows, output],
        finite=np.isfinite(error).all(axis=1),
        bound_name=judgement.name,
    )


class _Climb:
    """The chains of one search: where each stands, and the best row of all."""

    def __init__(self, rows: Array, names: list[str], found: Evaluated) -> None:
        self.nonfinite = 0
        self.nonfinite_row: Array | None = None
        ratio = self._climbable(rows, found)
        order = np.argsort(-ratio, kind="stable")
        kept: list[int] = []  # the best of every kind, then the best of the rest
        for i in (*order, *order):
            if len(kept) < CHAINS and i not in kept:
                fresh = names[i] not in {names[k] for k in kept}
                if fresh or len({*names}) <= len({names[k] for k in kept}):
                    kept.append(int(i))
        self.rows = rows[kept].copy()
        self.names = [names[k] for k in kept]
        self.ratio = ratio[kept].copy()
        self.stale = np.zeros(len(kept), np.int64)
        self.best_row, self.best_name, self.best = self.rows[0], self.names[0], -1.0
        self._note_best()

    def _climbable(self, rows: Array, found: Evaluated) -> NDArray[np.float64]:
        """The ratios; non-finite results are counted, and lead nowhere."""
        bad = ~found.finite
        if bad.any():
            self.nonfinite += int(bad.sum())
            if self.nonfinite_row is None:
                self.nonfinite_row = rows[int(np.argmax(bad))].copy()
        return np.where(bad, -1.0, found.ratio)

    def _note_best(self) -> None:
        top = int(np.argmax(self.ratio))
        if self.ratio[top] > self.best:
            self.best = float(self.ratio[top])
            self.best_row, self.best_name = self.rows[top].copy(), self.names[top]

    def step(self, proposals: Array, found: Evaluated) -> None:
        """Move each chain to the best of its proposals, if that is no worse."""
        ratio = self._climbable(proposals, found).reshape(len(self.rows), -1)
        shaped = proposals.reshape(*ratio.shape, -1)
        best = ratio.argmax(axis=1)
        for chain, k in enumerate(best):
            gain = ratio[chain, k] > self.ratio[chain]
            self.stale[chain] = 0 if gain else self.stale[chain] + 1
            if ratio[chain, k] >= self.ratio[chain]:
                self.rows[chain], self.ratio[chain] = shaped[chain, k], ratio[chain, k]
        self._note_best()

    def restart(self, chain: int, row: Array, name: str) -> None:
        self.rows[chain], self.names[chain] = row, name
        self.ratio[chain], self.stale[chain] = -1.0, 0


def search_worst_case(
    implementation: Implementation | str | Path,
    dtype: str = "float32",
    classes: int = 2,
    *,
    seconds: float | None = 10.0,
    evaluations: int | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> WorstCase:
    """Climb towards the largest error ÷ bound of softmax rows of so many classes.

    The same seed and number of evaluations find the same row; a budget in seconds ends where the
    clock says. Rows whose results are not finite are counted and reported, not climbed.

    Args:
        implementation: an implementation, its name or the path of its file.
        dtype: format of the rows. classes: at least 1.
        seconds: budget; None for none.
        evaluations: budget in rows; None for none. At least one batch is always evaluated.
        seed: of everything random.
        on_progress: called after each batch with (rows, seconds, best ratio).

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
    nothing = WorstCase(implementation.name, fmt.name, classes, "skipped", None, seed=seed)
    started = time.monotonic()
    with open_context(implementation) as context:
        refusal = context.refusal(implementation, "softmax", fmt.name)
        if refusal is not None:
            return replace(nothing, status=refusal[0], reason=refusal[1])
        try:
            return _search(
                context, implementation, nothing, seconds, evaluations, started, on_progress
            )
        except WorkerFault as fault:
            elapsed = time.monotonic() - started
            return replace(nothing, status=fault.status, reason=fault.reason, elapsed_s=elapsed)


def _search(
    context: Context,
    implementation: Implementation,
    blank: WorstCase,
    seconds: float | None,
    evaluations: int | None,
    started: float,
    on_progress: OnProgress | None,
) -> WorstCase:
    fmt = float_format(blank.dtype)
    rng = np.random.default_rng([blank.seed, blank.classes, fmt.bits, fmt.precision])
    rows, names = seeds.draw(rng, CHAINS * PROPOSALS, blank.classes, fmt)
    climb = _Climb(rows, names, evaluate(context, implementation, rows))
    done = len(rows)

    def spent() -> bool:
        over_time = seconds is not None and time.monotonic() - started >= seconds
        return over_time or (evaluations is not None and done >= evaluations)

    while not spent():
        for chain in np.nonzero(climb.stale >= _PATIENCE)[0]:
            fresh, kind = seeds.draw(rng, len(seeds.SEEDS), blank.classes, fmt)
            pick = int(rng.integers(len(fresh)))
            climb.restart(int(chain), fresh[pick], kind[pick])
        proposals = np.concatenate([seeds.mutate(rng, row, PROPOSALS, fmt) for row in climb.rows])
        climb.step(proposals, evaluate(context, implementation, proposals))
        done += len(proposals)
        if on_progress is not None:
            on_progress(done, time.monotonic() - started, climb.best)
    found = judge_row(context, implementation, climb.best_row)
    in_batch = climb.best if climb.best != found.error_over_bound else None
    bad = () if climb.nonfinite_row is None else tuple(to_hex(v) for v in climb.nonfinite_row)
    status, reason = found.status, found.reason
    if climb.nonfinite:
        status = "failed"
        reason = f"{climb.nonfinite} of {done} rows gave a result that is not finite"
    return replace(
        found,
        status=status,
        reason=reason,
        origin=climb.best_name,
        evaluations=done,
        seed=blank.seed,
        elapsed_s=time.monotonic() - started,
        in_batch=in_batch,
        nonfinite=climb.nonfinite,
        nonfinite_logits=bad,
    )


def judge_row(context: Context, implementation: Implementation, row: Array) -> WorstCase:
    """One row on its own against the bound.

    Raises:
        WorkerFault: the call failed or broke the contract.
    """
    found = evaluate(context, implementation, row[np.newaxis, :])
    ratio = float(found.ratio[0])
    good = ratio <= 1.0 and bool(found.finite[0])
    return WorstCase(
        implementation=implementation.name,
        dtype=row.dtype.name,
        classes=row.size,
        status="ok" if good else "failed",
        reason=None if good else f"{ratio:.4g} times the bound {found.bound_name!r}",
        bound=found.bound_name,
        error_over_bound=ratio,
        error_ulp=float(found.error[0]),
        bound_ulp=float(found.bound[0]),
        output=int(found.output[0]),
        logits=tuple(to_hex(v) for v in row),
        computed=to_hex(found.computed[0]),
        expected=to_hex(found.expected[0]),
        evaluations=1,
    )
