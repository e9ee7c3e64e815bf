"""numpy.asarray of a bfloat16 result without dimensions raises.

Library: tensorflow 2.21.0
Processor: x86-64
Severity: exception
Input: numpy.asarray(tf.reduce_logsumexp(x)), x = bfloat16 [0]
Expected: 0x0.0p+0 (0), bfloat16 of log(1)
Got: ValueError: object __array__ method not producing an array
Because: it is the logarithm of 1. The same in float16, of one dimension, or by
    the method numpy() works
Documentation: says nothing of it
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import numpy as np
import tensorflow as tf

try:
    y = float(np.asarray(tf.reduce_logsumexp(tf.constant([0], tf.bfloat16))))
    got = f"{y.hex()} ({y:.6g})"
except ValueError as error:
    got = f"ValueError: {error}"

print(__doc__)
print(f"tensorflow {tf.__version__}: {got}")
