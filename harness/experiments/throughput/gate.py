"""The accuracy gate: a timing counts only where what was timed is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.bounds import over_bound
from harness.experiments.context import Context
from harness.experiments.judgement import arithmetic_of, bound_of
from harness.experiments.throughput.timed_operations import Blocks, TimedOperation
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array
from harness.numerics.ulps import ulp_error
from harness.reference import softmax_exact
from harness.registry.discovery import Implementation


def accuracy_gate(
    context: Context,
    implementation: Implementation,
    x: NDArray[Any],
    y: NDArray[Any],
    exact: Exact | None = None,
) -> dict[str, Any]:
    """Is what was timed right? Changes to a record, for rows of softmax's input and output.

    Args:
        exact: the softmax of `x`, where it is known already.
    """
    exact = softmax_exact(x) if exact is None else exact
    error = ulp_error(y, exact)
    bound = bound_of(context, implementation, x, exact, x.dtype.name, with_published=False)
    return gated(error, bound.ratio(error), bound.name)


def operation_gate(
    context: Context,
    implementation: Implementation,
    operation: TimedOperation,
    inputs: Blocks,
    outputs: Sequence[NDArray[Any]],
    exact: tuple[Exact, ...] | None = None,
) -> dict[str, Any]:
    """`accuracy_gate` for any operation that is timed.

    Args:
        inputs: rows of each of its arguments.
        outputs: the same rows of each of its results.
        exact: its results of `inputs`, where they are known already.
    """
    if operation.name == "softmax":
        known = None if exact is None else exact[0]
        return accuracy_gate(context, implementation, inputs[0], outputs[0], known)
    exact = operation.exact(inputs) if exact is None else exact
    dtype = inputs[0].dtype.name
    arithmetic = arithmetic_of(context, implementation, dtype)
    allowed = operation.allowed(inputs, exact, dtype, arithmetic)
    errors = [ulp_error(y, e) for y, e in zip(outputs, exact, strict=True)]
    ratios = [over_bound(e, limit) for e, limit in zip(errors, allowed, strict=True)]
    flat = np.concatenate([e.ravel() for e in errors]), np.concatenate([r.ravel() for r in ratios])
    return gated(*flat, f"of {operation.contract}")


def gated(error: Float64Array, ratio: Float64Array, bound: str) -> dict[str, Any]:
    """Changes to the record of a timing whose output was judged.

    Args:
        error: in ulps.
        ratio: the same over what is allowed.
        bound: name of what is allowed.
    """
    worst = float(np.max(ratio))
    changes: dict[str, Any] = {
        "gate_ulp": float(error.max()),
        "gate_error_over_bound": worst,
        "ranked": True,
        "status": "ok",
        "reason": None,
    }
    if not worst <= 1.0:
        changes |= refused(
            f"accuracy gate: error {worst:.3g} times the bound {bound!r} on this workload; "
            f"the time is shown struck out and never ranked"
        )
    return changes


def refused(reason: str) -> dict[str, Any]:
    """Changes to the record of a time that is kept, shown struck out and never ranked."""
    return {"status": "failed", "ranked": False, "reason": reason}
