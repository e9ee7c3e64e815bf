"""jax.nn.softmax of float16 is 0 everywhere from 65,520 equal classes on.

Library: jax 0.10.2
Processor: x86-64
Severity: wrong result
Input: float16 zeros, 65,520 of them; result[0]
Expected: 0x1.0000000000000p-16 (1.52588e-05), float16 of 1/65520
Got: 0x0.0p+0 (0)
Because: equal logits have equal probabilities, which float16 holds. The sum is
    rounded to float16, where 65,520 is infinite. log_softmax is -inf, logsumexp
    inf
Documentation: says that the result sums to 1; it sums to 0
Upstream: not found among the issues that could be searched on 2026-11-30; of
    the gradient https://github.com/jax-ml/jax/issues/40409 (open), for which
    https://github.com/jax-ml/jax/pull/40474 widens log_softmax
"""

import jax
import numpy as np

got = float(jax.nn.softmax(np.zeros(65520, np.float16))[0])

print(__doc__)
print(f"jax {jax.__version__}: {got.hex()} ({got:.6g})")
