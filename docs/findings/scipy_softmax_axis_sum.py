"""scipy.special.softmax of float16 along axis 0 gives probabilities that sum to 2.

Library: scipy 1.17.1
Processor: x86-64
Severity: wrong result
Input: float16 zeros of shape (4096, 2), axis=0; result[0, 0]
Expected: 0x1.0000000000000p-12 (0.000244141), float16 of 1/4096
Got: 0x1.0000000000000p-11 (0.000488281)
Because: equal logits have equal probabilities. NumPy adds one by one along an
    axis that is not the last, where a float16 sum stays at 2048; along the last
    axis the result is right. float32 stays at 2**24
Documentation: says that the result sums to 1; numpy.sum documents that it adds
    pairwise along the fast axis only
Upstream: not found among the issues that could be searched on 2026-11-30 for
    SciPy; of the sum itself https://github.com/numpy/numpy/issues/15785
    (closed)
"""

import numpy as np
import scipy
from scipy.special import softmax

got = softmax(np.zeros((4096, 2), np.float16), axis=0)[0, 0]

print(__doc__)
print(f"scipy {scipy.__version__}: {float(got).hex()} ({got:.6g})")
