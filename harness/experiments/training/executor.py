"""What a worker is asked: the questions of `plan`, about the implementation that it imported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.training import network
from harness.experiments.training.head import Head
from harness.records.training import Setting
from harness.registry.contract import read_metadata
from harness.worker.local import LocalImplementation
from harness.worker.timing import thread_pools


@cache
def _implementation(path: str) -> LocalImplementation:
    return LocalImplementation(read_metadata(Path(path)))


def import_subject(path: str) -> None:
    """Import the implementation at `path`, and leave all pools one thread: sums have one order."""
    _implementation(path).module()
    thread_pools.limit(1)


def answer(
    images: NDArray[Any], labels: NDArray[Any], *, path: str, kind: str, dtype: str, seed: int,
    setting: Mapping[str, Any], held_out: int, classes: int, seconds: float,
) -> NDArray[np.uint8]:  # fmt: skip
    """The numbers of a record, as JSON in UTF-8.

    Args:
        images, labels: the rows, of which the first `held_out` are.
        kind: the question.
        classes, seconds: of ``cost``: the class count, and how long a call is timed.
    """
    asked = Setting.model_validate(setting)
    subject = _implementation(path)
    head = Head(subject, dtype, asked.loss, asked.smoothing)
    data = network.Data(images, labels, held_out)
    if kind == "vanishing":
        found = network.vanishing(head, Head(subject, dtype, "squared"), seed)
    elif kind == "depth":
        found = network.depth(data, head, asked, seed)
    elif kind == "cost":
        found = network.cost(head, classes, asked, seconds)
    else:
        found = network.train(data, head, asked, seed, threshold=kind == "nonfinite")
    return np.frombuffer(json.dumps(found).encode(), np.uint8).copy()
