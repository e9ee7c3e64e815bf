"""Workers: what goes wrong in one becomes a fault with a status, and the next call works."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from harness.worker.client import RemoteImplementation, WorkerFault

Make = Callable[[str], RemoteImplementation]
X = np.array([[1.0, 2.0, 3.0]], dtype=np.float32)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    workers: list[RemoteImplementation] = []

    def of(body: str) -> RemoteImplementation:
        path = tmp_path / f"subject{len(workers)}.py"
        path.write_text(
            "import os, sys, time, ctypes, signal\nimport numpy as np\n"
            f"def softmax(x, axis=-1, out=None):\n    {body}\n",
            encoding="utf-8",
        )
        workers.append(RemoteImplementation("subject", {"path": str(path)}))
        return workers[-1]

    yield of
    for worker in workers:
        worker.stop()


def call(worker: RemoteImplementation, x: np.ndarray = X, timeout: float = 30.0) -> np.ndarray:
    (y,) = worker.request("run", {"operation": "softmax"}, (x,), timeout=timeout)[1]
    return y


def fault(worker: RemoteImplementation, timeout: float = 30.0) -> WorkerFault:
    with pytest.raises(WorkerFault) as caught:
        call(worker, timeout=timeout)
    return caught.value


def test_an_address_of_this_process_is_not_inherited(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled code leaves it in the environment, and a worker of torch_compile changes it."""
    name = "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR"
    monkeypatch.setenv(name, "140000000000")
    assert call(make(f"return x * (2 if {name!r} in os.environ else 3)")).tolist() == [
        [3.0, 6.0, 9.0]
    ]


def test_results_come_back(make: Make) -> None:
    assert call(make("return x * 2")).tolist() == [[2.0, 4.0, 6.0]]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("raise RuntimeError('bad\\nline')", "error", "RuntimeError: bad"),
        ("raise MemoryError", "out_of_memory", "MemoryError"),
        ("os._exit(3)", "crashed", "exit status 3"),
        ("sys.exit(3)", "crashed", "exit status 3"),
        ("os.abort()", "crashed", "SIGABRT"),
        ("ctypes.string_at(0)", "crashed", "SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "out_of_memory", "SIGKILL"),
    ],
)
def test_faults_have_a_status_and_a_reason(make: Make, body: str, status: str, reason: str) -> None:
    found = fault(make(body))
    assert found.status == status
    assert reason in found.reason


def test_a_hang_is_killed(make: Make) -> None:
    worker = make("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    while True: pass")
    worker.request("threads", {"count": 1})
    started = time.monotonic()
    found = fault(worker, timeout=1.0)
    assert found.status == "timeout"
    assert time.monotonic() - started < 20
    assert worker.pid is None


def test_a_worker_is_started_again_after_a_crash(make: Make) -> None:
    worker = make("os.abort() if x[0, 0] > 0 else None\n    return x * 1")
    assert fault(worker).status == "crashed"
    assert call(worker, -X).tolist() == (-X).tolist()


def test_printing_does_not_break_the_protocol(make: Make) -> None:
    worker = make(
        "print('noise' * 10000); os.write(1, b'noise'); os.write(2, b'n')\n    return x * 1"
    )
    assert (call(worker) == X).all()


def test_modified_input_is_seen(make: Make) -> None:
    worker = make("x[0, 0] = 9\n    return x.copy()")
    reply, _ = worker.request("run", {"operation": "softmax"}, (X,))
    assert reply["input_modified"]
    assert X[0, 0] == 1


def test_an_import_that_fails_is_a_fault(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import no_such_package_at_all\ndef softmax(x, axis=-1): ...", encoding="utf-8")
    worker = RemoteImplementation("broken", {"path": str(path)})
    found = fault(worker)
    assert found.status == "error"
    assert "no_such_package_at_all" in found.reason


def test_a_timing_is_prepared_and_sampled(make: Make) -> None:
    worker = make("np.copyto(out, x) if out is not None else None\n    return out")
    worker.request("place", arrays=(X,))
    reply, _ = worker.request(
        "prepare",
        {
            "handle": "out",
            "operation": "softmax",
            "options": {"axis": -1},
            "allocating": False,
            "min_sample_ns": 100_000,
            "warm_up_ns": 0,
        },
    )
    assert reply["calls"] > 1
    order = {"handle": "out", "calls": 10, "count": 3, "warm": True, "cold": False}
    seen, _ = worker.request("visit", order)
    assert len(seen["samples"]) == 3
    assert min(elapsed for elapsed, *_ in seen["samples"]) > 0
    assert min(*chain(*seen["samples"]), seen["elsewhere_ns"]) >= 0
    seen, _ = worker.request("visit", {**order, "limit_ns": 1})  # no core is as calm as that
    assert seen["samples"] == []
    assert seen["probe_ns"] > 1
    _, (rows,) = worker.request("output_rows", {"handle": "out", "rows": [0]})
    assert (rows == X).all()


def test_settling_waits_for_busy_threads(tmp_path: Path) -> None:
    path = tmp_path / "spins.py"
    path.write_text(
        "import threading, time\n"
        "def spin():\n"
        "    end = time.monotonic() + 2.0\n"
        "    while time.monotonic() < end: pass\n"
        "calls = []\n"
        "def softmax(x, axis=-1):\n"
        "    calls.append(0)\n"
        "    if len(calls) == 3: threading.Thread(target=spin).start()\n"  # after no long look
        "    return x * 1\n",
        encoding="utf-8",
    )
    worker = RemoteImplementation("spins", {"path": str(path)})
    try:
        for _ in range(3):
            call(worker)
        assert not worker.settle(0.05)
        assert worker.settle(30.0)
    finally:
        worker.stop()


def test_stopping_twice_is_safe(make: Make) -> None:
    worker = make("return x * 1")
    call(worker)
    worker.stop()
    worker.stop()
    assert worker.settle()


def test_an_answer_that_lacks_something_is_a_fault_of_its_worker(tmp_path: Path) -> None:
    path = tmp_path / "mute.py"
    path.write_text(
        "from harness.worker.timing import host_timer as stopwatch\n"
        "stopwatch.Stopwatch.output_rows = lambda *_: ({}, [])\n"
        "def softmax(x, axis=-1): return x * 1\n",
        encoding="utf-8",
    )
    worker = RemoteImplementation("mute", {"path": str(path)})
    try:
        with pytest.raises(WorkerFault, match=r"output_rows: .* no answer: shapes: Field required"):
            worker.request("output_rows")
    finally:
        worker.stop()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("raise ValueError('not again')", "error", "not again"),
        ("os._exit(3)", "crashed", "exit status 3"),
        ("time.sleep(60)", "timeout", "no answer within 1 s"),
        ("os.fork()", "failed", "returned twice"),
    ],
)
def test_what_goes_wrong_in_a_visit_is_a_fault_and_the_next_request_starts_anew(
    make: Make, body: str, status: str, words: str
) -> None:
    worker = make(
        "import os, time\n"
        "    softmax.calls = getattr(softmax, 'calls', 0) + 1\n"
        f"    if softmax.calls == 41: {body}\n"
        "    return x * 1"
    )
    worker.request("place", arrays=(X,))
    order = {"handle": "one", "operation": "softmax", "options": {"axis": -1}, "allocating": True,
             "min_sample_ns": 1, "warm_up_ns": 0, "warm_up_cap_ns": 1}  # fmt: skip
    worker.request("prepare", order)
    visit = {"handle": "one", "calls": 1, "count": 45, "warm": False, "cold": False}
    with pytest.raises(WorkerFault, match=words) as found:
        worker.request("visit", visit, timeout=1.0)
    assert found.value.status == status
    assert call(worker).shape == X.shape
    worker.stop()


def test_memory_that_a_worker_freed_before_counts_as_the_call_uses_it_again(make: Make) -> None:
    """Workers keep what is freed: without a word, a call would look as if it needed none."""
    x = np.ones((256, 16_384), np.float32)
    worker = make("e = np.exp(x); return e / e.sum(axis, keepdims=True)")
    worker.request("place", {"cold": False}, (x,))
    worker.request(
        "prepare",
        {"handle": "h", "operation": "softmax", "allocating": True, "min_sample_ns": 1,
         "warm_up_ns": 1},
    )  # fmt: skip
    extra = worker.request("peak", {"handle": "h"})[0]["extra"]
    if extra is None:
        pytest.skip("the kernel's high-water mark cannot be reset here")
    assert 1.9 * x.nbytes <= extra <= 2.3 * x.nbytes


def test_a_first_call_that_compiles_is_waited_for_and_so_is_each_kind_of_call_after_it(
    make: Make,
) -> None:
    slow = make("time.sleep(1.5 if x.shape[0] < 3 else 30.0); return x + 0")
    slow.compiles = True
    for rows in (1, 2):
        slow.call({"operation": "softmax"}, (np.ones((rows, 3), np.float32),), 0.5)
    with pytest.raises(WorkerFault, match="no answer within 3"):  # a hang has an end
        slow.call({"operation": "softmax"}, (np.ones((3, 3), np.float32),), 0.5)
    plain = make("time.sleep(1.5); return x + 0")
    with pytest.raises(WorkerFault, match=r"no answer within 0.5 s"):
        plain.call({"operation": "softmax"}, (X,), 0.5)
