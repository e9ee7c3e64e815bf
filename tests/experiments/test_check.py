"""The verdict on one implementation: right ones pass, wrong ones fail and say why."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli.verdict import to_markdown
from harness.experiments import check as check_module
from harness.experiments.check import check, resolve
from harness.experiments.profiles import Timing
from harness.experiments.runner import NothingToRun
from harness.experiments.verdict import Verdict
from harness.registry.contract import ImplementationError

Write = Callable[[str, str], Path]
RIGHT = "e = np.exp(x - x.max(axis, keepdims=True)); return e / e.sum(axis, keepdims=True)"
SMALL = replace(
    check_module.JUDGED,
    sweep_classes=(2, 100),
    families=("normal(scale=10)",),
    map_offsets=(1e2, 1e30),
    map_classes=(2,),
    scan_points=64,
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grids without their slow parts; the catalogue has tests of its own."""
    no_catalogue = replace(SMALL, experiments=("accuracy", "overflow"))
    monkeypatch.setattr(check_module, "JUDGED", no_catalogue)
    timing = {"cached": Timing((64,), 1 << 12, min_sample_ns=20_000, warm_up_ns=0, seconds=0.1)}
    monkeypatch.setattr(check_module, "TIMED", replace(check_module.TIMED, timing=timing))


def test_a_right_file_passes(plain_file: Write) -> None:
    found = check(str(plain_file("right", RIGHT)), timing=False)
    assert found.verdict is Verdict.PASS
    assert found.failures == ()
    assert found.judged > 10
    assert found.max_ulp["float32"] > 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return np.zeros_like(x)", "times the bound"),
        (f"x = x * x.dtype.type(1.0001); {RIGHT}", "times the bound"),
        ("e = np.exp(x); return e / e.sum(axis, keepdims=True)", "nan"),
        ("return x.astype('float32')", "expected shape"),
    ],
)
def test_a_wrong_file_fails_and_says_why(plain_file: Write, body: str, message: str) -> None:
    found = check(str(plain_file("wrong", body)), timing=False)
    assert found.verdict is Verdict.FAIL
    assert any(message in item.message for item in found.failures)
    text = to_markdown(found)
    assert "FAIL" in text
    assert message in text


def test_one_that_ends_its_process_fails_and_says_why(
    plain_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(SMALL, experiments=("accuracy",), sweep_classes=(2,))  # a new process for each
    monkeypatch.setattr(check_module, "JUDGED", few)
    found = check(str(plain_file("wrong", "os.abort()")), timing=False, dtypes=("float32",))
    assert found.verdict is Verdict.FAIL
    assert all("SIGABRT" in item.message for item in found.failures)
    assert "SIGABRT" in to_markdown(found)


def test_a_wrong_row_is_shown_in_hexadecimal(plain_file: Write) -> None:
    found = check(str(plain_file("zeros", "return np.zeros_like(x)")), timing=False)
    shown = [i for i in found.failures if i.expected is not None and i.got is not None]
    assert shown
    assert all("0x" in str(i.expected) for i in shown)


def test_declared_overflow_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "declared.py"
    path.write_text(
        '"""Naive."""\nimport numpy as np\nIMPLEMENTATION = {"bound": "naive", '
        '"dtypes": ("float32",), '
        '"deviations": ({"id": "overflow", "reason": "no shift"},)}\n'
        "def softmax(x, axis=-1):\n    with np.errstate(all='ignore'):\n"
        "        e = np.exp(x); return e / e.sum(axis, keepdims=True)\n",
        encoding="utf-8",
    )
    found = check(str(path), timing=False)
    assert found.verdict is Verdict.PASS
    assert found.expected


@pytest.mark.parametrize(
    "body", ["return e / e.sum(axis, keepdims=True) * F", "import os; os.abort()"]
)
def test_declared_overflow_excuses_nothing_else(tmp_path: Path, body: str) -> None:
    path = tmp_path / "liar.py"
    path.write_text(
        '"""Says that it overflows, and is wrong otherwise."""\nimport numpy as np\n'
        'IMPLEMENTATION = {"dtypes": ("float32",), '
        '"deviations": ({"id": "overflow", "reason": "no shift"},)}\nF = np.float32(1.01)\n'
        "def softmax(x, axis=-1):\n    e = np.exp(x - x.max(axis, keepdims=True))\n"
        f"    {body}\n",
        encoding="utf-8",
    )
    found = check(str(path), timing=False)
    assert found.verdict is Verdict.FAIL
    assert found.expected == ()


def test_speed_is_told_beside_the_baselines(plain_file: Write) -> None:
    found = check(str(plain_file("right", RIGHT)), baselines=("max_shift", "cupy_gpu"))
    assert found.verdict is Verdict.PASS
    assert {s.regime for s in found.speeds} == {"cached"}
    assert all(s.reason or [r.rival for r in s.ratios] == ["max_shift"] for s in found.speeds)
    assert any("cupy_gpu" in note for note in found.notes)


def test_a_function_of_an_installed_module(tmp_path: Path) -> None:
    one = resolve("scipy.special:softmax", tmp_path)
    assert one.name == "softmax"
    assert one.operations == ("softmax",)


@pytest.mark.parametrize("target", ["no_such_module:f", "scipy.special:", "sofmax", "absent.py"])
def test_an_unknown_target_is_one_line(target: str, tmp_path: Path) -> None:
    with pytest.raises(ImplementationError) as caught:
        resolve(target, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_failing_import_is_one_failure(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("raise RuntimeError('no licence')\n\ndef softmax(x, axis=-1): ...\n")
    report = check(str(path))
    assert report.verdict is Verdict.FAIL
    assert [f.message for f in report.failures] == ["load: RuntimeError: no licence"]


@pytest.mark.parametrize(
    ("top", "body", "told"),
    [
        ("import no_such_library", RIGHT, "load: ModuleNotFoundError: No module named"),
        ("import ctypes; ctypes.CDLL('libabsent.so')", RIGHT, "load: OSError: libabsent.so"),
        ("", "raise RuntimeError('no usable devices')", "RuntimeError: no usable devices"),
        ("import subprocess", "subprocess.run(['no-compiler'], check=True)", "FileNotFoundError"),
        ("import subprocess", "subprocess.run(['false'], check=True)", "CalledProcessError"),
        ("class Failed(Exception): ...",
         "try:\n        import no_such_library\n    except ImportError as e: raise Failed from e",
         "Failed"),
    ],
)  # fmt: skip
def test_what_is_absent_at_every_call_cannot_run_here(
    plain_file: Write, top: str, body: str, told: str
) -> None:
    path = plain_file("stranger", body)
    path.write_text(f"{top}\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    with pytest.raises(NothingToRun, match=f"stranger: cannot run here: .*{told}") as caught:
        check(str(path), timing=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError('axis')",
        "return absent_name",
        "raise NotImplementedError",
        "return softmax(x)",  # without end
        "raise RuntimeError(f'no kernel for {x.dtype}')",
        "raise RuntimeError(f'shape {x.shape}')",
        "assert x.dtype == 'float32'; raise RuntimeError('no usable devices')",
        f"if x.dtype == 'float64': raise RuntimeError('no usable devices')\n    {RIGHT}",
    ],
)
def test_what_is_broken_fails_however_it_says_so(plain_file: Write, body: str) -> None:
    found = check(str(plain_file("broken", body)), timing=False)
    assert found.verdict is Verdict.FAIL


def test_work_that_goes_on_is_one_failure(plain_file: Write) -> None:
    spin = "import threading\n    def spin():\n        while True: pass\n    "
    body = f"{spin}threading.Thread(target=spin, daemon=True).start(); {RIGHT}"
    found = check(str(plain_file("restless", body)), timing=False)
    assert found.verdict is Verdict.FAIL
    assert any("goes on working after its call" in f.message for f in found.failures)


def test_what_it_keeps_is_a_note_said_once(plain_file: Write) -> None:
    body = f"global pool\n    pool = pool or ThreadPoolExecutor(1); pool.submit(int); {RIGHT}"
    path = plain_file("keeps", body)
    top = "from concurrent.futures import ThreadPoolExecutor\npool = None\n"
    path.write_text(top + path.read_text(encoding="utf-8"), encoding="utf-8")
    found = check(str(path), timing=False)
    assert found.verdict is Verdict.PASS
    assert found.notes == ("keeps keeps 1 thread of Python between calls",)


def test_an_unknown_bound_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        'IMPLEMENTATION = {"bound": "none_such"}\n\ndef softmax(x, axis=-1):\n    return x\n'
    )
    with pytest.raises(ImplementationError, match="'none_such'; expected one of naive"):
        check(str(path), timing=False)


def test_what_cannot_run_is_said(tmp_path: Path) -> None:
    path = tmp_path / "needs.py"
    path.write_text(
        'IMPLEMENTATION = {"requires": ("no_such_package",)}\ndef softmax(x, axis=-1): ...',
        encoding="utf-8",
    )
    with pytest.raises(NothingToRun, match="no_such_package"):
        check(str(path), timing=False)


def test_what_the_catalogue_has_no_case_of_is_said_with_what_judges_it() -> None:
    with pytest.raises(NothingToRun, match=r"no case of attention_weights; .* -i online_lazy"):
        check("online_lazy", timing=False)


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "code"), [("1", 0), ("1 + 6e-7", 1)])
def test_the_command_end_to_end(tmp_path: Path, factor: str, code: int) -> None:
    """With the catalogue: one lane of sixteen wrong by ten units is found, nothing else is."""
    path = tmp_path / "mine.py"
    path.write_text(
        '"""Mine."""\nimport numpy as np\n\ndef softmax(x, axis=-1):\n'
        "    e = np.exp(x - x.max(axis=axis, keepdims=True))\n"
        "    y = e / e.sum(axis=axis, keepdims=True)\n"
        "    if y.ndim:\n"
        f"        y[..., 5::16] *= np.asarray({factor}, dtype=y.dtype)\n"
        "    return y\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            sys.executable, "-m", "harness", "check", "mine.py", "--no-timing",
            "--markdown", "m.md", "--json", "m.json",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert found["verdict"] == ("pass" if code == 0 else "fail")
    assert bool(found["failures"]) == bool(code)
    assert "mine" in (tmp_path / "m.md").read_text(encoding="utf-8")


def test_fail_fast_stops_at_the_first_unit_that_fails(plain_file: Write) -> None:
    path = str(plain_file("zeros", "return np.zeros_like(x)"))
    whole, first = check(path, timing=False), check(path, fail_fast=True)
    assert first.verdict is Verdict.FAIL
    assert 0 < first.judged < whole.judged
    assert first.speeds == ()
    assert any("--fail-fast" in note for note in first.notes)
