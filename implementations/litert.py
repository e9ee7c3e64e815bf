"""Softmax of LiteRT (TensorFlow Lite) on the CPU, computed by XNNPACK.

The peer of telephones and browsers. A model of one node is made in memory for each operator;
LiteRT hands Softmax to XNNPACK, as it does unless told otherwise, and computes LogSoftmax itself.
Both know the last axis alone: for another one the classes are moved there first. Arrays are copied
in and out. Threads are those of the environment variable OMP_NUM_THREADS, all cores where it is
not set.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from implementations._shared import session_arrays as arrays

Array = NDArray[Any]

IMPLEMENTATION = {
    "backend": "litert",
    "device": "cpu",
    "dtypes": ("float32",),
    "requires": ("ai_edge_litert",),
    "source": "https://ai.google.dev/edge/mlir/tfl_ops#tflsoftmax_tflsoftmaxop",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "by_name": True,
    "deviations": ({"id": "flushes", "reason": "XNNPACK's code takes subnormal results for 0"},),
}

_one_at_a_time = Lock()  # an interpreter holds the tensors of one call

_OPERATORS: dict[str, tuple[int, int, Any]] = {
    "softmax": (
        schema.BuiltinOperator.SOFTMAX,
        schema.BuiltinOptions.SoftmaxOptions,
        schema.SoftmaxOptionsT(beta=1.0),
    ),
    "log_softmax": (
        schema.BuiltinOperator.LOG_SOFTMAX,
        schema.BuiltinOptions.LogSoftmaxOptions,
        schema.LogSoftmaxOptionsT(),
    ),
}


def _model(operator: str) -> bytes:
    """A serialised model, x to y, float32 with two dimensions of any size."""
    code, kind, options = _OPERATORS[operator]
    node = schema.OperatorT(
        inputs=[0], outputs=[1], builtinOptionsType=kind, builtinOptions=options
    )
    x, y = (schema.TensorT(shape=[1, 1], type=schema.TensorType.FLOAT32, name=n) for n in "xy")
    graph = schema.SubGraphT(tensors=[x, y], inputs=[0], outputs=[1], operators=[node])
    model = schema.ModelT(
        version=3,
        operatorCodes=[schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code)],
        subgraphs=[graph],
        buffers=[schema.BufferT()],
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@lru_cache(maxsize=8)  # each has a pool of threads of its own
def _interpreter(operator: str, threads: int) -> Interpreter:
    return Interpreter(model_content=_model(operator), num_threads=threads)


def _run(operator: str, x: Array, axis: int) -> Array:
    def call(rows: Array) -> Array:
        with _one_at_a_time:
            interpreter = _interpreter(operator, arrays.thread_count())
            interpreter.resize_tensor_input(0, rows.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(0, rows)
            interpreter.invoke()
            return np.asarray(interpreter.get_tensor(1))

    return arrays.by_rows(call, arrays.checked(x), axis)


def softmax(x: Array, axis: int = -1) -> Array:
    """The operator SOFTMAX with beta 1."""
    return _run("softmax", x, axis)


def log_softmax(x: Array, axis: int = -1) -> Array:
    """The operator LOG_SOFTMAX."""
    return _run("log_softmax", x, axis)
