"""Softmax of OpenVINO on the CPU, on shared tensors.

The peer of inference on Intel's stack. A model of one node is compiled in memory at the first
call, one for rows and one for classes along another axis; timings are of later calls. The arrays
are wrapped where they lie, results are written in place. Where the processor has bfloat16
instructions, OpenVINO computes float32 models in bfloat16 unless told otherwise: here it is told
float32. A model's threads are those of the environment variable OMP_NUM_THREADS at its first
call, all cores where it is not set.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import Any

if __name__ == "openvino":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "openvino: found implementations/openvino.py in place of the package; "
        "start Python in another directory, or with -P"
    )

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13

from implementations._shared import session_arrays as arrays

Array = NDArray[Any]

IMPLEMENTATION = {
    "backend": "openvino",
    "device": "cpu",
    "dtypes": ("float32",),
    "requires": ("openvino",),
    "source": "https://docs.openvino.ai/2026/documentation/openvino-ir-format/operation-sets/"
    "operation-specs/activation/softmax-8.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "deviations": (
        {"id": "nan", "reason": "its code for AVX2 gives 0, or a logarithm of -inf, beside a NaN"},
        {"id": "flushes", "reason": "its code for CPUs takes subnormal results for 0"},
        {"id": "saturation", "reason": "log_softmax is 0 where the probability is near 1"},
        {"id": "strided-sum", "reason": "sums one by one along an axis that is not last"},
    ),
}

_one_at_a_time = Lock()  # a request holds the tensors of one call

_OPERATORS = {"softmax": opset13.softmax, "log_softmax": opset13.log_softmax}


@lru_cache(maxsize=1)
def _core() -> openvino.Core:
    return openvino.Core()


@lru_cache(maxsize=8)  # each has a pool of threads of its own
def _request(operator: str, rank: int, threads: int) -> openvino.InferRequest:
    """The compiled model of one node along axis 1, float32, `rank` dimensions of any size."""
    x = opset13.parameter(openvino.PartialShape([-1] * rank), openvino.Type.f32)
    model = openvino.Model([_OPERATORS[operator](x, 1)], [x], operator)
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # as the threads of everybody else
    }
    return _core().compile_model(model, "CPU", options).create_infer_request()


def _run(operator: str, x: Array, axis: int, out: Array | None) -> Array:
    """The operator on contiguous memory; `out` is wrapped itself where it is contiguous, too."""
    x = arrays.checked(x, out)
    shape = arrays.rows_and_classes(x.shape, axis)
    source = np.require(x, requirements=["C", "A", "W"])  # it wraps no read-only array
    if x.size == 0:  # there is no memory to wrap
        return np.empty(x.shape, x.dtype) if out is None else out
    result = arrays.result_for(source, out)
    with _one_at_a_time:
        request = _request(operator, len(shape), arrays.thread_count())
        request.set_input_tensor(openvino.Tensor(source.reshape(shape), shared_memory=True))
        request.set_output_tensor(openvino.Tensor(result.reshape(shape), shared_memory=True))
        request.infer()
    return arrays.delivered(result, out)


def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """The operation Softmax-8."""
    return _run("softmax", x, axis, out)


def log_softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """The operation LogSoftmax-5."""
    return _run("log_softmax", x, axis, out)
