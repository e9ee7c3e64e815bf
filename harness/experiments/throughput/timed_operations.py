"""What is timed: which arrays an operation moves, its limits on a device, and when it is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import workloads
from harness.bounds.tolerances import (
    Arithmetic,
    backward_allowance,
    changed_allowance,
    cross_entropy_allowance,
    log_softmax_allowance,
)
from harness.numerics.exact import Exact, remembered
from harness.numerics.formats import Float64Array, float_format, to_float64
from harness.reference import (
    cross_entropy_exact,
    log_softmax_exact,
    softmax_backward_exact,
    softmax_exact,
)
from harness.reference.composed import Change, changed_rows
from harness.reference.memo import MEMO, bytes_of, content_key

WORKLOAD = "normal(scale=1)"

Blocks = tuple[NDArray[Any], ...]
"""The arguments of an operation: arrays of (rows, classes), and of one entry a row."""


@dataclass(frozen=True)
class Traffic:
    """What one call has to move, each array once.

    Attributes:
        reads, writes: arrays of rows of classes.
        row_bytes: bytes for each row beside them, without those of `row_entries`.
        row_entries: entries of the format for each row beside them.
        entry_bytes: bytes for each entry of an array beside them, such as a mask's.
    """

    reads: int
    writes: int
    row_bytes: int = 0
    row_entries: int = 0
    entry_bytes: int = 0

    @property
    def arrays(self) -> int:
        return self.reads + self.writes

    def moved(self, array_bytes: int, rows: int, itemsize: int) -> int:
        entries = array_bytes // itemsize * self.entry_bytes
        of_rows = rows * (self.row_bytes + self.row_entries * itemsize)
        return self.arrays * array_bytes + entries + of_rows


@dataclass(frozen=True)
class TimedOperation:
    """An operation that is timed, on the host or on a device.

    Attributes:
        name: of the function; ``cross_entropy_loss`` is the loss of ``cross_entropy`` alone, on a
            device.
        contract: the operation of the contract by which it is selected.
        traffic: of a call.
        limits: kernels of the device that the time is set against.
        blocks: its arguments, of a format, given rows, classes and a seed.
        exact: its results of those.
        allowed: how far each result may be off, in ulps.
        numbers: what is passed beside its arguments, by name; numbers of every format.
    """

    name: str
    contract: str
    traffic: Traffic
    limits: tuple[str, ...]
    blocks: Callable[[int, int, str, int], Blocks]
    exact: Callable[[Blocks], tuple[Exact, ...]]
    allowed: Callable[[Blocks, tuple[Exact, ...], str, Arithmetic], tuple[Float64Array, ...]]
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """Of a call, beside its arguments."""
        return {} if self.contract == "cross_entropy" else {**self.numbers, "axis": -1}

    @property
    def part(self) -> int | None:
        """Which of several results is as large as the input; None where there is one."""
        return 1 if self.name == "cross_entropy" else None

    @property
    def beside(self) -> str | None:
        """`TimingRecord.beside` of its limits."""
        return None if self.name == "softmax" else self.name


def exact_results(operation: TimedOperation, inputs: Blocks) -> tuple[Exact, ...]:
    """Results of rows of each argument, for one implementation after another."""
    return MEMO.get(
        content_key(("timed", operation.name), *inputs),
        lambda: tuple(remembered(e) for e in operation.exact(inputs)),
        bytes_of,
    )


LIMITS: Mapping[str, tuple[str, Traffic]] = {
    "copy_kernel": ("copy", Traffic(1, 1)),
    "copy_memcpy": ("copy", Traffic(1, 1)),
    "read_kernel": ("read", Traffic(1, 0)),
    "add_kernel": ("add", Traffic(2, 1)),
}
"""Kernel that only moves bytes, to the operation of its record and what it moves."""


def _logits(rows: int, classes: int, dtype: str, seed: int) -> Blocks:
    return (workloads.generate(WORKLOAD, classes, rows, dtype, seed),)


def _gradient_and_output(rows: int, classes: int, dtype: str, seed: int) -> Blocks:
    """The gradient that arrives, and a softmax of float64 rounded to the format."""
    (x,) = _logits(rows, classes, dtype, seed)
    (gradient,) = _logits(rows, classes, dtype, seed + 1)
    wide = to_float64(x)
    wide = np.exp(wide - wide.max(axis=1, keepdims=True))
    y = wide / wide.sum(axis=1, keepdims=True)
    return gradient, y.astype(x.dtype)


def _logits_and_targets(rows: int, classes: int, dtype: str, seed: int) -> Blocks:
    (x,) = _logits(rows, classes, dtype, seed)
    return x, np.random.default_rng(seed).integers(classes, size=rows, dtype=np.int64)


def _allowed_backward(
    blocks: Blocks, exact: tuple[Exact, ...], dtype: str, arithmetic: Arithmetic
) -> tuple[Float64Array, ...]:
    gradient, y = (to_float64(b) for b in blocks)
    return (backward_allowance(gradient, y, exact[0], dtype, arithmetic),)


def _allowed_cross_entropy(
    blocks: Blocks, exact: tuple[Exact, ...], dtype: str, arithmetic: Arithmetic
) -> tuple[Float64Array, ...]:
    x, targets = blocks
    loss, gradient = exact if len(exact) == 2 else cross_entropy_exact(x, targets)
    allowed = cross_entropy_allowance(to_float64(x), targets, loss, gradient, dtype, arithmetic)
    return allowed[: len(exact)]


def _logits_and_mask(rows: int, classes: int, dtype: str, seed: int) -> Blocks:
    """A quarter of the classes is masked, by chance; never the first."""
    (x,) = _logits(rows, classes, dtype, seed)
    kept = np.random.default_rng(seed).random(x.shape, np.float32) >= 0.25
    kept[:, 0] = True
    return x, kept


def _changed(
    name: str, change: Change | None = None, sink: float | None = None, **numbers: float
) -> TimedOperation:
    """Softmax of changed logits; a mask is its second argument."""
    change = change or Change()

    def parts(blocks: Blocks) -> tuple[Float64Array, Change, NDArray[np.bool_] | None]:
        return to_float64(blocks[0]), change, blocks[1] if len(blocks) > 1 else None

    def exact(blocks: Blocks) -> tuple[Exact, ...]:
        sinks = None if sink is None else np.full(len(blocks[0]), sink)
        return (changed_rows(*parts(blocks), sinks),)

    def allowed(
        blocks: Blocks, exact: tuple[Exact, ...], dtype: str, arithmetic: Arithmetic
    ) -> tuple[Float64Array, ...]:
        return (changed_allowance(*parts(blocks), sink, exact[0], dtype, arithmetic),)

    masked = name == "masked_softmax"
    return TimedOperation(
        name, name, Traffic(1, 1, entry_bytes=int(masked)), _COPIES,
        _logits_and_mask if masked else _logits, exact, allowed,
        numbers if sink is None else {"sink": sink},
    )  # fmt: skip


_COPIES = ("copy_kernel", "copy_memcpy")
OPERATIONS: tuple[TimedOperation, ...] = (
    TimedOperation(
        "softmax", "softmax", Traffic(1, 1), _COPIES, _logits,
        lambda blocks: (softmax_exact(blocks[0]),),
        lambda *_: (),  # by `judgement`, as everywhere
    ),
    TimedOperation(
        "cross_entropy_loss", "cross_entropy", Traffic(1, 0, 8, 1), ("read_kernel", "copy_kernel"),
        _logits_and_targets,
        lambda blocks: (cross_entropy_exact(blocks[0], blocks[1])[0],),
        _allowed_cross_entropy,
    ),
    TimedOperation(
        "cross_entropy", "cross_entropy", Traffic(1, 1, 8, 1), _COPIES, _logits_and_targets,
        lambda blocks: cross_entropy_exact(blocks[0], blocks[1]),
        _allowed_cross_entropy,
    ),
    TimedOperation(
        "log_softmax", "log_softmax", Traffic(1, 1), _COPIES, _logits,
        lambda blocks: (log_softmax_exact(blocks[0]),),
        lambda blocks, exact, dtype, arithmetic: (
            log_softmax_allowance(blocks[0], exact[0], dtype, arithmetic),
        ),
    ),
    TimedOperation(
        "softmax_backward", "softmax_backward", Traffic(2, 1), ("add_kernel", "copy_kernel"),
        _gradient_and_output,
        lambda blocks: (softmax_backward_exact(blocks[0], blocks[1]),),
        _allowed_backward,
    ),
)  # fmt: skip
"""In the order in which they are timed: what matters most comes first, where time runs out."""

ON_HOSTS = (
    *OPERATIONS,
    _changed("scaled_softmax", Change(scale=0.125), scale=0.125),  # heads of 64
    _changed("masked_softmax"),
    _changed("softmax_with_sink", sink=0.0),
    _changed("softcap_softmax", Change(cap=30.0), cap=30.0),
)
"""Those, and what no implementation for a device offers."""


def operation_of(name: str) -> TimedOperation:
    """The operation of this name, of `ON_HOSTS`."""
    return next(o for o in ON_HOSTS if o.name == name)


def itemsize_of(dtype: str) -> int:
    return int(float_format(dtype).dtype.itemsize)
