"""The error measures under their public name: see `harness.numerics.metrics`."""

from harness.numerics.metrics import *  # noqa: F403
