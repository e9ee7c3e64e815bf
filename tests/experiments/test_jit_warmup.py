"""The calls before a run: one a format, none that ends it, and nothing of them in the records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from contexts import MakeContext

from harness.experiments import accuracy
from harness.experiments.jit_warmup import make_first_calls
from harness.experiments.profiles import SMOKE, Filters
from harness.experiments.runner import Request, run
from harness.records import AccuracyRecord
from harness.records.reader import read_run
from harness.worker.local import load

Write = Callable[[str, str], Path]
PROFILE = replace(
    SMOKE, experiments=("accuracy",), dtypes=("float64", "float32"), sweep_classes=(3,), families=()
)


def noting(seen: Path) -> str:
    """A body that notes each of its calls, and is right."""
    return (
        f"open({str(seen)!r}, 'a').write(f'{{x.dtype}} {{x.shape}}\\n')\n"
        "    e = np.exp(x - x.max(axis, keepdims=True)); return e / e.sum(axis, keepdims=True)"
    )


def test_each_format_is_called_before_anything_is_measured(
    make_context: MakeContext, plain_file: Write, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    context = make_context([plain_file("noting", noting(seen))], PROFILE)
    make_first_calls(context, list(accuracy.plan(context)))
    called = [line.split()[0] for line in seen.read_text().splitlines()]
    assert called == ["float64", "float32"]


def test_only_what_will_be_measured_is_called(
    make_context: MakeContext, plain_file: Write, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    context = make_context([plain_file("noting", noting(seen))], PROFILE)
    units = [u for u in accuracy.plan(context) if u.coordinates[0].dtype == "float32"]
    make_first_calls(context, units)
    assert seen.read_text().split()[0] == "float32"
    assert len(seen.read_text().splitlines()) == 1
    seen.unlink()
    make_first_calls(context, [])
    assert not seen.exists()


def test_a_crash_there_is_told_where_it_is_measured(plain_file: Write, tmp_path: Path) -> None:
    chosen = [load("max_shift"), load(plain_file("crashes", "os.abort()"))]
    request = Request(chosen, PROFILE, Filters(dtypes=("float32",)), results=tmp_path / "results")
    records = [r for r in read_run(run(request).path).records if isinstance(r, AccuracyRecord)]
    assert {(r.implementation, r.status) for r in records} == {
        ("max_shift", "ok"), ("crashes", "crashed"),
    }  # fmt: skip


def test_references_are_certified_meanwhile(
    make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTMAX_BENCH_CACHE", str(tmp_path))
    context = make_context(["max_shift"], PROFILE)
    accuracy.certify(context)
    assert len(list(tmp_path.glob("*.npz"))) == len(list(accuracy.cells(context)))
