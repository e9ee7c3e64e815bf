"""Timings of a run in the JSON of pytest-benchmark, which its `compare` and histograms read.

Format: pytest-benchmark 5, docs "Comparing past runs", and the files that it writes. Times are in
seconds there. What the accuracy gate struck out is left out, and listed under
``softmax_bench.omitted``: that tool has no way to show it struck out.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json, to_json

from harness.errors import writing
from harness.records import ThroughputRecord
from harness.records.reader import Run, read_runs

FORMAT = "5.0.0"
"""The version of pytest-benchmark whose format this is."""

_NS = 1e-9


def stats(seconds: Sequence[float], calls: int) -> dict[str, Any]:
    """The statistics of one benchmark, by that tool's names and definitions.

    Args:
        seconds: one time of one call a round.
        calls: calls in a round, of which the time is the mean.

    Raises:
        ValueError: no sample.
    """
    if not seconds:
        raise ValueError("stats: expected at least one sample, got none")
    data = sorted(float(s) for s in seconds)
    mean = statistics.fmean(data)
    stddev = statistics.stdev(data) if len(data) > 1 else 0.0
    q1, q3 = (float(q) for q in np.quantile(data, (0.25, 0.75)))
    iqr = q3 - q1
    inside = [d for d in data if q1 - 1.5 * iqr <= d <= q3 + 1.5 * iqr]
    far = sum(abs(d - mean) > stddev for d in data)
    fenced = len(data) - len(inside)
    return {
        "min": data[0],
        "max": data[-1],
        "mean": mean,
        "stddev": stddev,
        "rounds": len(data),
        "median": statistics.median(data),
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": fenced,
        "stddev_outliers": far,
        "outliers": f"{far};{fenced}",
        "ld15iqr": inside[0],
        "hd15iqr": inside[-1],
        "ops": 1.0 / mean if mean else 0.0,
        "total": sum(data),
        "iterations": calls,
        "data": [float(s) for s in seconds],
    }


def _name(record: ThroughputRecord) -> tuple[str, str]:
    """Group (what is comparable) and name (the same cell in another run has the same)."""
    form = "allocating" if record.allocating else "out"
    cold = " cold" if record.cache == "cold" else ""
    group = (
        f"{record.operation} {record.regime} {record.dtype} {record.rows}x{record.classes} "
        f"threads={record.threads}{cold}"
    )
    parts = (record.implementation, record.regime, record.dtype, record.rows, record.classes)
    place = "-".join(map(str, parts))
    tail = f"{form}-cold" if cold else form
    return group, f"{record.operation}[{place}-t{record.threads}-{tail}]"


def _omission(record: ThroughputRecord) -> str | None:
    """Why a record is not exported; None if it is."""
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    if record.ranked is False:
        return "struck out by the accuracy gate"
    return None if record.samples_ns else "no samples"


def pytest_benchmark(run: Run) -> dict[str, Any]:
    """A run's timings as plain data in pytest-benchmark's format."""
    benchmarks = []
    omitted = []
    for record in run.records:
        if not isinstance(record, ThroughputRecord) or record.role == "control":
            continue
        group, name = _name(record)
        why = _omission(record)
        if why is not None:
            omitted.append({"name": name, "reason": why})
            continue
        fields = ("implementation", "operation", "dtype", "rows", "classes", "threads", "regime",
                  "allocating", "cache")  # fmt: skip
        parameters = {f: getattr(record, f) for f in fields}
        extra = ("fits", "noisy", "percent_of_limit", "speedup", "baseline", "gate_ulp")
        benchmarks.append(
            {
                "group": group,
                "name": name,
                "fullname": f"softmax-bench::{name}",
                "params": parameters,
                "param": name.partition("[")[2].rstrip("]"),
                "extra_info": {f: getattr(record, f) for f in extra},
                "options": {
                    "disable_gc": False,
                    "timer": "perf_counter_ns",
                    "min_rounds": len(record.samples_ns or ()),
                    "max_time": 0.0,
                    "min_time": 0.001,
                    "warmup": True,
                },
                "stats": stats(
                    [s * _NS for s in record.samples_ns or ()], record.calls_per_sample or 1
                ),
            }
        )
    info, machine = run.info, run.info.machine
    return {
        "machine_info": {
            "node": run.machine,
            "processor": machine.get("cpu"),
            "machine": machine.get("architecture"),
            "python_implementation": str(machine.get("python", "")).partition(" ")[0],
            "python_version": str(machine.get("python", "")).partition(" ")[2],
            "release": machine.get("kernel"),
            "system": machine.get("system"),
            "cpu": {"brand_raw": machine.get("cpu"), "count": machine.get("logical_cores")},
        },
        "commit_info": {
            "id": info.git_commit or "unversioned",
            "time": None,
            "author_time": None,
            "dirty": bool(info.git_dirty),
            "project": "softmax-bench",
            "branch": "(unknown)",
        },
        "benchmarks": benchmarks,
        "datetime": info.created,
        "version": FORMAT,
        "softmax_bench": {"run": info.id, "version": info.harness_version, "omitted": omitted},
    }


def export_pytest_benchmark(
    results: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]
) -> list[Path]:
    """Write ``<output>/<machine>/<number>_<run>.json`` for each run; the files, oldest run first.

    ``pytest-benchmark --storage=<output> compare`` finds them there.

    Raises:
        ResultsError: nothing there is a run.
        CannotWrite: the folder cannot be written.
    """
    written: list[Path] = []
    numbers: dict[str, int] = {}
    for run in read_runs(results):
        numbers[run.machine] = numbers.get(run.machine, 0) + 1
        folder = Path(output) / _file_name(run.machine)
        path = folder / f"{numbers[run.machine]:04}_{_file_name(run.info.id)}.json"
        plain = from_json(to_json(pytest_benchmark(run), inf_nan_mode="null"))
        text = json.dumps(plain, indent=1, allow_nan=False)
        with writing(path):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        written.append(path)
    return written


def _file_name(text: str) -> str:
    """`text`, which a stranger may have written, as the name of one file."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in text) or "unnamed"
