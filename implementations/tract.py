"""Softmax of tract on the CPU, of models of ONNX.

The peer of inference in Rust. A model of one node is made for each operator, format and number of
dimensions, and loaded at the first call; arrays are copied in and out. One thread.
"""

from __future__ import annotations

from functools import lru_cache
from tempfile import NamedTemporaryFile
from typing import Any

if __name__ == "tract":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "tract: found implementations/tract.py in place of the package; "
        "start Python in another directory, or with -P"
    )

import numpy as np
import tract
from numpy.typing import DTypeLike, NDArray
from onnx import helper

from implementations._shared import session_arrays as arrays

Array = NDArray[Any]

IMPLEMENTATION = {
    "backend": "tract",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16"),
    "requires": ("tract", "onnx"),
    "source": "https://onnx.ai/onnx/operators/onnx__Softmax.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "single",
    "by_name": True,
    "deviations": (
        {
            "id": "float16-sum",
            "reason": "log_softmax: a float16 sum overflows beyond 65504 equal classes",
        },
    ),
}


@lru_cache(maxsize=64)
def _runnable(operator: str, dtype: DTypeLike, rank: int) -> Any:
    """The loaded model, x to y along axis 1, `rank` dimensions of any size."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shape = [f"d{i}" for i in range(rank)]
    x, y = (helper.make_tensor_value_info(name, kind, shape) for name in "xy")
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], axis=1)], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with NamedTemporaryFile(suffix=".onnx") as file:  # it reads files alone
        file.write(model.SerializeToString())
        file.flush()
        return tract.onnx().load(file.name).into_model().into_runnable()


def _run(operator: str, x: Array, axis: int) -> Array:
    x = arrays.checked(x, dtypes=IMPLEMENTATION["dtypes"])  # type: ignore[arg-type]
    shape = arrays.rows_and_classes(x.shape, axis)
    if x.size == 0:
        return np.empty(x.shape, x.dtype)
    source = np.require(x, requirements=["C", "A"]).reshape(shape)
    (y,) = _runnable(operator, x.dtype, len(shape)).run([source])
    return np.asarray(y.to_numpy()).reshape(x.shape)


def softmax(x: Array, axis: int = -1) -> Array:
    """The operator Softmax, opset 13."""
    return _run("Softmax", x, axis)


def log_softmax(x: Array, axis: int = -1) -> Array:
    """The operator LogSoftmax, opset 13."""
    return _run("LogSoftmax", x, axis)
