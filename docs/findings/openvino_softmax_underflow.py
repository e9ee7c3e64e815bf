"""Softmax on the CPU takes normal results for 0.

Library: openvino 2026.4.1
Processor: x86-64
Severity: inaccurate
Input: float32 [0x1.5bf5bcp+6, 0], inference precision f32; result[1]
Expected: 0x1.6a098c0000000p-126 (1.66239e-38), float32 of
    exp(-0x1.5bf5bcp+6)/(1 + exp(-0x1.5bf5bcp+6))
Got: 0x0.0p+0 (0)
Because: it is a normal number, and the operator Exp gives it. Results are 0
    from 2**-125.5 down, with CPU_DENORMALS_OPTIMIZATION set to NO as well
Documentation: the property for subnormal numbers is for users to switch on, and
    this number is normal
Upstream: not found among the issues that could be searched on 2026-11-30; what
    the property does: https://github.com/openvinotoolkit/openvino/pull/11883
"""

import numpy as np
import openvino
from openvino import opset13

parameter = opset13.parameter([2], openvino.Type.f32)
model = openvino.Model([opset13.softmax(parameter, 0)], [parameter])
compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
x = np.float32([float.fromhex("0x1.5bf5bcp+6"), 0])
got = compiled([x])[0][1]

print(__doc__)
print(f"openvino {openvino.__version__.split('-')[0]}: {float(got).hex()} ({got:.6g})")
