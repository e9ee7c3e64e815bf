"""A synthetic run with known figures, gaps of every kind and hostile names, for the report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.records import RECORD, ImplementationInfo, Record, RunInfo

HOSTILE = '../../<script>alert("x")</script> $x^2$ =1+1'
FORMULA = '=HYPERLINK("http://example.org")'
DTYPES = ("float64", "float32", "float16", "bfloat16")
CLASSES = (2, 10, 100, 1000, 10_000, 100_000, 1_000_000)
THRESHOLDS = {"float64": 709.782712893384, "float32": 88.72283172607422, "float16": 11.0859375}
NAMES = ("naive", "max_shift", "log_sum_exp", "online", "two_pass", "numba_cpu", "torch", "scipy")


@dataclass(frozen=True)
class SyntheticRun:
    """What `read_runs` gives."""

    info: RunInfo
    records: list[Record]
    problems: list[str] = field(default_factory=list)
    path: Path = Path("synthetic")


def implementation(name: str, **changes: Any) -> ImplementationInfo:
    about: dict[str, Any] = {
        "name": name,
        "description": f"The {name} softmax.",
        "documentation": f"The {name} softmax.\n\nA paragraph about {name}.",
        "backend": "numpy",
        "device": "cpu",
        "dtypes": list(DTYPES),
        "operations": ["softmax"],
        "operations_with_out": ["softmax"],
        "source": "P. Blanchard, D. J. Higham, N. J. Higham (2021), doi:10.1093/imanum/draa038",
        "formula": "softmax(x)ᵢ = e^(xᵢ − max x) / Σⱼ e^(xⱼ − max x)",
        "bound": "shift_divide",
        "passes": 5,
        "threads": "single",
        "available": True,
        "sha256": "ab" * 32,
        "exp_error_u": {"float32": 4.97, "float64": 1.02},
    }
    return ImplementationInfo(**{**about, **changes})


def info(**changes: Any) -> RunInfo:
    implementations = [implementation(n) for n in NAMES]
    implementations[0] = implementation(
        "naive",
        bound="naive",
        deviations=[{"id": "overflow", "reason": "e^x is not finite for large x"}],
        operations_with_out=[],
    )
    implementations.append(
        implementation(
            "cupy_gpu",
            backend="cupy",
            device="cuda",
            available=False,
            unavailable_reason="no CUDA device was found",
            compiled=[
                {"arch": "sm_80", "ok": True, "log": "", "nvrtc_version": "13.0"},
                {"arch": "sm_90", "ok": True, "log": "", "nvrtc_version": "13.0"},
            ],
        )
    )
    implementations.append(
        implementation(
            HOSTILE,
            description="<b>bold</b>",
            documentation="</pre><script>1</script>",
            source="javascript:alert(1)",
            formula="<img src=x onerror=1>",
            bound=None,
        )
    )
    given: dict[str, Any] = {
        "id": "20260101T000000Z-abcdef",
        "created": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:02:40Z",
        "command": ["softmax-bench", "run", "--profile", "quick"],
        "profile": "quick",
        "seed": 0,
        "workload_version": 1,
        "harness_version": "0.1.0",
        "git_commit": "0123456789abcdef",
        "git_dirty": False,
        "machine": {
            "slug": "synthetic-4c",
            "cpu": "Synthetic CPU & Co.",
            "logical_cores": 4,
            "l3_bytes": 34603008,
            "gpus": None,
        },
        "versions": {"numpy": "2.4.0", "python": "3.11.7"},
        "environment": {"OMP_NUM_THREADS": FORMULA},
        "implementations": implementations,
        "planned_cells": 0,
        "warnings": ["<i>load</i> average 3.1 at the start: close other programs"],
        "workloads": {"normal(scale=1)": "normal logits, standard deviation 1"},
    }
    return RunInfo(**{**given, **changes})


PUBLISHED = {"naive": "published_naive", "log_sum_exp": "published_log_sum_exp_shifted",
             "online": None, "two_pass": None}  # fmt: skip
"""The bound of the literature; that of shift and divide for all others."""


def _accuracy(name: str, dtype: str, n: int, workload: str, error: float) -> dict[str, Any]:
    bound = 4 + 0.02 * n
    published = PUBLISHED.get(name, "published_shift_divide")
    own = name if published is None else published.removeprefix("published_")
    return {
        "experiment": "accuracy",
        "implementation": name,
        "dtype": dtype,
        "device": "cpu",
        "workload": workload,
        "classes": n,
        "rows": max(1, 1000 // n),
        "seed": 0,
        "status": "ok",
        "elements": 1000,
        "max_ulp": error,
        "p50_ulp": 0.26,
        "p99_ulp": 0.9,
        "p999_ulp": 1.1,
        "bias_ulp": -0.01,
        "correctly_rounded": 0.873,
        "ulp_histogram": {"0": 3, "<=0.5": 870, "<=1": 120, "<=2": 7, "<=4": 0, ">4": 0,
                          "wrong": 0},
        "max_relative": 2.1e-7,
        "normwise_relative": 1.3e-7,
        "sum_residual": 3e-8,
        "kl_divergence": 1e-15,
        "total_variation": 2e-8,
        "flushed_count": 0,
        "wrong_argmax": 0,
        "wrong_order": 3,
        "nonfinite": 0,
        "bound": own,
        "bound_ulp": bound,
        "published_bound": published,
        "published_bound_ulp": None if published is None else n + 80.5,
        "error_over_bound": min(error / bound, 0.9),
        "worst_row": 0,
        "worst_class": 1,
        "worst_logit": "-0x1.8p+3",
        "worst_got": "0x1.8p-3",
        "worst_expected": "0x1.9p-3",
    }  # fmt: skip


def accuracy_cells() -> list[dict[str, Any]]:
    cells = []
    for k, name in enumerate(NAMES):
        for dtype in DTYPES:
            for n in CLASSES:
                error = 0.6 + 0.15 * k + 0.2 * math.log10(n)
                if name == "log_sum_exp":
                    error *= 6
                cells.append(_accuracy(name, dtype, n, "normal(scale=10)", error))
            for scale in (0.1, 1, 30, 100):
                cell = _accuracy(name, dtype, 1000, f"normal(scale={scale})", 0.7 + scale / 20)
                if name == "naive" and scale == 100:
                    cell.update(max_ulp="Infinity", status="failed", error_over_bound="Infinity",
                                reason="not finite where the result is", nonfinite=12)  # fmt: skip
                cells.append(cell)
    cells[-1] = {k: cells[-1][k] for k in ("experiment", "implementation", "dtype", "workload",
                                           "classes", "rows", "seed")}  # fmt: skip
    cells[-1].update(status="timeout", reason="took longer than 60 s")
    cells.append({"experiment": "accuracy", "implementation": HOSTILE, "dtype": "float32",
                  "workload": "normal(scale=10)", "classes": 1000, "rows": 1, "seed": 0,
                  "status": "crashed", "reason": FORMULA + "<script>"})  # fmt: skip
    return cells


def overflow_cells() -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = []
    for name in NAMES:
        for dtype in DTYPES:
            for sign in (1, -1):
                for probe in ("dominant", "tie"):
                    for event in ("nonfinite", "zero", "inaccurate"):
                        occurs = name == "naive" and event == "nonfinite" and sign == 1
                        last = THRESHOLDS.get(dtype, 88.5) if occurs else None
                        cells.append({
                            "experiment": "overflow", "implementation": name, "dtype": dtype,
                            "kind": "threshold", "probe": probe, "sign": sign, "event": event,
                            "occurs": occurs, "last_good": last,
                            "last_good_hex": None if last is None else float(last).hex(),
                            "first_bad": None if last is None else last * 1.001,
                            "status": "ok", "classes": 2, "rows": 1,
                        })  # fmt: skip
            for offset in (-1e5, -1e3, -100.0, 0.0, 100.0, 1e3, 1e4, 1e5):
                for n in (2, 10, 1000, 50257):
                    outcome, error = "accurate", 1.5
                    if name == "naive" and offset > 88:
                        outcome, error = "nan", None
                    if name == "naive" and offset < -100:
                        outcome, error = "nan", None
                    if name == "log_sum_exp" and abs(offset) >= 1e3:
                        outcome, error = "inaccurate", abs(offset) / 50
                    cells.append({
                        "experiment": "overflow", "implementation": name, "dtype": dtype,
                        "kind": "map", "offset": offset, "classes": n, "rows": 8,
                        "workload": "normal(scale=1)", "outcome": outcome, "max_ulp": error,
                        "status": "ok",
                    })  # fmt: skip
    return cells


SPEEDS = {"naive": 1.9, "max_shift": 1.5, "log_sum_exp": 1.2, "online": 0.9, "two_pass": 0.5,
          "numba_cpu": 14.0, "torch": 11.0, "scipy": 1.3}  # fmt: skip


OTHERS = {"copy_regular": 20.0, "copy_nontemporal": 27.0, "max_shift (control)": 1.5}


def throughput_cells() -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = []
    for threads in (1, 4):
        for regime, factor, size in (("latency", 0.2, None), ("cached", 2.0, 2**19),
                                     ("streaming", 1.0, 2**26)):  # fmt: skip
            for n in (10, 100, 1000, 10_000, 100_000):
                base = {"experiment": "throughput", "dtype": "float32", "device": "cpu",
                        "threads": threads, "workload": "normal(scale=1)", "regime": regime,
                        "classes": n, "rows": 1 if size is None else max(1, size // 4 // n),
                        "status": "ok"}  # fmt: skip
                bytes_ = size or 4 * n
                for name, speed in [*SPEEDS.items(), *OTHERS.items()]:
                    role = ("limit" if name.startswith("copy") else
                            "control" if "control" in name else "implementation")  # fmt: skip
                    gain = threads**0.7 if name in ("numba_cpu", "torch") else 1.0
                    gbps = speed * factor * gain * (1 + 0.05 * math.log10(n))
                    ns = 2 * bytes_ / gbps
                    for allocating in (False, True):
                        if allocating and role != "implementation":
                            continue
                        if name == "naive" and not allocating:
                            continue
                        t = ns * (1.2 if allocating else 1)
                        cells.append({
                            **base, "implementation": name, "role": role, "allocating": allocating,
                            "operation": "copy" if role == "limit" else "softmax",
                            "array_bytes": bytes_, "fits": "beyond L3" if size == 2**26 else "L2",
                            "samples_ns": [t, t * 1.01, t * 0.99], "calls_per_sample": 3,
                            "median_ns": t, "ci_low_ns": t * 0.97, "ci_high_ns": t * 1.04,
                            "gbps": 2 * bytes_ / t, "gbps_low": 2 * bytes_ / t / 1.04,
                            "gbps_high": 2 * bytes_ / t / 0.97, "baseline": "max_shift",
                            "speedup": gbps / (1.5 * factor * (1 + 0.05 * math.log10(n))),
                            "speedup_low": gbps / 1.6 / factor, "speedup_high": gbps / 1.4 / factor,
                            "limit": "copy_nontemporal",
                            "percent_of_limit": 100 * gbps / (27 * factor),
                            "gate_ulp": 900.0 if name == "two_pass" else 1.3,
                            "gate_error_over_bound": 40.0 if name == "two_pass" else 0.3,
                            "ranked": name != "two_pass",
                            "noisy": regime == "latency" and n == 10,
                        })  # fmt: skip
    return cells


def cells() -> list[dict[str, Any]]:
    """All records; each is valid by the schema."""
    found = accuracy_cells() + overflow_cells() + throughput_cells()
    return [RECORD.validate_python(c).model_dump() for c in found]


def run(
    records: Sequence[Record | Mapping[str, Any]] | None = None, **changes: Any
) -> SyntheticRun:
    """A run of records, or of their fields."""
    given = cells() if records is None else records
    made = [c if isinstance(c, Record) else RECORD.validate_python(c) for c in given]
    changes.setdefault("planned_cells", len(made))
    return SyntheticRun(info(**changes), made)


def case(name: str, key: str, verdict: str | None, **changes: Any) -> dict[str, Any]:
    status = {"failure": "failed", "unexpected_pass": "failed", "skipped": "skipped",
              "unsupported": "unsupported"}.get(str(verdict), "ok")  # fmt: skip
    number = re.match(r"\d+", key)
    return {
        "experiment": "conformance", "implementation": name, "operation": "softmax",
        "dtype": "float32", "device": "cpu", "workload": key, "case": key, "seed": 0,
        "number": int(number[0]) if number else None, "title": f"title of {key}",
        "kind": "contradiction", "verdict": verdict, "status": status,
        "reason": None if status == "ok" else f"reason of {key}",
        "outcome": "exact" if verdict == "pass" else None, **changes,
    }  # fmt: skip


FAILURE: dict[str, Any] = {
    "outcome": "zero", "message": "out[1]=0, but should be 5.6e-17", "reason": "out[1]=0",
    "case_input": ["0x1.2p+5", "0x0.0p+0"], "got": "0x0.0p+0", "expected": "0x1.0p-54",
    "error_ulp": 8.0e15, "allowed_ulp": 4.5, "observations": 7, "others": ["another one"],
    "upstream": ["https://github.com/pytorch/pytorch/issues/113708", "scipy/scipy#19521"],
}  # fmt: skip


_KEPT = ("naive", "max_shift", "log_sum_exp", "two_pass", "numba_cpu", "scipy", HOSTILE)


def small_run(**changes: object) -> SyntheticRun:
    """Few formats and implementations: what the tests look at, in a third of the time."""
    records = [
        c
        for c in cells()
        if (c["implementation"] in _KEPT or c["experiment"] == "throughput")
        and c["dtype"] in ("float32", "bfloat16")
        and c["threads"] in (None, 4)
    ]
    return run(records, **changes)
