"""tf.nn.softmax raises for more than five dimensions.

Library: tensorflow 2.21.0
Processor: x86-64
Severity: exception
Input: float32 zeros of shape (1, 1, 1, 1, 1, 2); result[0, 0, 0, 0, 0, 0]
Expected: 0x1.0000000000000p-1 (0.5), float32 of 1/2
Got: AbortedError: Input dims must be <= 5 and >=1
Because: equal logits have equal probabilities, whatever the dimensions around
    them; float64 works. With TF_ENABLE_ONEDNN_OPTS=0 the result is right
Documentation: names no limit
Upstream: not found among the issues that could be searched on 2026-11-30; the
    limit came with https://github.com/tensorflow/tensorflow/pull/21981
"""

import numpy as np
import tensorflow as tf

try:
    y = float(tf.nn.softmax(np.zeros((1, 1, 1, 1, 1, 2), np.float32))[0, 0, 0, 0, 0, 0])
    got = f"{y.hex()} ({y:.6g})"
except tf.errors.AbortedError as error:
    got = "AbortedError: " + error.message.split("}} ")[-1].split(" [Op")[0]

print(__doc__)
print(f"tensorflow {tf.__version__}: {got}")
