"""``softmax-bench --about``: what is installed here and on what it runs, for a report of a bug."""

from __future__ import annotations

from pathlib import Path


def show() -> None:
    """Print the version, the licence, the machine, the packages, and where files are kept."""
    from rich.console import Console
    from rich.table import Table

    from harness.machine.description import describe
    from harness.reference.cache import cache_directory
    from harness.text import plain
    from harness.version import VERSION

    machine = describe()
    gpu = ", ".join(machine.gpus) if machine.gpus else f"none: {machine.gpu_reason}"
    facts = {
        "Licence": "BSD-3-Clause",
        "To cite": "the BibTeX entry at the foot of a report, or CITATION.cff",
        "Python": machine.python,
        "System": f"{machine.system}, kernel {machine.kernel}",
        "Processor": f"{machine.cpu}, {machine.logical_cores} cores, "
        f"{machine.memory_bytes / 2**30:.0f} GiB",
        "GPU": gpu,
        "Packages": ", ".join(f"{name} {is_}" for name, is_ in machine.versions.items()),
        "Code": str(Path(__file__).parents[2]),
        "Cache": f"{cache_directory()} (SOFTMAX_BENCH_CACHE)",
    }
    grid = Table.grid(padding=(0, 2))
    for name, fact in facts.items():
        grid.add_row(name, plain(fact))
    console = Console()
    console.print(f"softmax-bench {VERSION}: softmax measured against certified results")
    console.print(grid)
