"""The gradient of jax.nn.log_softmax of float16 is infinite from 65,515 equal classes on.

Library: jax 0.10.2
Processor: x86-64
Severity: not finite
Input: float16 zeros, 65,515 of them; gradient[0] of the sum of log_softmax
Expected: 0x0.0p+0 (0), float16 of 1 - 65515*(1/65515)
Got: -inf (-inf)
Because: each entry of that gradient is 1 - n * p, and p = 1/n. A sum in float16
    is rounded to infinity; from 65,520 classes on the gradient is NaN
Documentation: says nothing of it
Upstream: reported: https://github.com/jax-ml/jax/issues/40409 (open)
"""

import jax
import numpy as np

gradient = jax.grad(lambda x: jax.nn.log_softmax(x).sum())(np.zeros(65515, np.float16))
got = float(gradient[0])

print(__doc__)
print(f"jax {jax.__version__}: {got.hex()} ({got:.6g})")
