"""Judges units of the catalogue in processes of their own, side by side.

A process that judges keeps what inputs must give, so that the implementations that are judged on
the same inputs one after the other share it. It also keeps the process of the implementation that
it is judging. `judge_unit` runs in the process that judges, `JudgeProcess` is its other end.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.explanation import Explainer
from harness.experiments.conformance.judge import Options, judge
from harness.experiments.conformance.target import RemoteSubject
from harness.records import ConformanceRecord
from harness.registry.contract import read_metadata
from harness.registry.discovery import Implementation
from harness.worker.client import RemoteImplementation, WorkerFault

_STARTING_S = 120.0
_ENDING_S = 20.0
_FOR_EVER = 1e6  # seconds; every call of an implementation has a limit of its own

Judged = list[ConformanceRecord]
_JUDGED = TypeAdapter(Judged)


def unit(
    path: Path, operation: str, dtype: str, arithmetic: Arithmetic, options: Options
) -> dict[str, Any]:
    """The arguments of `judge_unit` as plain data."""
    return {
        "path": str(path),
        "operation": operation,
        "dtype": dtype,
        "arithmetic": asdict(arithmetic),
        "options": asdict(options),
    }


def judge_unit(
    path: str, operation: str, dtype: str, arithmetic: Mapping[str, Any], options: Mapping[str, Any]
) -> NDArray[np.uint8]:
    """The records in JSON, of one implementation, operation and format, or of some of the cases."""
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    told = Options(**plain)
    kept = _of(path, told)
    explainer = kept.explainers.setdefault((operation, dtype), Explainer(told.explain_s))
    used = bool(kept.judged - {(operation, dtype)})
    kept.judged.add((operation, dtype))
    found: Judged = []
    started = time.perf_counter()
    own = Arithmetic(**arithmetic)
    for result in judge(kept.subject, operation, dtype, own, told, explainer=explainer):
        if result.verdict == "failure" and used:
            kept.judged, used = {(operation, dtype)}, False
            if result.status == "failed":  # else the process has just been replaced
                kept.subject.stop()
                alone = replace(told, cases=(str(result.case),))
                again = next(judge(kept.subject, operation, dtype, own, alone, explainer=explainer))
                if again.verdict != "failure":
                    text = f"after calls in other formats or operations: {result.message}"
                    result = result.model_copy(update={"message": text, "reason": text})
        now = time.perf_counter()
        found.append(result.model_copy(update={"elapsed_s": now - started}))
        started = now
    return np.frombuffer(_JUDGED.dump_json(found), np.uint8)


def judged_here(arguments: Mapping[str, Any]) -> Judged:
    """`judge_unit` in this process."""
    return _JUDGED.validate_json(judge_unit(**arguments).tobytes())


@dataclass
class _Kept:
    """The implementation that this process judges, and what was asked of its process.

    Attributes:
        judged: operations and formats.
        explainers: of each operation and format.
    """

    subject: RemoteSubject
    judged: set[tuple[str, str]] = field(default_factory=set)
    explainers: dict[tuple[str, str], Explainer] = field(default_factory=dict)


_KEPT: dict[str, _Kept] = {}
"""By path; one at a time."""


def _of(path: str, options: Options) -> _Kept:
    if path not in _KEPT:
        for other in _KEPT.values():
            other.subject.stop()
        _KEPT.clear()
        implementation = Implementation(read_metadata(Path(path)))
        _KEPT[path] = _Kept(RemoteSubject(implementation, patience_s=options.patience_s))
        atexit.register(_KEPT[path].subject.stop)
    return _KEPT[path]


Task = list[tuple[dict[str, Any], Future[Judged]]]
"""What a process does in one go: `judge_unit` with each of the arguments, and what it will have
found; a `client.WorkerFault` if it could not."""
Waiting = SimpleQueue[Task | None]


class JudgeProcess:
    """A process that judges what waits for it, one task after the other.

    Args:
        waiting: the tasks; processes that share them each take the next one. None ends one of them.
    """

    def __init__(self, name: str, waiting: Waiting) -> None:
        self._worker = RemoteImplementation(
            name, {"module": "harness.experiments.conformance.judge_process", "watched": False}
        )
        self._waiting = waiting
        # An interrupt of the run does not wait for the unit in flight: a daemon, and killed.
        atexit.register(self._worker.stop)
        self._abandoned = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def abandon(self) -> None:
        """End the process now, with whatever it is doing: nobody waits for it any more."""
        self._abandoned = True
        self._waiting.put(None)
        self._worker.kill()
        self._thread.join(_ENDING_S)

    def _serve(self) -> None:
        with contextlib.suppress(WorkerFault):  # told by the first unit
            self._worker.request("release", timeout=_STARTING_S)  # it starts before there is work
        while (task := self._waiting.get()) is not None:
            for arguments, future in task:
                if self._abandoned:
                    future.cancel()
                    continue
                try:
                    request = {"operation": "judge_unit", "options": arguments}
                    _, (answer,) = self._worker.request("run", request, (), _FOR_EVER)
                    future.set_result(_JUDGED.validate_json(answer.tobytes()))
                except Exception as e:
                    future.set_exception(e)
        self._worker.stop()
