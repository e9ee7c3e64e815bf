"""The type of the fixture `make_context`."""

from __future__ import annotations

from collections.abc import Callable

from harness.experiments.context import Context

MakeContext = Callable[..., Context]
