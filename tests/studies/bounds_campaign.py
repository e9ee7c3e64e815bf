"""A large randomised trial of the bounds: no certified error above the bound of its algorithm.

    python -m bounds_campaign --seconds 300

Rows of all kinds from which searches begin, at many class counts and in every format, tried on
every implementation: each result against the bound that its module declares, with the measured
error of its exponential. Its size and the largest error ÷ bound of each algorithm are printed,
of results that are not correctly rounded; the exit code is 1 if one is above 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.context import Context, worker_for
from harness.experiments.judgement import bound_of, excuses
from harness.experiments.profiles import DTYPES, PROFILES
from harness.experiments.worst_case.seeds import draw
from harness.numerics.exact import Exact
from harness.numerics.formats import float_format, to_hex
from harness.numerics.ulps import ulp_error
from harness.reference import softmax_exact
from harness.registry.discovery import Implementation, load
from harness.worker.client import Pool

CLASSES = (1, 2, 3, 5, 8, 10, 17, 32, 71, 100, 257, 1000, 4097)
OURS = ("naive", "max_shift", "log_sum_exp", "log_sum_exp_difference", "online", "two_pass",
        "numba_cpu", "numba_exact", "torch")  # fmt: skip
ELEMENTS = 1 << 14
MOST_ROWS = 2048


@dataclass
class Score:
    """What one implementation came to.

    Attributes:
        bound: the name of its bound. cells: inputs (a format, class count and seed each).
        rows, results: judged.
        ratio: the largest error ÷ bound. where: of what, and the row in hex where it is short.
        out_of_range: rows whose error a declared deviation explains.
    """

    bound: str
    cells: int = 0
    rows: int = 0
    results: int = 0
    ratio: float = 0.0
    where: str = ""
    out_of_range: int = 0
    by_dtype: dict[str, float] = field(default_factory=dict)


def _judge(
    context: Context, implementation: Implementation, x: NDArray[Any], exact: Exact, score: Score
) -> None:
    y = context.call(implementation, "softmax", x, axis=-1)
    judgement = bound_of(context, implementation, x, exact, x.dtype.name)
    error = ulp_error(y, exact)
    ratio = judgement.ratio(error)
    explained = excuses(implementation.metadata.deviations, x, y, exact, ratio, judgement)
    lost = np.array([e is not None for e in explained], bool)
    score.out_of_range += int(lost.sum())
    ratio[lost] = 0.0
    # Correctly rounded, a subnormal result comes as near to its bound as a rounding can.
    ratio[(error <= 0.5) & (ratio <= 1.0)] = 0.0
    score.cells += 1
    score.rows += len(x)
    score.results += x.size
    place = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    worst = float(ratio[place])
    score.by_dtype[x.dtype.name] = max(score.by_dtype.get(x.dtype.name, 0.0), worst)
    if worst > score.ratio:
        row = x[place[0]]
        shown = " ".join(to_hex(v) for v in row) if row.size <= 10 else f"{row.size} classes"
        score.ratio, score.where = worst, f"{x.dtype.name}, class {place[1]} of [{shown}]"


def campaign(
    names: Sequence[str] = OURS,
    dtypes: Sequence[str] = DTYPES,
    classes: Sequence[int] = CLASSES,
    *,
    seconds: float | None = 60.0,
    rounds: int | None = None,
    seed: int = 0,
    on_round: Callable[[int, dict[str, Score]], None] = lambda n, scores: None,
) -> dict[str, Score]:
    """Rounds of all formats and class counts, until the time or the number of rounds is over.

    Args:
        names: implementations; those not available here are left out, and lack a score.
        seconds, rounds: budget; at least one round is made.
        seed: of the rows.
        on_round: called after each round.

    Raises:
        WorkerFault: a call failed or broke the contract.
    """
    chosen = [i for i in (load(n) for n in names) if i.unavailable_reason is None]
    scores = {i.name: Score(i.metadata.bound or "generic") for i in chosen}
    started, done = time.monotonic(), 0
    with Pool() as pool:
        for implementation in chosen:
            pool.add(worker_for(implementation))
        pool.start()
        profile = PROFILES["quick"]
        context = Context(chosen, pool, profile, seed=seed, cores=1, on_note=lambda _: None)
        while True:
            for dtype in dtypes:
                fmt = float_format(dtype)
                for n in classes:
                    rng = np.random.default_rng([seed, done, n, fmt.bits, fmt.precision])
                    rows = min(MOST_ROWS, max(8, ELEMENTS // n))
                    x, _ = draw(rng, rows, n, fmt)
                    exact = softmax_exact(x)
                    for implementation in chosen:
                        if context.refusal(implementation, "softmax", dtype) is None:
                            _judge(context, implementation, x, exact, scores[implementation.name])
            done += 1
            on_round(done, scores)
            over = seconds is not None and time.monotonic() - started >= seconds
            if over or (rounds is not None and done >= rounds):
                return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 where a bound was exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=None, help="in place of a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-i", "--implementation", action="append", default=None)
    parser.add_argument("--dtype", action="append", choices=DTYPES, default=None)
    given = parser.parse_args(arguments)
    scores = campaign(
        given.implementation or OURS,
        given.dtype or DTYPES,
        seconds=None if given.rounds is not None else given.seconds,
        rounds=given.rounds,
        seed=given.seed,
    )
    print(f"{'implementation':24}{'bound':32}{'cells':>7}{'rows':>11}{'results':>13}"
          f"{'error / bound':>15}{'lost':>8}")  # fmt: skip
    for name, s in scores.items():
        print(f"{name:24}{s.bound:32}{s.cells:>7,}{s.rows:>11,}{s.results:>13,}{s.ratio:>15.4f}"
              f"{s.out_of_range:>8,}")  # fmt: skip
    for name, s in scores.items():
        formats = ", ".join(f"{d} {r:.3f}" for d, r in s.by_dtype.items())
        print(f"{name}: {formats}; largest in {s.where}")
    total = sum(s.rows for s in scores.values())
    cells = sum(s.cells for s in scores.values())
    results = sum(s.results for s in scores.values())
    print(f"in all {cells:,} cells, {total:,} rows, {results:,} results")
    return 1 if any(s.ratio > 1.0 for s in scores.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
