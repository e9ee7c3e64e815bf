"""scaled_dot_product_attention takes normal weights for 0 on the CPU.

Library: torch 2.13.0
Processor: x86-64 with avx2
Severity: inaccurate
Input: float32 scores 0 and 15 times -0x1.5bf5bcp+6, added as attn_mask; the
    identity as values, so that the result is the weights; result[1]
Expected: 0x1.6a098c0000000p-126 (1.66239e-38), float32 of
    exp(-0x1.5bf5bcp+6)/(1 + 15*exp(-0x1.5bf5bcp+6))
Got: 0x0.0p+0 (0)
Because: it is a normal number, and torch.softmax of the same scores gives it.
    The vectors of the flash kernel give 0 from 2**-125.5 down
Documentation: refers to a note on numerical accuracy, and says nothing of
    flushed results
Upstream: not found among the issues that could be searched on 2026-11-30; the
    exponential came with https://github.com/pytorch/pytorch/pull/115151
"""

import torch
from torch.nn.functional import scaled_dot_product_attention

scores = torch.full((1, 1, 1, 16), float.fromhex("-0x1.5bf5bcp+6"))
scores[..., 0] = 0
identity = torch.eye(16).reshape(1, 1, 16, 16)
got = scaled_dot_product_attention(torch.zeros(1, 1, 1, 16), identity, identity, scores)
got = got[0, 0, 0, 1].item()

print(__doc__)
print(f"torch {torch.__version__}: {got.hex()} ({got:.6g})")
