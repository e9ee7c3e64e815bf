"""LogSoftmax on the CPU is 0 for a class that is likely but not certain.

Library: openvino 2026.4.1
Processor: x86-64
Severity: inaccurate
Input: float32 [17, 0], inference precision f32; result[0]
Expected: -0x1.639e300000000p-25 (-4.13994e-08), float32 of -log(1 + exp(-17))
Got: 0x0.0p+0 (0)
Because: the logarithm of a probability below 1 is below 0, and here a normal
    number. log(1 + small) loses what log1p(small) keeps
Documentation: the page of the function says nothing of accuracy
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import numpy as np
import openvino
from openvino import opset13

parameter = opset13.parameter([2], openvino.Type.f32)
model = openvino.Model([opset13.log_softmax(parameter, 0)], [parameter])
compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
x = np.float32([17, 0])
got = compiled([x])[0][0]

print(__doc__)
print(f"openvino {openvino.__version__.split('-')[0]}: {float(got).hex()} ({got:.6g})")
