"""Fixtures for all tests: a cache of their own, plain files to measure, one real smoke run."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from contexts import MakeContext

from harness.bounds.exp_error import measure_exp_error
from harness.experiments.context import Context, worker_for
from harness.experiments.profiles import SMOKE, Profile
from harness.experiments.throughput.host import ARITHMETIC, LIMITS
from harness.records.timing import CONTROL_SUFFIX
from harness.registry.discovery import Implementation
from harness.worker.client import Pool, RemoteImplementation
from harness.worker.local import load

# Threads of OpenMP that wait would keep their processor for milliseconds after each call
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many as there are processors that may be used: xdist counts all that the machine has."""
    return len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True, scope="module")
def _settled() -> None:
    """What exists by now stays: a collection need not look at it again.

    With all tests, torch and Numba in one process a full one takes half a second, and stopwatches
    ask for one at each release of a device's buffers.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache of references; the processes of xdist share one."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    patch = pytest.MonkeyPatch()
    patch.setenv("SOFTMAX_BENCH_CACHE", str(shared / "cache"))
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _few_exponentials() -> Iterator[None]:
    """Runs in this process measure the error of exp at few arguments, which widens no bound."""
    patch = pytest.MonkeyPatch()
    few = partial(measure_exp_error, points=1 << 14)
    patch.setattr("harness.experiments.context.measure_exp_error", few)
    yield
    patch.undo()


@pytest.fixture
def plain_file(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a module with a softmax of the given body (x, axis and out are its names)."""

    def write(name: str, body: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(
            f'"""{name}."""\nimport os, sys, time\nimport numpy as np\n\n'
            f"def softmax(x, axis=-1):\n    {body}\n",
            encoding="utf-8",
        )
        return path

    return write


@pytest.fixture(scope="session")
def movers() -> Iterator[dict[str, RemoteImplementation]]:
    """The workers of the limits, by name: kernels of the harness, started once for all tests."""
    modules = dict.fromkeys((*LIMITS, LIMITS[0] + CONTROL_SUFFIX), "harness.machine.copy_limit")
    modules[ARITHMETIC] = "harness.machine.exp_limit"
    found = {name: RemoteImplementation(name, {"module": m}) for name, m in modules.items()}
    yield found
    for worker in found.values():
        worker.stop()


@pytest.fixture
def make_context(movers: dict[str, RemoteImplementation]) -> Iterator[MakeContext]:
    """Contexts with workers; those of implementations are stopped at the end."""
    pools: list[Pool] = []

    def make(
        implementations: Sequence[str | Path | Implementation],
        profile: Profile = SMOKE,
        baseline: str = "max_shift",
    ) -> Context:
        loaded = [i if isinstance(i, Implementation) else load(i) for i in implementations]
        pool = Pool()
        pools.append(pool)
        for worker in movers.values():
            pool.add(worker)
        for one in loaded:
            pool.add(worker_for(one))
        return Context(
            implementations=loaded,
            pool=pool,
            profile=profile,
            seed=0,
            cores=2,
            last_level_cache=32 << 20,
            l2_cache=1 << 20,
            baseline=baseline,
        )

    yield make
    for worker in {w for pool in pools for w in pool} - set(movers.values()):
        worker.stop()
