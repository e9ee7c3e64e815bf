"""softmax-bench: accuracy, overflow behaviour and throughput of softmax implementations.

The public surface is imported when it is first used, so that ``import harness`` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import harness.reference as reference
    import harness.workloads as workloads
    from harness.comparison import compare
    from harness.numerics import metrics
    from harness.records.reader import read_results
    from harness.registry.discovery import implementations, load

__version__ = "0.1.0"
__all__ = [
    "compare",
    "implementations",
    "load",
    "metrics",
    "read_results",
    "reference",
    "workloads",
]

_HOMES = {
    "compare": "harness.comparison",
    "load": "harness.registry.discovery",
    "implementations": "harness.registry.discovery",
    "read_results": "harness.records.reader",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"harness.{name}")
    raise AttributeError(f"module 'harness' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
