"""One table of what a worker can be asked."""

from __future__ import annotations

import numpy as np

from harness.worker.replies import _ADAPTERS
from harness.worker.server import CALLING, COMMANDS, Worker, _repeated_bytes
from harness.worker.timing.device_timer import DeviceStopwatch
from harness.worker.timing.host_timer import Stopwatch

OWNERS = {"worker": Worker, "stopwatch": Stopwatch, "device_stopwatch": DeviceStopwatch}
WITHOUT_ANSWER = {"bind", "place", "release", "device_release"}


def test_every_command_has_an_owner_that_answers_it_and_a_type_of_its_answer() -> None:
    for name, owner in COMMANDS.items():
        assert callable(getattr(OWNERS[owner], name))
    assert set(CALLING) < set(COMMANDS)
    assert set(_ADAPTERS) == set(COMMANDS) - WITHOUT_ANSWER


def test_what_the_steps_of_a_case_repeat_is_counted_in_full() -> None:
    steps = [{"arrays": 1, "tiled": None}, {"arrays": 2, "tiled": [0, 10]}]
    arrays = [np.zeros(3), np.zeros((2, 4)), np.zeros(2)]
    assert _repeated_bytes(steps, arrays) == 8 * 10 * 4
    assert _repeated_bytes([], arrays) == 0
