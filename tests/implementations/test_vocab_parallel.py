"""Vocabulary-parallel softmax and cross-entropy: numbers, messages, and ranks that end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import ml_dtypes
import mpmath
import numpy as np
import psutil
import pytest
import torch
import torch.distributed as dist
import vocab_scaling
from hypothesis import given, settings
from hypothesis import strategies as st
from local_subject import LocalSubject
from numpy.typing import NDArray
from thread_ranks import on_ranks

from harness import reference
from harness.bounds import over_bound
from harness.bounds.exp_error import measure_exp_error
from harness.bounds.tolerances import (
    Arithmetic,
    cross_entropy_allowance,
    log_softmax_allowance,
    logsumexp_allowance,
    softmax_allowance,
)
from harness.experiments.conformance.judge import Options, judge
from harness.numerics.formats import float_format, to_float64
from harness.numerics.ulps import ulp_error
from harness.worker.local import load
from implementations._vocab_parallel import sharded
from implementations._vocab_parallel.loss_parallel import LossParallel
from implementations._vocab_parallel.sharded import Exchange, Shards, Smoothing
from implementations._vocab_parallel.team import RANKS_VARIABLE, TIMEOUT_VARIABLE, RankError, Team
from implementations._vocab_parallel.work import VocabParallel

Array = NDArray[Any]

EXCHANGES: tuple[Exchange, ...] = get_args(Exchange)
SMOOTHINGS: tuple[Smoothing, ...] = get_args(Smoothing)
DTYPES = {
    "float64": torch.float64, "float32": torch.float32, "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}  # fmt: skip
ALLOWANCES = {
    "softmax": softmax_allowance, "log_softmax": log_softmax_allowance,
    "logsumexp": logsumexp_allowance,
}  # fmt: skip
UNEVEN = {1: (9,), 2: (7, 2), 3: (3, 0, 6), 4: (1, 5, 0, 3)}
"""Sizes of nine classes: no two alike, and an empty shard."""


def _logits(rows: int = 6, classes: int = 9, seed: int = 0) -> Array:
    x = 4 * np.random.default_rng(seed).standard_normal((rows, classes))
    x[1, :7] = -np.inf  # whole shards of UNEVEN
    x[2, 3:] = -np.inf
    x[3] += 300
    return x


def _as_tensor(x: Array, dtype: str) -> torch.Tensor:
    return torch.from_numpy(x).to(DTYPES[dtype])


def _as_array(x: torch.Tensor) -> Array:
    if x.dtype == torch.bfloat16:
        return np.asarray(x.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
    return np.asarray(x.numpy())


def _sharded(
    operation: str, x: torch.Tensor, sizes: tuple[int, ...], *targets: torch.Tensor, **how: Any
) -> list[tuple[torch.Tensor, ...]]:
    """What each rank has of a function of `sharded`."""
    shards = Shards(sizes)

    def own(group: Any, rank: int) -> tuple[torch.Tensor, ...]:
        first, end = shards.bounds(rank)
        given = (x[:, first:end], *targets, shards, group if len(sizes) > 1 else None)
        found = getattr(sharded, operation)(*given, **how)
        return found if isinstance(found, tuple) else (found,)

    return on_ranks(len(sizes), own)


def _whole(parts: list[tuple[torch.Tensor, ...]]) -> list[Array]:
    """Shards joined; what each row has is rank 0's."""
    return [
        _as_array(torch.cat(each, 1) if each[0].ndim == 2 else each[0])
        for each in zip(*parts, strict=True)
    ]


@cache
def _arithmetic(dtype: str) -> Arithmetic:
    inside = "float64" if dtype == "float64" else "float32"
    e = measure_exp_error(lambda a: torch.exp(torch.from_numpy(a)).numpy(), inside, points=2**14)
    return Arithmetic("online", inside, e.error_u, e.underflow_eta)


def _error_over_bound(operation: str, x: torch.Tensor, found: Array) -> float:
    """The judge of forward operations: the largest error, in parts of what is allowed."""
    logits = to_float64(_as_array(x))
    exact = getattr(reference, f"{operation}_exact")(logits)
    dtype = str(x.dtype).removeprefix("torch.")
    allowed = ALLOWANCES[operation](logits, exact, dtype, _arithmetic(dtype))
    return float(over_bound(ulp_error(found, exact, dtype), allowed).max())


def _loss_over_bound(x: torch.Tensor, targets: Array, found: list[Array]) -> float:
    """The judge of cross-entropy."""
    logits = to_float64(_as_array(x))
    exact = reference.cross_entropy_exact(logits, targets)
    dtype = str(x.dtype).removeprefix("torch.")
    allowed = cross_entropy_allowance(logits, targets, *exact, dtype, _arithmetic(dtype))
    errors = [ulp_error(f, e, dtype) for f, e in zip(found, exact, strict=True)]
    return max(float(over_bound(e, a).max()) for e, a in zip(errors, allowed, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("ranks", UNEVEN)
def test_every_number_of_ranks_keeps_the_bounds(ranks: int, exchange: Exchange, dtype: str) -> None:
    x = _as_tensor(_logits(), dtype)
    for operation in ALLOWANCES:
        for sizes in (UNEVEN[ranks], Shards.balanced(9, ranks).sizes):
            (found,) = _whole(_sharded(operation, x, sizes, exchange=exchange))
            assert _error_over_bound(operation, x, found) <= 1
    targets = np.array([0, 8, 2, 5, 6, 4])
    parts = _sharded(
        "cross_entropy", x, UNEVEN[ranks], torch.from_numpy(targets), exchange=exchange
    )
    gradient_last = _whole(parts)
    assert _loss_over_bound(x, targets, gradient_last) <= 1
    assert all(torch.equal(loss, parts[0][0]) for loss, _ in parts)


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("ranks", UNEVEN)
def test_a_saturated_row_keeps_its_small_probabilities(ranks: int, exchange: Exchange) -> None:
    """log p is -e^-30 and the gradient at the target -(sum of the others): neither is 0."""
    x = torch.full((2, 9), -30.0, dtype=torch.float32)
    x[0, 1], x[1, 8] = 0, 0
    targets = torch.tensor([1, 8])
    sizes = UNEVEN[ranks]
    (logs,) = _whole(_sharded("log_softmax", x, sizes, exchange=exchange))
    assert ulp_error(logs, reference.log_softmax_exact(x.numpy())).max() <= 4
    found = _whole(_sharded("cross_entropy", x, sizes, targets, exchange=exchange))
    exact = reference.cross_entropy_exact(x.numpy(), targets.numpy())
    assert max(ulp_error(f, e).max() for f, e in zip(found, exact, strict=True)) <= 6


SPECIAL = st.sampled_from([0.0, -0.0, 1.0, -3.5, 700.0, -700.0, 1e30, np.inf, -np.inf, np.nan])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(SPECIAL | st.floats(-50, 50, width=32), min_size=5, max_size=5),
    st.lists(st.integers(0, 5), min_size=0, max_size=3),
    st.sampled_from(EXCHANGES),
)
def test_special_values_follow_mathematics_however_they_are_divided(
    row: list[float], cuts: list[int], exchange: Exchange
) -> None:
    ends = [*sorted(cuts), 5]
    sizes = tuple(int(n) for n in np.diff([0, *ends]))
    x = torch.tensor([row], dtype=torch.float64)
    parts = _sharded("logsumexp", x, sizes, exchange=exchange)
    assert all(torch.equal(p[0].nan_to_num(), parts[0][0].nan_to_num()) for p in parts)
    (p,) = _whole(_sharded("softmax", x, sizes, exchange=exchange))
    if not np.isfinite(np.max(row)):  # NaN, +inf, or nothing but -inf
        assert np.isnan(p).all()
        assert np.array_equal(parts[0][0].numpy(), [np.max(row)], equal_nan=True)
    else:
        assert _error_over_bound("softmax", x, p) <= 1
        assert (p[0][np.isneginf(row)] == 0).all()
        assert _error_over_bound("logsumexp", x, _as_array(parts[0][0])) <= 1


def test_bits_depend_on_the_number_of_ranks_within_the_bound() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3000)).astype(np.float32))
    found = [
        _whole(_sharded("softmax", x, Shards.balanced(3000, ranks).sizes))[0] for ranks in UNEVEN
    ]
    assert any((one != found[0]).any() for one in found[1:])
    assert max(_error_over_bound("softmax", x, one) for one in found) <= 1


def test_the_gather_is_merged_alike_on_every_rank_and_every_time() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((64, 300)).astype(np.float32))
    sizes = Shards.balanced(300, 4).sizes
    found = [_sharded("logsumexp", x, sizes) for _ in range(3)]
    assert all(torch.equal(rank[0], found[0][0][0]) for ranks in found for rank in ranks)


# Label smoothing


def _smoothed(x: Array, target: int, alpha: float, smoothing: Smoothing) -> tuple[Any, list[Any]]:
    """Loss and gradient of one row, from the definition, to 60 digits."""
    with mpmath.workdps(60):
        logits, classes = [mpmath.mpf(float(v)) for v in x], len(x)
        a = mpmath.mpf(alpha)
        q = [a / classes if smoothing == "uniform" else a / (classes - 1)] * classes
        q[target] = 1 - a + (a / classes if smoothing == "uniform" else 0)
        total = mpmath.fsum(mpmath.exp(v) for v in logits)
        logs = [v - mpmath.log(total) for v in logits]
        loss = -mpmath.fsum(w * v for w, v in zip(q, logs, strict=True))
        return loss, [mpmath.exp(v) - w for v, w in zip(logs, q, strict=True)]


def _smoothed_over_bound(
    x: torch.Tensor, targets: Array, alpha: float, smoothing: Smoothing, found: list[Array]
) -> float:
    """The judge of smoothed labels.

    Loss: every term is at least 0, and is off relatively by the classes' additions, the ranks', the
    exponential, the distances and some roundings; gradient: by as much of p + q.
    """
    u = float_format(str(x.dtype).removeprefix("torch.")).unit_roundoff
    worst = 0.0
    for row, target, loss, gradient in zip(_as_array(x), targets, *found, strict=True):
        exact_loss, exact = _smoothed(row, int(target), alpha, smoothing)
        reach = float(row.max() - row.min())
        limit = (2 * len(row) + 4 * _arithmetic("float64").exp_error + 2 * reach + 20) * u
        worst = max(worst, float(abs(loss - exact_loss) / exact_loss) / limit)
        for got, g in zip(gradient, exact, strict=True):
            worst = max(worst, float(abs(got - g)) / limit)
    return worst


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("ranks", UNEVEN)
def test_smoothed_labels_follow_either_definition(
    ranks: int, exchange: Exchange, smoothing: Smoothing
) -> None:
    x = torch.from_numpy(3 * np.random.default_rng(1).standard_normal((5, 9)))
    targets = np.array([0, 8, 2, 5, 6])
    found = _whole(
        _sharded("cross_entropy", x, UNEVEN[ranks], torch.from_numpy(targets), exchange=exchange,
                 label_smoothing=0.1, smoothing=smoothing)
    )  # fmt: skip
    assert _smoothed_over_bound(x, targets, 0.1, smoothing, found) <= 1


def test_the_uniform_formula_is_that_of_torch_and_others_is_that_of_megatron() -> None:
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((5, 9))).requires_grad_()
    targets = torch.tensor([0, 8, 2, 5, 6])
    logs = torch.log_softmax(x.detach(), 1)
    plain = -logs.gather(1, targets[:, None])[:, 0]
    share = 0.1 * 9 / 8  # as Megatron-LM writes it, all classes being on one rank
    megatron = (1 - share) * plain - share * logs.mean(1)
    of_torch = torch.nn.functional.cross_entropy(x, targets, reduction="none", label_smoothing=0.1)
    (gradient,) = torch.autograd.grad(of_torch.sum(), x)
    how = {"label_smoothing": 0.1}
    (ours,) = _sharded("cross_entropy", x.detach(), (9,), targets, smoothing="uniform", **how)
    torch.testing.assert_close(ours, (of_torch.detach(), gradient))
    (others,) = _sharded("cross_entropy", x.detach(), (9,), targets, smoothing="others", **how)
    torch.testing.assert_close(others[0], megatron)
    assert (others[0] != ours[0]).all()


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_masked_class_makes_a_smoothed_loss_infinite_wherever_it_is(exchange: Exchange) -> None:
    x = torch.zeros((2, 4), dtype=torch.float32)
    x[0, 3] = -torch.inf
    x[1, 2:] = -torch.inf  # a whole shard
    for sizes in ((4,), (2, 2), (2, 0, 2)):
        for loss, _ in _sharded("cross_entropy", x, sizes, torch.tensor([0, 0]),
                                exchange=exchange, label_smoothing=0.1):  # fmt: skip
            assert loss.tolist() == [np.inf, np.inf]


# Known-wrong forms, which the judges above must find


def _own_maximum(module: Any, patch: pytest.MonkeyPatch) -> None:
    gathered = module._gathered

    def wrong(own: list[torch.Tensor], *rest: Any) -> list[torch.Tensor]:
        return [own[0], *gathered(own, *rest)[1:]]

    patch.setattr(module, "_gathered", wrong)


def _no_rescaling(module: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "_weight", lambda m, maximum: (m > -torch.inf).to(maximum))


def _target_on_every_rank(module: Any, patch: pytest.MonkeyPatch) -> None:
    own_targets = module._own_targets

    def wrong(*given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        here, index = own_targets(*given)
        return torch.ones_like(here), index

    patch.setattr(module, "_own_targets", wrong)


def _one_counted_by_every_rank(module: Any, patch: pytest.MonkeyPatch) -> None:
    partial_of = module._partial
    patch.setattr(module, "_partial", lambda x: (partial_of(x)[0], partial_of(x)[1] + 1))


def _swapped_smoothing(module: Any, patch: pytest.MonkeyPatch) -> None:
    share = module._share
    other: dict[str, Smoothing] = {"uniform": "others", "others": "uniform"}
    patch.setattr(module, "_share", lambda a, formula, classes: share(a, other[formula], classes))


def _depth_of_shards_alone(module: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "_deeper", lambda depth, *_: depth)


def _forward() -> float:
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((4, 9)).astype(np.float32))
    return _error_over_bound("softmax", x, _whole(_sharded("softmax", x, (4, 5)))[0])


def _loss() -> float:
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((4, 9)).astype(np.float32))
    targets = np.array([0, 8, 2, 5])
    found = _whole(_sharded("cross_entropy", x, (4, 5), torch.from_numpy(targets)))
    return _loss_over_bound(x, targets, found)


def _smoothed_loss(smoothing: Smoothing) -> float:
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((4, 9)))
    targets = np.array([0, 8, 2, 5])
    found = _whole(
        _sharded("cross_entropy", x, (4, 5), torch.from_numpy(targets), label_smoothing=0.1,
                 smoothing=smoothing)
    )  # fmt: skip
    return _smoothed_over_bound(x, targets, 0.1, smoothing, found)


@pytest.mark.parametrize(
    ("fault", "measure"),
    [
        (_own_maximum, _forward),
        (_no_rescaling, _forward),
        (_one_counted_by_every_rank, _forward),
        (_no_rescaling, _loss),
        (_target_on_every_rank, _loss),
        (_swapped_smoothing, partial(_smoothed_loss, "uniform")),
        (_swapped_smoothing, partial(_smoothed_loss, "others")),
        (_depth_of_shards_alone, partial(_smoothed_loss, "uniform")),
    ],
)
def test_a_known_fault_is_found(
    fault: Callable[..., None], measure: Callable[[], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measure() <= 1
    fault(sharded, monkeypatch)
    assert measure() > 1


# What is sent


@pytest.mark.parametrize("operation", [*ALLOWANCES, "cross_entropy", "smoothed"])
@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize(("dtype", "itemsize"), [("float64", 8), ("float32", 4), ("bfloat16", 4)])
def test_collectives_and_their_bytes_are_those_of_the_formula(
    operation: str, exchange: Exchange, dtype: str, itemsize: int
) -> None:
    x, ranks = _as_tensor(_logits(), dtype), 3
    smoothed = operation == "smoothed"
    name = "cross_entropy" if smoothed else operation
    targets = [torch.zeros(6, dtype=torch.int64)] if name == "cross_entropy" else []
    how = {"label_smoothing": 0.1} if smoothed else {}
    with vocab_scaling.counted() as calls:
        _sharded(name, x, UNEVEN[ranks], *targets, exchange=exchange, **how)
    parts = vocab_scaling.collectives(name, exchange, smoothed)
    expected = [(p.kind, 6 * p.numbers * itemsize) for p in parts] * ranks
    assert sorted(calls) == sorted(expected)


def test_one_rank_sends_nothing() -> None:
    with vocab_scaling.counted() as calls:
        _sharded("softmax", torch.zeros(2, 3), (3,))
    assert calls == []


def test_gloo_sends_the_bytes_of_the_formula() -> None:
    """What the kernel counts of two processes' connections, headers and all, to the byte."""
    bench = vocab_scaling.Bench(2)
    try:
        for *_, formula, counted in islice(vocab_scaling.traffic({2: bench}, 8, 64), 2):
            assert counted == formula
    finally:
        bench.team.stop()


# What does not fit


def test_what_does_not_fit_is_one_clear_line() -> None:
    x, shards = torch.zeros(2, 3), Shards((3,))
    two = torch.tensor([0, 1])
    with pytest.raises(TypeError, match=r"shard: expected float64, .*got torch.int64"):
        sharded.softmax(x.long(), shards, None)
    with pytest.raises(ValueError, match=r"shards: expected the sizes of 1 ranks; got \(2, 1\)"):
        sharded.softmax(x, Shards((2, 1)), None)
    with pytest.raises(ValueError, match=r"shard: expected \(rows, 4\) of rank 0; got \(2, 3\)"):
        sharded.softmax(x, Shards((4,)), None)
    with pytest.raises(ValueError, match=r"targets: expected class indices from 0 to 2"):
        sharded.cross_entropy(x, torch.tensor([0, 3]), shards, None)
    with pytest.raises(ValueError, match="targets: expected int64"):
        sharded.cross_entropy(x, two.int(), shards, None)
    with pytest.raises(ValueError, match="label_smoothing: expected 0 or more, below 1; got 1"):
        sharded.cross_entropy(x, two, shards, None, label_smoothing=1.0)
    with pytest.raises(ValueError, match="'others' needs two classes"):
        sharded.cross_entropy(x[:, :1], two * 0, Shards((1,)), None, "gather", 0.1, "others")


@pytest.mark.parametrize(("value", "named"), [("0", "from 1 to 4"), ("five", "expected int")])
def test_a_number_of_ranks_out_of_range_is_refused(
    value: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RANKS_VARIABLE, value)
    with pytest.raises(ValueError, match=f"{RANKS_VARIABLE}: .*{named}.*got '{value}'"):
        Team("implementations._vocab_parallel.work:VocabParallel").call("softmax", torch.ones(1, 2))


# The team


def _gone(pids: list[int], within_s: float = 5.0) -> bool:
    """Whether they end, or have ended and wait for a parent that does not ask."""
    until = time.monotonic() + within_s
    while True:
        left = [p for p in pids if psutil.pid_exists(p)]
        if all(psutil.Process(p).status() == psutil.STATUS_ZOMBIE for p in left):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.05)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Team, Path]]:
    """Three ranks, the last of which has the fault that it is called for; what others then say."""
    told = tmp_path_factory.mktemp("told")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(RANKS_VARIABLE, "3")
        patch.setenv(TIMEOUT_VARIABLE, "3")
        patch.setenv("RANK_FAULTS", str(told))
        team = Team("rank_faults:Faulty")
        yield team, told
        team.stop()


def _is_well(team: Team) -> list[int]:
    """The other ranks, which have just made a call."""
    x = torch.tensor([[0.0, 0.0, 0.0]])
    team.call("softmax", x, result=x)
    assert x.tolist() == [[pytest.approx(1 / 3)] * 3]
    return team.processes


@pytest.mark.parametrize(
    ("fault", "text", "limit_s"),
    [
        ("kill", "rank 2 of 3 was killed by SIGKILL; the next call starts new ranks", 2.9),
        ("raise", "rank 2 of 3 could not go on: ValueError: this rank cannot", 2.9),
        ("stop", "rank 2 of 3 did not answer within 3 s", 20.0),
    ],
)
def test_a_rank_that_comes_to_grief_is_an_error_on_all_others(
    faulty: tuple[Team, Path], fault: str, text: str, limit_s: float
) -> None:
    team, told = faulty
    pids = _is_well(team)
    for file in told.iterdir():
        file.unlink()
    with pytest.raises(RankError, match=text):
        team.call(fault, torch.zeros(1, 3))
    others = {p.name: json.loads(p.read_text(encoding="utf-8")) for p in told.iterdir()}
    assert sorted(others) == ["0", "1"]  # those that were in the collective
    assert all(other["seconds"] < limit_s for other in others.values())
    assert team.processes == []
    assert _gone(pids)
    assert not set(_is_well(team)) & set(pids)


def test_the_rank_to_blame_is_named_where_the_process_has_a_default_group(
    faulty: tuple[Team, Path],
) -> None:
    """There torch fails to log the error of a group that it did not make."""
    team, _ = faulty
    mine = not dist.is_initialized()
    if mine:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        _is_well(team)
        with pytest.raises(RankError, match="rank 2 of 3 was killed by SIGKILL"):
            team.call("kill", torch.zeros(1, 3))
    finally:
        if mine:
            dist.destroy_process_group()


def test_a_forked_child_of_a_process_with_ranks_gets_an_exception_and_may_end(
    faulty: tuple[Team, Path],
) -> None:
    team, _ = faulty
    pids = _is_well(team)
    child = os.fork()
    if child == 0:
        try:
            team.call("softmax", torch.zeros(1, 3))
        except RankError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert _is_well(team) == pids


def test_a_rank_that_ended_between_calls_is_told_at_the_next(faulty: tuple[Team, Path]) -> None:
    team, _ = faulty
    os.kill(_is_well(team)[0], signal.SIGKILL)
    with pytest.raises(RankError, match="rank 1 of 3 was killed by SIGKILL"):
        team.call("softmax", torch.zeros(1, 3))


_CALLER = (
    "import sys, time, torch; from implementations import torch_vocab_parallel as m;"
    "m.softmax(torch.zeros(1, 3)); print(*m.team.processes, flush=True);"
    "{end}"
)


@pytest.mark.parametrize(
    "end", ["", "import os; child = os.fork(); child and print(child, flush=True); time.sleep(60)"]
)
def test_no_rank_is_left_however_the_caller_ends(end: str) -> None:
    """It returns; or is killed, and leaves a forked child that has all of its descriptors."""
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", _CALLER.format(end=end)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, RANKS_VARIABLE: "2", "PYTHONPATH": root},
    ) as caller:  # fmt: skip
        assert caller.stdout is not None
        (rank,) = map(int, caller.stdout.readline().split())
        if end:
            forked = int(caller.stdout.readline())
            caller.kill()
        caller.wait(20)
        try:
            assert _gone([rank])
        finally:
            if end:
                os.kill(forked, signal.SIGKILL)


# The implementations


@pytest.fixture(params=[1, 2, 3, 4])
def ranks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv(RANKS_VARIABLE, str(request.param))
    return int(request.param)


CORE = (
    "1-all-masked", "8-nan", "10-one-class", "35-transposed", "39-out", "41-axes", "53-repeatable",
    "localised", "second-thread", "two-threads",
)  # fmt: skip


def test_the_core_of_the_catalogue(ranks: int) -> None:
    subject = LocalSubject(load("torch_vocab_parallel"))
    module = subject.implementation.module()
    module.team.stop()
    options = Options(cases=CORE, thorough=False, budget_s=0.3)
    try:
        for operation in ("softmax", "cross_entropy"):
            records = list(judge(subject, operation, "float32", options=options))
            failed = [f"{r.case}: {r.reason}" for r in records if r.status == "failed"]
            assert not failed
            assert sum(r.status == "ok" for r in records) >= 4
        assert len(module.team.processes) == ranks - 1
    finally:
        module.team.stop()


def _checked(name: str) -> tuple[int, list[str]]:
    """The exit code of a check, and the failures that it tells."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", "check", name, "--no-timing"],
        capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    return done.returncode, [s for s in done.stderr.splitlines() if s.startswith("fails: ")]


@pytest.mark.slow
def test_the_catalogue(ranks: int) -> None:
    assert _checked("torch_vocab_parallel") == (0, [])


@pytest.mark.slow
def test_loss_parallel_fails_the_catalogue_by_fewer_classes_than_ranks_alone(ranks: int) -> None:
    code, failures = _checked("torch_loss_parallel")
    assert code == (0 if ranks == 1 else 1)
    assert all("leave one without any" in failure for failure in failures)
    assert bool(failures) == (ranks > 1)


def test_loss_parallel_is_near_the_reference_and_refuses_what_it_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(RANKS_VARIABLE, "3")
    found = load("torch_loss_parallel")
    found.module().team.stop()  # of an earlier test, with another number of ranks
    x = np.random.default_rng(2).standard_normal((4, 8)).astype(np.float32)  # 3, 3 and 2 classes
    targets = np.array([0, 7, 2, 5])
    try:
        for ours, right in zip(
            found.cross_entropy(x, targets), reference.cross_entropy(x, targets), strict=True
        ):
            assert np.allclose(ours, right, rtol=2e-6, atol=2e-6)
        with pytest.raises(ValueError, match="4 classes among 3 ranks leave one without any"):
            found.cross_entropy(x[:, :4], targets % 4)
        found.cross_entropy(x, targets)  # the ranks are still there
    finally:
        found.module().team.stop()


@given(st.integers(1, 40), st.integers(1, 4))
def test_classes_are_divided_as_dtensor_and_as_evenly_as_can_be(classes: int, ranks: int) -> None:
    chunks = [len(part) for part in torch.arange(classes).chunk(ranks)]
    if len(chunks) == ranks:
        assert LossParallel.sizes(classes, ranks) == tuple(chunks)
    else:
        with pytest.raises(ValueError, match="leave one without any"):
            LossParallel.sizes(classes, ranks)
    sizes = VocabParallel.sizes(classes, ranks)
    assert sum(sizes) == classes
    assert max(sizes) - min(sizes) <= 1


# The study


def test_a_link_is_found_again_from_its_own_times() -> None:
    sizes = [4**k for k in range(3, 12)]
    link = vocab_scaling.fitted(sizes, [2e-5 + 3e-10 * n for n in sizes])
    assert link == pytest.approx((2e-5, 3e-10))
    assert vocab_scaling.fitted(sizes, [5e-5] * len(sizes)) == pytest.approx((5e-5, 0))


def test_the_model_by_hand() -> None:
    link = vocab_scaling.Link(10.0, 1.0)
    gather = vocab_scaling.collectives("cross_entropy", "gather")
    both = vocab_scaling.collectives("cross_entropy", "reduce")
    # three numbers of 4 bytes: three messages of 12 bytes
    assert vocab_scaling.exchange_time(link, gather, 4, 1) == 3 * (10 + 12)
    # an all-reduce of 4 bytes and one of 12: six messages each, of a quarter
    assert vocab_scaling.exchange_time(link, both, 4, 1) == 6 * (10 + 1) + 6 * (10 + 3)
    assert vocab_scaling.doubling_time(link, gather, 4, 1) == 2 * 10 + 36
    assert vocab_scaling.doubling_time(link, both, 4, 1) == 8 * 10 + 6 + 18


@pytest.mark.slow
def test_the_study_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert vocab_scaling.main(["--quick"]) == 0
    text = capsys.readouterr().out
    simulated = text.partition("Simulated")[2].partition("softmax of")[0]
    rows = [line for line in simulated.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 20
    assert all(line.startswith("| simulated |") for line in rows)
