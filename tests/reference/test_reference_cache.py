"""The disk cache serves what was certified, and never anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness import reference
from harness.reference import api, cache

X = np.random.default_rng(0).normal(size=(3, 5))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    return tmp_path


def _forbid_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("evaluated although cached")

    monkeypatch.setattr(api, "softmax_exact", refuse)


def _same(a, b) -> bool:
    return all(
        np.array_equal(p, q) and p.dtype == q.dtype
        for p, q in ((a.hi, b.hi), (a.lo, b.lo), (a.exponent, b.exponent))
    )


def test_the_second_call_is_served_from_disk(folder: Path, monkeypatch) -> None:
    first = reference.cached_softmax_exact(X)
    assert _same(first, api.softmax_exact(X))
    _forbid_evaluation(monkeypatch)
    assert _same(first, reference.cached_softmax_exact(X))


@pytest.mark.parametrize(
    ("x", "axis"),
    [
        (X.astype(np.float32), -1),
        (X.reshape(5, 3), -1),
        (X, 0),
        (X + 1, -1),
    ],
)
def test_another_input_is_another_entry(folder: Path, x, axis: int) -> None:
    reference.cached_softmax_exact(X)
    assert _same(reference.cached_softmax_exact(x, axis), api.softmax_exact(x, axis))
    assert len(list(folder.glob("*.npz"))) == 2


def test_the_oracle_version_is_part_of_the_key(folder: Path, monkeypatch) -> None:
    reference.cached_softmax_exact(X)
    monkeypatch.setattr(cache, "oracle_version", lambda: "another")
    reference.cached_softmax_exact(X)
    assert len(list(folder.glob("*.npz"))) == 2


@pytest.mark.parametrize("position", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_flipped_bit_is_never_believed(folder: Path, position: float) -> None:
    truth = reference.cached_softmax_exact(X)
    path = next(folder.glob("*.npz"))
    data = bytearray(path.read_bytes())
    for bit in range(8):
        damaged = bytearray(data)
        damaged[int(len(data) * position)] ^= 1 << bit
        path.write_bytes(damaged)
        assert _same(reference.cached_softmax_exact(X), truth)


def test_a_wrong_value_in_a_sound_archive_is_not_believed(folder: Path) -> None:
    truth = reference.cached_softmax_exact(X)
    path = next(folder.glob("*.npz"))
    with np.load(path) as file:
        parts = dict(file)
    parts["lo0"] = parts["lo0"] * 1.5
    np.savez(path, **parts)
    assert _same(reference.cached_softmax_exact(X), truth)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04" + b"\0" * 40])
def test_a_broken_file_is_recomputed(folder: Path, content: bytes) -> None:
    truth = reference.cached_softmax_exact(X)
    next(folder.glob("*.npz")).write_bytes(content)
    assert _same(reference.cached_softmax_exact(X), truth)


def test_an_unusable_folder_is_no_error(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(file / "below"))
    assert _same(reference.cached_softmax_exact(X), api.softmax_exact(X))


def test_the_size_is_bounded(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 20_000)
    for i in range(20):
        reference.cached_softmax_exact(X + i)
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 20_000
    assert not list(folder.glob("*.partial"))


def test_every_operation_has_its_cache(folder: Path) -> None:
    for name in ("log_softmax", "logsumexp"):
        expected = getattr(api, f"{name}_exact")(X)
        for _ in range(2):
            assert _same(reference.cached_exact(name, X), expected)
    for _ in range(2):
        loss, gradient = reference.cached_cross_entropy_exact(X, [0, 1, 2])
        expected_loss, expected_gradient = api.cross_entropy_exact(X, [0, 1, 2])
        assert _same(loss, expected_loss)
        assert _same(gradient, expected_gradient)
    with pytest.raises(ValueError, match="operation"):
        reference.cached_exact("cosine", X)
