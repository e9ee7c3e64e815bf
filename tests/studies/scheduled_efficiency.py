"""How much faster a table is judged by several workers of a Dask scheduler on this machine.

    python -m scheduled_efficiency --seconds 30

A table is judged by 1, 2 and 4 workers, a sample of its blocks that takes one worker about as long
as was asked for, and by the command's own processes without Dask. The rate is that between the
first share and the last, without the start of the workers. A second table computes, from the rate
of one worker, the size of a share's tally and what taking it over costs, how long each table would
take on up to a thousand cores. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path

from harness.cli.session import request_for
from harness.experiments.exhaustive.blocks import Blocks
from harness.experiments.exhaustive.plan import Tables, plan
from harness.experiments.exhaustive.run import blocks_of
from harness.experiments.exhaustive.tables import DTYPES
from harness.experiments.runner import Progress, run
from harness.experiments.scheduled import units
from harness.experiments.scheduled.campaign import Scheduling
from harness.experiments.scheduled.units import SHARES
from harness.worker.local import load

BLOCKS = {"line": 4081, "bounds": 1 << 15, "pairs": 3968}
"""Of the tables that are tried, in their first format."""


def rate(table: str, name: str, every: int, workers: int | None, here: int | None) -> float:
    """Rows a second, between the first rows that are told of and the last."""
    asked = Tables(tables=(table,), every=every, workers=here)
    units.SHARES = max(64, round(SHARES / every))  # about as large as those of the whole table
    seen: list[tuple[float, int]] = []

    def heard(label: str, done: int, total: int) -> None:
        seen.append((time.monotonic(), done))

    with tempfile.TemporaryDirectory() as folder:
        request = request_for(
            "exhaustive", [load(name)], asked, partial(plan, asked=asked, on_rows=heard),
            seed=0, results=Path(folder), machine="here",
            scheduling=None if workers is None else Scheduling(f"local:{workers}"),
        )  # fmt: skip
        (record,) = run(request, Progress()).records
    if record.status != "ok":
        raise RuntimeError(f"{table} of {name}: {record.status}, {record.reason}")
    seen.sort()
    (began, first), (ended, last) = seen[0], seen[-1]
    return (last - first) / (ended - began)


START_S, NETWORK = 15.0, 1e8
"""Assumed: seconds until all workers have imported what they need; bytes a second into the
coordinator."""
MODELLED = (1, 10, 100, 1000)


def share_costs(table: str, name: str) -> tuple[int, float, int]:
    """Rows of a table, seconds in which the coordinator takes a share over, and its bytes."""
    blocks = blocks_of(load(name), table, DTYPES[table][0])  # type: ignore[arg-type, index]
    assert isinstance(blocks, Blocks)
    share = blocks.shares(SHARES)[0]
    made = blocks.made(share[:1])
    blocks.close()
    taking = Blocks(load(name), blocks.judge)
    times = []
    for _ in range(9):
        started = time.perf_counter()
        taking.add(made)
        times.append(time.perf_counter() - started)
    return blocks.judge.total, sorted(times)[4], len(made)


def seconds_on(cores: int, rows: int, rate: float, most: int, merge_s: float, size: int) -> float:
    """Start, then whole shares one after the other, or what the coordinator takes over."""
    shares = min(SHARES, most)
    waves = -(-shares // cores) * (rows / shares / rate)
    return START_S + max(waves, shares * (merge_s + size / NETWORK))


def model(rates: dict[str, float], name: str) -> None:
    heads = " | ".join(f"{n:,} cores" for n in MODELLED)
    print("\nComputed, not measured:\n")
    print(f"| table | rows | a share's tally | taken over in | {heads} |")
    print("| --- | --- | --- | --- |" + " --- |" * len(MODELLED))
    for table, one in rates.items():
        rows, merge_s, size = share_costs(table, name)
        times = " | ".join(
            f"{seconds_on(n, rows, one, BLOCKS[table], merge_s, size):,.0f} s" for n in MODELLED
        )
        print(f"| {table} | {rows:.3g} | {size:,} bytes | {1e3 * merge_s:.1f} ms | {times} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--table", nargs="*", default=list(BLOCKS))
    parser.add_argument("--implementation", default="numba_cpu")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} usable cores, {asked.implementation}\n")
    print("| table | how | million rows a second | of one worker |")
    print("| --- | --- | --- | --- |")
    ways = [("1 worker", 1, None), ("2 workers", 2, None), ("4 workers", 4, None)]
    ways += [("1 process, no Dask", None, 1), ("2 processes, no Dask", None, 2)]
    of_one: dict[str, float] = {}
    for table in asked.table:
        trial = max(1, BLOCKS[table] // 60)
        start = time.monotonic()
        rate(table, asked.implementation, trial, None, 1)
        each = (time.monotonic() - start) / 60
        every = max(1, round(BLOCKS[table] * each / asked.seconds))
        found: dict[str, list[float]] = {label: [] for label, _, _ in ways}
        for _ in range(asked.repeats):  # in turn, since the machine is not the same for long
            for label, workers, here in ways:
                found[label].append(rate(table, asked.implementation, every, workers, here))
        medians = {label: sorted(rates)[len(rates) // 2] for label, rates in found.items()}
        of_one[table] = medians["1 worker"]
        for label, median in medians.items():
            print(
                f"| {table} | {label} | {median / 1e6:.2f} | {median / medians['1 worker']:.2f} |",
                flush=True,
            )
    model(of_one, asked.implementation)


if __name__ == "__main__":
    main()
