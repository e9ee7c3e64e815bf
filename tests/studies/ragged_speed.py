"""What it spares to leave out what is masked: ragged rows beside rows filled with -inf.

    python -m ragged_speed --threads 1

float32, calls in turn in one process: medians of the ratios of neighbouring calls, of times of the
ragged rows over those of the same rows filled with -inf, by the same library. Results of ours go to
arrays that exist; PyTorch allocates its own either way. Two tables in Markdown: matrices of which
some entries are stored, by chance, and batches of rows of unlike lengths, filled up to the longest.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numba
import numpy as np
import torch

from harness.experiments.claims.timing import DENSITIES, sparse_rows
from implementations import max_shift, numba_cpu
from implementations._shared import torch_operations

Call = Callable[[], Any]
Array = np.ndarray[Any, Any]
SHAPES = ((256, 4096), (64, 131072))
PATTERNS: Mapping[str, Callable[[np.random.Generator], Array]] = {
    "4000 rows, Poisson(8)": lambda rng: rng.poisson(8, 4000),
    "4000 rows, Zipf(1.5) up to 4096": lambda rng: np.minimum(rng.zipf(1.5, 4000), 4096),
    "512 rows of 1 to 512": lambda rng: rng.integers(1, 513, 512),
    "64 rows of 1 to 8192": lambda rng: rng.integers(1, 8193, 64),
    "2000 rows of 64": lambda rng: np.full(2000, 64),
}
_BUDGET_S = 1.5
"""Of the calls of one line, and no fewer than three rounds."""


def _timed(call: Call) -> float:
    call()  # the arrays are where it finds them
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _coo(values: Array, offsets: Array) -> Any:
    """PyTorch's sparse matrix of the rows, each from its first column on."""
    lengths = np.diff(offsets)
    row = np.repeat(np.arange(len(lengths)), lengths)
    places = torch.from_numpy(np.stack([row, np.arange(len(values)) - offsets[row]]))
    size = (len(lengths), int(max(lengths)))
    return torch.sparse_coo_tensor(
        places, torch.from_numpy(values), size, is_coalesced=True, check_invariants=False
    )


def _calls(dense: Array, values: Array, offsets: Array) -> dict[str, Call]:
    """By name: ours, NumPy, PyTorch, on the rows as they are and on those filled with -inf."""
    whole, own = np.empty_like(dense), np.empty_like(values)
    kept, filled = dense != -np.inf, torch.from_numpy(dense)
    given, places, matrix = *map(torch.from_numpy, (values, offsets)), _coo(values, offsets)
    calls: dict[str, Call] = {
        "ours": partial(numba_cpu.ragged_softmax, values, offsets, out=own),
        "ours, -inf": partial(numba_cpu.softmax, dense, out=whole),
        "ours, mask": partial(numba_cpu.masked_softmax, dense, kept, out=whole),
        "numpy": partial(max_shift.ragged_softmax, values, offsets, out=own),
        "numpy, -inf": partial(max_shift.softmax, dense, out=whole),
        "jagged": partial(torch_operations.ragged, given, places),
        "coo": lambda: torch.sparse.softmax(matrix, 1)._values(),
        "torch, -inf": partial(torch.softmax, filled, 1),
    }
    results = {name: np.asarray(call()) for name, call in calls.items()}
    for name, y in results.items():
        rows = y[kept] if y.shape == dense.shape else y
        np.testing.assert_allclose(rows, results["ours"], rtol=1e-4, atol=1e-30, err_msg=name)
    return calls


def _line(dense: Array, values: Array, offsets: Array) -> str:
    """Nanoseconds an entry, and ratios."""
    calls = _calls(dense, values, offsets)
    once = sum(2 * _timed(call) for call in calls.values())
    rounds = min(200, max(3, int(_BUDGET_S / once)))
    times = np.array([[_timed(call) for call in calls.values()] for _ in range(rounds)])
    of = dict(zip(calls, times.T, strict=True))

    def ratio(a: str, b: str) -> str:
        return f"{np.median(of[a] / of[b]):.3g}"

    per_entry = np.median(of["ours"]) / len(values)
    cells = [
        f"{per_entry * 1e9:.3g}", f"{1 / per_entry / 1e6:.3g}", ratio("ours", "ours, -inf"),
        ratio("ours", "ours, mask"), ratio("numpy", "numpy, -inf"), ratio("jagged", "torch, -inf"),
        ratio("coo", "torch, -inf"), ratio("jagged", "ours"), ratio("coo", "ours"),
    ]  # fmt: skip
    return " | ".join(cells)


_COLUMNS = (
    "entries", "ns an entry", "million a second", "`numba_cpu` ÷ −inf", "÷ mask",
    "`max_shift` ÷ −inf", "PyTorch jagged ÷ −inf", "COO ÷ −inf", "jagged ÷ ours", "COO ÷ ours",
)  # fmt: skip


def _head(*first: str) -> str:
    names = (*first, *_COLUMNS)
    return f"| {' | '.join(names)} |\n|{' --- |' * len(names)}"


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # of sparse tensors, that they are in beta
    print(_head("matrix", "stored"))
    for rows, classes in SHAPES:
        for density in DENSITIES:
            dense, values, offsets = sparse_rows(rows, classes, density)
            told = _line(dense, values, offsets)
            print(f"| {rows} × {classes} | {density:.1%} | {len(values)} | {told} |", flush=True)
    print(f"\n{_head('lengths', 'filled up')}")
    for name, lengths_of in PATTERNS.items():
        rng = np.random.default_rng(0)
        lengths = lengths_of(rng)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        values = rng.standard_normal(offsets[-1]).astype(np.float32)
        dense = np.full((len(lengths), int(lengths.max())), -np.inf, np.float32)
        dense[np.arange(dense.shape[1]) < lengths[:, None]] = values
        dense = dense[lengths > 0]  # of which a dense row has nothing to compare
        own = np.concatenate([[0], np.cumsum(lengths[lengths > 0])])
        told = _line(dense, values, own)
        print(f"| {name} | {dense.size} | {len(values)} | {told} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
