"""The packages that a run on a device needs, and what is said where one is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

REQUIRED: Mapping[str, str] = {
    "numpy": "numpy",
    "numba": "numba",
    "pandas": "pandas",
    "mpmath": "mpmath",
    "ml_dtypes": "ml_dtypes",
    "platformdirs": "platformdirs",
    "psutil": "psutil",
    "pydantic": "pydantic",
    "scipy": "scipy",
    "threadpoolctl": "threadpoolctl",
}
"""Module to the package that brings it."""
REPORT: Mapping[str, str] = {"jinja2": "jinja2", "matplotlib": "matplotlib"}
FASTER: Mapping[str, str] = {"flint": "python-flint"}
"""Without it the reference takes mpmath's intervals: slower, and the same results."""
HELPFUL: Mapping[str, str] = {
    "cpuinfo": "py-cpuinfo",
    "pynvml": "nvidia-ml-py",
    "pytest": "pytest",
}
"""The processor's name, the device's clocks, the device tests."""
OF_THE_IMAGE = ("numpy", "numba", "llvmlite", "pandas", "mpmath", "torch", "triton", "cupy-cuda13x")
"""What an image for CUDA work has, in its own version: never brought along."""


def absent(packages: Mapping[str, str]) -> list[str]:
    """Those of some packages whose module cannot be found here."""
    return [name for module, name in packages.items() if importlib.util.find_spec(module) is None]


def missing_line(packages: Sequence[str]) -> str:
    """What is missing and how to bring it along to a machine without a network, in one line."""
    return (
        f"harness.gpu: missing: {', '.join(packages)}; install them, or bring everything along in "
        "one file: where there is a network, `python -m harness.cli.gpu_bundle` makes it"
    )
