"""jit of softmax(c * x) is NaN for finite logits.

Library: jax 0.10.2
Processor: x86-64 with fma
Severity: not finite
Input: float32 x = [0x1.71e116p+34, 0x1.71e116p+34], c = 0.1 rounded to float32;
    result[0]
Expected: 0x1.0000000000000p-1 (0.5), float32 of 1/2
Got: nan (nan)
Because: equal logits have equal probabilities, whatever c is. XLA makes one
    fused multiply-add of c * x - max, whose maximum was rounded: the difference
    is above 0, and its exponential infinite. Without jit the result is right
Documentation: promises NaN for +inf only
Upstream: reported: https://github.com/jax-ml/jax/issues/37234 (open)
"""

import jax
import numpy as np

x = np.full(2, float.fromhex("0x1.71e116p+34"), np.float32)
got = float(jax.jit(lambda x, c: jax.nn.softmax(c * x))(x, np.float32(0.1))[0])

print(__doc__)
print(f"jax {jax.__version__}: {got.hex()} ({got:.6g})")
