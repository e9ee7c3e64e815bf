"""The gradient of cross_entropy is 0 where the target is likely but not certain.

Library: torch 2.13.0
Processor: x86-64
Severity: inaccurate
Input: logits float32 [[17, 0]], target 0; gradient[0, 0]
Expected: -0x1.639e300000000p-25 (-4.13994e-08), float32 of -exp(-17)/(1 +
    exp(-17))
Got: 0x0.0p+0 (0)
Because: the gradient is p - 1, the other classes' probability with a minus, and
    sums to 0 over the classes. p rounds to 1 before the 1 is subtracted. The
    backward of softmax and log_softmax, and loss_parallel, are alike
Documentation: says nothing of it
Upstream: reported: https://github.com/pytorch/pytorch/issues/195678 (open)
"""

import torch
from torch.nn.functional import cross_entropy

x = torch.tensor([[17.0, 0.0]], requires_grad=True)
cross_entropy(x, torch.tensor([0])).backward()
got = x.grad[0, 0].item()

print(__doc__)
print(f"torch {torch.__version__}: {got.hex()} ({got:.6g})")
