"""tf.nn.softmax gives 0 for the other classes of a row with NaN.

Library: tensorflow 2.21.0
Processor: x86-64
Severity: wrong result
Input: float32 [0, nan]; result[0]
Expected: nan (nan), float32 of 1/(1 + exp(nan))
Got: 0x0.0p+0 (0)
Because: the sum is NaN, and what is divided by it; float64, float16 and
    log_softmax give NaN. With TF_ENABLE_ONEDNN_OPTS=0 the result is right
Documentation: defines it by a formula whose sum is NaN
Upstream: not found among the issues that could be searched on 2026-11-30; of
    tf.maximum, which drops NaN as well,
    https://github.com/tensorflow/tensorflow/issues/12659 (open)
"""

import numpy as np
import tensorflow as tf

got = float(tf.nn.softmax(np.float32([0, np.nan]))[0])

print(__doc__)
print(f"tensorflow {tf.__version__}: {got.hex()} ({got:.6g})")
