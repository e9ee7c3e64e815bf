"""Where implementations come from: built in, a file's path, an entry point of another package.

Nothing is imported to list them: what is missing is found by looking for packages, and a device by
asking its driver. An entry point that cannot be used is an implementation that is unavailable, with
its reason, and stops no other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import implementations as built_in_package
from harness.registry.contract import ImplementationError, Metadata, read_metadata
from harness.registry.entry_points import third_parties
from harness.registry.module_path import find_module

_EXTRAS = {
    "torch": "torch",
    "triton": "triton",
    "cupy": "cuda",
    "sklearn": "training",
    "jax": "peers",
    "jax_cuda13_plugin": "jax-cuda",
    "onnxruntime": "peers",
    "onnx": "peers",
    "openvino": "peers",
    "numexpr": "peers",
    "tensorflow": "tensorflow",
    "tinygrad": "ecosystem",
    "mlx.core": "ecosystem",
    "candle": "ecosystem",
    "paddle": "ecosystem",
    "ai_edge_litert": "ecosystem",
    "pywhispercpp": "ecosystem",
    "tract": "ecosystem",
    "MNN": "ecosystem",
    "ncnn": "ecosystem",
}
_CHOICE = {"g++": "CXX", "clang": "CC"}
"""A program, and the environment variable that names another one in its place."""


def unavailable_reason(metadata: Metadata) -> str | None:
    """Why the implementation cannot run here, in one line; None where it can."""
    if metadata.fault is not None:
        return metadata.fault
    if metadata.device == "cuda":  # first: without one, nothing that could be installed helps
        from harness.machine.cuda_driver import cuda_device_count

        count, reason = cuda_device_count()
        if count == 0:
            return f"no CUDA device: {reason}"
    for requirement in metadata.requires:
        choices = requirement.split("|")  # any one of them serves
        if all(find_module(package) is None for package in choices):
            extra = _EXTRAS.get(choices[0])
            remedy = f"pip install 'softmax-bench[{extra}]'" if extra else f"install {choices[0]}"
            what = " or ".join(repr(package) for package in choices)
            return f"package {what} is not installed; {remedy}"
    for program in metadata.programs:
        wanted = os.environ.get(_CHOICE.get(program, "")) or program
        if shutil.which((wanted.split() or [""])[0]) is None:
            return f"program {wanted!r} is not installed; it is called when functions are compiled"
    return None


class Implementation:
    """An implementation as it is listed: what it says of itself, and whether it can run here.

    Attributes:
        name: the module file's stem.
        metadata: what the module says of itself.
        available: whether it can run here.
        unavailable_reason: why not, or None.
        operations: names of the operations that it offers.
    """

    def __init__(self, metadata: Metadata) -> None:
        self.name = metadata.name
        self.metadata = metadata
        self.operations = metadata.operations

    @property
    def unavailable_reason(self) -> str | None:
        return unavailable_reason(self.metadata)

    @property
    def available(self) -> bool:
        return self.unavailable_reason is None

    def __repr__(self) -> str:
        return f"<implementation {self.name}: {', '.join(self.operations)}>"


@cache
def implementations() -> Mapping[str, Implementation]:
    """All implementations, by name: built in, then those of entry points.

    An entry point that cannot be used is there as well, unavailable.

    Raises:
        ImplementationError: a built-in module breaks the contract.
    """
    folders = map(Path, built_in_package.__path__)
    built_in = [read_metadata(p) for folder in folders for p in sorted(folder.glob("[!_]*.py"))]
    return {m.name: Implementation(m) for m in (*built_in, *third_parties(built_in))}


def load(name_or_path: str | Path) -> Implementation:
    """An implementation by its name, or by the path of its file (anything ending in ``.py``).

    Raises:
        ImplementationError: no such implementation, or a file that breaks the contract.
    """
    text = str(name_or_path)
    if text.endswith(".py") or isinstance(name_or_path, Path):
        return Implementation(read_metadata(Path(text)))
    known = implementations()
    if text not in known:
        raise ImplementationError(
            f"no implementation named {text!r}; known are {', '.join(known)}; "
            f"or give the path of a Python file"
        )
    return known[text]
