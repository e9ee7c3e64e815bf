"""NumPy arrays for NumExpr, which brings a pool of threads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numexpr
import numpy as np
from numpy.typing import NDArray

from harness.worker.backends import Backend, check_threads, numpy_arrays


def _exp(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(numexpr.evaluate("exp(x)", local_dict={"x": x}))


def backend() -> Backend:
    """The backend of NumExpr."""
    return replace(
        numpy_arrays.backend(),
        name="numexpr",
        set_threads=lambda count: numexpr.set_num_threads(check_threads(count)),
        threads=lambda: int(numexpr.get_num_threads()),
        exp=_exp,
        version=lambda: str(numexpr.__version__),
    )
