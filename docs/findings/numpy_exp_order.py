"""numpy.exp of float32 falls where its argument grows, in 19,245 places.

Library: numpy 2.4.6
Processor: x86-64 with avx2
Severity: undocumented behaviour
Input: float32 a = -0x1.a10832p-9 and the next larger b = -0x1.a10830p-9
Expected: 0x1.fe5fa20000000p-1 (0.99682337), float32 of exp(-0x1.a10832p-9);
    0x1.fe5fa20000000p-1 (0.99682337), float32 of exp(-0x1.a10830p-9)
Got: 0x1.fe5fa40000000p-1 (0.99682343); 0x1.fe5fa20000000p-1 (0.99682337)
Because: exp is increasing, and so is any correctly rounded exp: a larger logit
    never has the smaller probability. Each value is within 3 ulp; their order
    is wrong
Documentation: says nothing of accuracy or order; the change that introduced the
    code claims at most 2.52 ulp
Upstream: not found among the issues that could be searched on 2026-11-30; the
    code came with https://github.com/numpy/numpy/pull/13134, and that AVX-512
    results differ is https://github.com/numpy/numpy/issues/23523
"""

import numpy as np

x = np.float32([float.fromhex("-0x1.a10832p-9"), float.fromhex("-0x1.a10830p-9")])
got = np.exp(x)

print(__doc__)
print(f"numpy {np.__version__}:", "; ".join(f"{float(y).hex()} ({y:.9g})" for y in got))
