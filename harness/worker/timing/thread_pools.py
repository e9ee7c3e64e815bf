"""The pools of threads in a process: one call that sizes them all, and one that reads them back.

NumPy's linear algebra, OpenMP, Numba and torch each have a pool of their own, and an
implementation may use any of them whatever its arrays are. What is asked for is no proof: the
sizes are read back from the libraries after the implementation has run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import threadpoolctl


def limit(count: int) -> None:
    """Give every pool that is loaded `count` threads, or as many as it has at most."""
    threadpoolctl.threadpool_limits(limits=count)
    numba: Any = sys.modules.get("numba")
    if hasattr(numba, "set_num_threads"):  # False while it is being imported
        numba.set_num_threads(min(count, int(numba.config.NUMBA_NUM_THREADS)))
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "set_num_threads"):
        torch.set_num_threads(count)


def sizes() -> dict[str, int]:
    """The size of every pool that is loaded, as its own library tells it.

    Pools of one kind (two OpenBLAS, say) are one entry, the largest.
    """
    found: dict[str, int] = {}
    for pool in threadpoolctl.threadpool_info():
        name = str(pool.get("internal_api"))
        found[name] = max(int(pool["num_threads"]), found.get(name, 0))
    for name in ("numba", "torch"):
        module: Any = sys.modules.get(name)
        if hasattr(module, "get_num_threads"):
            found[name] = int(module.get_num_threads())
    return found


def mismatch(found: Mapping[str, int], asked: int, cores: int) -> str | None:
    """Which pools have not the size that was asked for, in words; None if all have.

    A pool may be smaller than asked only where the machine has fewer cores.
    """
    wrong = {n: c for n, c in found.items() if c != asked and not (c < asked and c >= cores)}
    if not wrong:
        return None
    what = ", ".join(f"{name} has {count}" for name, count in sorted(wrong.items()))
    return (
        f"asked for {asked} thread{'s' * (asked != 1)}, but {what}: the library or the "
        "implementation set its own; remove that, or the thread variables of the environment"
    )
