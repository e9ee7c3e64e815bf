"""Schedulers and workers of Dask as processes of their own, and runs that ought to be the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from harness.records.reader import Run

Process = subprocess.Popen[bytes]
TIMES_AND_HOSTS = {"elapsed_s", "host"}


@contextmanager
def process(module: str, *options: str, log: Path, **environment: str) -> Iterator[Process]:
    """A program of Dask's in a process of its own, with what it says in a file."""
    command = [sys.executable, "-P", "-m", f"distributed.cli.{module}", "--no-dashboard", *options]
    with log.open("w") as stream:
        started = subprocess.Popen(command, stderr=stream, env=os.environ | environment)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@contextmanager
def scheduler(folder: Path, port: int = 0) -> Iterator[tuple[str, Process]]:
    """``dask scheduler``, and its address."""
    log = folder / "scheduler.log"
    options = ["--host", "127.0.0.1", "--port", str(port), "--no-show"]
    with process("dask_scheduler", *options, log=log) as started:
        deadline = time.monotonic() + 60
        while "Scheduler at:" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        told = next(line for line in log.read_text().splitlines() if "Scheduler at:" in line)
        yield told.split()[-1], started


def worker(folder: Path, address: str, **environment: str) -> AbstractContextManager[Process]:
    """``dask worker ADDRESS --nthreads 1 --no-nanny``."""
    log = folder / f"worker-{time.monotonic_ns()}.log"
    options = [address, "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1"]
    return process("dask_worker", *options, log=log, **environment)


def kept(run: Run) -> list[dict[str, Any]]:
    """What the file of a run has, in its order, but for times and hosts.

    And for how much was judged where a case takes as much time as there is.
    """
    found = []
    for line in (run.path / "cells.jsonl").read_text().splitlines():
        record = {k: v for k, v in json.loads(line).items() if k not in TIMES_AND_HOSTS}
        if record.get("case") in ("28-every-count", "31-tails"):
            record = {k: record[k] for k in ("case", "implementation", "operation", "dtype")}
        found.append(record)
    return found


def differences(one: Run, other: Run) -> list[Any]:
    """What two runs differ in: cells that only one has, or fields, each with both values."""
    first, second = kept(one), kept(other)
    if len(first) != len(second):
        return [len(first), len(second)]
    found = []
    for a, b in zip(first, second, strict=True):
        fields = {k: (a.get(k), b.get(k)) for k in {*a, *b} if a.get(k) != b.get(k)}
        if fields:
            found.append({"of": (a.get("workload"), a.get("classes")), **fields})
    return found
