"""scipy.special.softmax of float16 is 0 everywhere from 65,520 equal classes on.

Library: scipy 1.17.1
Processor: x86-64
Severity: wrong result
Input: float16 zeros, 65,520 of them; result[0]
Expected: 0x1.0000000000000p-16 (1.52588e-05), float16 of 1/65520
Got: 0x0.0p+0 (0)
Because: equal logits have equal probabilities, which float16 holds. The sum is
    rounded to float16, where 65,520 is infinite
Documentation: says that the result sums to 1; it sums to 0
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import numpy as np
import scipy
from scipy.special import softmax

got = softmax(np.zeros(65520, np.float16))[0]

print(__doc__)
print(f"scipy {scipy.__version__}: {float(got).hex()} ({got:.6g})")
