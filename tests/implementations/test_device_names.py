"""Names of the array libraries that our code uses on a device, against the libraries themselves.

What runs on a device alone is not run here; that the library has what it asks for can still be
seen. A wrong name would cost the first run on a device.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cuda_emulation as emulation
import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = ("cupy", "cupyx", "cupy_backends", "torch", "jax", "triton")
FILES = sorted(
    str(path.relative_to(ROOT))
    for folder in ("harness/worker/backends", "implementations", "implementations/_cuda")
    for path in (ROOT / folder).glob("*.py")
    if any(word in str(path) for word in ("cuda", "cupy", "triton", "torch_device"))
)


def imported(tree: ast.AST) -> dict[str, tuple[str, str | None]]:
    """What each name stands for: (module, name in it), of the libraries."""
    found: dict[str, tuple[str, str | None]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                found[alias.asname or top] = (alias.name if alias.asname else top, None)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                found[alias.asname or alias.name] = (node.module, alias.name)
    return {n: w for n, w in found.items() if w[0].split(".")[0] in LIBRARIES}


def uses(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...], str | None]]:
    """(name, attributes of it, attribute of what calling that gives or None)."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        of_result, base = None, node.value
        if isinstance(base, ast.Call):
            of_result, base = node.attr, base.func
        chain = [] if of_result else [node.attr]
        while isinstance(base, ast.Attribute):
            chain.insert(0, base.attr)
            base = base.value
        if isinstance(base, ast.Name):
            yield base.id, tuple(chain), of_result


def missing(text: str) -> list[str]:
    """Names that a source uses and its libraries lack; skips where one is not installed."""
    tree = ast.parse(text)
    known, found = imported(tree), []
    for module, name in known.values():
        if importlib.util.find_spec(module.split(".")[0]) is None:
            pytest.skip(f"{module.split('.')[0]} is not installed")
        if name is not None and not _has(importlib.import_module(module), module, name):
            found.append(f"{module}.{name}")
    for name, chain, of_result in uses(tree):
        if name not in known:
            continue
        module, member = known[name]
        thing: Any = importlib.import_module(module)
        thing = thing if member is None else getattr(thing, member, None)
        for attribute in chain:
            if not _has(thing, module, attribute):
                found.append(".".join((name, *chain)))
                break
            thing = getattr(thing, attribute)
        else:
            if of_result and inspect.isclass(thing) and not hasattr(thing, of_result):
                found.append(f"{'.'.join((name, *chain))}().{of_result}")
    return sorted(set(found))


def _has(thing: Any, module: str, attribute: str) -> bool:
    if hasattr(thing, attribute):
        return True
    try:
        importlib.import_module(f"{getattr(thing, '__name__', module)}.{attribute}")
    except ImportError:
        return False
    return True


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", FILES)
def test_the_libraries_have_what_is_asked_of_them(file: str) -> None:
    assert missing((ROOT / file).read_text(encoding="utf-8")) == []


def test_a_wrong_name_is_found() -> None:
    pytest.importorskip("cupy", reason="cupy is not installed")
    text = (
        "import cupy\nfrom cupy.cuda import nvrtc, nvrtx\ncupy.cuda.Device(0).compute_capability\n"
        "cupy.cuda.Device(0).capability\ncupy.cuda.Evnt\nnvrtc.getCUBIN\nnvrtc.getCubin()\n"
    )
    assert missing(text) == [
        "cupy.cuda.Device().capability", "cupy.cuda.Evnt", "cupy.cuda.nvrtx", "nvrtc.getCubin",
    ]  # fmt: skip


def test_the_emulated_device_has_attributes_of_cupys_names_alone() -> None:
    """CuPy's list is not that of CUDA: it has no compute capability."""
    runtime = pytest.importorskip("cupy_backends.cuda.api.runtime", reason="cupy is not installed")
    for name in emulation.attributes():
        assert hasattr(runtime, f"cudaDevAttr{name}"), name
    assert not hasattr(runtime, "cudaDevAttrComputeCapabilityMajor")
