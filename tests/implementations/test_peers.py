"""The libraries' softmaxes: right where they are installed, unavailable with a reason elsewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from importlib.machinery import ModuleSpec
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from harness import reference
from harness.cli import list as listing
from harness.numerics.formats import float_format
from harness.worker import backends
from harness.worker.local import ImplementationUnavailable, implementations

ATTENTION = ("scaled_softmax", "masked_softmax", "softmax_with_sink", "softcap_softmax")
PEERS = {
    "jax": ("softmax", "log_softmax", "logsumexp", *ATTENTION, "linear_cross_entropy"),
    "numexpr": ("softmax",),
    "onnxruntime": ("softmax", "log_softmax", *ATTENTION),
    "openvino": ("softmax", "log_softmax"),
    "tensorflow": ("softmax", "log_softmax", "logsumexp", "cross_entropy"),
    "candle": ("softmax",),
    "ggml": ("softmax",),
    "litert": ("softmax", "log_softmax"),
    "mlx": ("softmax", "log_softmax", "logsumexp", "cross_entropy"),
    "mnn": ("softmax",),
    "ncnn": ("softmax",),
    "paddle": ("softmax", "log_softmax", "logsumexp", "cross_entropy"),
    "tinygrad": ("softmax", "log_softmax", "logsumexp", "cross_entropy"),
    "tract": ("softmax", "log_softmax"),
}
PACKAGES = {
    **{name: name for name in PEERS},
    "ggml": "pywhispercpp",
    "litert": "ai_edge_litert",
    "mlx": "mlx.core",
    "mnn": "MNN",
}
TENSORS = ("candle", "mlx", "paddle", "tinygrad")
"""Of the ecosystem's, those with arrays of their own."""
EVERYWHERE = ("numba_loop", "onednn", "torch_compile", "torch_vocab_parallel")
"""Made of packages that the tests have anyway."""
FORWARD = ("softmax", "log_softmax", "logsumexp")
_SLOWLY = (
    pytest.mark.slow,
    # torch's compiler uses what torch deprecates
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
)
_COMPILES = [pytest.param("torch_compile", marks=_SLOWLY)]


def _installed(name: str) -> Any:
    found = implementations()[name]
    if found.unavailable_reason is not None:
        pytest.skip(f"{name} is unavailable: {found.unavailable_reason}")
    if name == "tensorflow" and implementations()["paddle"].available:
        implementations()["paddle"].module()  # loaded after TensorFlow, it ends the process
    return found


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No peer can be found, whether installed or not."""
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> ModuleSpec | None:
        tops = {p.partition(".")[0] for p in PACKAGES.values()}
        return None if name.partition(".")[0] in tops else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_that_is_not_installed_is_listed_with_the_reason(name: str, bare: None) -> None:
    found = implementations()[name]
    assert not found.available
    assert f"package {PACKAGES[name]!r} is not installed" in str(found.unavailable_reason)
    _, _, rows, (note,) = listing.implementations()
    assert name not in [row[0] for row in rows]
    assert re.search(rf"pip install 'softmax-bench\[[\w-]+\]' for [^;]*\b{name}\b", note)


@pytest.mark.parametrize("name", PEERS)
def test_a_call_of_a_peer_that_is_not_installed_says_so(name: str, bare: None) -> None:
    found = type(implementations()[name])(implementations()[name].metadata)
    with pytest.raises(ImplementationUnavailable, match=f"{name}: package"):
        found.softmax(np.zeros(2, np.float32))


@pytest.mark.parametrize("name", PEERS)
def test_what_a_peer_offers_is_read_without_it(name: str) -> None:
    assert implementations()[name].operations == PEERS[name]


@pytest.mark.parametrize(
    ("name", "operation"),
    [(name, o) for name, offered in PEERS.items() for o in offered if o in FORWARD]
    + [("numba_loop", "softmax"), ("onednn", "softmax")]
    + [pytest.param("torch_compile", o, marks=_SLOWLY) for o in FORWARD],
)
def test_peers_are_near_the_reference(name: str, operation: str) -> None:
    found = _installed(name)
    x = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
    for axis in (0, 1, -1):
        got = getattr(found, operation)(x, axis=axis)
        right = getattr(reference, operation)(x, axis=axis)
        assert got.dtype == np.float32
        assert np.allclose(got, right, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", [n for n, offered in PEERS.items() if "logsumexp" in offered])
def test_a_peer_gives_one_number_of_one_row_in_every_format(name: str) -> None:
    found = _installed(name)
    for dtype in map(float_format, found.metadata.dtypes or ()):
        y = found.logsumexp(np.zeros(1, dtype.dtype))
        assert (y.dtype, y.shape, float(y)) == (dtype.dtype, (), 0.0)


def test_jax_keeps_float64() -> None:
    y = _installed("jax").softmax(np.array([0.0, 1e-12]))
    assert y.dtype == np.float64
    assert y[0] < y[1]


@pytest.mark.parametrize("name", ["numba_loop", "numexpr", "onnxruntime", "openvino", *_COMPILES])
def test_a_peer_writes_to_out(name: str) -> None:
    x = np.array([[0.0, 1.0], [2.0, 2.0]], np.float32)
    found = _installed(name)
    for out in (np.empty_like(x), np.empty((2, 2), np.float32, order="F")):
        assert found.softmax(x, out=out) is out
        assert out[1].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", [*PEERS, "numba_loop", "onednn", *_COMPILES])
def test_a_peer_reads_read_only_logits(name: str) -> None:
    x = np.array([[0.0, 0.0], [2.0, 2.0]], np.float32)
    x.flags.writeable = False
    assert _installed(name).softmax(x).tolist() == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("name", ["mlx", "paddle", "tensorflow", "tinygrad", *_COMPILES])
def test_a_peers_cross_entropy_is_near_the_reference(name: str) -> None:
    x = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(np.float32)
    targets = np.random.default_rng(3).integers(0, 5, (3, 4))
    got = _installed(name).cross_entropy(x, targets)
    for ours, right in zip(got, reference.cross_entropy(x, targets), strict=True):
        assert np.allclose(ours, right, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", TENSORS)
def test_arrays_come_back_from_a_peer_with_the_same_bits(name: str) -> None:
    found = _installed(name)
    backend = backends.get(name)
    for dtype in map(float_format, found.metadata.dtypes or ()):
        x = (np.arange(24) / 7 - 1).reshape(4, 6).astype(dtype.dtype)
        # ml_dtypes knows one byte order
        other = x if dtype.name == "bfloat16" else x.astype(x.dtype.newbyteorder(">"))
        for array in (x, x.T, x[::-1, 1::2], x[:0], x[0], other):
            back = backend.to_numpy(backend.from_numpy(array))
            assert back.dtype == x.dtype
            assert back.shape == array.shape
            assert back.tolist() == array.tolist()


@pytest.mark.parametrize("name", ["ggml", "litert", "mnn", "ncnn", "tract"])
def test_a_peer_without_a_format_refuses_it(name: str) -> None:
    x = np.zeros((2, 3), ml_dtypes.bfloat16)
    with pytest.raises(TypeError, match=r"x: expected .*float32.*; got bfloat16"):
        _installed(name).softmax(x)


def test_openvino_computes_in_float32_and_not_in_bfloat16() -> None:
    x = np.array([0.0, 1.0, 2.0**-10], np.float32)
    y = _installed("openvino").softmax(x)
    assert np.allclose(y, reference.softmax(x), rtol=1e-6)


def test_openvino_is_imported_without_its_telemetry() -> None:
    _installed("openvino")
    code = (
        "import harness, threading, sys; harness.load('openvino').module();"
        "print(threading.active_count(), sys.modules.get('openvino_telemetry'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "None"]


def test_torch_compile_needs_a_compiler_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = implementations()["torch_compile"]
    _installed("torch")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert "program 'g++' is not installed" in str(found.unavailable_reason)
    monkeypatch.setenv("CXX", "other-c++ -O2")
    assert "program 'other-c++ -O2' is not installed" in str(found.unavailable_reason)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_compile_never_falls_back_to_eager() -> None:
    found = _installed("torch_compile")
    for rank in range(1, 11):  # more programs than torch allows by default
        y = found.softmax(np.zeros((1,) * rank + (2,), np.float32))
        assert y.ravel().tolist() == [0.5, 0.5]


def test_listing_imports_no_peer() -> None:
    code = (
        "import sys; from harness.cli import list as listing; listing.implementations();"
        f"print([m for m in {[*PACKAGES.values(), 'torch', 'numba']} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", PEERS)
def test_threads_of_a_peer_can_be_set(name: str) -> None:
    _installed(name)
    backend = backends.get(name)
    before = backend.threads()
    backend.set_threads(1)
    assert backend.threads() == 1
    backend.set_threads(before)
    assert backend.threads() == before


@pytest.mark.parametrize("name", EVERYWHERE)
def test_what_needs_no_extra_is_read_without_running_it(name: str) -> None:
    assert implementations()[name].operations[0] == "softmax"
