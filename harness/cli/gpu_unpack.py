"""The program inside a bundle (`gpu_bundle`): checks, unpacks, and runs `harness.gpu`.

It stands alone: it uses Python's own library, and `packaging` once it has unpacked it. What the
image has is taken from the image; of the packages in the bundle only those come onto the path
that the image lacks, or has in a version too old for the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import posixpath
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

FORMAT = 1
MANIFEST, PROGRAM = "manifest.json", "__main__.py"
SOURCE, PACKAGES = "source", "site-packages"
"""Top folders. A package lies in a folder of its own below the second, whose name tells
`side_effects` what is installed and what is judged."""
CACHE_VARIABLE = "SOFTMAX_BENCH_CACHE"
USAGE = 2
_MOST_MANIFEST = 16 << 20
_PIECE = 1 << 20


class BundleError(Exception):
    """The bundle cannot be used here; the message is one line that says why and what to do."""


def read_manifest(archive: zipfile.ZipFile) -> dict[str, Any]:
    """What a bundle says of itself.

    Raises:
        BundleError: it is none, or of another version of this format.
    """
    try:
        info = archive.getinfo(MANIFEST)
        if info.file_size > _MOST_MANIFEST:
            raise ValueError("too large")
        found: dict[str, Any] = json.loads(archive.read(info))
        known = found["format"]
    except (KeyError, ValueError, TypeError) as e:
        raise BundleError(f"expected a {MANIFEST}; {e}; copy the file again") from None
    if known != FORMAT:
        raise BundleError(f"expected format {FORMAT}; got {known!r}; make the bundle again")
    return found


def check_platform(manifest: Mapping[str, Any]) -> None:
    """That the wheels of a bundle are for this Python.

    Raises:
        BundleError: they are not.
    """
    wanted = f"Python {manifest['python']} on {manifest['machine']} Linux"
    system = sys.platform.capitalize()
    here = f"Python {'.'.join(map(str, sys.version_info[:2]))} on {platform.machine()} {system}"
    if sys.implementation.name != "cpython" or "t" in sys.abiflags:
        here += f" ({sys.implementation.name}{sys.abiflags})"
    if here != wanted:
        again = f"--python {sys.version_info[0]}.{sys.version_info[1]} --machine"
        raise BundleError(
            f"it is for {wanted}; this is {here}; make one with "
            f"`python -m harness.cli.gpu_bundle {again} {platform.machine()}`"
        )
    name, version = platform.libc_ver()
    least = tuple(int(n) for n in manifest["glibc"].split("."))
    if name != "glibc" or tuple(int(n) for n in version.split(".")[:2]) < least:
        raise BundleError(
            f"its packages need glibc {manifest['glibc']} or later; this is {name} {version}"
        )


def _check_name(name: str, files: Mapping[str, Any]) -> None:
    parts = name.split("/")
    if (
        name not in files
        or posixpath.normpath(name) != name
        or parts[0] not in (SOURCE, PACKAGES)
        or any(p in ("", ".", "..") for p in parts)
        or any(c in name for c in "\\:\0")
    ):
        raise BundleError(f"{name!r:.100} is no name of a file in a bundle; copy the file again")


def unpack(archive: zipfile.ZipFile, manifest: Mapping[str, Any], folder: Path) -> None:
    """Every file of the manifest below a new folder, each as large and with the hash as told.

    Raises:
        BundleError: something is missing, more, elsewhere or different.
        OSError: the folder cannot be written.
    """
    files: Mapping[str, Sequence[Any]] = manifest["files"]
    members = [i for i in archive.infolist() if i.filename not in (MANIFEST, PROGRAM)]
    for info in members:
        _check_name(info.filename, files)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise BundleError(f"{info.filename!r:.100} is no plain file; copy the bundle again")
    names = [i.filename for i in members]
    if len(names) != len(files) or len(set(names)) != len(files):
        raise BundleError(
            f"expected {len(files)} files; it holds {len(names)}; copy the file again"
        )
    for info in members:
        size, digest = files[info.filename]
        path = folder / info.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        seen, found = 0, hashlib.sha256()
        with archive.open(info) as source, open(path, "xb") as target:
            while piece := source.read(_PIECE):
                seen += len(piece)
                if seen > size:
                    break
                found.update(piece)
                target.write(piece)
        if seen != size or found.hexdigest() != digest:
            raise BundleError(f"{info.filename} is damaged; copy the file again")


def whole(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether a folder, this user's alone, holds every file as the manifest tells."""
    try:
        own = folder.stat()
        if own.st_uid != os.getuid() or own.st_mode & 0o022:
            return False
        for name, (size, digest) in manifest["files"].items():
            path = folder / name
            if path.is_symlink() or path.stat().st_size != size:
                return False
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                return False
    except OSError:
        return False
    return True


def place() -> Path:
    """A folder of this user's for what is unpacked: kept, or temporary where none can be written.

    `CACHE_VARIABLE` chooses it.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "softmax-bench"
    chosen = os.environ.get(CACHE_VARIABLE)
    with contextlib.suppress(OSError):
        folder = (Path(chosen) if chosen else home) / "gpu"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="softmax-bench-gpu-"))


def unpacked(archive: zipfile.ZipFile, manifest: Mapping[str, Any], below: Path) -> Path:
    """The folder of a bundle's files below another, unpacked there unless it is whole already."""
    text = json.dumps(manifest, sort_keys=True).encode()
    folder = below / hashlib.sha256(text).hexdigest()[:16]
    if whole(folder, manifest):
        return folder
    below.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=below, prefix="new-"))  # for its owner alone
    try:
        unpack(archive, manifest, fresh)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            fresh.rename(folder)
        except OSError:  # another process was faster
            if not whole(folder, manifest):
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def version_here(package: Mapping[str, Any]) -> str | None:
    """The version of a package that the image has, "" if it does not say, None if it has none."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package["name"])
    with contextlib.suppress(ImportError, ValueError):
        if any(importlib.util.find_spec(m) for m in package["modules"]):
            return ""
    return None


def versions_here(manifest: Mapping[str, Any]) -> dict[str, str | None]:
    """`version_here` of every package of a bundle."""
    return {p["name"]: version_here(p) for p in manifest["packages"]}


def chosen(
    manifest: Mapping[str, Any], here: Mapping[str, str | None]
) -> tuple[list[str], list[str]]:
    """Names of the packages that come onto the path, and of those that the image has too old.

    Needs `packaging` on the path.

    Args:
        here: what `versions_here` found before the bundle's `packaging` was on the path.

    Raises:
        BundleError: the image has, or lacks, something that only the image can mend.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    brought = {p["name"]: p for p in manifest["packages"]}
    active = {name for name, found in here.items() if found is None}
    replaced: set[str] = set()

    def version(name: str) -> str | None:
        if name in active:
            return str(brought[name]["version"])
        return here[name] if name in here else version_here({"name": name, "modules": ()})

    def next_step() -> str | None:
        """What has to be replaced next, None if everything fits."""
        asked = [("softmax-bench", text) for text in manifest["requires"]]
        asked += [(n, text) for n in sorted(active) for text in brought[n]["requires"]]
        for whose, text in asked:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            name: str = canonicalize_name(requirement.name)
            have = version(name)
            if have == "" or (have and requirement.specifier.contains(have, prereleases=True)):
                continue
            if name in brought and name not in active:
                return name
            what = "none" if have is None else f"{name} {have}"
            raise BundleError(
                f"{whose} needs {requirement.name}{requirement.specifier}; this image has {what}; "
                "install that, or make the bundle again for what the image has"
            )
        return None

    while (name := next_step()) is not None:
        active.add(name)
        replaced.add(name)
    return sorted(active), sorted(replaced)


def environment(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Variables for this and every worker process: our code first, then theirs, then packages.

    Packages that the image has are not among them, so that none stands in for one of the image.
    """
    before = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    path = [str(folder / SOURCE), *before, *(str(folder / PACKAGES / n) for n in names)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def prepare(bundle: Path, below: Path | None = None) -> dict[str, str]:
    """Unpack a bundle if that is not done yet; the environment in which it runs.

    Raises:
        BundleError: it cannot be used here.
    """
    try:
        with zipfile.ZipFile(bundle) as archive:
            manifest = read_manifest(archive)
            check_platform(manifest)
            try:
                folder = unpacked(archive, manifest, below or place())
            except OSError as e:
                size = sum(size for size, _ in manifest["files"].values())
                raise BundleError(
                    f"cannot be unpacked: {e}; it needs {size / 1e6:.0f} MB; {CACHE_VARIABLE} "
                    "names another folder"
                ) from None
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError) as e:
        raise BundleError(f"cannot be read: {e}; copy the file again") from None
    here = versions_here(manifest)
    sys.path.append(str(folder / PACKAGES / "packaging"))  # the image's own goes before it
    names, replaced = chosen(manifest, here)
    for name in replaced:
        print(f"harness.gpu: the image's {name} is too old for the others: the bundle's is used")
    return environment(folder, names)


def main() -> NoReturn:
    """Run `harness.gpu` out of the bundle that this program is in, with its arguments."""
    bundle = Path(__file__).resolve().parent
    sys.path[:] = [p for p in sys.path if Path(p).resolve() != bundle]
    try:
        variables = prepare(bundle)
    except BundleError as e:
        print(f"{bundle.name}: {e}", file=sys.stderr)
        sys.exit(USAGE)
    sys.stdout.flush()
    # -P: a file of the current folder must not stand in for a package
    command = [sys.executable, "-P", "-m", "harness.gpu", *sys.argv[1:]]
    os.execve(sys.executable, command, variables)


if __name__ == "__main__":
    main()
