"""Where a module is, found without importing anything."""

from __future__ import annotations

import importlib.util
from importlib.machinery import PathFinder
from pathlib import Path


def find_module(name: str) -> Path | None:
    """The file of a module, or the folder of a package without one; None where there is none.

    Nothing is imported: `importlib.util.find_spec` runs the packages that a module is in.
    """
    top, *inner = parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):  # of a module that was set up by hand
        return None
    for part in inner:
        folders = [] if spec is None else list(spec.submodule_search_locations or ())
        spec = PathFinder.find_spec(part, folders)
    if spec is None:
        return None
    found = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return Path(found[0]) if found else None
