"""The first call of each format, by all workers side by side, before anything is measured.

Implementations that compile do so at their first call. One after the other that is most of a
short run; and no experiment could begin another format while one of them compiles.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from harness.experiments import accuracy
from harness.experiments.context import Context, Unit
from harness.numerics.formats import float_format
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault

_CALLING = ("accuracy", "overflow")
_SHAPE = (4095, 2)  # short rows, of which compilers have most to do; nothing is judged on it


def make_first_calls(context: Context, units: Sequence[Unit]) -> None:
    """Let workers compile for `units`, and certify references meanwhile.

    Whatever goes wrong here goes wrong again where it is measured, and is told there.
    """
    cells = {
        (c.implementation, c.dtype) for u in units if u.experiment in _CALLING
        for c in u.coordinates
    }  # fmt: skip
    wanted = {
        i: [
            d for d in context.profile.dtypes
            if (i.name, d) in cells and context.refusal(i, "softmax", d) is None
        ]
        for i in context.implementations
        if i.metadata.device == "cpu"  # a device has a time of its own, and numbers to begin with
    }  # fmt: skip
    if not any(wanted.values()):
        return

    def call(implementation: Implementation) -> None:
        with contextlib.suppress(WorkerFault):
            for dtype in wanted[implementation]:
                x = np.zeros(_SHAPE, float_format(dtype).dtype)
                context.call(implementation, "softmax", x, axis=-1)

    with ThreadPoolExecutor(max_workers=len(wanted)) as threads:
        for implementation in wanted:
            threads.submit(call, implementation)
        if any(u.experiment == "accuracy" for u in units):
            accuracy.certify(context)
