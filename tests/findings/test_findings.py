"""Every script of docs/findings/ shows what it says, and what it expects is right."""

from __future__ import annotations

import ast
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import findings_page
import numpy as np
import pytest
from exact_values import exact, rounded
from findings_page import DOCS, SCRIPTS, Finding, findings, page, parse

from harness import reference

FOUND = findings()
VALUE = re.compile(r"(?P<hex>\S+) \((?P<decimal>\S+)\)")
EXPECTED = re.compile(VALUE.pattern + r", (?P<format>\w+) of (?P<exact>.+)")
DISTRIBUTIONS = {"tensorflow": "tensorflow_cpu"}  # where the name is not that of the import
OTHERS = {"onnxruntime": {"onnx"}}  # what a script may import beside its library and NumPy


def _pinned(library: str) -> str:
    name = DISTRIBUTIONS.get(library, library)
    constraints = (DOCS.parent / "constraints.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{name}==(\S+)$", constraints, re.MULTILINE)
    assert found is not None, f"{name} is not in constraints.txt"
    return found[1]


def _installed(library: str) -> str | None:
    """Version of an installed library, without that of its build."""
    for name in (DISTRIBUTIONS.get(library, library), library):
        try:
            return metadata.version(name).split("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return None


def _missing_features(finding: Finding) -> list[str]:
    """Those that the finding needs (`x86-64 with avx2`) and this processor has not."""
    architecture, _, features = finding.fields["Processor"].partition(" with ")
    assert architecture == "x86-64"
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    has = flags[1].split() if flags else []  # on another architecture there is no such line
    return sorted({"lm", *features.split()} - set(has))  # lm: 64 bits


def _as_said(text: str, finding: Finding) -> None:
    """Asserts that the last line of what a script printed is what its docstring says."""
    library, _, got = text.splitlines()[-1].partition(": ")
    assert library.split("+")[0] == finding.fields["Library"]  # of a build: 2.13.0+cpu
    assert got == finding.fields["Got"]


def _decided(expected: str) -> None:
    """Asserts that every value of a field `Expected` is its expression, rounded to its format."""
    for part in expected.split("; "):
        found = EXPECTED.fullmatch(part)
        assert found is not None, part
        value = rounded(exact(found["exact"]), found["format"])
        assert found["hex"] == value.hex(), f"{part}: {value.hex()}"
        _same_number(found)


def _same_number(found: re.Match[str]) -> None:
    number, decimal = float.fromhex(found["hex"]), float(found["decimal"])
    same = math.isclose(number, decimal, rel_tol=1e-5) or (math.isnan(number + decimal))
    assert same, found[0]


RUN = """
import importlib, os, runpy, sys
importlib.import_module(sys.argv[1])
for script in sys.argv[2:]:
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            runpy.run_path(script, run_name="__main__")
        finally:
            sys.stdout.flush()
        os._exit(0)
    print("\\0", os.waitpid(child, 0)[1], sep="", end="\\0")
"""
"""Runs scripts, each in a process of its own that has the library imported: most of the time is
the import. Behind what a script prints stands its status, between zero bytes."""


def _printed(library: str, scripts: list[Finding], folder: Path) -> list[str]:
    """What each of the scripts prints, with nothing of this project on the path."""
    paths = [str(SCRIPTS / f.name) for f in scripts]
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", RUN, library, *paths],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    texts = done.stdout.split("\0")
    assert set(texts[1::2]) == {"0"}, (texts, done.stderr)
    return texts[:-1:2]


def _compiles(finding: Finding) -> bool:
    return finding.name.startswith("torch_compile")


@cache
def _printed_by(library: str, compiles: bool) -> dict[str, str]:
    """What the scripts of a library print, by name; those that compile are apart."""
    scripts = [f for f in FOUND if f.library == library and _compiles(f) == compiles]
    with TemporaryDirectory() as folder:
        texts = _printed(library, scripts, Path(folder))
    return {f.name: text for f, text in zip(scripts, texts, strict=True)}


@pytest.mark.parametrize(
    "finding",
    [pytest.param(f, id=f.name, marks=[pytest.mark.slow] if _compiles(f) else []) for f in FOUND],
)
def test_a_script_shows_what_it_says(finding: Finding) -> None:
    version = _installed(finding.library)
    if version is None:
        pytest.skip(f"{finding.library} is not installed")
    if f"{finding.library} {version}" != finding.fields["Library"]:
        pytest.skip(f"{version} is installed; the finding is of {finding.fields['Library']}")
    if missing := _missing_features(finding):
        pytest.skip(f"the processor has no {', '.join(missing)}")
    if _compiles(finding) and shutil.which("g++") is None:
        pytest.skip("torch.compile needs g++, which is not installed")
    text = _printed_by(finding.library, _compiles(finding))[finding.name]
    assert finding.title in text
    _as_said(text, finding)


def test_a_script_that_fails_is_seen(tmp_path: Path) -> None:
    assert _printed("numpy", [f for f in FOUND if f.library == "numpy"], tmp_path)
    with pytest.raises(AssertionError, match="No such file"):
        _printed("numpy", [parse("none.py", GOOD)], tmp_path)


@pytest.mark.parametrize("finding", FOUND, ids=lambda f: f.name)
def test_what_is_expected_is_proven_and_is_not_what_came(finding: Finding) -> None:
    expected, got = finding.fields["Expected"], finding.fields["Got"]
    _decided(expected)
    values = [VALUE.match(part) for part in got.split("; ")]
    if re.match(r"\w+Error: ", got):
        assert finding.fields["Severity"] == "exception"
        return
    for found in values:
        assert found is not None, got
        _same_number(found)
    assert [v["hex"] for v in values if v] != re.findall(r"(?:^|; )(\S+) \(", expected)


def _hex(*numbers: str) -> np.ndarray:
    return np.float32([float.fromhex(number) for number in numbers])


def _column(tail: int) -> np.ndarray:
    return np.concatenate([[0], np.full(tail, -17)]).astype(np.float32)


REFERENCES: dict[str, Callable[[], object]] = {  # by what a script's name ends with
    "log_softmax_saturation": lambda: reference.log_softmax(np.float32([17, 0]))[0],
    "cross_entropy_gradient": lambda: reference.cross_entropy(np.float32([[17, 0]]), [0])[1][0, 0],
    "scipy_softmax_integers": lambda: reference.softmax(np.int8([-128, 127]), dtype="float16")[1],
    "jax_softmax_integers": lambda: reference.softmax(np.int8([-128, 127]), dtype="float32")[1],
    "torch_compile_integers": lambda: reference.softmax(np.uint8([0, 1]), dtype="float32")[1],
    "_softmax_float16_sum": lambda: reference.softmax(np.zeros(65520, np.float16))[0],
    "log_softmax_float16_sum": lambda: reference.log_softmax(np.zeros(65520, np.float16))[0],
    "scipy_softmax_axis_sum": lambda: reference.softmax(np.zeros(4096, np.float16))[0],
    "softmax_axis_sum": lambda: reference.softmax(_column(2**20 - 1))[0],
    "logsumexp_axis": lambda: reference.logsumexp(np.zeros(4096, np.float16)),
    "tensorflow_softmax_underflow": lambda: reference.softmax(_hex("0x1.5a92d8p+6", "0x0p+0"))[1],
    "softmax_underflow": lambda: reference.softmax(_hex("0x1.5bf5bcp+6", "0x0p+0"))[1],
    "attention_underflow": lambda: reference.softmax(_hex("0x0p+0", *["-0x1.5bf5bcp+6"] * 15))[1],
    "softmax_scaled": lambda: reference.scaled_softmax(
        _hex("0x1.71e116p+34", "0x1.71e116p+34"), np.float32(0.1)
    )[0],
    "softmax_nan": lambda: reference.softmax(np.float32([0, np.nan]))[0],
    "overlapping_out": lambda: reference.softmax(np.float32([1] + [0] * 16))[0],
}


@pytest.mark.parametrize("ending", REFERENCES)
def test_the_reference_of_this_project_gives_the_same(ending: str) -> None:
    longer = [e for e in REFERENCES if e != ending and e.endswith(ending)]  # those go first
    found = [
        f
        for f in FOUND
        if f.name.endswith(f"{ending}.py") and not f.name.endswith(tuple(f"{e}.py" for e in longer))
    ]
    assert found
    value = float(np.float64(REFERENCES[ending]()))
    for finding in found:
        assert finding.fields["Expected"].startswith(f"{value.hex()} ("), finding.name


@pytest.mark.parametrize("finding", FOUND, ids=lambda f: f.name)
def test_a_script_stands_alone(finding: Finding) -> None:
    source = (SCRIPTS / finding.name).read_text(encoding="utf-8")
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    allowed = {finding.library, "numpy"} | OTHERS.get(finding.library, set())
    assert finding.library in imported <= allowed
    assert finding.name.startswith(f"{finding.library}_")


def test_findings_are_of_the_versions_that_ci_uses() -> None:
    for finding in FOUND:
        assert finding.fields["Library"] == f"{finding.library} {_pinned(finding.library)}"


def test_the_page_is_the_one_that_the_scripts_give() -> None:
    text = findings_page.PAGE.read_text(encoding="utf-8")
    assert text == page(FOUND), "run python tests/studies/findings_page.py"
    for finding in FOUND:
        assert f"(findings/{finding.name})" in text


# The judges of this file, against what is wrong

GOOD = '''"""Zero is one.

Library: numpy 2.4.6
Processor: x86-64
Severity: wrong result
Input: 0
Expected: 0x1.0000000000000p+0 (1), float32 of exp(0)
Got: 0x0.0p+0 (0)
Because: so it
    is
Documentation: none
Upstream: not found among the issues that could be searched on 2026-11-30
"""
'''


def test_a_docstring_is_read() -> None:
    finding = parse("numpy_zero.py", GOOD)
    assert (finding.title, finding.library) == ("Zero is one.", "numpy")
    assert finding.fields["Because"] == "so it is"
    row = "| *wrong result*: [Zero is one](findings/numpy_zero.py) | 0 | 1 | 0 | no |"
    assert row in page([finding])
    assert "## numpy 2.4.6" in page([finding])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        *((f"{field}: ", f"X{field}: ", "a docstring with") for field in findings_page.FIELDS),
        ("Input: 0\n", "Input:\n", "a docstring with"),
        ("Input: 0\nExpected", "Expected", "a docstring with"),
        ("wrong result", "bad", "Severity"),
        ("Zero is one.", "Zero", "a sentence"),
        ("not found among the issues that could be searched on 2026-11-30", "unknown", "Upstream"),
        ("not found among the issues that could be searched on 2026-11-30", "reported", "Upstream"),
    ],
)  # fmt: skip
def test_another_docstring_is_refused(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ValueError, match=message):
        parse("numpy_zero.py", GOOD.replace(old, new))


@pytest.mark.parametrize(
    "wrong",
    [
        "0x1.0000000000000p+0 (1), float32 of 1/2",
        "0x1.0000020000000p+0 (1), float32 of exp(0)",  # one ulp
        "0x1.0000000000000p+0 (2), float32 of 1",
        "0x0.0p+0 (0), float32 of exp(-104 + 1)",  # subnormal
        "0x1.5555555555555p-2 (0.333333), float32 of 1/3",  # of another format
        "nan (nan), float32 of 1",
        "0x1.0000000000000p+0 (1)",
    ],
)
def test_a_wrong_expectation_fails(wrong: str) -> None:
    with pytest.raises(AssertionError):
        _decided(wrong)


def test_right_expectations_pass() -> None:
    _decided("0x1.5555560000000p-2 (0.333333), float32 of 1/3; nan (nan), float16 of exp(nan)")
    _decided("0x1.0000000000000p-149 (1.4013e-45), float32 of exp(-104 + 1)")
    _decided("-0x1.6a09e667f3bcdp+0 (-1.41421), float64 of -exp(log(2)/2)")


def test_what_is_not_decided_is_refused() -> None:
    with pytest.raises(ValueError, match="do not decide"):
        rounded(exact("exp(log(1 + 0x1.0p-24))"), "float32")  # halfway between two numbers
    with pytest.raises(ValueError, match="expected"):
        exact("__import__('os')")


def test_what_a_script_printed_is_judged() -> None:
    finding = parse("numpy_zero.py", GOOD)
    _as_said("Zero is one.\nnumpy 2.4.6: 0x0.0p+0 (0)", finding)
    _as_said("numpy 2.4.6+build: 0x0.0p+0 (0)", finding)
    for last in ("numpy 2.4.6: 0x1.0000000000000p+0 (1)", "numpy 2.5.0: 0x0.0p+0 (0)", "numpy"):
        with pytest.raises(AssertionError):
            _as_said(f"Zero is one.\n{last}", finding)
    assert _installed("numpy") is not None
    assert _installed("no_such_library") is None
