"""One file that holds everything for a run on a device: ``python -m harness.cli.gpu_bundle``.

Made where there is a network, for the Python of the image: the source of the harness, of the
implementations and of the device tests, and the packages that an image for CUDA work lacks. There
``python softmax-bench-gpu.pyz`` is what ``python -m harness.gpu`` is in a checkout
(`gpu_unpack`).
"""

from __future__ import annotations

import argparse
import email
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cli import gpu_unpack
from harness.cli.gpu import TESTS
from harness.cli.gpu_packages import FASTER, HELPFUL, OF_THE_IMAGE, REPORT, REQUIRED
from harness.errors import UserError
from harness.experiments.run_info import ORIGIN, PACKAGE, git_state

ROOT = PACKAGE.resolve().parent
PROJECT = "softmax-bench"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same content is the same file
_OLD_TAGS = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_GENERATED = ("__pycache__", ".pyc", ".nbi", ".nbc")


class BundleError(UserError):
    """A bundle that cannot be made; the message is one line."""


@dataclass(frozen=True)
class Target:
    """For whom a bundle is made.

    Attributes:
        python: (3, 12).
        machine: as ``uname -m`` gives it.
        glibc: (2, 28), the oldest that the image may have.
    """

    python: tuple[int, int]
    machine: str
    glibc: tuple[int, int] = (2, 28)

    def platforms(self) -> list[str]:
        """The platform tags of wheels that run there, for pip."""
        major, newest = self.glibc
        tags = [f"manylinux_{major}_{n}_{self.machine}" for n in range(newest, 4, -1)]
        return tags + [f"{name}_{self.machine}" for name in _OLD_TAGS]


def wanted() -> list[str]:
    """Packages that are brought along, by the names under which they are installed."""
    names = {**REQUIRED, **REPORT, **FASTER, **HELPFUL}.values()
    return [n for n in dict.fromkeys(names) if n not in OF_THE_IMAGE]


def download(target: Target, folder: Path) -> list[Path]:
    """The wheels of `wanted` and of what they need, by pip, without what every image has.

    Raises:
        BundleError: pip could not; its last line.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:",
               "--implementation", "cp", "--python-version", "{}.{}".format(*target.python),
               "--dest", str(folder)]  # fmt: skip
    for tag in target.platforms():
        command += ["--platform", tag]
    if (constraints := ROOT / "constraints.txt").exists():
        command += ["--constraint", str(constraints)]
    done = subprocess.run([*command, *wanted()], capture_output=True, text=True, check=False)
    if done.returncode:
        last = ([""] + [line for line in done.stderr.splitlines() if line.strip()])[-1]
        raise BundleError(f"pip download left with exit status {done.returncode}: {last:.300}")
    wheels = sorted(folder.glob("*.whl"))
    return [w for w in wheels if w.name.split("-")[0].replace("_", "-") not in OF_THE_IMAGE]


def _glibc_of(tag: str) -> tuple[int, int]:
    """The least glibc of a platform tag; (0, 0) for any platform."""
    if (found := re.match(r"manylinux_(\d+)_(\d+)_", tag)) is not None:
        return int(found[1]), int(found[2])
    return _OLD_TAGS.get(tag.split("_")[0], (0, 0))


def _fits(python: str, abi: str, tag: str, target: Target) -> bool:
    major, minor = target.python
    if tag != "any" and not (tag.endswith(f"_{target.machine}") and _glibc_of(tag) <= target.glibc):
        return False
    if abi == "abi3" and (found := re.fullmatch(rf"cp{major}(\d+)", python)) is not None:
        return int(found[1]) <= minor
    return python in (f"cp{major}{minor}", f"py{major}{minor}", f"py{major}")


@dataclass(frozen=True)
class Wheel:
    """One wheel of a bundle.

    Attributes:
        path: the file.
        name, version: of the package, the name in lower case with hyphens.
        requires: what it needs, as it says.
        glibc: the least that it runs with.
    """

    path: Path
    name: str
    version: str
    requires: tuple[str, ...]
    glibc: tuple[int, int]

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Names as they are installed, and content; without tests, programs and headers."""
        with zipfile.ZipFile(self.path) as archive:
            for info in archive.infolist():
                parts = info.filename.split("/")
                if parts[0].endswith(".data"):
                    if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
                        continue
                    parts = parts[2:]
                if not info.is_dir() and "tests" not in parts[:-1]:
                    yield "/".join(parts), archive.read(info)


def read_wheel(path: Path, target: Target) -> Wheel:
    """A wheel's own description.

    Raises:
        BundleError: it is not for the target, or no wheel at all.
    """
    try:
        python, abi, platforms = path.stem.split("-")[-3:]
        tags = [
            tag for tag in platforms.split(".")
            if any(_fits(p, a, tag, target) for p in python.split(".") for a in abi.split("."))
        ]  # fmt: skip
        with zipfile.ZipFile(path) as archive:
            (name,) = (
                n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n)
            )
            about = email.message_from_bytes(archive.read(name))
    except (ValueError, zipfile.BadZipFile) as e:
        raise BundleError(f"{path}: expected a wheel; {e}") from None
    if not tags:
        raise BundleError(f"{path.name} is not for {target}; give others")
    plain = re.sub(r"[-_.]+", "-", str(about["Name"])).lower()
    requires = tuple(str(r) for r in about.get_all("Requires-Dist", ()))
    return Wheel(path, plain, str(about["Version"]), requires, min(map(_glibc_of, tags)))


def requirements() -> list[str]:
    """What this project asks of the packages that it uses on a device, versions included."""
    project = ROOT / "pyproject.toml"
    if project.exists():
        found = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        found = [r for r in importlib.metadata.requires(PROJECT) or () if "extra ==" not in r]
    asked = {re.sub(r"[-_.]+", "-", name) for name in REQUIRED.values()}
    return [r for r in found if re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", r)[0]) in asked]


def sources(tests: Path) -> Iterator[tuple[str, bytes]]:
    """Our own files: both packages as they are here, the device tests, and where they come from.

    Raises:
        BundleError: the tests are not there.
    """
    import implementations

    for package in (PACKAGE, Path(implementations.__path__[0])):
        for path in sorted(package.rglob("*")):
            name = f"{package.name}/{path.relative_to(package).as_posix()}"
            if path.is_file() and not any(g in name for g in _GENERATED) and path.name != ORIGIN:
                yield name, path.read_bytes()
    for test in ("conftest.py", *TESTS):
        if not (tests / test).exists():
            raise BundleError(f"{tests / test} is missing; make the bundle in a checkout")
        yield f"tests/{test}", (tests / test).read_bytes()
    commit, dirty = git_state()
    yield f"harness/{ORIGIN}", json.dumps({"commit": commit, "dirty": dirty}).encode()


def _modules(names: Iterable[str]) -> list[str]:
    tops = {n.split("/")[0] for n in names}
    plain = {t.split(".")[0] for t in tops if not t.endswith((".dist-info", ".libs"))}
    return sorted(t for t in plain if t.isidentifier())


def make(wheels: Sequence[Path], target: Target, output: Path, tests: Path | None = None) -> Path:
    """Write a bundle.

    Args:
        wheels: of the packages in it, `packaging` among them.
        tests: folder of the device tests, by default that beside the package.

    Raises:
        BundleError: a wheel is not for the target, or something is missing.
    """
    read = [read_wheel(w, target) for w in wheels]
    if "packaging" not in {w.name for w in read}:
        raise BundleError("the wheel of packaging is missing; versions are compared with it")
    files: dict[str, list[Any]] = {}
    packages = []
    output.parent.mkdir(parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=output.parent, prefix=output.name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(b"#!/usr/bin/env python3\n")
            with zipfile.ZipFile(stream, "w") as archive:

                def add(name: str, content: bytes, how: int = zipfile.ZIP_LZMA) -> None:
                    info = zipfile.ZipInfo(name, _DATE)
                    info.compress_type, info.external_attr = how, 0o644 << 16
                    archive.writestr(info, content)

                def keep(name: str, content: bytes) -> None:
                    if name in files:
                        raise BundleError(f"{name} is there twice")
                    files[name] = [len(content), hashlib.sha256(content).hexdigest()]
                    add(name, content)

                for name, content in sources(tests or ROOT / "tests"):
                    keep(f"{gpu_unpack.SOURCE}/{name}", content)
                for wheel in sorted(read, key=lambda w: w.name):
                    names = []
                    for name, content in wheel.files():
                        keep(f"{gpu_unpack.PACKAGES}/{wheel.name}/{name}", content)
                        names.append(name)
                    packages.append({
                        "name": wheel.name, "version": wheel.version, "wheel": wheel.path.name,
                        "sha256": hashlib.sha256(wheel.path.read_bytes()).hexdigest(),
                        "modules": _modules(names), "requires": wheel.requires,
                    })  # fmt: skip
                manifest = {
                    "format": gpu_unpack.FORMAT, "python": "{}.{}".format(*target.python),
                    "machine": target.machine,
                    "glibc": "{}.{}".format(*max(w.glibc for w in read)),
                    "requires": requirements(), "packages": packages, "files": files,
                }  # fmt: skip
                text = json.dumps(manifest, indent=1, sort_keys=True).encode()
                add(gpu_unpack.MANIFEST, text, zipfile.ZIP_DEFLATED)
                program = Path(gpu_unpack.__file__).read_bytes()
                add(gpu_unpack.PROGRAM, program, zipfile.ZIP_DEFLATED)  # Python reads no LZMA here
        os.chmod(fresh, 0o755)
        os.replace(fresh, output)
    finally:
        Path(fresh).unlink(missing_ok=True)
    return output


def _version(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)\.(\d+)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected a version like 3.12; got {text!r}")
    return int(found[1]), int(found[2])


def _parser() -> argparse.ArgumentParser:
    here = sys.version_info
    parser = argparse.ArgumentParser(prog="python -m harness.cli.gpu_bundle", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("softmax-bench-gpu.pyz"))
    parser.add_argument("--python", type=_version, default=(here[0], here[1]),
                        help="version of the image's Python, such as 3.12")  # fmt: skip
    parser.add_argument("--machine", default=platform.machine(), help="x86_64 or aarch64")
    parser.add_argument("--glibc", type=_version, default=(2, 28), help="the oldest of the image")
    parser.add_argument("--wheels", type=Path, help="folder of wheels in place of a download")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a bundle; 0 done, 2 it could not be made."""
    options = _parser().parse_args(arguments)
    target = Target(options.python, options.machine, options.glibc)
    try:
        with tempfile.TemporaryDirectory() as folder:
            if options.wheels is None:
                wheels = download(target, Path(folder))
            else:
                wheels = sorted(options.wheels.glob("*.whl"))
            output = make(wheels, target, options.output)
    except (UserError, OSError) as e:
        print(f"harness.cli.gpu_bundle: {e}", file=sys.stderr)
        return gpu_unpack.USAGE
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, {len(wheels)} packages for Python "
          f"{'{}.{}'.format(*target.python)} on {target.machine}; sha256 {digest}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
