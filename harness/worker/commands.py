"""What a worker can be asked, in one table: who answers, and whether a stranger's code runs in it.

The types of the answers are in `replies`, which only the coordinator needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        owner: whose method of this name answers: the worker itself, or one of its timers.
        calls: the implementation is called, so that the process is watched.
    """

    owner: Literal["worker", "stopwatch", "device_stopwatch"]
    calls: bool = False


COMMANDS: Mapping[str, Command] = {
    "load": Command("worker"),
    "threads": Command("worker"),
    "bind": Command("worker"),
    "run": Command("worker", calls=True),
    "verify": Command("worker", calls=True),
    "place": Command("stopwatch"),
    "prepare": Command("stopwatch", calls=True),
    "visit": Command("stopwatch", calls=True),
    "peak": Command("stopwatch", calls=True),
    "count": Command("stopwatch", calls=True),
    "output_rows": Command("stopwatch"),
    "release": Command("stopwatch"),
    "device_facts": Command("device_stopwatch"),
    "device_place": Command("device_stopwatch"),
    "device_prepare": Command("device_stopwatch"),
    "device_sample": Command("device_stopwatch"),
    "device_output": Command("device_stopwatch"),
    "device_release": Command("device_stopwatch"),
}
