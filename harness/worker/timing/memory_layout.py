"""What a process holds in memory, and where: high-water marks, pages, NUMA nodes, alignment.

All from Linux's /proc; None where the system does not tell, never a guess.
"""

from __future__ import annotations

import ctypes
import platform
import resource
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.worker.isolation.side_effects import give_back

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_NODES = Path("/sys/devices/system/node/online")
_MOVE_PAGES = {"x86_64": 279, "aarch64": 239}  # no wrapper in libc: it lives in libnuma
_PAGES_LOOKED_AT = 256
_HUGE_LEAST = 2 << 20


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")


def peak_extra(call: Callable[[], object]) -> int | None:
    """Bytes by which resident memory rose above its level before `call`, at the highest.

    The kernel keeps the mark (VmHWM), so that nothing is missed between two looks; it counts
    pages in batches by thread, which makes the number good to about half a MiB. None where the
    mark cannot be reset.
    """
    give_back()  # so that a call cannot use it unseen
    try:
        _CLEAR.write_text("5")  # proc(5): resets the peak to the present
        before = _status("VmRSS")
        call()
        return max(0, _status("VmHWM") - before)
    except OSError:
        return None


def resident() -> int | None:
    """Bytes resident now, after freed memory was handed back."""
    give_back()
    try:
        return _status("VmRSS")
    except OSError:
        return None


def _nodes(address: int, nbytes: int) -> dict[str, float] | None:
    try:
        online = _NODES.read_text().strip()
    except OSError:
        return None
    if online.isdigit():
        return {online: 1.0}
    number = _MOVE_PAGES.get(platform.machine())
    if number is None:
        return None
    size = resource.getpagesize()
    starts = np.unique(np.linspace(address, address + nbytes - 1, _PAGES_LOOKED_AT) // size)
    pages = (starts * size).astype(np.uint64)
    status = np.full(pages.size, -1, np.int32)
    # With no nodes to move to, move_pages(2) only tells where each page is.
    failed = ctypes.CDLL(None).syscall(
        number, 0, ctypes.c_ulong(pages.size), ctypes.c_void_p(pages.ctypes.data), None,
        ctypes.c_void_p(status.ctypes.data), 0,
    )  # fmt: skip
    on = Counter(status[status >= 0].tolist())
    if failed or not on:
        return None
    return {str(node): count / on.total() for node, count in sorted(on.items())}


def _huge(address: int, nbytes: int) -> float | None:
    """Share of huge pages in the mapping that an address lies in (the kernel tells no finer)."""
    if nbytes < _HUGE_LEAST:
        return 0.0
    inside, size = False, 0
    try:
        with open("/proc/self/smaps", encoding="ascii", errors="replace") as lines:
            for line in lines:
                head = line.split(None, 1)[0]
                if head.count("-") == 1 and not head.endswith(":"):
                    low, _, high = head.partition("-")
                    inside = int(low, 16) <= address < int(high, 16)
                elif inside and head == "Rss:":
                    size = int(line.split()[1])
                elif inside and head == "AnonHugePages:":
                    return min(1.0, int(line.split()[1]) / size) if size else 0.0
    except (OSError, ValueError):
        return None
    return None


def placement(array: NDArray[Any]) -> dict[str, Any]:
    """Where an array lies: the fields of `harness.records.throughput.Placement`."""
    address = int(array.__array_interface__["data"][0])
    return {
        "nodes": _nodes(address, array.nbytes) if array.nbytes else None,
        "huge": _huge(address, array.nbytes),
        "alignment": min(4096, address & -address) if address else 4096,
    }
