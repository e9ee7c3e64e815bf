"""JAX and ONNX Runtime: right where they are installed, unavailable with a reason elsewhere."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import pytest

from harness import backends, listing, reference
from harness.discovery import ImplementationUnavailable, implementations

PEERS = {
    "jax": ("softmax", "log_softmax", "logsumexp"),
    "onnxruntime": ("softmax", "log_softmax"),
}


def _installed(name: str) -> Any:
    found = implementations()[name]
    if found.unavailable_reason is not None:
        pytest.skip(f"{name} is unavailable: {found.unavailable_reason}")
    return found


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No peer can be found, whether installed or not."""
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name.partition(".")[0] in PEERS else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_that_is_not_installed_is_listed_with_the_reason(name: str, bare: None) -> None:
    found = implementations()[name]
    assert not found.available
    assert f"package {name!r} is not installed" in str(found.unavailable_reason)
    (row,) = [r for r in listing.implementations().rows if r[0] == name]
    assert row[1] == "unavailable"
    assert f"package {name!r} is not installed" in row[3]


@pytest.mark.parametrize("name", PEERS)
def test_a_call_of_a_peer_that_is_not_installed_says_so(name: str, bare: None) -> None:
    found = type(implementations()[name])(implementations()[name].metadata)
    with pytest.raises(ImplementationUnavailable, match=f"{name}: package"):
        found.softmax(np.zeros(2, np.float32))


@pytest.mark.parametrize("name", PEERS)
def test_what_a_peer_offers_is_read_without_it(name: str) -> None:
    assert implementations()[name].operations == PEERS[name]


@pytest.mark.parametrize(
    ("name", "operation"), [(name, o) for name, offered in PEERS.items() for o in offered]
)
def test_peers_are_near_the_reference(name: str, operation: str) -> None:
    found = _installed(name)
    x = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
    for axis in (0, 1, -1):
        got = getattr(found, operation)(x, axis=axis)
        right = getattr(reference, operation)(x, axis=axis)
        assert got.dtype == np.float32
        assert np.allclose(got, right, rtol=2e-6, atol=2e-6)


def test_jax_keeps_float64() -> None:
    y = _installed("jax").softmax(np.array([0.0, 1e-12]))
    assert y.dtype == np.float64
    assert y[0] < y[1]


def test_onnxruntime_writes_to_out() -> None:
    x = np.array([[0.0, 1.0], [2.0, 2.0]], np.float32)
    found = _installed("onnxruntime")
    for out in (np.empty_like(x), np.empty((2, 2), np.float32, order="F")):
        assert found.softmax(x, out=out) is out
        assert out[1].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", PEERS)
def test_threads_of_a_peer_can_be_set(name: str) -> None:
    _installed(name)
    backend = backends.get(name)
    before = backend.threads()
    backend.set_threads(1)
    assert backend.threads() == 1
    backend.set_threads(before)
    assert backend.threads() == before
