"""Forks and threads of Python around the kernels that run on Numba's threads.

Each case is a process of its own: what goes wrong ends it, by a signal.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_PROGRAM = """
import importlib, os, sys, threading, warnings
import numba
import numpy as np
implementation = importlib.import_module(f"implementations.{sys.argv[1]}")
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, from Python 3.12 on

rng = np.random.default_rng(0)
ROWS = rng.standard_normal((64, 1024)).astype(np.float32)
LONG = rng.standard_normal((2, 300_000)).astype(np.float32)
TARGETS = rng.integers(0, ROWS.shape[1], ROWS.shape[0])

def results():
    y = implementation.softmax(ROWS)
    loss, gradient = implementation.cross_entropy(ROWS, TARGETS)
    return b"".join(a.tobytes() for a in (
        y, implementation.softmax(ROWS, out=np.full_like(ROWS, np.nan)),
        implementation.softmax(LONG), implementation.softmax(ROWS, axis=0),
        implementation.log_softmax(ROWS), implementation.logsumexp(ROWS),
        implementation.softmax_backward(ROWS, y), loss, gradient, *ragged(),
    ))

def ragged():
    if not hasattr(implementation, "ragged_softmax"):
        return []
    places = np.random.default_rng(1).integers(0, ROWS.size, 3000)
    places = np.sort(np.concatenate([[0, ROWS.size], places]))
    return [implementation.ragged_softmax(ROWS.ravel(), places),
            implementation.ragged_softmax(LONG.ravel(), np.array([0, 7, 7, 400_000, LONG.size]))]

def in_child(check):
    child = os.fork()
    if child == 0:
        os._exit(0 if check() else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, f"the child ended with {code}"

def in_threads(check, count):
    found = []
    threads = [threading.Thread(target=lambda: found.append(check())) for _ in range(count)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return found == [True] * count

def tasks():
    return len(os.listdir("/proc/self/task"))
"""

_CASES = {
    "a fork after a call": """
def check():
    return results() == first and in_threads(lambda: results() == first, 2)
first = results()
in_child(check)
in_child(lambda: check() and in_child(check) is None)  # and of that one again
assert results() == first
""",
    "a fork while another thread has its turn": """
from implementations._simd import launch as _numba_launch
first = results()
taken, done = threading.Event(), threading.Event()
def keep():
    with _numba_launch._turn:
        taken.set()
        done.wait()
keeper = threading.Thread(target=keep)
keeper.start()
taken.wait()
in_child(lambda: results() == first)
done.set()
keeper.join()
""",
    "a fork after loops of others alone": """
@numba.njit(parallel=True)
def loop(x):
    for i in numba.prange(x.shape[0]): x[i] = i
loop(np.empty(1000))
def check():
    global first
    first = results()
    return in_threads(lambda: results() == first, 2)
in_child(check)
assert check()
""",
    "threads of Python": """
first = results()
assert in_threads(lambda: all(results() == first for _ in range(10)), 8)
""",
    "threads of Python before any other call": """
start = threading.Barrier(8)
def check():
    start.wait()
    return results() == results()
assert in_threads(check, 8)
""",
    "a fork before the first call": """
def check():
    before = tasks()
    y = results()
    return tasks() > before and y == results()  # on several threads
in_child(check)
in_child(check)
assert check()
""",
}


@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize(
    ("name", "layer"),
    [  # both launch their loops by the same lines
        ("numba_cpu", "omp"),
        ("numba_cpu", "workqueue"),
        pytest.param("numba_exact", "omp", marks=pytest.mark.slow),
        pytest.param("numba_exact", "workqueue", marks=pytest.mark.slow),
    ],
)
def test_forks_and_threads_change_no_bit_and_end_no_process(
    name: str, layer: str, case: str
) -> None:
    environment = {**os.environ, "NUMBA_NUM_THREADS": "4", "NUMBA_THREADING_LAYER": layer}
    program = f"{_PROGRAM}\n{_CASES[case]}\nassert numba.threading_layer() == {layer!r}\n"
    ended = subprocess.run(
        [sys.executable, "-c", program, name],
        env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
