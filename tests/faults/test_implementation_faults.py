"""What a stranger's implementation can do to itself: each is a status and a reason, no more.

After every fault the same name is asked once more with an input on which it behaves: a fresh
process answers, with nothing left of what the last one did.
"""

from __future__ import annotations

import pytest
from misbehaving import MakeWorker, X, call, fault_of, workers

make_worker = pytest.fixture(workers, name="make_worker")

# what it does, its body, the status, what the reason says
ENDS = [
    ("raises", "raise RuntimeError('first\\nsecond')", "error", "RuntimeError: first second"),
    ("raises what cannot be shown",
     "class E(Exception):\n    def __str__(self): raise KeyboardInterrupt\nraise E", "error", "E"),
    ("raises a lone surrogate", "raise ValueError('\\udc80')", "error", "ValueError: \ufffd"),
    ("raises terminal codes", "raise ValueError('\\x1b[2J')", "error", "\ufffd[2J"),
    ("raises KeyboardInterrupt", "raise KeyboardInterrupt", "error", "KeyboardInterrupt"),
    ("raises SystemExit", "raise SystemExit(7)", "crashed", "exit status 7"),
    ("calls sys.exit", "sys.exit()", "crashed", "exit status 0"),
    ("calls os._exit", "os._exit(5)", "crashed", "exit status 5"),
    ("exits beside a thread that never ends",
     "threading.Thread(target=time.sleep, args=(600,)).start()\nsys.exit(2)",
     "crashed", "exit status 2"),
    ("aborts", "os.abort()", "crashed", "SIGABRT"),
    ("segfaults", "ctypes.string_at(0)", "crashed", "SIGSEGV"),
    ("recurses without end", "return softmax(x)", "error", "RecursionError"),
    ("returns nothing", "return None", "error", "it returned NoneType"),
    ("returns a list", "return x.tolist()", "error", "it returned list"),
    ("returns objects", "return x.astype(object)", "error", "one of object"),
    ("returns text", "return np.full(x.shape, 'a')", "error", "one of <U1"),
    ("returns a record", "return np.zeros(3, dtype='f4,i4')", "error", "array of numbers"),
    ("returns its input", "return x", "failed", "a view of its input"),
    ("returns a part of its input", "return x[::-1]", "failed", "a view of its input"),
    ("returns an absurd shape", "return np.broadcast_to(np.float32(0), (1 << 40,))",
     "error", "bytes for"),
    ("allocates without bound", "kept = []\nwhile True: kept.append(np.ones(1 << 27))",
     "out_of_memory", "MemoryError"),
    ("says that memory is short", "raise RuntimeError(\"can't allocate memory\")",
     "out_of_memory", "allocate"),
    ("prints without end", "while True: os.write(1, b'x' * 65536)", "failed", "printed more than"),
    ("closes every descriptor", "os.closerange(3, 4096)\nreturn x * 1", "crashed", ""),
    ("answers in its own way",
     "for fd in range(3, 64):\n    try: os.write(fd, b'\\xff' * 64)\n    except OSError: pass\n"
     "return x * 1", "error", "no answer"),
]  # fmt: skip

CHANGES = [
    ("flushes subnormals to zero",
     "m = ctypes.CDLL('libm.so.6')\nb = ctypes.create_string_buffer(64)\nm.fegetenv(b)\n"
     "b[28:32] = (int.from_bytes(b[28:32], 'little') | 0x8040).to_bytes(4, 'little')\n"
     "m.fesetenv(b)", "flush to zero and denormals are zero"),
    ("changes the rounding mode", "ctypes.CDLL('libm.so.6').fesetround(0x800)",
     "directed rounding"),
    ("changes the locale", "import locale\nlocale.setlocale(locale.LC_ALL, 'C.UTF-8')\n"
     "locale.setlocale(locale.LC_ALL, 'C')\nlocale.setlocale(locale.LC_NUMERIC, 'C.UTF-8')",
     "the locale"),
    ("changes the working directory", "os.chdir('/')", "the working directory"),
    ("changes the environment", "os.environ['OMP_NUM_THREADS'] = '1'",
     "the environment: OMP_NUM_THREADS"),
    ("removes a variable", "os.environ.pop('MPLBACKEND')", "the environment: MPLBACKEND"),
    ("changes NumPy's error state", "np.seterr(all='raise')", "NumPy's error state"),
    ("seeds the global generator", "np.random.seed(1)", "the global random state"),
    ("draws from the global generator", "np.random.rand()", "the global random state"),
    ("seeds Python's generator", "import random\nrandom.seed(1)", "the global random state"),
    ("patches NumPy", "np.exp = np.tanh", "functions of numpy: exp"),
    ("removes a function of NumPy", "del np.exp", "functions of numpy: exp"),
    ("patches the clock", "time.perf_counter_ns = lambda: 0", "functions of time: perf_counter_ns"),
    ("patches Python", "import builtins\nbuiltins.sum = max", "functions of builtins: sum"),
    ("switches collection off", "import gc\ngc.disable()", "interpreter's settings"),
    ("pins itself to a core", "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
     "scheduling"),
    ("handles SIGTERM", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "signal handlers"),
    ("forks, and the copy returns", "os.fork()", "returned twice"),
    ("writes past its input's end", "ctypes.memset(x.ctypes.data + x.nbytes, 0, 8)",
     "outside of its input: 8 bytes or more past the end"),
    ("writes before its input", "ctypes.memset(x.ctypes.data - 4, 0, 4)",
     "outside of its input: 4 bytes or more before the start"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "reason"), [e[1:] for e in ENDS], ids=[e[0] for e in ENDS]
)
def test_the_call_that_ends_badly(
    make_worker: MakeWorker, body: str, status: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTMAX_BENCH_WORKER_MEMORY", str(2 << 30))
    guarded = "\n".join(f"    {line}" for line in body.splitlines())
    worker = make_worker(f"if x[0, 0] < 0:\n{guarded}\nreturn x * 2")
    found = fault_of(worker)
    assert found.status == status
    assert reason in found.reason
    assert found.reason.isprintable()
    assert (call(worker, X + 5) == 2 * (X + 5)).all()


@pytest.mark.parametrize(("body", "reason"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_what_a_call_changes_is_recorded_and_the_worker_replaced(
    make_worker: MakeWorker, body: str, reason: str
) -> None:
    guarded = "\n".join(f"    {line}" for line in body.splitlines())
    worker = make_worker(f"if x[0, 0] < 0:\n{guarded}\nreturn x * 2")
    assert (call(worker, X + 5) == 2 * (X + 5)).all()
    before = worker.pid
    found = fault_of(worker)
    assert found.status == "failed"
    assert reason in found.reason
    assert worker.pid is None
    assert (call(worker, X + 5) == 2 * (X + 5)).all()
    assert worker.pid != before


def test_a_process_whose_python_is_broken_is_replaced(make_worker: MakeWorker) -> None:
    worker = make_worker(
        "import builtins\nif x[0, 0] < 0:\n    builtins.isinstance = None\nreturn x * 2"
    )
    found = fault_of(worker)
    assert found.status in ("error", "crashed")  # as far as it can still speak
    assert (call(worker, X + 5) == 2 * (X + 5)).all()
