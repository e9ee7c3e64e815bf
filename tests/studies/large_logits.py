"""Judges a sparse file of logits larger than memory, and says what that took.

``python -m large_logits`` makes a `.npy` file of 20 GB in a temporary folder, all holes but for a
few rows of random logits, judges it with ``softmax-bench run`` in processes of its own, and holds
the record against the few rows, judged here. The file is removed in the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

import harness
from harness.numerics.metrics import summarise
from harness.reference import softmax_exact

CLASSES = 1024
"""A power of two, so that softmax of a row of zeros is a number of every format."""
SHARES = (0.0, 0.2, 0.50001, 0.9, 1.0)
"""Where the written rows lie."""


def sparse_file(path: Path, rows: int, rng: np.random.Generator) -> dict[int, np.ndarray]:
    """Writes the file; returns what is no hole, by row."""
    written = {
        int(share * (rows - 1)): (rng.normal(size=CLASSES) * (2 + 18 * share)).astype(np.float32)
        for share in SHARES
    }
    for row in written.values():
        row[rng.random(CLASSES) < 0.2] = -np.inf
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, CLASSES)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + 4 * rows * CLASSES)
        for row, values in written.items():
            file.seek(start + 4 * row * CLASSES)
            file.write(values.tobytes())
    return written


def peak_of(process: psutil.Popen) -> int:
    """Largest sum of the resident memory of a process and all below it, looked at ten times a
    second; pages that several of them share count several times."""
    peak = 0
    while process.poll() is None:
        total = 0
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_info().rss
            except psutil.Error:  # it has just ended
                continue
        peak = max(peak, total)
        time.sleep(0.1)
    return peak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--implementation", default="numba_cpu")
    given = parser.parse_args()
    rows = round(given.gigabytes * 1e9 / 4 / CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.npy"
        written = sparse_file(path, rows, np.random.default_rng(0))
        held = path.stat()
        print(f"{held.st_size:,} bytes, {512 * held.st_blocks:,} of them on disk", flush=True)
        # the constant workload of two classes is all that is measured beside it
        options = "run --experiment accuracy --dtype float32 --workload constant --classes 2"
        command = [
            "softmax-bench", *options.split(), "-i", given.implementation, "--logits", path.name,
            "--no-report", "--machine", "box",
        ]  # fmt: skip
        print(" ".join(command), flush=True)
        began = time.monotonic()
        process = psutil.Popen(
            [sys.executable, "-m", "harness", *command[1:]], cwd=folder, stdout=subprocess.DEVNULL
        )
        peak = peak_of(process)
        print(f"{time.monotonic() - began:,.0f} s, {peak / 1e6:,.0f} MB of memory at the most")
        (cells,) = Path(folder).glob("results/box/*/cells.jsonl")
        records = [json.loads(line) for line in cells.read_text(encoding="utf-8").splitlines()]
    (record,) = (r for r in records if r["workload"].startswith("file("))
    x = np.stack(list(written.values()))
    expected = summarise(harness.load(given.implementation).softmax(x), softmax_exact(x), logits=x)
    histogram = dict(expected.histogram)
    histogram["0"] += (rows - len(x)) * CLASSES
    due = {
        "status": "ok",
        "elements": rows * CLASSES,
        "max_ulp": expected.max_ulp,
        "ulp_histogram": histogram,
        "worst_row": list(written)[expected.worst.row],
        "worst_got": expected.worst.computed,
    }
    for name, value in due.items():
        print(f"{name}: {record.get(name)}, due: {value}")
    return int(any(record.get(name) != value for name, value in due.items()))


if __name__ == "__main__":
    sys.exit(main())
