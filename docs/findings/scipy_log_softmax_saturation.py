"""scipy.special.log_softmax is 0 for a class that is likely but not certain.

Library: scipy 1.17.1
Processor: x86-64
Severity: inaccurate
Input: float32 [17, 0]; result[0]
Expected: -0x1.639e300000000p-25 (-4.13994e-08), float32 of -log(1 + exp(-17))
Got: 0x0.0p+0 (0)
Because: the logarithm of a probability below 1 is below 0, and here a normal
    number. log(1 + small) loses what log1p(small) keeps
Documentation: says that it is more accurate than log(softmax(x)) where softmax
    saturates; here it is as that
Upstream: reported: https://github.com/scipy/scipy/issues/19521 (open); of
    logsumexp, since mended, https://github.com/scipy/scipy/issues/18295
"""

import numpy as np
import scipy
from scipy.special import log_softmax

got = log_softmax(np.float32([17, 0]))[0]

print(__doc__)
print(f"scipy {scipy.__version__}: {float(got).hex()} ({got:.6g})")
