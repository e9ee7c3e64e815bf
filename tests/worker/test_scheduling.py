"""What is told of a process's share of the processors."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.worker.isolation.scheduling import Share, helped, others, share, turns


def test_the_share_is_that_of_the_thread_that_ran() -> None:
    before = turns(os.getpid())
    until = time.thread_time() + 0.1
    while time.thread_time() < until:
        pass
    assert share(os.getpid(), before).ran_s > 0.05


def test_nothing_is_told_of_a_process_that_is_gone() -> None:
    assert share(1 << 22, turns(1 << 22)) == Share()


def _burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_who_helps_is_told_even_where_two_threads_share_one_core() -> None:
    """A team that woke on one core uses one processor, and is no single thread for that."""
    if not others() and not os.path.exists("/proc/self/schedstat"):
        pytest.skip("this system does not tell")
    calls, allowed = 10, os.sched_getaffinity(0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_burn, 0.001).result()
        before, started = others(), time.perf_counter_ns()
        for _ in range(calls):
            _burn(0.001)
        assert not helped(before, calls, time.perf_counter_ns() - started)
        try:
            os.sched_setaffinity(0, {min(allowed)})
            pool.submit(os.sched_setaffinity, 0, {min(allowed)}).result()
            before, started = others(), time.perf_counter_ns()
            for _ in range(calls):
                half = pool.submit(_burn, 0.001)
                _burn(0.001)
                half.result()
            assert helped(before, calls, time.perf_counter_ns() - started)
        finally:
            os.sched_setaffinity(0, allowed)
