"""torch.softmax is wrong where out= overlaps its input in part, without an error.

Library: torch 2.13.0
Processor: x86-64 with avx512f
Severity: wrong result
Input: float32 x = 1 and 16 times 0, out= one element after x in the same
    memory; result[0]
Expected: 0x1.2969780000000p-3 (0.145221), float32 of exp(1)/(exp(1) + 16)
Got: 0x1.2282ba0000000p-3 (0.141851)
Because: it is the largest of 17 probabilities. Entries are read after others
    were written in their place; torch.exp and others refuse such calls with a
    RuntimeError. Without AVX-512 other numbers come, as wrong
Documentation: says nothing of it
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import torch

memory = torch.zeros(18)
memory[0] = 1
torch.softmax(memory[:17], 0, out=memory[1:])
got = memory[1].item()

print(__doc__)
print(f"torch {torch.__version__}: {got.hex()} ({got:.6g})")
