"""torch.log_softmax is 0 for a class that is likely but not certain.

Library: torch 2.13.0
Processor: x86-64
Severity: inaccurate
Input: float32 [17, 0]; result[0]
Expected: -0x1.639e300000000p-25 (-4.13994e-08), float32 of -log(1 + exp(-17))
Got: 0x0.0p+0 (0)
Because: the logarithm of a probability below 1 is below 0, and here a normal
    number. log(1 + small) loses what log1p(small) keeps. So are
    torch.logsumexp, cross_entropy and what torch.compile makes of them
Documentation: says nothing of it
Upstream: reported: https://github.com/pytorch/pytorch/issues/113708 (open)
"""

import torch

got = torch.log_softmax(torch.tensor([17.0, 0.0]), 0)[0].item()

print(__doc__)
print(f"torch {torch.__version__}: {got.hex()} ({got:.6g})")
