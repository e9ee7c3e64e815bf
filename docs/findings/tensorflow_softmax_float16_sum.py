"""tf.nn.softmax of float16 is 0 everywhere for 65,520 equal classes.

Library: tensorflow 2.21.0
Processor: x86-64
Severity: wrong result
Input: float16 zeros, 65,520 of them; result[0]
Expected: 0x1.0000000000000p-16 (1.52588e-05), float16 of 1/65520
Got: 0x0.0p+0 (0)
Because: equal logits have equal probabilities, which float16 holds. The sum is
    added in float16, where it becomes infinite, here from 65,510 classes on.
    log_softmax is -inf, the cross entropies are inf
Documentation: says that the sum of all outputs is 1; it is 0
Upstream: not found among the issues that could be searched on 2026-11-30; of
    tf.reduce_mean https://github.com/tensorflow/tensorflow/issues/115732 (open)
"""

import numpy as np
import tensorflow as tf

got = float(tf.nn.softmax(np.zeros(65520, np.float16))[0])

print(__doc__)
print(f"tensorflow {tf.__version__}: {got.hex()} ({got:.6g})")
