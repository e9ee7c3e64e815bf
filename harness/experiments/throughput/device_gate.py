"""The accuracy gate on a device: results must be right, and done when their times say so."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.context import Context
from harness.experiments.throughput.entrants import DeviceEntrant
from harness.experiments.throughput.gate import operation_gate, refused
from harness.experiments.throughput.timed_operations import Blocks, TimedOperation
from harness.numerics.exact import Exact
from harness.worker.client import WorkerFault

AFTER_SHARE = 0.05
AFTER_NS = 50_000.0
"""Work after the end event beyond this, and beyond this share of the window, was put off."""
_GATE_ELEMENTS = 1 << 16


@dataclass(frozen=True)
class Sampled:
    """Rows on which the outputs of a group are judged: of the input in place, or of new content.

    Attributes:
        operation: that is judged.
        blocks: what the inputs repeat.
        rows: indices into the inputs and the output.
        fresh: whether the workers have yet to be given `blocks`.
    """

    operation: TimedOperation
    blocks: Blocks
    rows: tuple[int, ...]
    fresh: bool

    @cached_property
    def inputs(self) -> Blocks:
        at = np.asarray(self.rows) % len(self.blocks[0])
        return tuple(np.ascontiguousarray(block[at]) for block in self.blocks)

    @cached_property
    def exact(self) -> tuple[Exact, ...]:
        return self.operation.exact(self.inputs)


def sampled(operation: TimedOperation, blocks: Blocks, rows: int, fresh: bool) -> Sampled:
    """The first row, the last and others that nobody can foretell; of huge rows, one."""
    count = _GATE_ELEMENTS // blocks[0].shape[1]
    drawn = np.random.default_rng(secrets.randbits(64)).integers(rows, size=max(1, count - 2))
    ends = {0, rows - 1} if count else set()
    return Sampled(operation, blocks, tuple(sorted({*ends, *drawn.tolist()})), fresh)


def _outputs(entrant: DeviceEntrant, chosen: Sampled, timeout: float) -> list[NDArray[Any]]:
    record = entrant.record
    order = {"handle": entrant.handle, "rows": list(chosen.rows)}
    arrays = chosen.blocks if chosen.fresh else ()
    reply, outputs = entrant.worker.request("device_output", order, arrays, timeout)
    expected = [[record.rows, *exact.shape[1:]] for exact in chosen.exact]
    dtype = chosen.blocks[0].dtype
    if reply["shapes"] != expected or any(y.dtype != dtype for y in outputs):
        raise WorkerFault(
            "failed", f"timed output: expected shapes {expected} of {dtype}; "
            f"got {reply['shapes']} of {', '.join(str(y.dtype) for y in outputs)}",
        )  # fmt: skip
    return outputs


def gate(context: Context, entrant: DeviceEntrant, samples: Iterable[Sampled]) -> dict[str, Any]:
    """The accuracy gate, on the last timed output and on one of content never seen."""
    implementation = entrant.implementation
    assert implementation is not None
    worst: dict[str, Any] = {}
    for chosen in samples:
        outputs = _outputs(entrant, chosen, context.profile.timeout_s)
        found = operation_gate(
            context, implementation, chosen.operation, chosen.inputs, outputs, chosen.exact
        )
        if not worst or not found["gate_error_over_bound"] <= worst["gate_error_over_bound"]:
            worst = found
    if put_off(entrant):
        worst |= refused(
            f"work went on for {float(np.median(entrant.after)) / 1e3:.3g} µs after the "
            "event that ends the window: it was put off to a stream that the default one does not "
            "wait for, and the time is not that of the work"
        )
    return worst


def put_off(entrant: DeviceEntrant) -> bool:
    """Whether work regularly went on after the windows' end events."""
    after, window = float(np.median(entrant.after)), float(np.median(entrant.windows))
    return after > max(AFTER_NS, AFTER_SHARE * window)
