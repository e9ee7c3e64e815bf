"""Which CUDA kernel takes how many rows of how many classes: pure arithmetic, no device needed.

The kernels are those of rows.cu. Thresholds are in chunks of 16 bytes, the unit in which a
thread reads a row; they have not been tuned on a device yet.
"""

from __future__ import annotations

from dataclasses import dataclass

EXCHANGE_BYTES = 1024  # exchange.cuh
CHUNK_BYTES = 16
LANES = ((4, 4, 1), (16, 8, 2), (64, 32, 2), (128, 32, 4), (256, 32, 8))
"""(chunks up to which a row takes it, lanes per row, chunks per lane): kernels ``lanes_L_C``."""

_LANES_BLOCK = 128  # __launch_bounds__ of those kernels
_SPLIT_BLOCK = 512
_MAX_BLOCKS = 2**31 - 1
_PART = 512  # chunks that a part of a row has at least
_SPLIT_FROM = 4096  # chunks from which a row is split where there are few


@dataclass(frozen=True)
class Device:
    """What a plan depends on.

    Attributes:
        processors: streaming multiprocessors.
        shared_bytes: shared memory that one block may ask for.
        cache_bytes: of the second-level cache.
        clusters: sizes of clusters that can be launched, ascending; 1 is among them.
        threads: most threads of a block, a multiple of 32.
    """

    processors: int
    shared_bytes: int
    cache_bytes: int
    clusters: tuple[int, ...] = (1,)
    threads: int = 1024


@dataclass(frozen=True)
class Plan:
    """One way to launch.

    Attributes:
        kernel: its name; ``"split"`` stands for ``partial`` and then ``finish``.
        grid, block, shared_bytes: of the launch; for a split that of its first `rows_each` rows.
        cluster: blocks of one row that are launched together.
        parts: blocks of one row in a split.
        rows_each: rows per launch.
    """

    kernel: str
    grid: int
    block: int
    rows_each: int
    shared_bytes: int = 0
    cluster: int = 1
    parts: int = 0


def _over(a: int, b: int) -> int:
    return -(-a // b)


def held_chunks(item_bytes: int, arrays: int) -> int:
    """Chunks of each array in the registers of a thread of ``held_N`` (held.cuh: held_chunks)."""
    entries = 8 if item_bytes == 8 else 32 // arrays
    return entries * item_bytes // CHUNK_BYTES


def plan(
    rows: int, classes: int, item_bytes: int, arrays: int, aligned: bool, device: Device
) -> Plan:
    """The plan for contiguous rows.

    Args:
        rows, classes: at least 1 each.
        item_bytes: of an entry, 2, 4 or 8.
        arrays: how many are read, 1 or 2.
        aligned: every row begins at a multiple of 16 bytes.
        device: where.
    """
    size = CHUNK_BYTES // item_bytes
    chunks = _over(classes if aligned else classes + size - 1, size)
    for limit, lanes, each in LANES[: 4 if item_bytes == 2 else 5]:
        if chunks <= limit:
            grid = min(_over(rows, _LANES_BLOCK // lanes), _MAX_BLOCKS)
            return Plan(f"lanes_{lanes}_{each}", grid, _LANES_BLOCK, rows)
    widest = device.clusters[-1]
    if 2 * rows * widest <= device.processors and chunks >= _SPLIT_FROM:
        return _split(rows, classes * item_bytes * (arrays + 1), chunks, device)
    registers = held_chunks(item_bytes, arrays)
    for shared in (False, True):
        # A cluster of more than 8 is not portable: only where nothing else holds the row.
        for cluster in device.clusters:
            each = _over(chunks, cluster)
            block = min(_over(_over(each, registers), 32) * 32, device.threads)
            beyond = max(0, each - block * registers)
            need = EXCHANGE_BYTES + beyond * CHUNK_BYTES * arrays
            if (beyond == 0 or shared) and need <= device.shared_bytes:
                grid = min(rows, _MAX_BLOCKS // cluster) * cluster
                return Plan(f"held_{cluster}", grid, block, rows, need, cluster)
    return _split(rows, classes * item_bytes * (arrays + 1), chunks, device)


def _split(rows: int, row_bytes: int, chunks: int, device: Device) -> Plan:
    """As many rows at a time as the cache holds, so that the second reading finds them there."""
    rows_each = min(rows, max(1, device.cache_bytes * 5 // 8 // row_bytes))
    parts = max(1, min(_over(chunks, _PART), _over(2 * device.processors, rows_each)))
    block = min(_SPLIT_BLOCK, device.threads)
    return Plan("split", rows_each * parts, block, rows_each, EXCHANGE_BYTES, 1, parts)
