"""Where a module is, found without importing anything."""

from __future__ import annotations

import importlib.util
from importlib.machinery import all_suffixes
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
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    found = Path(spec.origin) if spec.origin else folders[0] if folders else None
    for part in inner:
        found, folders = _inside(part, folders)
    return found


def _inside(part: str, folders: list[Path]) -> tuple[Path | None, list[Path]]:
    """The file of a module in one of the folders of its package, and the folders of its own."""
    for folder in folders:
        suffixes = all_suffixes()
        package = [folder / part / f"__init__{suffix}" for suffix in suffixes]
        for file in (*package, *(folder / f"{part}{suffix}" for suffix in suffixes)):
            if file.is_file():
                return file, [file.parent] if file in package else []
    spread = [folder / part for folder in folders if (folder / part).is_dir()]
    return (spread[0] if spread else None), spread
