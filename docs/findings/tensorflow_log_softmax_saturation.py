"""tf.nn.log_softmax is 0 for a class that is likely but not certain.

Library: tensorflow 2.21.0
Processor: x86-64
Severity: inaccurate
Input: float32 [17, 0]; result[0]
Expected: -0x1.639e300000000p-25 (-4.13994e-08), float32 of -log(1 + exp(-17))
Got: 0x0.0p+0 (0)
Because: the logarithm of a probability below 1 is below 0, and here a normal
    number. log(1 + small) loses what log1p(small) keeps. tf.reduce_logsumexp
    and the cross entropies are alike
Documentation: gives the formula logits - log(reduce_sum(exp(logits)))
Upstream: reported: https://github.com/tensorflow/tensorflow/issues/62400 (open)
"""

import numpy as np
import tensorflow as tf

got = float(tf.nn.log_softmax(np.float32([17, 0]))[0])

print(__doc__)
print(f"tensorflow {tf.__version__}: {got.hex()} ({got:.6g})")
