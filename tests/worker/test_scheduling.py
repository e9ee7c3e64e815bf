"""What is told of a process's share of the processors."""

from __future__ import annotations

import os
import time

from harness.worker.isolation.scheduling import Share, share, turns


def test_the_share_is_that_of_the_thread_that_ran() -> None:
    before = turns(os.getpid())
    until = time.thread_time() + 0.1
    while time.thread_time() < until:
        pass
    assert share(os.getpid(), before).ran_s > 0.05


def test_nothing_is_told_of_a_process_that_is_gone() -> None:
    assert share(1 << 22, turns(1 << 22)) == Share()
