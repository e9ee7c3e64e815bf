"""What of an earlier site still holds: only what changed is drawn again.

A site of many runs consists of pieces: a folder of pages for each run, and one for each
comparison. The key of a piece is a digest of all that its pages depend on: the files of its
runs, the harness itself and the libraries that draw. The manifest names the key of each piece of
a site, and a digest of what it held; a piece whose key is the same, and which nobody touched, is
copied.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

MANIFEST = ".softmax-bench-pieces.json"

_LISTED = TypeAdapter(dict[str, tuple[str, str]])
_HARNESS = Path(__file__).parents[1]
_LIBRARIES = ("jinja2", "matplotlib", "numpy", "pandas", "pillow", "pyarrow", "pydantic")


def digest(*parts: str) -> str:
    """Of some texts, in their order."""
    found = hashlib.sha256()
    for part in parts:
        found.update(f"{len(part)} {part}".encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def digest_of_file(path: Path) -> str:
    """Of what a file holds; of one that is missing, nothing."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_folder(folder: Path) -> str:
    """Of the names and the contents of all files below a folder; a link is none that we made."""
    paths = sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    return digest(
        *(text for p in paths for text in (p.relative_to(folder).as_posix(), digest_of_file(p)))
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


@cache
def code() -> str:
    """A digest of the harness and of the libraries that draw: other ones may draw otherwise."""
    own = sorted(p for p in _HARNESS.rglob("*") if p.is_file() and p.suffix != ".pyc")
    return digest(*map(digest_of_file, own), *map(_version, _LIBRARIES))


class Pieces:
    """The pieces of a site that is being made, and of an earlier one."""

    def __init__(self, earlier: Path, site: Path) -> None:
        self._earlier, self._site = earlier, site
        self._listed = _read(earlier / MANIFEST)
        self._keys: dict[str, str] = {}

    def reuse(self, folder: str, key: str) -> bool:
        """Copy a piece of the earlier site if it still holds; whether it did.

        Args:
            folder: of the piece, within the site.
            key: what its pages depend on, as a digest; empty for a piece that is always made.
        """
        if not key:
            return False
        self._keys[folder] = key
        before, held = self._listed.get(folder, ("", ""))
        there = self._earlier / folder
        if before != key or digest_of_folder(there) != held:
            return False
        shutil.copytree(there, self._site / folder)
        return True

    def write(self) -> None:
        """Write the manifest of the site, when all of it is made."""
        held = {f: (key, digest_of_folder(self._site / f)) for f, key in self._keys.items()}
        (self._site / MANIFEST).write_bytes(_LISTED.dump_json(held, indent=1))


def _read(manifest: Path) -> Mapping[str, tuple[str, str]]:
    """What a manifest lists; nothing where it is missing or damaged, and all is made anew."""
    try:
        return _LISTED.validate_json(manifest.read_bytes())
    except (OSError, ValidationError):
        return {}
