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


def _model(operator: str, axis: int | None, rank: int, number: float | None = None) -> bytes:
    """A serialised model, x to y, float32 with `rank` dimensions of any size.

    Args:
        operator: of its node; or a name of `_STEPS`, whose nodes come before a Softmax.
        number: the scale, cap or sink of those.
    """
    shape = [f"d{i}" for i in range(rank)]
    attributes = {} if axis is None else {"axis": axis}
    nodes, constants = [helper.make_node(operator, ["x"], ["y"], **attributes)], []
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    if operator in _STEPS:
        steps, after = _STEPS[operator]
        nodes = [helper.make_node(op, given, [made]) for op, given, made in steps]
        end = "y" if after is None else "p"
        nodes.append(helper.make_node("Softmax", ["z"], [end], axis=axis))
        nodes += [] if after is None else [helper.make_node(after[0], after[1], ["y"])]
        if operator == "masked":
            inputs.append(helper.make_tensor_value_info("mask", TensorProto.BOOL, shape))
        pads = [int(k == rank + int(axis or 0)) for k in range(2 * rank)]
        constants = [
            helper.make_tensor("c", TensorProto.FLOAT, [], [-np.inf if number is None else number]),
            helper.make_tensor("pads", TensorProto.INT64, [2 * rank], pads),
            *(helper.make_tensor(name, TensorProto.INT64, [1], [value])
              for name, value in (("start", 0), ("end", -1), ("axis", int(axis or 0)))),
        ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        operator,
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        constants,
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR)
    return bytes(model.SerializeToString())


_Step = tuple[str, list[str], str]
_STEPS: dict[str, tuple[list[_Step], tuple[str, list[str]] | None]] = {
    "scaled": ([("Mul", ["x", "c"], "z")], None),
    "capped": (
        [("Div", ["x", "c"], "a"), ("Tanh", ["a"], "b"), ("Mul", ["b", "c"], "z")], None,
    ),
    "masked": ([("Where", ["mask", "x", "c"], "z")], None),
    "sink": ([("Pad", ["x", "pads", "c"], "z")], ("Slice", ["p", "start", "end", "axis"])),
}  # fmt: skip
"""Nodes before a Softmax of z, and what follows it; c is the number, or -inf."""


@lru_cache(maxsize=64)
def _session(
    operator: str, axis: int | None, rank: int, threads: int, number: float | None = None
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong is raised, too
    return onnxruntime.InferenceSession(
        _model(operator, axis, rank, number), options, providers=["CPUExecutionProvider"]
    )


def _run(
    operator: str, x: Array, axis: int | None, out: Array | None,
    number: float | None = None, mask: Array | None = None,
) -> Array:  # fmt: skip
    """The operator on contiguous memory; `out` is bound itself where it is contiguous, too."""
    x = arrays.checked(x, out)
    session = _session(operator, axis, x.ndim, arrays.thread_count(), number)
    inputs = {"x": np.require(x, requirements=["C", "A"])}
    if mask is not None:
        inputs["mask"] = np.ascontiguousarray(np.broadcast_to(np.asarray(mask, bool), x.shape))
    if x.size == 0:  # there is no memory to bind
        (empty,) = session.run(["y"], inputs)
        return np.asarray(empty)
    result = arrays.result_for(inputs["x"], out)
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
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


def _changed(
    steps: str, x: Array, axis: int, out: Array | None, number: float | None = None,
    mask: Array | None = None,
) -> Array:  # fmt: skip
    """Softmax after some nodes, all in one graph, which the runtime may fuse."""
    return _run(steps, x, _integer(axis) % max(np.ndim(x), 1), out, number, mask)


def scaled_softmax(x: Array, scale: float, axis: int = -1, out: Array | None = None) -> Array:
    """Mul by a constant, then Softmax."""
    return _changed("scaled", x, axis, out, scale)


def masked_softmax(x: Array, mask: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Where with -inf, then Softmax: NaN in rows without any class."""
    return _changed("masked", x, axis, out, mask=mask)


def softmax_with_sink(x: Array, sink: float, axis: int = -1, out: Array | None = None) -> Array:
    """Pad with the sink, Softmax, Slice."""
    return _changed("sink", x, axis, out, sink)


def softcap_softmax(x: Array, cap: float, axis: int = -1, out: Array | None = None) -> Array:
    """Div, Tanh and Mul, then Softmax."""
    return _changed("capped", x, axis, out, cap)


def exp(x: Array) -> Array:
    """The operator Exp, so that its error can be measured."""
    return _run("Exp", x, None, None)
