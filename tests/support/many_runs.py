"""Small stored runs of known figures, for the pages of a site of many runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report_run import implementation

from harness.records import RECORD, RunInfo
from harness.records.files import CELLS_FILE, RUN_FILE

Cells = list[dict[str, Any]]
BOX = {"slug": "box", "cpu": "a cpu", "logical_cores": 4, "memory_bytes": 1 << 34}


def timing(name: str, speedup: float, reach: float = 0.02, **changes: Any) -> dict[str, Any]:
    """One timing, `speedup` times as fast as the baseline, give or take `reach` of it."""
    ns = 1e5 / speedup
    return {
        "experiment": "throughput", "implementation": name, "operation": "softmax",
        "dtype": "float32", "device": "cpu", "threads": 4, "workload": "normal(scale=1)",
        "classes": 1000, "rows": 64, "seed": 0, "status": "ok", "role": "implementation",
        "regime": "streaming", "allocating": False, "cache": "warm", "array_bytes": 256_000,
        "samples_ns": [ns * (1 + 0.001 * k) for k in range(10)], "visits": 10, "best_ns": ns,
        "median_ns": ns * 1.0045, "gbps": 512_000 / ns, "gbps_low": 510_000 / ns,
        "gbps_high": 513_000 / ns, "baseline": "max_shift", "speedup": speedup,
        "speedup_low": speedup * (1 - reach), "speedup_high": speedup * (1 + reach),
        "ranked": True, "noisy": False, **changes,
    }  # fmt: skip


def error(name: str, ulp: float, sha: str = "aa", **changes: Any) -> dict[str, Any]:
    """The largest error on the input of that digest."""
    return {
        "experiment": "accuracy", "implementation": name, "operation": "softmax",
        "dtype": "float32", "device": "cpu", "workload": f"input({sha})", "classes": 10, "rows": 3,
        "seed": 0, "status": "ok", "max_ulp": ulp, "outcome": "accurate", "input_sha256": sha,
        **changes,
    }  # fmt: skip


def cells(fast: float = 2.0, ulp: float = 1.5) -> Cells:
    """A baseline and a faster, more accurate implementation."""
    return [
        error("max_shift", 3.0), error("fast", ulp), timing("max_shift", 1.0, 0.0),
        timing("fast", fast),
    ]  # fmt: skip


def store(results: Path, name: str, records: Cells, day: int = 1, **changes: Any) -> Path:
    """A run's folder, as `softmax-bench run` leaves it."""
    given: dict[str, Any] = {
        "id": name, "created": f"2026-03-{day:02}T10:00:00Z",
        "finished": f"2026-03-{day:02}T10:05:00Z", "command": ["softmax-bench", "run"],
        "profile": "quick", "seed": 0, "baseline": "max_shift", "workload_version": 1,
        "harness_version": "0.1.0", "git_commit": f"{day:02}abcdef0123", "git_dirty": False,
        "machine": BOX, "versions": {"numpy": "2.4.0", "python": "3.12.1"},
        "implementations": [implementation("max_shift"), implementation("fast")],
        "planned_cells": len(records),
    }  # fmt: skip
    folder = results / name
    folder.mkdir(parents=True)
    info = RunInfo(**{**given, **changes})
    (folder / RUN_FILE).write_text(info.model_dump_json(indent=1), encoding="utf-8")
    lines = [RECORD.validate_python(c).model_dump_json(exclude_none=True) for c in records]
    (folder / CELLS_FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder
