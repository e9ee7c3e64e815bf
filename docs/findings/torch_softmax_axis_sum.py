"""torch.softmax along axis 0 loses 4% of the probability of a million classes.

Library: torch 2.13.0
Processor: x86-64
Severity: wrong result
Input: float32 of shape (1048576, 2), each column 0 and then -17; softmax along
    axis 0, result[0, 0]
Expected: 0x1.eab2d80000000p-1 (0.958396), float32 of 1/(1 + 1048575*exp(-17))
Got: 0x1.0000000000000p+0 (1)
Because: the other 1,048,575 classes have 4% of the probability together. Added
    one by one to 1 in float32 each of them is lost; along the last axis 0.3%
    are (with AVX-512). logsumexp of the same column is right to 4e-6
Documentation: says that the results sum to 1; these sum to 1.04
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import torch

x = torch.full((2**20, 2), -17.0)
x[0] = 0
got = torch.softmax(x, 0)[0, 0].item()

print(__doc__)
print(f"torch {torch.__version__}: {got.hex()} ({got:.6g})")
