"""cross_entropy of an ignored row of -inf has the gradient NaN.

Library: torch 2.13.0
Processor: x86-64
Severity: not finite
Input: logits float32 [[-inf]], target -100 (ignored), reduction='sum';
    gradient[0, 0]
Expected: 0x0.0p+0 (0), float32 of 0
Got: nan (nan)
Because: an ignored row takes no part in the loss, which is 0 here, so that the
    loss does not change with it
Documentation: says that an ignored target does not contribute to the input
    gradient
Upstream: reported: https://github.com/pytorch/pytorch/issues/11551 (open)
"""

import torch
from torch.nn.functional import cross_entropy

x = torch.full((1, 1), -torch.inf, requires_grad=True)
cross_entropy(x, torch.tensor([-100]), reduction="sum").backward()
got = x.grad.item()

print(__doc__)
print(f"torch {torch.__version__}: {got.hex()} ({got:.6g})")
