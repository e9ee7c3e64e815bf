"""Build the wheel and the source archive, and try them where nothing of ours is installed.

``python tests/release.py [PYTHON ...]``: for each Python (those of 3.11 and later on the PATH and
beside it), the wheel alone in an empty environment lists, runs, checks and reports; the source
archive gives the same wheel; `pipx` installs it, and judges a stranger's file. Leaves with 1 at the
first thing that is not as it should be. `dist/` holds what was built, and the reference vectors as
an archive, which the last of the wheels wrote.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TOX", "VIRTUAL_ENV"))}
SMALL = ["run", "--profile", "smoke", "--classes", "8", "--dtype", "float32", "-i", "max_shift"]
SOFTMAX = """import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
"""


def ran(*command: str | Path, cwd: Path, expected: int = 0, **environment: str) -> str:
    """What a command prints; leaves where it ends with another code than expected."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd, env={**CLEAN, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != expected:
        words = " ".join(map(str, command))
        sys.exit(f"{words}: expected {expected}; got {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def pythons() -> list[str]:
    """The interpreters of 3.11 and later, one a version."""
    found: dict[str, str] = {}
    versions = sorted(Path.home().glob(".pyenv/versions/*/bin/python"))
    for path in (*map(str, versions), *(f"python3.{minor}" for minor in range(11, 20))):
        with_it = shutil.which(path)
        told = with_it and subprocess.run(
            [with_it, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True, text=True, check=False,
        ).stdout.strip()  # fmt: skip
        if with_it and told and tuple(map(int, told.split("."))) >= (3, 11):
            found.setdefault(told, with_it)
    return list(found.values())


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def main() -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    ran(sys.executable, "-m", "build", "--outdir", DIST, ROOT, cwd=ROOT)
    (wheel,), (archive,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    ran(sys.executable, "-m", "twine", "check", "--strict", wheel, archive, cwd=ROOT)
    ran("check-wheel-contents", "--toplevel", "harness,implementations", wheel, cwd=ROOT)
    print(f"built {wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB; {archive.name}")
    with tempfile.TemporaryDirectory(prefix="release-") as temporary:
        folder = Path(temporary)
        ran(
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "-w",
            folder,
            archive,
            cwd=folder,
        )
        if names(next(folder.glob("*.whl"))) != names(wheel):
            sys.exit("the source archive gives another wheel than the checkout")
        (folder / "softmax.py").write_text(SOFTMAX, encoding="utf-8")
        cache = {"SOFTMAX_BENCH_CACHE": str(folder / "cache")}
        for python in sys.argv[1:] or pythons():
            place = folder / "environment"
            ran(python, "-m", "venv", "--clear", place, cwd=folder)
            command = place / "bin/softmax-bench"
            pip = (place / "bin/pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
            ran(*pip, cwd=folder)
            told = ran(command, "--about", cwd=folder)
            ran(command, "list", cwd=folder)
            ran(command, *SMALL, cwd=folder, **cache)
            ran(command, "check", "softmax.py", "--no-timing", cwd=folder, **cache)
            print(f"ok: {re.search(r'Python *(.*?) *$', told, re.M)[1]}")  # type: ignore[index]
        version = wheel.name.split("-")[1]
        vectors = folder / f"softmax-bench-vectors-{version}"
        ran(command, "vectors", "-o", vectors, cwd=folder)
        ran("sha256sum", "--quiet", "-c", "SHA256SUMS", cwd=vectors)
        packed = shutil.make_archive(str(DIST / vectors.name), "zip", folder, vectors.name)
        print(f"ok: {Path(packed).name}, {Path(packed).stat().st_size / 1e6:.1f} MB")
        home = {"PIPX_HOME": str(folder / "pipx"), "PIPX_BIN_DIR": str(folder / "bin")}
        constraint = {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
        ran(sys.executable, "-m", "pipx", "install", "-q", wheel, cwd=folder, **home, **constraint)
        verdict = (folder / "bin/softmax-bench", "check", "softmax.py", "--no-timing")
        ran(*verdict, cwd=folder, **cache)
        wrong = SOFTMAX.replace("return e /", "return 1.001 * e /")
        (folder / "softmax.py").write_text(wrong, encoding="utf-8")
        ran(*verdict, cwd=folder, expected=1, **cache)
        print("ok: pipx install, then check of a right softmax (0) and of a wrong one (1)")


if __name__ == "__main__":
    main()
