"""The process in which an implementation is trained with, and what it is asked."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.records.training import Question, Setting
from harness.registry.discovery import Implementation
from harness.registry.module_path import find_module
from harness.worker.client import RemoteImplementation
from harness.worker.compiling import may_compile
from harness.workloads.digits import CLASSES, HELD_OUT, pixels_and_labels


def refusal() -> str | None:
    """Why nothing can be trained here, in one line; None where it can."""
    for module, name in (("torch", "torch"), ("sklearn", "scikit-learn")):
        if find_module(module) is None:
            return f"package {name!r} is not installed; pip install 'softmax-bench[training]'"
    return None


def trainer(implementation: Implementation, name: str) -> RemoteImplementation:
    """A process, not yet started, that trains networks with an implementation, on one thread."""
    path = str(implementation.metadata.path.resolve())
    load = {"module": "harness.experiments.training.executor", "subject": path, "watched": False}
    worker = RemoteImplementation(name, load, {"OMP_NUM_THREADS": "1"})
    worker.compiles = may_compile(implementation.metadata)
    return worker


def needed(implementation: Implementation, kind: Question, setting: Setting) -> str:
    """The operation that an answer is made of; ``softmax`` if there is none, which is missed then.

    Probabilities themselves are asked for by squared error and where rows saturate.
    """
    useful = ["cross_entropy"] if not setting.smoothing else []
    useful += ["log_softmax"]
    if kind == "vanishing" or setting.loss == "squared":
        useful = []
    return next((o for o in useful if o in implementation.operations), "softmax")


@cache
def _digits() -> tuple[NDArray[Any], NDArray[Any]]:
    images, labels = pixels_and_labels()
    return (images / 16.0).astype(np.float32), labels


def ask(
    worker: RemoteImplementation, implementation: Implementation, kind: Question,
    setting: Setting, dtype: str, seed: int, timeout_s: float, *,
    classes: int = CLASSES, seconds: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """The numbers of a `TrainingRecord`: see `executor.answer`.

    Raises:
        WorkerFault: the process gave none.
    """
    options = {
        "path": str(implementation.metadata.path.resolve()), "kind": kind, "dtype": dtype,
        "seed": seed, "held_out": HELD_OUT, "setting": setting.model_dump(mode="json"),
        "classes": classes, "seconds": seconds,
    }  # fmt: skip
    request = {"operation": "answer", "options": options}
    _, (found,) = worker.call(request, _digits(), timeout_s)
    numbers: dict[str, Any] = json.loads(found.tobytes())
    return numbers
