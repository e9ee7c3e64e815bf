"""What a worker may answer: right answers come through, forged ones are faults of that worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.worker import transport
from harness.worker.client import RemoteImplementation, WorkerFault
from harness.worker.replies import checked

PREPARE = {
    "first_call_ns": 10, "calls": 3, "per_call_ns": 2.5, "warm_up_ns": 5, "warm_up_calls": 2,
    "warm_up_settled": True,
    "threads_found": {"openmp": 1}, "input_placement": {"alignment": 64, "nodes": {"0": 1.0}},
}  # fmt: skip
VISIT = {
    "probe_ns": 3.0,
    "samples": [[5.0, 5.0, 0.0, 0.0], [6.0, 5.0, 0.0, 1.0]],
    "elsewhere_ns": 4,
}


def test_a_right_answer_comes_through_without_what_nobody_asked_for() -> None:
    assert checked("visit", {**VISIT, "id": 3, "status": "ok"}) == VISIT
    assert checked("prepare", PREPARE) == PREPARE
    assert checked("place", {"anything": 1}) == {"anything": 1}


@pytest.mark.parametrize(
    ("command", "answer", "said"),
    [
        ("visit", {**VISIT, "elsewhere_ns": "10"}, "elsewhere_ns.*'10'"),
        ("visit", {**VISIT, "elsewhere_ns": -1}, "elsewhere_ns.*-1"),
        ("visit", {**VISIT, "samples": [[1.0, float("nan"), 0.0, 0.0]]}, "samples"),
        ("visit", {**VISIT, "samples": [[1.0, -1.0, 0.0, 0.0]]}, "samples"),
        ("visit", {**VISIT, "samples": [[1.0, 1.0, 0.0]]}, "samples"),
        ("visit", {"elsewhere_ns": 4, "probe_ns": 3.0}, "samples"),
        ("prepare", {**PREPARE, "calls": 0}, "calls.*0"),
        ("prepare", {**PREPARE, "warm_up_ns": float("inf")}, "warm_up_ns"),
        ("prepare", {**PREPARE, "threads_found": ["a"]}, "threads_found"),
        ("prepare", {**PREPARE, "input_placement": {"alignment": []}}, "input_placement.alignment"),
        ("output_rows", {"shapes": [1], "dtypes": ["float32"]}, "shapes"),
        ("run", {"input_modified": None}, "input_modified"),
        ("device_sample", {"elapsed_ns": float("nan"), "after_ns": 0}, "elapsed_ns"),
    ],
)
def test_a_forged_answer_is_refused_in_one_line(
    command: str, answer: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as e:
        checked(command, answer)
    assert "\n" not in str(e.value)


def test_a_forged_answer_is_the_fault_of_its_worker_alone(
    plain_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Path = plain_file("mine", "return x * 1")
    worker = RemoteImplementation("mine", {"path": str(path)})
    x = np.zeros((2, 3), np.float32)
    try:
        worker.request("run", {"operation": "softmax"}, (x,))
        receive = transport.receive

        def forged(*given: Any, **options: Any) -> tuple[dict[str, Any], list[Any]]:
            answer, arrays = receive(*given, **options)
            return {**answer, "input_modified": "no"}, arrays

        with monkeypatch.context() as patch:
            patch.setattr(transport, "receive", forged)
            with pytest.raises(WorkerFault, match="no answer: input_modified") as e:
                worker.request("run", {"operation": "softmax"}, (x,))
        assert e.value.status == "error"
        assert worker.pid is None  # ended: what else it says is worth nothing
        assert worker.request("run", {"operation": "softmax"}, (x,))[1][0].shape == x.shape
    finally:
        worker.stop()
