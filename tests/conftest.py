"""Fixtures for all tests: a cache of their own, and warnings as errors in the workers too."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    """No test reads or writes the user's cache of references."""
    patch = pytest.MonkeyPatch()
    patch.setenv("SOFTMAX_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()
