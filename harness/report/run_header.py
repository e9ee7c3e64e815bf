"""What is known of a run and its machine, as pairs of words."""

from __future__ import annotations

from typing import Any

from harness.records import RunInfo
from harness.report.drawing.formatting import byte_count


def headline_facts(info: RunInfo) -> list[tuple[str, str]]:
    """What a reader has to know of a run before any figure."""
    machine = info.machine
    brand = str(machine.get("cpu") or machine.get("slug") or "unknown machine")
    cores = machine.get("logical_cores")
    commit = (info.git_commit or "unknown")[:12] + (" (modified)" if info.git_dirty else "")
    return [
        ("Machine", brand + (f", {cores} logical cores" if cores else "")),
        ("Run", info.id),
        ("Taken", info.created + ("" if info.finished else " (not finished)")),
        ("Profile", info.profile),
        ("Harness", f"{info.harness_version}, commit {commit}"),
    ]


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested plain data as (path, text) pairs; absent values say so."""
    if isinstance(value, dict):
        return [pair for k, v in value.items() for pair in
                flatten(v, f"{prefix}.{k}" if prefix else str(k))]  # fmt: skip
    if isinstance(value, list):
        if not value:
            return [(prefix, "none")]
        if all(not isinstance(v, dict | list) for v in value):
            return [(prefix, ", ".join(str(v) for v in value))]
        return [pair for i, v in enumerate(value) for pair in flatten(v, f"{prefix}[{i}]")]
    if value is None:
        return [(prefix, "not known")]
    if isinstance(value, int) and not isinstance(value, bool) and "bytes" in prefix:
        return [(prefix, byte_count(value))]
    return [(prefix, str(value))]
