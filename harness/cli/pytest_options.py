"""Names that the pytest plugin and its suite share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.registry.discovery import Implementation

OPTION = "--softmax-implementation"
NODE = "softmax-bench"
FINDING = "softmax_finding"
CHOSEN: pytest.StashKey[dict[str, Implementation]] = pytest.StashKey()
