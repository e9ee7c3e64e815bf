"""softmax-bench: accuracy, overflow behaviour and throughput of softmax implementations.

The public surface is imported when it is first used, so that ``import harness`` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.version import VERSION

if TYPE_CHECKING:
    import harness.bounds as bounds
    import harness.reference as reference
    import harness.workloads as workloads
    from harness.comparison import compare
    from harness.numerics import metrics
    from harness.records.reader import read_results
    from harness.worker.local import implementations, load

__version__ = VERSION
__all__ = [
    "bounds",
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
    "load": "harness.worker.local",
    "implementations": "harness.worker.local",
    "read_results": "harness.records.reader",
}
_MODULES = {
    "bounds": "harness.bounds",
    "metrics": "harness.metrics",
    "reference": "harness.reference",
    "workloads": "harness.workloads",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"module 'harness' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
