"""softmax-bench: accuracy, overflow behaviour and throughput of softmax implementations.

The public surface is imported when it is first used, so that ``import harness`` is cheap.
"""

from __future__ import annotations

from pkgutil import resolve_name
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
    **{name: f"harness.{name}:" for name in ("bounds", "metrics", "reference", "workloads")},
    "compare": "harness.comparison:compare",
    "load": "harness.worker.local:load",
    "implementations": "harness.worker.local:implementations",
    "read_results": "harness.records.reader:read_results",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return resolve_name(_HOMES[name])
    raise AttributeError(f"module 'harness' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
