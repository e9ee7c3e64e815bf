"""One table of what a worker can be asked."""

from __future__ import annotations

from harness.worker.commands import COMMANDS
from harness.worker.replies import _ADAPTERS
from harness.worker.server import Worker
from harness.worker.timing.device_timer import DeviceStopwatch
from harness.worker.timing.host_timer import Stopwatch

OWNERS = {"worker": Worker, "stopwatch": Stopwatch, "device_stopwatch": DeviceStopwatch}
WITHOUT_ANSWER = {"bind", "place", "release", "device_release"}


def test_every_command_has_an_owner_that_answers_it_and_a_type_of_its_answer() -> None:
    for name, command in COMMANDS.items():
        assert callable(getattr(OWNERS[command.owner], name))
    assert set(_ADAPTERS) == set(COMMANDS) - WITHOUT_ANSWER
