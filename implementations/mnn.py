"""Softmax of MNN on the CPU, through its expressions.

The peer of inference on telephones beside LiteRT. Arrays are copied in and out. Threads are those
of the environment variable OMP_NUM_THREADS, all cores where it is not set.
"""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
from MNN import expr
from numpy.typing import NDArray

from implementations._shared import session_arrays as arrays

Array = NDArray[Any]

IMPLEMENTATION = {
    "backend": "mnn",
    "device": "cpu",
    "dtypes": ("float32",),
    "requires": ("MNN",),
    "source": "https://mnn-docs.readthedocs.io/en/latest/pymnn/expr.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "by_name": True,
}

_one_at_a_time = Lock()  # all expressions of a process share one executor


def softmax(x: Array, axis: int = -1) -> Array:
    """MNN.expr.softmax(x, axis)."""
    x = arrays.checked(x)
    shape = arrays.rows_and_classes(x.shape, axis)
    if x.size == 0:
        return np.empty(x.shape, x.dtype)
    source = np.require(x, requirements=["C", "A"]).reshape(shape)
    with _one_at_a_time:
        expr.set_thread_number(arrays.thread_count())
        y = expr.softmax(expr.const(source, shape, expr.NCHW), 1)
        return np.array(y.read()).reshape(x.shape)
