"""Faults of an implementation that take more than one call, a timing, or a whole run to show."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from misbehaving import MakeWorker, X, call, fault_of, source, workers

from harness.experiments.conformance.call import Step
from harness.experiments.conformance.judge import Options, judge
from harness.experiments.conformance.target import RemoteSubject, SubjectFault
from harness.experiments.profiles import SMOKE, Timing
from harness.experiments.runner import Request, run
from harness.worker.client import RemoteImplementation, WorkerFault
from harness.worker.isolation.reaper import bearers
from harness.worker.isolation.side_effects import (
    LEAK_DESCRIPTORS,
    LEAK_PROCESSES,
    LEAK_THREADS,
)
from harness.worker.isolation.subprocesses import MAX_OUTPUT
from harness.worker.local import load

make_worker = pytest.fixture(workers, name="make_worker")

PREPARE = {
    "handle": "out",
    "operation": "softmax",
    "options": {"axis": -1},
    "allocating": False,
    "min_sample_ns": 1000,
    "warm_up_ns": 0,
}


def test_a_hang_with_the_interpreter_locked_is_killed(make_worker: MakeWorker) -> None:
    worker = make_worker(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "ctypes.PyDLL(None).sleep(600)"  # PyDLL keeps the interpreter locked
    )
    worker.request("threads", {"count": 1})
    started = time.monotonic()
    found = fault_of(worker, timeout=1.0)
    assert found.status == "timeout"
    assert time.monotonic() - started < 20
    assert worker.pid is None


def test_what_it_started_is_killed_with_it_even_in_another_session(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    told = tmp_path / "pid"
    worker = make_worker(
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    if os.fork() == 0:\n"
        f"        open({str(told)!r}, 'w').write(str(os.getpid()))\n"
        "        while True: time.sleep(1)\n"
        "    os._exit(0)\n"
        "while True: pass"
    )
    worker.request("threads", {"count": 1})
    process = worker._process
    assert process is not None
    assert fault_of(worker, timeout=6.0).status == "timeout"
    assert told.read_text(encoding="utf-8")
    assert bearers(process.token) == []


def test_output_is_kept_to_its_end_and_no_more(make_worker: MakeWorker) -> None:
    worker = make_worker("os.write(1, b'x' * 1_000_000 + b'the end')\nreturn x * 1")
    assert (call(worker) == X).all()
    process = worker._process
    assert process is not None
    time.sleep(0.2)
    assert process.output.tail().endswith("the end")
    assert len(process.output.tail(1 << 30)) < 1 << 20
    assert process.output.total < MAX_OUTPUT


def test_writing_on_after_the_return_is_seen(make_worker: MakeWorker) -> None:
    # A thread of C, as a library has them: one of Python would be found as such
    worker = make_worker(
        "y = np.zeros_like(x)\n"
        "kept.append(y)\n"
        "libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None,\n"
        "                    ctypes.c_void_p(spin.address), ctypes.c_void_p(y.ctypes.data))\n"
        "return y",
        top="import numba\n"
        "from numba import types\n"
        "kept = []\n"
        "libc = ctypes.CDLL(None)\n"
        "@numba.cfunc(types.voidptr(types.voidptr))\n"
        "def spin(address):\n"
        "    a = numba.carray(address, (24,), np.float32)\n"
        "    for i in range(1 << 29): a[(i * i) % 24] += 1.0\n"
        "    return address\n",
    )
    found = fault_of(worker)
    assert found.status == "failed"
    assert "went on writing to its result" in found.reason


def test_a_thread_that_goes_on_is_seen_whatever_it_calls(make_worker: MakeWorker) -> None:
    worker = make_worker(
        "def work():\n    while True: np.sum(x)\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "return x * 1"
    )
    with pytest.raises(WorkerFault, match="goes on working after its call") as caught:
        _call_again(worker, 8)
    assert caught.value.lasting
    assert fault_of(worker) is caught.value  # not asked again: it would go on working again


def test_a_process_that_goes_on_is_seen(make_worker: MakeWorker) -> None:
    worker = make_worker(
        "if not kept: kept.append(subprocess.Popen([sys.executable, '-c', 'while True: pass']))\n"
        "return x * 1",
        top="import subprocess\nkept = []\n",
    )
    with pytest.raises(WorkerFault, match="goes on working after its call"):
        _call_again(worker, 8)


def test_writing_past_the_output_of_a_timing_is_seen(make_worker: MakeWorker) -> None:
    worker = make_worker(
        "if out is None: return x * 1\n"
        "np.copyto(out, x)\n"
        "ctypes.memset(out.ctypes.data + out.nbytes, 0, 16)\n"
        "return out"
    )
    worker.request("place", arrays=(X,))
    with pytest.raises(WorkerFault, match="outside of its output: 16 bytes or more past the end"):
        worker.request("prepare", PREPARE)


def test_a_clock_that_is_patched_between_samples_is_seen(make_worker: MakeWorker) -> None:
    worker = make_worker(
        "calls.append(0)\nif len(calls) == 300: time.perf_counter = lambda: 0.0\nreturn x * 1",
        top="calls = []\n",
    )
    worker.request("place", arrays=(X,))

    def time_it() -> None:
        worker.request("prepare", {**PREPARE, "allocating": True, "min_sample_ns": 10_000_000})
        for _ in range(20):
            order = {"handle": "out", "calls": 100, "count": 1, "warm": False, "cold": False}
            worker.request("visit", order)

    with pytest.raises(WorkerFault, match="functions of time: perf_counter"):
        time_it()


@pytest.mark.parametrize(
    ("top", "reason"),
    [
        ("np.exp = np.tanh\n", "functions of numpy: exp"),
        ("time.perf_counter_ns = lambda: 0\n", "functions of time: perf_counter_ns"),
        ("np.seterr(all='ignore')\n", "NumPy's error state"),
        ("import gc; gc.disable()\n", "interpreter's settings"),
    ],
)
def test_what_importing_it_changes_is_seen(make_worker: MakeWorker, top: str, reason: str) -> None:
    found = fault_of(make_worker("return x * 1", top))
    assert found.status == "failed"
    assert reason in found.reason
    assert "while it was imported" in found.reason


THREADS = "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(3)\n"
SHARED = "from multiprocessing import shared_memory\n"
SHARE = (
    "memory = shared_memory.SharedMemory(create=True, size=8)\nmemory.close()\nmemory.unlink()\n"
)
IN_POOL = "return list(pool.map(np.copy, [x] * 9))[0]"


@pytest.mark.parametrize(
    ("top", "body"),
    [
        ("os.environ['LIBRARY_THREADS'] = '2'\n", "return x * 1"),
        ("threading.Thread(target=time.sleep, args=(9,)).start()\n", "return x * 1"),
        ("import _thread\n_thread.start_new_thread(time.sleep, (9,))\n", "return x * 1"),
        (THREADS, IN_POOL),  # all of its threads are started by the first call
        (THREADS + "pool.submit(int).result()\n", IN_POOL),  # one now, the others by the first call
        ("from multiprocessing.pool import ThreadPool\npool = ThreadPool(3)\n", IN_POOL),
        (SHARED + SHARE, "return x * 1"),  # starts the resource tracker of multiprocessing
        (SHARED, SHARE + "return x * 1"),
        ("from multiprocessing import forkserver\nforkserver.ensure_running()\n", "return x * 1"),
    ],
)
def test_importing_may_set_up_a_library(make_worker: MakeWorker, top: str, body: str) -> None:
    worker = make_worker(body, top)
    first = call(worker)
    started = worker.pid
    for y in (first, call(worker), call(worker)):
        assert (y == X).all()
    assert worker.pid == started


PROCESSES = "import subprocess, multiprocessing\n"
STARTED = {
    "a thread": ("threading.Thread(target=time.sleep, args=(9,)).start()", "1 thread of Python"),
    "an executor": (
        "kept.append(ThreadPoolExecutor(2)); kept[-1].submit(int)", "1 thread of Python"
    ),
    "a program": ("kept.append(subprocess.Popen(['sleep', '9']))", "1 child process"),
    "a fork": ("os.fork() or time.sleep(9)", "1 child process"),
    **{
        f"a pool, {how}": (
            f"kept.append(multiprocessing.get_context({how!r}).Pool(1)); kept[-1].apply(int)",
            "3 threads of Python and",
        )
        for how in ("fork", "spawn", "forkserver")
    },
}  # fmt: skip


@pytest.mark.parametrize("when", ["import", "first call"])
@pytest.mark.parametrize(("started", "kept"), STARTED.values(), ids=STARTED)
def test_what_is_kept_and_waits_for_work_is_a_note(
    make_worker: MakeWorker, started: str, kept: str, when: str
) -> None:
    top = f"{PROCESSES}{THREADS}kept = []\n"
    if when == "import":
        worker = make_worker("return x * 1", f"{top}{started}\n")
    else:
        worker = make_worker(f"if not kept:\n    {started}\n    kept.append(0)\nreturn x * 1", top)
    for _ in range(5):
        assert (call(worker) == X).all()
    if when == "first call" or "child" in kept:
        assert kept in worker.keeps
    assert worker.pid is not None


def test_a_change_made_before_an_exception_does_not_reach_the_next_call(
    make_worker: MakeWorker,
) -> None:
    worker = make_worker("if x[0, 0] < 0:\n    np.seterr(all='raise')\n    1 / 0\nreturn x * 1")
    found = fault_of(worker)
    assert found.status == "error"
    assert "ZeroDivisionError" in found.reason
    assert "NumPy's error state" in found.reason
    assert (call(worker, X + 5) == X + 5).all()


def test_descriptors_that_leak_are_seen(make_worker: MakeWorker) -> None:
    worker = make_worker("kept.append(os.open('/dev/null', 0))\nreturn x * 1", "kept = []\n")
    with pytest.raises(WorkerFault, match="leaks file descriptors") as caught:
        _call_again(worker, LEAK_DESCRIPTORS + 10)
    assert caught.value.status == "failed"


@pytest.mark.parametrize(
    ("started", "what"),
    [
        ("for _ in range(30): threading.Thread(target=time.sleep, args=(9,)).start()", "threads"),
        ("for _ in range(9): os.fork() or time.sleep(9)", "child processes"),
        ("for _ in range(9): os.fork() or os._exit(0)", "child processes"),  # never waited for
        ("import subprocess\nfor _ in range(9): subprocess.Popen(['sleep', '9'])",
         "child processes"),
    ],
)  # fmt: skip
def test_threads_and_processes_without_end_are_seen(
    make_worker: MakeWorker, started: str, what: str
) -> None:
    more = max(LEAK_THREADS // 30, LEAK_PROCESSES // 9)
    with pytest.raises(WorkerFault, match=f"leaks {what}"):
        _call_again(make_worker(f"{started}\nreturn x * 1"), 5 + more)


def test_memory_that_leaks_is_seen(make_worker: MakeWorker) -> None:
    worker = make_worker("kept.append(np.ones(1 << 20))\nreturn x * 1", "kept = []\n")
    with pytest.raises(WorkerFault, match=r"leaks memory: .* MiB more after") as caught:
        _call_again(worker, 40)
    assert caught.value.status == "failed"


def test_a_program_for_each_shape_is_no_leak(make_worker: MakeWorker) -> None:
    """What compiles keeps some for each; calls of one shape in between are not to blame."""
    worker = make_worker(
        "if x.shape not in kept: kept[x.shape] = np.ones(1 << 21)\nreturn x * 1", "kept = {}\n"
    )
    for columns in range(1, 13):
        call(worker, X[:1, :1])
        call(worker, X.reshape(2, 12)[:, :columns].copy())


def test_memory_that_leaks_in_calls_of_two_shapes_is_seen(make_worker: MakeWorker) -> None:
    worker = make_worker("kept.append(np.ones(1 << 20))\nreturn x * 1", "kept = []\n")

    def calls() -> None:
        for _ in range(20):
            call(worker)
            call(worker, X[:2])

    with pytest.raises(WorkerFault, match=r"leaks memory"):
        calls()


def test_arrays_that_a_case_makes_of_a_row_count_as_arguments(tmp_path: Path) -> None:
    """Those of the last call are kept, as allocators keep some: no leak."""
    path = tmp_path / "keeps.py"
    path.write_text(source("kept[:] = [x * 1] * 2\nreturn x * 1", "kept = []\n"), encoding="utf-8")
    remote = RemoteSubject(load(path))
    try:
        for rows in (1 << 10, 1 << 10, 1 << 10, 1 << 24):
            step = Step("softmax", (X[:1, :2],), tiled=(0, rows))
            (result,) = remote.perform([step])
            assert result.error is None
    finally:
        remote.stop()


def test_a_cache_that_is_bounded_is_no_leak(make_worker: MakeWorker) -> None:
    worker = make_worker(
        "kept.append(np.ones(1 << 20))\ndel kept[:-4]\nreturn x * 1", "kept = []\n"
    )
    _call_again(worker, 30)


def _call_again(worker: RemoteImplementation, times: int) -> None:
    for _ in range(times):
        call(worker)


def test_a_result_on_another_device_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.py"
    path.write_text(
        '"""Returns nothing real."""\n'
        "import torch\n"
        'IMPLEMENTATION = {"backend": "torch"}\n'
        'def softmax(x, axis=-1): return torch.empty(x.shape, device="meta")\n',
        encoding="utf-8",
    )
    worker = RemoteImplementation("elsewhere", {"path": str(path)})
    try:
        found = fault_of(worker)
    finally:
        worker.stop()
    assert found.status == "error"
    assert "device cpu; it returned one on meta" in found.reason


FIELD = {
    "steady": "e = np.exp(x - x.max(axis=axis, keepdims=True))\n"
    "return e / e.sum(axis=axis, keepdims=True)",
    "not_a_number": "return np.full_like(x, np.nan)",
    "other_shape": "return np.zeros(3, x.dtype)",
    "other_dtype": "return x.astype(np.float16)",
    "in_place": "x[...] = 0.5\nreturn x * 1",
    "dies": "os.abort()",
    "leaves": "raise SystemExit",
    "rounds_up": "ctypes.CDLL('libm.so.6').fesetround(0x800)\nreturn x * 1",
}
EXPECTED = {
    "steady": ("ok", ""),
    "not_a_number": ("failed", "nan"),
    "other_shape": ("failed", "expected shape"),
    "other_dtype": ("failed", "dtype float32"),
    "in_place": ("failed", "the input was modified"),
    "dies": ("crashed", "SIGABRT"),
    "leaves": ("crashed", "exit status 0"),
    "rounds_up": ("failed", "FPU mode"),
}


def test_a_run_of_faulty_implementations_is_complete(tmp_path: Path) -> None:
    for name, body in FIELD.items():
        (tmp_path / f"{name}.py").write_text(source(body), encoding="utf-8")
    profile = replace(
        SMOKE,
        experiments=("accuracy", "throughput"),
        dtypes=("float32",),
        sweep_classes=(3, 10),
        sweep_elements=100,
        families=(),
        timing={"latency": Timing((10,), 0, ("one",), warm_up_ns=0, rounds=2)},
    )
    chosen = [load("max_shift"), *(load(tmp_path / f"{name}.py") for name in FIELD)]
    found = run(
        Request(chosen, profile, results=tmp_path / "results", machine="box", command=["x"])
    )
    assert found.info.finished is not None
    assert len(found.records) == found.info.planned_cells
    for name, (status, reason) in {**EXPECTED, "max_shift": ("ok", "")}.items():
        mine = [r for r in found.records if r.implementation == name]
        assert len([r for r in mine if r.experiment == "accuracy"]) == 2
        assert {r.status for r in mine if r.experiment == "accuracy"} == {status}
        if status != "ok":
            assert all(reason in str(r.reason) for r in mine if r.experiment == "accuracy")
            assert not any(getattr(r, "ranked", False) for r in mine)


def test_an_implementation_that_is_not_deterministic_is_a_row(tmp_path: Path) -> None:
    from harness.experiments.conformance.judge import Options, judge
    from harness.experiments.conformance.target import RemoteSubject

    path = tmp_path / "wanders.py"
    path.write_text(
        source(
            "e = np.exp(x - x.max(axis=axis, keepdims=True))\n"
            "y = e / e.sum(axis=axis, keepdims=True)\n"
            "calls.append(0)\n"
            "return y if len(calls) % 2 else np.nextafter(y, y.dtype.type(0))",
            "calls = []\n",
        ),
        encoding="utf-8",
    )
    subject = RemoteSubject(load(path))
    try:
        results = list(
            judge(subject, "softmax", "float32", options=Options(cases=("53-repeatable",)))
        )
    finally:
        subject.stop()
    assert [r.verdict for r in results] == ["failure"]


POOL = "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(2)\n"
STARTED_AT_IMPORT = {
    "a service": "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "a pool": POOL + "list(pool.map(abs, range(2)))",
    "a thread of C": (
        "libc = ctypes.CDLL(None)\n"
        "libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None,\n"
        "    ctypes.cast(libc.pause, ctypes.c_void_p), None)"
    ),
}
SHIFTED = (
    "e = np.exp(x - x.max(axis=axis, keepdims=True))\nreturn e / e.sum(axis=axis, keepdims=True)"
)


@pytest.mark.parametrize("top", STARTED_AT_IMPORT.values(), ids=STARTED_AT_IMPORT)
def test_threads_that_an_import_starts_are_allowed_wherever_it_is_called(
    make_worker: MakeWorker, tmp_path: Path, top: str
) -> None:
    """In a worker of its own, and in that of the catalogue, which calls it through a module."""
    y = call(make_worker(SHIFTED, top))
    path = tmp_path / "starts.py"
    path.write_text(source(SHIFTED, top), encoding="utf-8")
    remote = RemoteSubject(load(path))
    try:
        found = list(
            judge(
                remote,
                "softmax",
                "float32",
                options=Options(cases=("6-several-infinities", "53-repeatable")),
            )
        )
        assert {r.verdict for r in found} <= {"pass", "finding"}
        (result,) = remote.perform([Step("softmax", (X,))])
        assert result.arrays[0].tobytes() == y.tobytes()
    finally:
        remote.stop()


def test_work_that_the_first_call_of_the_catalogue_leaves_is_found(tmp_path: Path) -> None:
    path = tmp_path / "starts.py"
    body = f"threading.Thread(target=spin, daemon=True).start()\n{SHIFTED}"
    path.write_text(source(body, "def spin():\n    while True: pass\n"), encoding="utf-8")
    remote = RemoteSubject(load(path))
    try:
        with pytest.raises(SubjectFault, match="goes on working after its call"):
            any(remote.perform([Step("softmax", (X,))]) is None for _ in range(8))
    finally:
        remote.stop()
