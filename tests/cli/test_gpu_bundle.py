"""The file that brings everything to a device: what is in it, where it unpacks, what it refuses.

Made of small wheels written here, and of `packaging` as it is installed; no network.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.cli import gpu_bundle, gpu_unpack
from harness.cli.gpu_packages import REQUIRED

ROOT = Path(__file__).parents[2]
PYTHON = (sys.version_info[0], sys.version_info[1])
TARGET = gpu_bundle.Target(PYTHON, platform.machine())
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="wheels are for glibc")


def wheel(
    folder: Path, name: str, version: str, files: Mapping[str, str], requires: tuple[str, ...] = (),
    tag: str = "py3-none-any",
) -> Path:  # fmt: skip
    path = folder / f"{name}-{version}-{tag}.whl"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    about += "".join(f"Requires-Dist: {r}\n" for r in requires)
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in {**files, f"{name}-{version}.dist-info/METADATA": about}.items():
            archive.writestr(inside, text)
    return path


def packaging_wheel(folder: Path) -> Path:
    found = importlib.metadata.distribution("packaging")
    texts = {
        str(f): Path(str(found.locate_file(f))).read_text(encoding="utf-8")
        for f in found.files or ()
        if f.parts[0] == "packaging" and f.suffix == ".py"
    }
    return wheel(folder, "packaging", found.version, texts)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    wheels = [
        packaging_wheel(folder),
        wheel(folder, "numpy", "99.0", {"numpy/__init__.py": "raise ImportError('shadowed')"}),
        wheel(
            folder, "onlyhere", "1.0",
            {
                "onlyhere/__init__.py": "from onlyhere_more import two",
                "onlyhere/tests/test_it.py": "",
                "onlyhere.libs/libneeded.so": "beside",
                "onlyhere-1.0.data/purelib/onlyhere_more.py": "two = 2",
                "onlyhere-1.0.data/scripts/onlyhere": "#!python",
            },
            ("numpy>=1",),
        ),
    ]  # fmt: skip
    return gpu_bundle.make(wheels, TARGET, folder / "gpu.pyz", ROOT / "tests")


def run(
    command: list[Any], folder: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    kept = {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, cwd=folder, timeout=120,
        env={**kept, "SOFTMAX_BENCH_CACHE": str(folder / "cache"), **(variables or {})},
        check=False,
    )  # fmt: skip


def rewritten(
    original: Path, output: Path, change: Callable[[str, bytes], bytes | None], **more: str
) -> Path:
    """A bundle with other content; None leaves a member out, `more` are added."""
    with zipfile.ZipFile(original) as old, zipfile.ZipFile(output, "w") as new:
        for info in old.infolist():
            content = change(info.filename, old.read(info))
            if content is not None:
                new.writestr(info.filename, content)
        for name, text in more.items():
            new.writestr(name, text)
    return output


def told(change: Callable[[dict[str, Any]], Any]) -> Callable[[str, bytes], bytes]:
    """A change of the manifest."""

    def apply(name: str, content: bytes) -> bytes:
        if name != gpu_unpack.MANIFEST:
            return content
        manifest = json.loads(content)
        change(manifest)
        return json.dumps(manifest).encode()

    return apply


def same(_: str, content: bytes) -> bytes:
    return content


def test_the_file_runs_the_command_from_anywhere(made: Path, tmp_path: Path) -> None:
    done = run([sys.executable, made], tmp_path)
    assert done.returncode == 3, done.stderr
    assert "not run on a GPU" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_runs_is_what_is_in_it(made: Path, tmp_path: Path) -> None:
    variables = gpu_unpack.prepare(made, tmp_path)
    (folder,) = tmp_path.iterdir()
    program = (
        "import harness, implementations; print(harness.__file__, implementations.__path__[0])"
    )
    done = run([sys.executable, "-P", "-c", program], tmp_path, variables)
    assert done.stdout.split() == [
        str(folder / "source" / "harness" / "__init__.py"),
        str(folder / "source" / "implementations"),
    ]
    assert (folder / "source" / "tests" / "implementations" / "test_device_kernels.py").exists()
    assert (folder / "source" / "implementations" / "_cuda" / "rows.cu").exists()
    assert list((folder / "source" / "harness" / "report" / "templates").iterdir())
    assert not list(folder.rglob("test_it.py"))  # tests of packages stay at home


def test_packages_of_the_image_win_and_others_reach_the_workers(made: Path, tmp_path: Path) -> None:
    variables = gpu_unpack.prepare(made, tmp_path / "cache")
    asked = tmp_path / "asks.py"
    asked.write_text(
        '"""Needs what was brought along."""\nimport onlyhere, numpy as np\n\n'
        "def softmax(x, axis=-1):\n    return np.full_like(x, onlyhere.two)\n",
        encoding="utf-8",
    )
    program = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from harness.experiments.context import worker_for\n"
        "from harness.registry.discovery import load\n"
        "worker = worker_for(load(Path(sys.argv[1])))\n"
        "_, (y,) = worker.request('run', {'operation': 'softmax'}, (np.ones(3),))\n"
        "worker.stop(); print(y.tolist(), np.__version__)"
    )
    done = run([sys.executable, "-P", "-c", program, asked], tmp_path, variables)
    assert done.stdout.startswith("[2.0, 2.0, 2.0]"), done.stderr
    assert "99.0" not in done.stdout


def test_libraries_lie_beside_their_package(made: Path, tmp_path: Path) -> None:
    variables = gpu_unpack.prepare(made, tmp_path)
    (folder,) = [p for p in variables["PYTHONPATH"].split(os.pathsep) if p.endswith("/onlyhere")]
    assert sorted(os.listdir(folder)) == [
        "onlyhere", "onlyhere-1.0.dist-info", "onlyhere.libs", "onlyhere_more.py",
    ]  # fmt: skip
    assert f"{os.sep}site-packages{os.sep}" in folder


def test_the_path_has_our_code_then_the_callers_then_the_packages(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    path = gpu_unpack.prepare(made, tmp_path)["PYTHONPATH"].split(os.pathsep)
    assert [p.rpartition("/")[2] for p in path] == ["source", "theirs", "onlyhere"]


def test_what_is_unpacked_is_kept_and_mended(made: Path, tmp_path: Path) -> None:
    gpu_unpack.prepare(made, tmp_path)
    (folder,) = tmp_path.iterdir()
    marked = folder / "source" / "harness" / "mark"
    marked.touch()
    gpu_unpack.prepare(made, tmp_path)
    assert marked.exists()
    (folder / "source" / "harness" / "__init__.py").write_text("raise SystemExit(9)")
    gpu_unpack.prepare(made, tmp_path)
    assert "SystemExit(9)" not in (folder / "source" / "harness" / "__init__.py").read_text()
    folder.chmod(0o777)  # somebody else could have written there
    (folder / "source" / "harness" / "mark").touch()
    gpu_unpack.prepare(made, tmp_path)
    assert not (folder / "source" / "harness" / "mark").exists()
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]


INIT = "source/harness/__init__.py"


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        (lambda n, c: c.replace(b"softmax", b"softmix") if n == INIT else c, {}, "damaged"),
        (lambda n, c: c + b"#" if n == INIT else c, {}, "damaged"),
        (lambda n, c: c[:-1] if n == INIT else c, {}, "damaged"),
        (lambda n, c: None if n == INIT else c, {}, "expected"),
        (lambda n, c: None if n == gpu_unpack.MANIFEST else c, {}, "manifest"),
        (same, {"source/harness/more.py": ""}, "no name of a file"),
        (told(lambda m: m.update(format=2)), {}, "format"),
        (told(lambda m: m["files"].update({"../out": [0, ""]})), {"../out": ""}, "no name"),
        (told(lambda m: m["files"].update({"/out": [0, ""]})), {"/out": ""}, "no name"),
        (
            told(lambda m: m["files"].update({"source/../../out": [0, ""]})),
            {"source/../../out": ""},
            "no name",
        ),
        (told(lambda m: m["files"].update({"else/out": [0, ""]})), {"else/out": ""}, "no name"),
    ],
)  # fmt: skip
def test_a_bundle_that_was_changed_is_refused(
    made: Path, tmp_path: Path, change: Any, more: dict[str, str], words: str
) -> None:
    changed = rewritten(made, tmp_path / "changed.pyz", change, **more)
    with pytest.raises(gpu_unpack.BundleError, match=words) as caught:
        gpu_unpack.prepare(changed, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache").glob("*"))


def test_a_link_is_refused(made: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.pyz"
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(changed, "w") as new:
        for info in old.infolist():
            copied = zipfile.ZipInfo(info.filename)
            copied.external_attr = (0o120777 if info.filename == INIT else 0o644) << 16
            new.writestr(copied, old.read(info))
    with pytest.raises(gpu_unpack.BundleError, match="no plain file"):
        gpu_unpack.prepare(changed, tmp_path / "cache")


def test_a_member_that_is_there_twice_is_refused(made: Path, tmp_path: Path) -> None:
    changed = rewritten(made, tmp_path / "changed.pyz", same)
    with (
        zipfile.ZipFile(changed, "a") as archive,
        pytest.warns(UserWarning, match="Duplicate name"),
    ):
        archive.writestr(INIT, "raise SystemExit(9)")
    with pytest.raises(gpu_unpack.BundleError, match="expected"):
        gpu_unpack.prepare(changed, tmp_path / "cache")


def test_half_a_file_is_refused(made: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.pyz"
    half.write_bytes(made.read_bytes()[: made.stat().st_size // 2])
    with pytest.raises(gpu_unpack.BundleError, match="cannot be read"):
        gpu_unpack.prepare(half, tmp_path / "cache")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"python": "3.7"}, "for Python 3.7"),
        ({"machine": "riscv64"}, "riscv64"),
        ({"glibc": "99.1"}, "glibc 99.1"),
    ],
)
def test_another_python_machine_or_glibc_is_told_in_one_line(
    made: Path, tmp_path: Path, change: dict[str, str], words: str
) -> None:
    other = rewritten(made, tmp_path / "other.pyz", told(lambda m: m.update(change)))
    done = run([sys.executable, other], tmp_path)
    assert done.returncode == gpu_unpack.USAGE
    (line,) = done.stderr.splitlines()
    assert line.startswith("other.pyz: ")
    assert words in line


def test_a_full_disk_is_told_and_leaves_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(archive: Any, manifest: Any, folder: Path) -> None:
        (folder / "half").touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gpu_unpack, "unpack", full)
    with pytest.raises(
        gpu_unpack.BundleError, match=r"No space left .* needs \d+ MB; SOFTMAX_BENCH"
    ):
        gpu_unpack.prepare(made, tmp_path)
    assert not list(tmp_path.iterdir())


def manifest_of(requires: list[str] = [], **packages: tuple[str, list[str]]) -> dict[str, Any]:  # noqa: B006
    brought = [
        {"name": n.replace("_", "-"), "version": v, "modules": [], "requires": r}
        for n, (v, r) in packages.items()
    ]
    return {"requires": requires, "packages": brought}


def test_only_what_the_image_lacks_comes_onto_the_path() -> None:
    manifest = manifest_of(one=("2.0", ["two>=1"]), two=("2.0", []))
    assert gpu_unpack.chosen(manifest, {"one": None, "two": "1.5"}) == (["one"], [])


def test_what_the_image_has_too_old_is_replaced_with_all_that_this_asks_for() -> None:
    manifest = manifest_of(
        one=("2.0", ["two>=2"]), two=("2.0", ["three_more==3.*"]), three_more=("3.1", [])
    )
    here = {"one": None, "two": "1.5", "three-more": "2.0"}
    assert gpu_unpack.chosen(manifest, here) == (
        ["one", "three-more", "two"],
        ["three-more", "two"],
    )


def test_what_only_the_image_can_mend_is_told() -> None:
    manifest = manifest_of(one=("2.0", ["pytest>=9999"]))
    with pytest.raises(
        gpu_unpack.BundleError, match=r"one needs pytest>=9999; this image has pytest"
    ):
        gpu_unpack.chosen(manifest, {"one": None})
    manifest = manifest_of(
        ["no_such_package>=1; python_version >= '3'", "never; python_version<'3'"]
    )
    with pytest.raises(
        gpu_unpack.BundleError, match="needs no_such_package>=1; this image has none"
    ):
        gpu_unpack.chosen(manifest, {})


@pytest.mark.parametrize(
    ("tag", "fits"),
    [
        ("py3-none-any", True),
        ("py2.py3-none-any", True),
        ("cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64", True),
        ("cp312-cp312-manylinux_2_27_x86_64.manylinux_2_34_x86_64", True),
        ("cp310-abi3-manylinux_2_17_x86_64", True),
        ("cp313-abi3-manylinux_2_17_x86_64", False),
        ("cp311-cp311-manylinux_2_17_x86_64", False),
        ("cp312-cp312-manylinux_2_34_x86_64", False),
        ("cp312-cp312-manylinux_2_17_aarch64", False),
        ("cp312-cp312-win_amd64", False),
    ],
)
def test_wheels_are_for_the_target(tmp_path: Path, tag: str, fits: bool) -> None:
    path = wheel(tmp_path, "some", "1.0", {"some.py": ""}, tag=tag)
    target = gpu_bundle.Target((3, 12), "x86_64")
    if fits:
        assert gpu_bundle.read_wheel(path, target).name == "some"
    else:
        with pytest.raises(gpu_bundle.BundleError, match="is not for"):
            gpu_bundle.read_wheel(path, target)


def test_the_glibc_of_a_bundle_is_what_its_wheels_need(tmp_path: Path) -> None:
    target = gpu_bundle.Target((3, 12), "x86_64")
    tag = "cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64"
    assert gpu_bundle.read_wheel(wheel(tmp_path, "a", "1", {}, tag=tag), target).glibc == (2, 27)
    assert gpu_bundle.read_wheel(wheel(tmp_path, "b", "1", {}), target).glibc == (0, 0)


def test_pip_is_asked_for_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def pip(command: list[str], **_: Any) -> Any:
        asked.append(command)
        for name in ("numpy-2.0", "psutil-7.0", "Llvmlite-1.0"):
            (tmp_path / f"{name.lower()}-py3-none-any.whl").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("subprocess.run", pip)
    monkeypatch.setattr(gpu_bundle, "ROOT", ROOT)  # the package may be an installed one
    found = gpu_bundle.download(gpu_bundle.Target((3, 12), "aarch64"), tmp_path)
    assert [w.name for w in found] == ["psutil-7.0-py3-none-any.whl"]  # the others are the image's
    (command,) = asked
    assert command[command.index("--python-version") + 1] == "3.12"
    assert "manylinux_2_28_aarch64" in command
    assert "manylinux2014_aarch64" in command
    assert str(ROOT / "constraints.txt") in command
    assert {"scipy", "python-flint", "pytest", "matplotlib"} <= set(command)
    assert not {"numpy", "numba", "torch"} & set(command)


def test_a_download_that_fails_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: no network\n\n")
    monkeypatch.setattr("subprocess.run", lambda *a, **k: failed)
    assert gpu_bundle.main(["--python", "3.12"]) == gpu_unpack.USAGE
    assert capsys.readouterr().err.splitlines() == [
        "harness.cli.gpu_bundle: pip download left with exit status 1: ERROR: no network"
    ]


def test_the_command_says_the_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    packaging_wheel(wheels)
    output = tmp_path / "out" / "gpu.pyz"
    monkeypatch.setattr(gpu_bundle, "ROOT", ROOT)  # the package may be an installed one
    for _ in range(2):
        assert gpu_bundle.main(["-o", str(output), "--wheels", str(wheels)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second  # the same content is the same file, to the hash
    assert "MB, 1 packages for Python" in first
    assert [p.name for p in output.parent.iterdir()] == ["gpu.pyz"]


def test_the_bundle_asks_of_the_image_what_the_project_asks() -> None:
    asked = gpu_bundle.requirements()
    assert "numba>=0.61" in asked
    assert not any(r.startswith(("rich", "typer")) for r in asked)
    assert len(asked) == len(REQUIRED)
