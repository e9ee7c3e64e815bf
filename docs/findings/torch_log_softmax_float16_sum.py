"""torch.log_softmax of float16 is -inf everywhere from 65,520 equal classes on.

Library: torch 2.13.0
Processor: x86-64
Severity: not finite
Input: float16 zeros, 65,520 of them; result[0]
Expected: -0x1.6300000000000p+3 (-11.0938), float16 of -log(65520)
Got: -inf (-inf)
Because: the logarithm of 1/65520 is -11.09, which float16 holds. torch.softmax
    of the same row is right, and so is log_softmax of the same column of a
    matrix; cross_entropy and logsumexp are inf
Documentation: offers dtype= against overflow
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import torch

got = torch.log_softmax(torch.zeros(65520, dtype=torch.float16), 0)[0].item()

print(__doc__)
print(f"torch {torch.__version__}: {got.hex()} ({got:.6g})")
