"""jax.nn.softmax of float8_e4m3fn is NaN.

Library: jax 0.10.2
Processor: x86-64
Severity: not finite
Input: float8_e4m3fn [0]; result[0]
Expected: 0x1.0000000000000p+0 (1), float8_e4m3fn of 1
Got: nan (nan)
Because: one class has the probability 1. The format has no infinity, so that a
    maximum which begins with -inf begins with NaN; float8_e5m2, which has one,
    works
Documentation: names no formats
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import jax
import jax.numpy as jnp

got = float(jax.nn.softmax(jnp.zeros(1, jnp.float8_e4m3fn))[0])

print(__doc__)
print(f"jax {jax.__version__}: {got.hex()} ({got:.6g})")
