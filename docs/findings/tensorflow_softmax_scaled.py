"""softmax(c * x) compiled by XLA is NaN for finite logits.

Library: tensorflow 2.21.0
Processor: x86-64 with fma
Severity: not finite
Input: float32 x = [0x1.71e116p+34, 0x1.71e116p+34], c = 0.1 rounded to float32,
    jit_compile=True; result[0]
Expected: 0x1.0000000000000p-1 (0.5), float32 of 1/2
Got: nan (nan)
Because: equal logits have equal probabilities, whatever c is. XLA makes one
    fused multiply-add of c * x - max, whose maximum was rounded. Without
    jit_compile the result is right
Documentation: says that the sum of all outputs is 1
Upstream: reported of XLA: https://github.com/jax-ml/jax/issues/37234 (open)
"""

import numpy as np
import tensorflow as tf

x = np.full(2, float.fromhex("0x1.71e116p+34"), np.float32)
function = tf.function(lambda x, c: tf.nn.softmax(c * x), jit_compile=True)
got = float(function(x, np.float32(0.1))[0])

print(__doc__)
print(f"tensorflow {tf.__version__}: {got.hex()} ({got:.6g})")
