"""Finding implementations, and calling them with NumPy arrays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.registry.contract import ImplementationError
from harness.worker import local

BUILT_IN = {
    "naive",
    "max_shift",
    "log_sum_exp",
    "online",
    "two_pass",
    "numba_cpu",
    "numba_exact",
    "cupy_gpu",
    "cupy_native",
    "torch",
    "scipy",
}


def test_built_in_implementations_are_all_there() -> None:
    assert set(harness.implementations()) >= BUILT_IN


def test_every_implementation_documents_itself() -> None:
    from harness.bounds import BOUNDS

    for one in harness.implementations().values():
        meta = one.metadata
        assert meta.description, one.name
        assert meta.source, one.name
        assert meta.formula, one.name
        assert meta.bound in BOUNDS, one.name
        assert meta.dtypes, one.name


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, harness; [(i.available, i.unavailable_reason) "
        "for i in harness.implementations().values()]; "
        "print([m for m in ('torch', 'numba', 'cupy', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unavailable_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "needs.py"
    path.write_text(
        'IMPLEMENTATION = {"requires": ("no_such_package",)}\ndef softmax(x, axis=-1): ...',
        encoding="utf-8",
    )
    one = harness.load(path)
    assert not one.available
    assert "'no_such_package' is not installed" in str(one.unavailable_reason)
    with pytest.raises(local.ImplementationUnavailable, match="needs: package"):
        one.softmax(np.zeros(2))


def test_an_operation_not_offered_is_no_attribute() -> None:
    assert not hasattr(harness.load("scipy"), "cross_entropy")
    assert hasattr(harness.load("max_shift"), "softmax")


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ImplementationError, match=r"no implementation named 'sofmax'; known are"):
        harness.load("sofmax")


@pytest.mark.parametrize("name", ["max_shift", "numba_cpu", "torch"])
def test_out_is_filled_and_returned(name: str) -> None:
    x = np.array([[1.0, 2.0], [0.0, 0.0]], dtype=np.float32)
    out = np.empty_like(x)
    result = harness.load(name).softmax(x, axis=-1, out=out)
    assert result is out
    assert out[1].tolist() == [0.5, 0.5]
    assert x.tolist() == [[1.0, 2.0], [0.0, 0.0]]


def test_out_may_be_the_input() -> None:
    x = np.array([0.0, 0.0], dtype=np.float32)
    assert harness.load("numba_cpu").softmax(x, out=x) is x
    assert x.tolist() == [0.5, 0.5]


def test_cross_entropy_takes_integer_targets() -> None:
    loss, gradient = harness.load("max_shift").cross_entropy(np.zeros((1, 2)), np.array([1]))
    assert loss.tolist() == [np.log(2.0)]
    assert gradient.tolist() == [[0.5, -0.5]]


def test_a_file_may_import_a_module_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", list(sys.path))
    (tmp_path / "sibling_of_mine.py").write_text("def f(x): return x + 1\n", encoding="utf-8")
    path = tmp_path / "mine.py"
    path.write_text(
        "from sibling_of_mine import f\n\ndef softmax(x, axis=-1):\n    return f(x)\n",
        encoding="utf-8",
    )
    assert harness.load(path).softmax(np.zeros(1)).tolist() == [1.0]
