"""A folder for what Numba compiles, where the usual ones cannot be written.

Numba refuses ``cache=True`` outright where it finds no folder to write to: an installation that is
read-only would lose every compiled kernel.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import implementations

_VARIABLE = "NUMBA_CACHE_DIR"


@cache
def compiled_cache() -> dict[str, str]:
    """Variables for the environment of workers: none, or a temporary folder for this process.

    Never a folder with a name that others can guess: what Numba stores is loaded as code.
    """
    chosen = os.environ.get(_VARIABLE)
    sources = [*map(Path, implementations.__path__), Path(__file__).parents[2]]
    folders = [Path(chosen)] if chosen else [f / "__pycache__" for f in sources]
    if all(_writable(f) for f in folders):
        return {}
    made = tempfile.mkdtemp(prefix="softmax-bench-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return {_VARIABLE: made}


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
