"""Address spaces: shared by the processes of one draw, another with the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.experiments.context import worker_for
from harness.registry.discovery import load
from harness.worker.client import RemoteImplementation, start, stop
from harness.worker.isolation.address_space import AddressSpace, fixed_addresses

_TELLING = '''"""Says where its process has code, objects and the stack; and a hash."""
import ctypes

import numpy as np

C = ctypes.CDLL(None)


def softmax(x, axis=-1):
    code = ctypes.cast(C.exp2, ctypes.c_void_p).value
    stack = ctypes.c_void_p.in_dll(C, "program_invocation_name").value
    return np.array([code, id(np.add), stack, hash("softmax")], np.float64)
'''


def _told(workers: list[RemoteImplementation]) -> list[tuple[float, ...]]:
    x = np.zeros(4)
    return [tuple(w.request("run", {"operation": "softmax"}, (x,))[1][0].tolist()) for w in workers]


@pytest.fixture
def workers(tmp_path: Path) -> list[RemoteImplementation]:
    path = tmp_path / "telling.py"
    path.write_text(_TELLING, encoding="utf-8")
    return [worker_for(load(path), name) for name in ("one", "other")]


def test_a_draw_is_the_same_for_its_seed_alone() -> None:
    assert AddressSpace.draw("7 a") == AddressSpace.draw("7 a")
    assert len({AddressSpace.draw(f"7 {k}") for k in range(100)}) == 100


def test_processes_of_one_draw_have_their_parts_at_the_same_places(
    workers: list[RemoteImplementation],
) -> None:
    with fixed_addresses() as fixed:
        pass
    if not fixed:
        pytest.skip("the system does not let a process choose its addresses (personality)")
    found = []
    try:
        for seed in ("first", "second"):
            start(workers, anew=AddressSpace.draw(seed))
            one, other = _told(workers)
            assert one == other
            found.append(one)
    finally:
        stop(workers)
    code, *others = zip(*found, strict=True)
    assert code[0] == code[1]  # mapped before there is a Python that could move it
    assert all(first != second for first, second in others)


def test_without_a_draw_the_system_draws_for_each_process(
    workers: list[RemoteImplementation],
) -> None:
    randomised = Path("/proc/sys/kernel/randomize_va_space")
    if not randomised.is_file() or randomised.read_text(encoding="ascii").strip() == "0":
        pytest.skip("the system does not draw addresses at random (randomize_va_space)")
    try:
        start(workers)
        one, other = _told(workers)
    finally:
        stop(workers)
    assert not set(one[:3]) & set(other[:3])  # hashes are the same where PYTHONHASHSEED is set
