"""jax.nn.softmax turns int8 logits upside down, and gives NaN for uint8.

Library: jax 0.10.2
Processor: x86-64
Severity: wrong result
Input: int8 [-128, 127]; result[1]
Expected: 0x1.0000000000000p+0 (1), float32 of 1/(1 + exp(-255))
Got: 0x1.1365620000000p-2 (0.268941)
Because: the larger logit is 255 above the other: its probability rounds to 1.
    The difference to the maximum is taken in int8, where it wraps to 1; uint8
    [0, 1] gives [nan, 0] in this way. log_softmax is alike
Documentation: takes any array, and says that the result sums to 1
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import jax
import numpy as np

got = float(jax.nn.softmax(np.int8([-128, 127]))[1])

print(__doc__)
print(f"jax {jax.__version__}: {got.hex()} ({got:.6g})")
