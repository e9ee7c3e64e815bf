"""scipy.special.softmax turns int8 logits upside down, and gives NaN for uint8.

Library: scipy 1.17.1
Processor: x86-64
Severity: wrong result
Input: int8 [-128, 127]; result[1]
Expected: 0x1.0000000000000p+0 (1), float16 of 1/(1 + exp(-255))
Got: 0x1.1340000000000p-2 (0.268799)
Because: the larger logit is 255 above the other: its probability is 1 in any
    format. The difference to the maximum is taken in int8, where it wraps to 1;
    uint8 [0, 1] gives [nan, 0] in this way
Documentation: takes any array_like, and says that the result sums to 1
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import numpy as np
import scipy
from scipy.special import softmax

got = softmax(np.int8([-128, 127]))[1]

print(__doc__)
print(f"scipy {scipy.__version__}: {float(got).hex()} ({got:.6g})")
