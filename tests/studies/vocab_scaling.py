"""Messages, bytes, times and bits of vocabulary-parallel cross-entropy, against a model.

    python -m vocab_scaling

(from the folder `tests/studies/`; on a machine that does nothing else, for about three minutes).
Tables in Markdown: what a call sends, counted and by formula; α and β of this machine's gloo,
fitted; measured times beside the model; a projection, which is simulated; and what changes in the
bits with the number of ranks. `--quick` is for the tests.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from scipy.optimize import nnls

from harness.bounds import evaluate_bound
from harness.bounds.exp_error import measure_exp_error
from harness.numerics.ulps import ulp_error
from harness.reference import softmax_exact
from harness.worker.client import ENVIRONMENT
from implementations._vocab_parallel import sharded
from implementations._vocab_parallel.sharded import Exchange, Shards
from implementations._vocab_parallel.team import RANKS_VARIABLE, Team
from implementations._vocab_parallel.work import VocabParallel

RANKS = (1, 2, 3, 4)
SIMULATED = (8, 16, 64, 256, 1024)
EXCHANGES: tuple[Exchange, ...] = ("gather", "reduce")
HEADER = 48
"""Bytes of gloo's own before what it sends; a transfer has three such, one for each of sending,
the readiness to send and the readiness to receive (gloo's TCP transport)."""
SEGMENTS = 2
"""gloo sends each step of a ring in so many transfers."""
_TCP_INFO_SENT = 200
"""Where `tcpi_bytes_sent` is in Linux's `tcp_info`."""


@dataclass(frozen=True)
class Collective:
    """One collective of a call.

    Attributes:
        kind: "all_gather" or "all_reduce".
        numbers: how many numbers a row each rank puts in.
    """

    kind: str
    numbers: int


def collectives(operation: str, exchange: Exchange, smoothed: bool = False) -> list[Collective]:
    """What a call of two ranks or more exchanges, by formula (docs/vocabulary-parallel.md)."""
    more = (operation == "cross_entropy") + smoothed  # the target's logit; the depth
    if exchange == "gather":
        return [Collective("all_gather", 2 + more)]
    return [Collective("all_reduce", 1), Collective("all_reduce", 2 + more)]


def steps(kind: str, ranks: int) -> int:
    """How many messages a rank sends one after the other, in a ring."""
    return (ranks - 1) * (2 if kind == "all_reduce" else 1)


def ring_bytes(kind: str, ranks: int, put_in: int) -> float:
    """Bytes that each rank sends in a ring, of so many that each puts in."""
    return (ranks - 1) * put_in * (2 / ranks if kind == "all_reduce" else 1)


@contextmanager
def counted() -> Iterator[list[tuple[str, int]]]:
    """Every collective that is called meanwhile by any thread: its kind, and bytes put in."""
    found: list[tuple[str, int]] = []
    all_gather, all_reduce = dist.all_gather, dist.all_reduce

    def gather(outputs: list[torch.Tensor], own: torch.Tensor, **options: Any) -> None:
        found.append(("all_gather", own.nbytes))
        all_gather(outputs, own, **options)

    def reduce(own: torch.Tensor, *args: Any, **options: Any) -> None:
        found.append(("all_reduce", own.nbytes))
        all_reduce(own, *args, **options)

    dist.all_gather, dist.all_reduce = gather, reduce
    try:
        yield found
    finally:
        dist.all_gather, dist.all_reduce = all_gather, all_reduce


def sent() -> int:
    """Bytes that this process's TCP connections have sent so far, by the kernel's count."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as connection:
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                total += struct.unpack_from("<Q", info, _TCP_INFO_SENT)[0]
    return total


class Measured(VocabParallel):
    """Work of a team that times itself: its operations are named ``what:exchange:repetitions``.

    ``gather``, ``reduce`` are collectives alone, on the whole shard; ``call`` is cross_entropy. The
    answer, of rank 0, has the seconds of each repetition; ``bytes`` has what was sent by one call.
    """

    def __call__(
        self, operation: str, shard: torch.Tensor, classes: int, targets: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        if ":" not in operation:
            return super().__call__(operation, shard, classes, targets)
        what, exchange, repetitions = operation.split(":")
        shards = Shards.balanced(classes, self.ranks)
        own = shard.contiguous()
        everyones = [torch.empty_like(own) for _ in range(self.ranks)]

        def once() -> None:
            if what == "gather":
                dist.all_gather(everyones, own, group=self.group)
            elif what == "reduce":
                dist.all_reduce(own, group=self.group)
            else:
                sharded.cross_entropy(own, targets, shards, self.group, exchange)  # type: ignore[arg-type]

        once()
        if what == "bytes":
            self._settle()
            before = sent()
            once()
            self._settle()
            return (torch.tensor([float(sent() - before)]),)
        return (torch.tensor([_seconds(once) for _ in range(int(repetitions))]),)

    @staticmethod
    def _settle() -> None:
        time.sleep(0.2)  # what was handed to the kernel has gone out


def _seconds(call: Callable[[], None]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


class Bench:
    """A team of so many ranks."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self.team = Team("vocab_scaling:Measured")

    def ask(self, what: str, exchange: str, rows: int, classes: int, times: int) -> list[float]:
        """What rank 0 found of an operation of `Measured`."""
        logits = torch.randn((rows, classes), generator=torch.Generator().manual_seed(0))
        targets = torch.arange(rows) % classes
        with self._alone():
            (found,) = self.team.call(f"{what}:{exchange}:{times}", logits, targets)
        return [float(each) for each in found]

    def softmax(self, x: torch.Tensor) -> torch.Tensor:
        result = torch.empty_like(x)
        with self._alone():
            self.team.call("softmax", x, result=result)
        return result

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread, as the other ranks have; and the number of ranks, if they start now."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        before = os.environ.get(RANKS_VARIABLE)
        os.environ[RANKS_VARIABLE] = str(self.ranks)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            os.environ.pop(RANKS_VARIABLE)
            if before is not None:
                os.environ[RANKS_VARIABLE] = before


Benches = Mapping[int, Bench]


class Link(NamedTuple):
    """t = α + β·bytes: seconds a message, and seconds a byte."""

    alpha: float
    beta: float


def fitted(sizes: Sequence[int], seconds: Sequence[float]) -> Link:
    """The α and β, neither below 0, of least squares of the relative errors."""
    size, time_ = np.asarray(sizes, float), np.asarray(seconds, float)
    design = np.stack([np.ones_like(size), size], 1) / time_[:, None]
    found, _ = nnls(design, np.ones_like(time_))
    return Link(float(found[0]), float(found[1]))


def exchange_time(link: Link, parts: Sequence[Collective], ranks: int, rows: int) -> float:
    """Seconds of the collectives of a call in a ring, by the model; float32."""
    return sum(
        steps(p.kind, ranks) * link.alpha
        + ring_bytes(p.kind, ranks, 4 * rows * p.numbers) * link.beta
        for p in parts
    )


def doubling_time(link: Link, parts: Sequence[Collective], ranks: int, rows: int) -> float:
    """Seconds by recursive doubling: as many bytes as a ring for an all-gather, log2 R messages;
    an all-reduce by halving and doubling, 2 log2 R messages (Thakur, Rabenseifner, Gropp 2005)."""
    rounds = math.ceil(math.log2(ranks))
    return sum(
        (2 if p.kind == "all_reduce" else 1) * rounds * link.alpha
        + ring_bytes(p.kind, ranks, 4 * rows * p.numbers) * link.beta
        for p in parts
    )


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(head)} |\n| {' | '.join('---' for _ in head)} |")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


def traffic(benches: Benches, rows: int, classes: int) -> Iterator[Sequence[object]]:
    """(a) Of a call of cross_entropy in float32: what rank 0 sends, counted and by formula."""
    for ranks in RANKS[1:]:
        for exchange in EXCHANGES:
            parts = collectives("cross_entropy", exchange)
            payload = sum(ring_bytes(p.kind, ranks, 4 * rows * p.numbers) for p in parts)
            messages = sum(steps(p.kind, ranks) for p in parts)
            headers = messages * SEGMENTS * 3 * HEADER
            (found,) = benches[ranks].ask("bytes", exchange, rows, classes, 1)
            yield (ranks, exchange, len(parts), messages, f"{payload:,.0f}",
                   f"{payload + headers:,.0f}", f"{found:,.0f}")  # fmt: skip


def two_ranks(bench: Bench, most: int, times: int) -> tuple[Link, list[Sequence[object]]]:
    """(b) α and β of this machine's gloo, from all-gathers of two ranks, and their times."""
    sizes = [4**k for k in range(3, most + 1)]
    found = [statistics.median(bench.ask("gather", "-", 1, 2 * n // 4, times)) for n in sizes]
    link = fitted(sizes, found)
    rows = [
        (f"{n:,}", f"{1e6 * t:.0f}", f"{1e6 * (link.alpha + link.beta * n):.0f}")
        for n, t in zip(sizes, found, strict=True)
    ]
    return link, rows


def scaling(
    benches: Benches, link: Link, rows: int, classes_of: Callable[[int], int], times: int
) -> Iterator[Sequence[object]]:
    """(c) Medians of cross_entropy beside the model, by ranks."""
    cores = len(os.sched_getaffinity(0))
    for ranks in RANKS:
        classes = classes_of(ranks)
        alone = benches[1].ask("call", "gather", rows, classes // ranks, times)
        compute = statistics.median(alone) * max(1.0, ranks / cores)
        for exchange in EXCHANGES if ranks > 1 else EXCHANGES[:1]:
            found = benches[ranks].ask("call", exchange, rows, classes, times)
            parts = collectives("cross_entropy", exchange) if ranks > 1 else []
            model = compute + exchange_time(link, parts, ranks, rows)
            quarter = np.percentile(found, [25, 75]) * 1e3
            yield (ranks, f"{classes:,}", exchange if ranks > 1 else "-",
                   f"{1e3 * statistics.median(found):.2f}",
                   f"{quarter[0]:.2f} to {quarter[1]:.2f}", f"{1e3 * model:.2f}")  # fmt: skip


def projection(link: Link, rows: int) -> Iterator[Sequence[object]]:
    """(d) Seconds of the exchange alone, for ranks that this machine has not: from the model."""
    for ranks in SIMULATED:
        for exchange in EXCHANGES:
            parts = collectives("cross_entropy", exchange)
            payload = sum(ring_bytes(p.kind, ranks, 4 * rows * p.numbers) for p in parts)
            yield ("simulated", ranks, f"{rows:,}", exchange, f"{payload / 1e6:.3f}",
                   f"{1e3 * exchange_time(link, parts, ranks, rows):.2f}",
                   f"{1e3 * doubling_time(link, parts, ranks, rows):.2f}")  # fmt: skip


def bits(benches: Benches, rows: int, classes: int) -> Iterator[Sequence[object]]:
    """(e) softmax of normal logits with 1 to 4 ranks: what differs, and errors beside the bound."""
    for dtype in ("float32", "float64"):
        x = np.random.default_rng(0).standard_normal((rows, classes)).astype(dtype)
        exact = softmax_exact(x)
        e = measure_exp_error(lambda a: torch.exp(torch.from_numpy(a)).numpy(), dtype, points=2**14)
        bound = evaluate_bound(
            "online", x, exact, exp_error=e.error_u, exp_underflow=e.underflow_eta
        ).ulp
        one = None
        for ranks in RANKS:
            y = benches[ranks].softmax(torch.from_numpy(x)).numpy()
            one = y if one is None else one
            apart = np.abs(y - one) / np.spacing(one)
            error = ulp_error(y, exact)
            yield (dtype, ranks, f"{np.count_nonzero(apart):,} of {y.size:,}", f"{apart.max():.0f}",
                   f"{error.max():.2f}", f"{(error / bound).max():.4f}")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: that it runs")
    quick = parser.parse_args(arguments).quick
    rows, classes, times = (8, 240, 3) if quick else (64, 120_000, 41)
    benches = {ranks: Bench(ranks) for ranks in RANKS}
    try:
        show(benches, rows, classes, times)
    finally:
        for bench in benches.values():
            bench.team.stop()
    return 0


def show(benches: Benches, rows: int, classes: int, times: int) -> None:
    """Measure, and print all tables."""
    table(
        f"What rank 0 sends in a call of cross_entropy, {rows} rows, float32",
        ("ranks", "exchange", "collectives", "messages", "payload, bytes", "with gloo's headers",
         "sent, counted by the kernel"),
        traffic(benches, rows, classes),
    )  # fmt: skip
    link, behind = two_ranks(benches[2], 11 if times > 9 else 5, times)
    table("All-gather of two ranks", ("bytes of each", "median, µs", "α + β·bytes, µs"), behind)
    print(f"\nα = {1e6 * link.alpha:.1f} µs, β = {1e9 * link.beta:.3f} ns a byte")
    head = ("ranks", "classes", "exchange", "median, ms", "quartiles", "model, ms")
    on = f"{rows} rows, {len(os.sched_getaffinity(0))} cores"
    table(f"Strong scaling: {classes:,} classes in all, {on}", head,
          scaling(benches, link, rows, lambda ranks: classes, times))  # fmt: skip
    table(f"Weak scaling: {classes // 4:,} classes a rank, {on}", head,
          scaling(benches, link, rows, lambda ranks: ranks * classes // 4, times))  # fmt: skip
    table(
        "Simulated: the exchange alone, by the α and β above",
        ("", "ranks", "rows", "exchange", "MB a rank sends", "ring, ms", "recursive doubling, ms"),
        (row for n in (64, 8192) for row in projection(link, n)),
    )
    table(
        "softmax of normal logits: how bits depend on the number of ranks",
        ("format", "ranks", "results unlike those of one rank", "by at most, ulp",
         "largest error, ulp", "error ÷ bound"),
        bits(benches, 8 if times > 9 else 2, classes // 4),
    )  # fmt: skip


if __name__ == "__main__":
    if not ENVIRONMENT.items() <= os.environ.items():
        # Freed memory stays with its process, as in our workers: page faults would be timed
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **ENVIRONMENT})
    sys.exit(main())
