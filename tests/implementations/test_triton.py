"""The Triton kernels in Triton's interpreter, on the CPU, against the certified reference."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from harness.bounds import error_over_bound, evaluate_bound
from harness.numerics.ulps import signed_ulp_error
from harness.reference import softmax_exact
from harness.worker.local import implementations

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or importlib.util.find_spec("torch") is None,
    reason="triton and torch are not both installed: its kernels are not run here",
)

ROOT = Path(__file__).parents[2]
# The interpreter is chosen when triton is imported, hence a process of its own. bfloat16 travels
# as its bits, which NumPy's files know.
SCRIPT = """
import sys, warnings
import numpy as np, torch
sys.path.insert(0, sys.argv[3])
from implementations import triton_gpu
given = np.load(sys.argv[1])
found = {}
with warnings.catch_warnings(), np.errstate(all="ignore"):
    warnings.simplefilter("ignore")
    for key in given:
        x = torch.from_numpy(given[key])
        half = key.startswith("bfloat16")
        x = x.view(torch.bfloat16) if half else x
        y = triton_gpu.softmax(x, axis=0 if "columns" in key else -1)
        found[key] = (y.view(torch.int16) if half else y).numpy()
np.savez(sys.argv[2], **found)
"""
DTYPES = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
CLASSES = (1, 10, 71, 1000, 16_385, 20_000)


def _inputs() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    found: dict[str, Any] = {}
    for name, dtype in DTYPES.items():
        for classes in CLASSES:
            found[f"{name}-{classes}"] = (4 * rng.standard_normal((3, classes))).astype(dtype)
        found[f"{name}-columns"] = rng.standard_normal((7, 5)).astype(dtype)
        for classes in (6, 16_500):
            x = np.zeros((5, classes), dtype)
            x[0] = -np.inf
            x[1, -1] = np.nan
            x[2, 0] = np.inf
            x[3, : classes - 2] = -np.inf  # longer than a block
            found[f"{name}-special-{classes}"] = x
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    folder = tmp_path_factory.mktemp("triton")
    given = _inputs()
    bits = {k: v.view(np.int16) if v.dtype == DTYPES["bfloat16"] else v for k, v in given.items()}
    np.savez(folder / "in.npz", **bits)
    arguments = [str(folder / "in.npz"), str(folder / "out.npz"), str(ROOT)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "out.npz") as found:
        return {k: (x, found[k].view(x.dtype)) for k, x in given.items()}


@pytest.mark.parametrize("classes", [*CLASSES, "columns"])
@pytest.mark.parametrize("name", DTYPES)
def test_results_are_within_the_bound(
    results: dict[str, tuple[Any, Any]], name: str, classes: int | str
) -> None:
    x, y = results[f"{name}-{classes}"]
    if classes == "columns":
        x, y = np.ascontiguousarray(x.T), np.ascontiguousarray(y.T)
    exact = softmax_exact(x)
    if name == "bfloat16":
        # The interpreter cuts float32 off where a device rounds it: below by an ulp at most.
        error = signed_ulp_error(y, exact, "bfloat16")
        assert error.max() <= 0.02
        assert error.min() >= -1.02
        return
    inside = "float64" if name == "float64" else "float32"
    bound = evaluate_bound("online", x, exact, name, internal=inside, exp_error=8.0)
    assert error_over_bound(y, exact, bound).max() <= 1.0
    wrong = np.roll(y, 1, axis=1)
    if x.shape[1] > 1:  # the judge can fail them
        assert error_over_bound(wrong, exact, bound).max() > 1.0


@pytest.mark.parametrize("classes", [6, 16_500])
@pytest.mark.parametrize("name", DTYPES)
def test_special_values(results: dict[str, tuple[Any, Any]], name: str, classes: int) -> None:
    y = results[f"{name}-special-{classes}"][1].astype(np.float64)
    assert np.isnan(y[:3]).all()
    assert y[3].tolist() == [0.0] * (classes - 2) + [0.5] * 2
    np.testing.assert_allclose(y[4], 1 / classes, rtol=2**-8)


def test_without_a_device_it_is_listed_with_the_reason() -> None:
    one = implementations()["triton_gpu"]
    if not one.available:
        assert one.unavailable_reason


COMPILE = """
import sys
import triton.language as tl
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
sys.path.insert(0, sys.argv[1])
from implementations import triton_gpu
for number in ("fp64", "fp32", "fp16", "bf16"):
    wide = tl.float64 if number == "fp64" else tl.float32
    for kernel, size, warps in ((triton_gpu._held, 16384, 16), (triton_gpu._online, 4096, 16)):
        names = kernel.arg_names
        kinds = {"x": f"*{number}", "out": f"*{number}", "classes": "i32", "pitch": "i32"}
        signature = {name: kinds.get(name, "constexpr") for name in names}
        fixed = {(names.index("SIZE"),): size, (names.index("WIDE"),): wide}
        source = ASTSource(fn=kernel, signature=signature, constexprs=fixed)
        target = GPUTarget("cuda", int(sys.argv[2]), 32)
        made = triton.compile(source, target=target, options={"num_warps": warps})
        assert made.asm["cubin"].startswith(b"\\x7fELF")
        assert made.metadata.shared <= 48 * 1024, made.metadata.shared
        print(number, kernel.__name__)
"""


_SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "capability", [90, pytest.param(80, marks=_SLOW), pytest.param(100, marks=_SLOW)]
)
def test_the_kernels_compile_for_devices_that_are_not_there(
    tmp_path: Path, capability: int
) -> None:
    """By Triton's own compiler and assembler, which need no GPU; not in the interpreter."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILE, str(ROOT), str(capability)],
        capture_output=True, text=True, timeout=300, check=False,
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 8
