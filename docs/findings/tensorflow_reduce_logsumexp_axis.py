"""tf.reduce_logsumexp of float16 along axis 0 stays at log(2048).

Library: tensorflow 2.21.0
Processor: x86-64
Severity: wrong result
Input: float16 zeros of shape (4096, 2), axis 0; result[0]
Expected: 0x1.0a40000000000p+3 (8.32031), float16 of log(4096)
Got: 0x1.e800000000000p+2 (7.625)
Because: the exponentials are 4096 ones. Added one by one in float16 they stay
    at 2048; along the last axis the result is right
Documentation: says that it is more stable than log(sum(exp(x)))
Upstream: not found among the issues that could be searched on 2026-11-30 for
    this function; for sums of float16
    https://github.com/tensorflow/tensorflow/pull/124049 (open)
"""

import numpy as np
import tensorflow as tf

got = float(tf.reduce_logsumexp(np.zeros((4096, 2), np.float16), 0)[0])

print(__doc__)
print(f"tensorflow {tf.__version__}: {got.hex()} ({got:.6g})")
