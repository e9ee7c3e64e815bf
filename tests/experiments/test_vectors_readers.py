"""The readers of docs/vectors.md: as they stand there they compile, and print what is true."""

from __future__ import annotations

import ctypes
import ctypes.util
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vector_files import read

from harness.experiments.vectors.folder import write

PAGE = (Path(__file__).parents[2] / "docs" / "vectors.md").read_text(encoding="utf-8")
FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]


def _code(language: str) -> str:
    """The block of a language, the only one."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vectors of softmax in float32."""
    made = tmp_path_factory.mktemp("vectors") / "softmax"
    write(made, ["softmax"], ["float32"])
    return made


def _printed(command: list[str], folder: Path) -> tuple[int, float]:
    """How many numbers a reader says that it read, and the largest error."""
    line = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    match = re.fullmatch(r"(\d+) numbers, off by ([\d.]+|inf) ulp at most\n", line)
    assert match, line
    return int(match[1]), float(match[2])


def _expected(folder: Path, softmax: Callable[[Any], Any]) -> tuple[int, float]:
    """The same in Python, of a softmax of one row."""
    worst, numbers = 0.0, 0
    for v in read(folder):
        if v.operation != "softmax" or "result_float64" not in v.arrays:
            continue
        for x, due in zip(v.arrays["x"], v.arrays["result_float64"], strict=True):
            y = softmax(x).astype(np.float64)
            assert np.array_equal(np.isnan(y), np.isnan(due))
            _, exponent = np.frexp(np.maximum(due, 2.0**-126))
            error = np.abs(y - due) / 2.0 ** (exponent - 24)
            worst = max(worst, float(np.nan_to_num(error).max()))
            numbers += len(x)
    return numbers, worst


@np.errstate(all="ignore")
def _in_float32(x: Any) -> Any:
    """By the exponential of the C library, one term after the other."""
    expf = ctypes.CDLL(ctypes.util.find_library("m")).expf
    expf.restype, expf.argtypes = ctypes.c_float, [ctypes.c_float]
    shifted = x - np.fmax.reduce(x)
    e = np.array([expf(v) for v in shifted.tolist()], np.float32)
    return e / np.add.accumulate(e, dtype=np.float32)[-1]


@np.errstate(all="ignore")
def _in_float64(x: Any) -> Any:
    wide = x.astype(np.float64)
    e = np.array([math.exp(v) if v == v else math.nan for v in wide - wide.max()])
    return (e / np.add.accumulate(e)[-1]).astype(np.float32)


def _need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} here")
    return found


def test_the_reader_in_c(folder: Path, tmp_path: Path) -> None:
    assert len(_code("c").splitlines()) <= 30
    compiler = _need("cc")
    source, program = tmp_path / "reader.c", tmp_path / "reader"
    source.write_text(_code("c"), encoding="utf-8")
    subprocess.run([compiler, *FLAGS, source, "-lm", "-o", program], check=True)
    numbers, worst = _expected(folder, _in_float32)
    assert numbers > 100_000
    assert worst > 100  # a sum in float32 of 50,257 terms
    assert _printed([str(program)], folder) == (numbers, round(worst, 3))


def test_the_reader_in_c_sees_a_wrong_number_and_a_file_that_is_not_there(
    folder: Path, tmp_path: Path
) -> None:
    compiler = _need("cc")
    source, program = tmp_path / "reader.c", tmp_path / "reader"
    source.write_text(_code("c"), encoding="utf-8")
    subprocess.run([compiler, *FLAGS, source, "-lm", "-o", program], check=True)
    assert subprocess.run([program], cwd=tmp_path, check=False).returncode == 2
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    words = next(
        line.split() for line in (folder / "index.txt").read_text().splitlines()
        if " both-signs:2 result_float64 " in line
    )  # fmt: skip
    data = bytearray((damaged / "float32.bin").read_bytes())
    right = data[int(words[8]) + 7]
    for wrong, least in ((right ^ 0x40, math.inf), (right ^ 1, 1e6), (right ^ 0x80, 1e6)):
        data[int(words[8]) + 7] = wrong  # the first number is 1, and becomes inf, 2^-16 and -1
        (damaged / "float32.bin").write_bytes(data)
        assert _printed([str(program)], damaged)[1] >= least
    done = subprocess.run(
        ["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=damaged, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == "float32.bin: FAILED\n"


def test_the_reader_in_javascript(folder: Path, tmp_path: Path) -> None:
    node = _need("node")
    (tmp_path / "reader.mjs").write_text(_code("js"), encoding="utf-8")
    numbers, worst = _expected(folder, _in_float64)
    got = _printed([node, str(tmp_path / "reader.mjs")], folder)
    assert got == (numbers, pytest.approx(worst, abs=0.002))


def test_the_reader_in_rust(folder: Path, tmp_path: Path) -> None:
    compiler = _need("rustc")
    source, program = tmp_path / "reader.rs", tmp_path / "reader"
    source.write_text(_code("rust"), encoding="utf-8")
    subprocess.run(
        [compiler, "--edition", "2021", "-D", "warnings", "-O", source, "-o", program], check=True
    )
    numbers, worst = _expected(folder, _in_float32)
    assert _printed([str(program)], folder) == (numbers, pytest.approx(worst, rel=0.01))


def test_the_reader_in_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(_code("python"), names)
    for mine, theirs in zip(read(folder), names["vectors"], strict=True):
        assert list(mine.arrays) == list(theirs["arrays"])
        for name, array in mine.arrays.items():
            assert names["array"](theirs, name).tobytes() == array.tobytes()
