"""What the times of a group on a device say, and whether what was timed was right and possible."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.exact import Exact
from harness.experiments.context import Context
from harness.experiments.device_rounds import Entrant
from harness.experiments.judge import accuracy_gate
from harness.records.throughput import CONTROL_SUFFIX
from harness.reference import softmax_exact
from harness.remote import WorkerFault
from harness.statistics import control_verdict, paired_ratio, summarise_samples

IMPLAUSIBLE = 1.02
AFTER_SHARE = 0.05
AFTER_NS = 50_000.0
"""Work after the end event beyond this, and beyond this share of the window, was put off."""
_GATE_ELEMENTS = 1 << 16


@dataclass(frozen=True)
class Sampled:
    """Rows on which the outputs of a group are judged: of the input in place, or of new content.

    Attributes:
        block: what the input repeats.
        rows: indices into the input and the output.
        fresh: whether the workers have yet to be given `block`.
    """

    block: NDArray[Any]
    rows: tuple[int, ...]
    fresh: bool

    @cached_property
    def x(self) -> NDArray[Any]:
        return np.ascontiguousarray(self.block[np.asarray(self.rows) % len(self.block)])

    @cached_property
    def exact(self) -> Exact:
        return softmax_exact(self.x)


def sampled(block: NDArray[Any], rows: int, fresh: bool) -> Sampled:
    """The first row, the last and others that nobody can foretell; of huge rows, one."""
    count = _GATE_ELEMENTS // block.shape[1]
    drawn = np.random.default_rng(secrets.randbits(64)).integers(rows, size=max(1, count - 2))
    ends = {0, rows - 1} if count else set()
    return Sampled(block, tuple(sorted({*ends, *drawn.tolist()})), fresh)


def _output(entrant: Entrant, chosen: Sampled, timeout: float) -> NDArray[Any]:
    record = entrant.record
    order = {"handle": entrant.handle, "rows": list(chosen.rows)}
    arrays = (chosen.block,) if chosen.fresh else ()
    reply, outputs = entrant.worker.request("device_output", order, arrays, timeout)
    expected, got = [record.rows, record.classes], reply["shape"]
    if got != expected or outputs[0].dtype != chosen.block.dtype:
        raise WorkerFault(
            "failed", f"timed output: expected {expected} {chosen.block.dtype}; "
            f"got {got} {outputs[0].dtype}",
        )  # fmt: skip
    return outputs[0]


def gate(context: Context, entrant: Entrant, samples: tuple[Sampled, ...]) -> dict[str, Any]:
    """The accuracy gate, on the last timed output and on one of content never seen."""
    implementation = entrant.implementation
    assert implementation is not None
    worst: dict[str, Any] = {}
    for chosen in samples:
        y = _output(entrant, chosen, context.profile.timeout_s)
        found = accuracy_gate(context, implementation, chosen.x, y, chosen.exact)
        if not worst or not found["gate_error_over_bound"] <= worst["gate_error_over_bound"]:
            worst = found
    if put_off(entrant):
        worst |= {
            "status": "failed",
            "ranked": False,
            "reason": f"work went on for {float(np.median(entrant.after)) / 1e3:.3g} µs after the "
            "event that ends the window: it was put off to a stream that the default one does not "
            "wait for, and the time is not that of the work",
        }
    return worst


def put_off(entrant: Entrant) -> bool:
    """Whether work regularly went on after the windows' end events."""
    after, window = float(np.median(entrant.after)), float(np.median(entrant.windows))
    return after > max(AFTER_NS, AFTER_SHARE * window)


def figures(entrant: Entrant, entrants: list[Entrant], baseline: str | None) -> dict[str, Any]:
    if entrant.record.role == "control":
        baseline = entrant.record.implementation.removesuffix(CONTROL_SUFFIX)
    summary = summarise_samples(entrant.samples)
    moved = 2.0 * float(entrant.record.array_bytes or 0)
    found: dict[str, Any] = {
        "samples_ns": entrant.samples, "after_ns": entrant.after,
        "median_ns": summary.median, "ci_low_ns": summary.ci_low, "ci_high_ns": summary.ci_high,
        "gbps": moved / summary.median, "gbps_low": moved / summary.ci_high,
        "gbps_high": moved / summary.ci_low,
    }  # fmt: skip
    other = next((e for e in entrants if e.record.implementation == baseline), None)
    if other is not None and len(other.samples) == len(entrant.samples):
        ratio = paired_ratio(other.samples, entrant.samples)
        found |= {
            "baseline": baseline, "speedup": ratio.median, "speedup_low": ratio.ci_low,
            "speedup_high": ratio.ci_high,
        }  # fmt: skip
    return found


def noisy_of(entrants: list[Entrant]) -> bool | None:
    for control in (e for e in entrants if e.record.role == "control" and e.samples):
        name = control.record.implementation.removesuffix(CONTROL_SUFFIX)
        original = next((e for e in entrants if e.record.implementation == name), None)
        if original is not None and len(original.samples) == len(control.samples):
            return not control_verdict(paired_ratio(control.samples, original.samples)).holds
    return None


def set_against_limit(entrants: list[Entrant], l2: int) -> None:
    """Each bandwidth against the best copy of the rounds; reject what no device can do."""
    copies = [e for e in entrants if e.record.role == "limit" and e.record.gbps is not None]
    for entrant in entrants:
        record = entrant.record
        if record.gbps is None or record.regime != "streaming":
            continue
        if not copies:
            text = "no copy was measured beside it: whether its bandwidth is possible is unknown"
            entrant.update(warnings=[*(record.warnings or []), text])
            continue
        best = max(copies, key=lambda e: e.record.gbps or 0.0).record
        assert best.gbps is not None
        share = record.gbps / best.gbps
        changes: dict[str, Any] = {"limit": best.implementation, "percent_of_limit": 100.0 * share}
        if record.role != "limit":
            beyond = 2 * (record.array_bytes or 0) * (record.buffers or 1) > l2
            changes["implausible"] = beyond and share > IMPLAUSIBLE
            if changes["implausible"]:
                changes |= {
                    "status": "failed",
                    "ranked": False,
                    "reason": f"implausible: {record.gbps:.4g} GB/s is {share:.3g} times the copy "
                    f"limit of the same rounds, {best.gbps:.4g} GB/s, beyond L2",
                }
        entrant.update(**changes)
