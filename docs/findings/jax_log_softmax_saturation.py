"""jax.nn.log_softmax is 0 for a class that is likely but not certain.

Library: jax 0.10.2
Processor: x86-64
Severity: inaccurate
Input: float32 [17, 0]; result[0]
Expected: -0x1.639e300000000p-25 (-4.13994e-08), float32 of -log(1 + exp(-17))
Got: 0x0.0p+0 (0)
Because: the logarithm of a probability below 1 is below 0, and here a normal
    number. log(1 + small) loses what log1p(small) keeps. jax.nn.logsumexp is
    alike
Documentation: gives [-inf, 0) as the range of the results
Upstream: reported of logsumexp, and closed since others do the same:
    https://github.com/jax-ml/jax/issues/1205
"""

import jax
import numpy as np

got = float(jax.nn.log_softmax(np.float32([17, 0]))[0])

print(__doc__)
print(f"jax {jax.__version__}: {got.hex()} ({got:.6g})")
