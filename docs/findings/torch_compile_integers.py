"""torch.compile of softmax gives integers for integers, where torch.softmax raises.

Library: torch 2.13.0
Processor: x86-64
Severity: wrong result
Input: uint8 [0, 1]; result[1]
Expected: 0x1.764d500000000p-1 (0.731059), float32 of exp(1)/(1 + exp(1))
Got: 0x0.0p+0 (0)
Because: no integer is a probability of two classes that are both possible;
    torch.softmax of the same tensor raises NotImplementedError. int8 and int64
    are alike, and so is log_softmax
Documentation: says nothing of it
Upstream: reported: https://github.com/pytorch/pytorch/issues/198155 (open)
"""

import torch

got = float(torch.compile(torch.softmax)(torch.tensor([0, 1], dtype=torch.uint8), 0)[1])

print(__doc__)
print(f"torch {torch.__version__}: {got.hex()} ({got:.6g})")
