"""Softmax of ONNX Runtime on the CPU, with bound inputs and outputs.

The peer of the world of deployment. A model of one node is made in memory for each operator, axis
and number of dimensions, and a session from it at the first call; timings are of later ones. The
arrays are bound where they lie, results are written in place. A session's threads are those of
the environment variable OMP_NUM_THREADS at its first call, all cores where it is not set.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

if __name__ == "onnxruntime":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "onnxruntime: found implementations/onnxruntime.py in place of the package; "
        "start Python in another directory, or with -P"
    )

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from implementations._shared import session_arrays as arrays

Array = NDArray[Any]

IMPLEMENTATION = {
    "backend": "onnxruntime",
    "device": "cpu",
    "dtypes": ("float32",),
    "requires": ("onnxruntime", "onnx"),
    "source": "https://onnx.ai/onnx/operators/onnx__Softmax.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "deviations": ({"id": "flushes", "reason": "its code for AVX2 takes subnormal results for 0"},),
}

_OPSET, _IR = 13, 8  # the first opset whose default axis is the last; read by every later runtime


def _model(operator: str, axis: int | None, rank: int) -> bytes:
    """A serialised model of one node, x to y, float32 with `rank` dimensions of any size."""
    shape = [f"d{i}" for i in range(rank)]
    attributes = {} if axis is None else {"axis": axis}
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], **attributes)],
        operator,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR)
    return bytes(model.SerializeToString())


@lru_cache(maxsize=64)
def _session(
    operator: str, axis: int | None, rank: int, threads: int
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong is raised, too
    return onnxruntime.InferenceSession(
        _model(operator, axis, rank), options, providers=["CPUExecutionProvider"]
    )


def _run(operator: str, x: Array, axis: int | None, out: Array | None) -> Array:
    """The operator on contiguous memory; `out` is bound itself where it is contiguous, too."""
    x = arrays.checked(x, out)
    session = _session(operator, axis, x.ndim, arrays.thread_count())
    source = np.require(x, requirements=["C", "A"])
    if x.size == 0:  # there is no memory to bind
        (empty,) = session.run(["y"], {"x": source})
        return np.asarray(empty)
    result = arrays.result_for(source, out)
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, source.shape, source.ctypes.data)
    binding.bind_output("y", "cpu", 0, np.float32, result.shape, result.ctypes.data)
    session.run_with_iobinding(binding)
    return arrays.delivered(result, out)


def _integer(axis: int) -> int:
    """`axis` itself, or one clear line: the operators take a single one."""
    if not isinstance(axis, int | np.integer):
        raise TypeError(f"axis: expected an integer; got {axis!r}")
    return int(axis)


def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """The operator Softmax, opset 13."""
    return _run("Softmax", x, _integer(axis), out)


def log_softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """The operator LogSoftmax, opset 13."""
    return _run("LogSoftmax", x, _integer(axis), out)


def exp(x: Array) -> Array:
    """The operator Exp, so that its error can be measured."""
    return _run("Exp", x, None, None)
