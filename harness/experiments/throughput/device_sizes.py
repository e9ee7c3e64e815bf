"""How large the arrays of a timing on a device are: constant bytes, beyond L2, within memory."""

from __future__ import annotations

from dataclasses import dataclass

from harness.experiments.profiles import DeviceTiming

L2_TIMES = 4
MEMORY_SHARE = 0.8
SETS = {1: "arrays", 2: "pairs", 3: "triples"}
CONTEXT_BYTES = 640 << 20
"""What a process with a CUDA context holds of the device's memory besides its arrays, at most."""


@dataclass(frozen=True)
class Shape:
    """How large the arrays of a group are.

    Attributes:
        rows: of each.
        array_bytes: of each.
        wanted_bytes: what `array_bytes` was to be, where memory lacks; else None.
        buffers: sets of inputs and output that a worker holds.
        fits: in words, against L2.
    """

    rows: int
    array_bytes: int
    wanted_bytes: int | None
    buffers: int
    fits: str


def shape_of(
    grid: DeviceTiming, classes: int, itemsize: int, workers: int, total: int, l2: int,
    arrays: int = 2,
) -> Shape:  # fmt: skip
    """The arrays of a class count: constant bytes, beyond L2 together, within the memory.

    Args:
        workers: processes that hold buffers at the same time.
        total, l2: bytes of memory and L2 of the device; 0 where unknown.
        arrays: how many a call moves.
    """
    row = classes * itemsize
    if grid.moved_bytes == 0:
        return Shape(1, row, None, 1, f"one row; stays in L2 ({l2 / 2**20:.3g} MiB)")
    wanted = max(1, grid.moved_bytes // (arrays * row)) * row
    more = 2  # what a call allocates for its result, and what the library keeps of the one before

    def buffers(size: int) -> int:
        return 1 + max(1, -(-L2_TIMES * l2 // (arrays * size)))

    size = wanted
    if total:
        room = MEMORY_SHARE * total - workers * CONTEXT_BYTES
        while size > row and workers * (buffers(size) * arrays + more) * size > room:
            size = max(1, size // row // 2) * row
    count = buffers(size)
    mib = arrays * count * size / 2**20
    fits = f"{count} {SETS.get(arrays, 'sets')} in turn, {mib:.4g} MiB in all"
    fits += f"; {mib * 2**20 / l2:.3g} times L2 ({l2 / 2**20:.3g} MiB)" if l2 else "; L2 unknown"
    return Shape(size // row, size, None if size == wanted else wanted, count, fits)
