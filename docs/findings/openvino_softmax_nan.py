"""Softmax on the CPU gives 0 for the other classes of a row with NaN.

Library: openvino 2026.4.1
Processor: x86-64
Severity: wrong result
Input: float32 [0, nan], inference precision f32; result[0]
Expected: nan (nan), float32 of 1/(1 + exp(nan))
Got: 0x0.0p+0 (0)
Because: the sum is NaN, and what is divided by it. LogSoftmax of [nan, 0] is
    [nan, -inf]
Documentation: the page of the function says nothing of NaN
Upstream: not found among the issues that could be searched on 2026-11-30; of
    +inf in the same place
    https://github.com/openvinotoolkit/openvino/issues/35897 (open)
"""

import numpy as np
import openvino
from openvino import opset13

parameter = opset13.parameter([2], openvino.Type.f32)
model = openvino.Model([opset13.softmax(parameter, 0)], [parameter])
compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
x = np.float32([0, np.nan])
got = compiled([x])[0][0]

print(__doc__)
print(f"openvino {openvino.__version__.split('-')[0]}: {float(got).hex()} ({got:.6g})")
