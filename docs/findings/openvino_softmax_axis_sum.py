"""Softmax on the CPU loses 4% of the probability of a million classes along axis 0.

Library: openvino 2026.4.1
Processor: x86-64
Severity: wrong result
Input: float32 of shape (1048576, 2), each column 0 and then -17; inference
    precision f32, softmax along axis 0, result[0, 0]
Expected: 0x1.eab2d80000000p-1 (0.958396), float32 of 1/(1 + 1048575*exp(-17))
Got: 0x1.0000000000000p+0 (1)
Because: the other 1,048,575 classes have 4% of the probability together. Added
    one by one to 1 in float32 each of them is lost; along the last axis 0.07%
    are (with AVX-512)
Documentation: the page of the function says nothing of accuracy
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import numpy as np
import openvino
from openvino import opset13

parameter = opset13.parameter([2**20, 2], openvino.Type.f32)
model = openvino.Model([opset13.softmax(parameter, 0)], [parameter])
compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
x = np.full((2**20, 2), -17, np.float32)
x[0] = 0
got = compiled([x])[0][0, 0]

print(__doc__)
print(f"openvino {openvino.__version__.split('-')[0]}: {float(got).hex()} ({got:.6g})")
