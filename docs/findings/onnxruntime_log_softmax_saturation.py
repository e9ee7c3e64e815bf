"""LogSoftmax is 0 for a class that is likely but not certain.

Library: onnxruntime 1.31.1
Processor: x86-64
Severity: inaccurate
Input: float32 [17, 0]; result[0]
Expected: -0x1.639e300000000p-25 (-4.13994e-08), float32 of -log(1 + exp(-17))
Got: 0x0.0p+0 (0)
Because: the logarithm of a probability below 1 is below 0, and here a normal
    number. log(1 + small) loses what log1p(small) keeps
Documentation: ONNX defines it as Log(Softmax(input)), and says nothing of
    accuracy
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

node = helper.make_node("LogSoftmax", ["x"], ["y"], axis=0)
x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
graph = helper.make_graph([node], "finding", [x], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString())
got = session.run(None, {"x": np.float32([17, 0])})[0][0]

print(__doc__)
print(f"onnxruntime {onnxruntime.__version__}: {float(got).hex()} ({got:.6g})")
