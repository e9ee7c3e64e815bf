"""Peak memory of one call: what it holds at its highest, beyond its input and its output."""

from __future__ import annotations

import threading

import psutil

from harness.experiments.throughput.entrants import HostEntrant

_PERIOD_S = 0.0005


def peak_memory(entrant: HostEntrant, timeout: float) -> None:
    """Measure one call of an entrant that was timed, and put the number into its record.

    Bytes resident at the highest, less what was resident before, which holds the input and, if it
    is preallocated, the output; the output of an allocating call is taken off. By the kernel's
    high-water mark; where that cannot be reset, by looks from outside twice a millisecond, which
    miss what is shorter.

    Raises:
        WorkerFault: the call gave no answer.
    """
    own = (entrant.record.array_bytes or 0) if entrant.record.allocating else 0
    reply, _ = entrant.worker.request("peak", {"handle": entrant.handle}, timeout=timeout)
    extra, method = reply["extra"], "VmHWM"
    if extra is None:
        extra, method = _watch(entrant, timeout), "sampled"
    if extra is not None:
        entrant.update(peak_extra_bytes=max(0, extra - own), peak_method=method)


def _watch(entrant: HostEntrant, timeout: float) -> int | None:
    """As much from outside the worker: the largest resident size that was seen during the call."""
    pid = entrant.worker.pid
    if pid is None:
        return None
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        try:
            process = psutil.Process(pid)
            while not done.wait(_PERIOD_S):
                seen.append(int(process.memory_info().rss))
        except psutil.Error:
            return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        reply, _ = entrant.worker.request(
            "peak", {"handle": entrant.handle, "watched": True}, timeout=timeout
        )
    finally:
        done.set()
        watcher.join()
    if reply["resident"] is None or not seen:
        return None
    return max(0, max(seen) - int(reply["resident"]))
