"""The gradient of jax.nn.softmax is 0 where the class is likely but not certain.

Library: jax 0.10.2
Processor: x86-64
Severity: inaccurate
Input: float32 [17.5, 0]; gradient[0] of softmax(x)[0]
Expected: 0x1.af62e80000000p-26 (2.511e-08), float32 of exp(-0x1.18p+4)/((1 +
    exp(-0x1.18p+4))*(1 + exp(-0x1.18p+4)))
Got: 0x0.0p+0 (0)
Because: the gradient is p * (1 - p), and sums to 0 over the classes. p rounds
    to 1 before it is subtracted. log_softmax is alike
Documentation: says nothing of it
Upstream: reported: https://github.com/jax-ml/jax/issues/40386,
    https://github.com/jax-ml/jax/issues/40344 and, of log_softmax,
    https://github.com/jax-ml/jax/issues/40384 (all open)
"""

import jax
import numpy as np

got = float(jax.grad(lambda x: jax.nn.softmax(x)[0])(np.float32([17.5, 0]))[0])

print(__doc__)
print(f"jax {jax.__version__}: {got.hex()} ({got:.6g})")
