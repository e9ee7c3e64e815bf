"""softmax of a jagged tensor that has only empty rows raises.

Library: torch 2.13.0
Processor: x86-64
Severity: exception
Input: a nested tensor of layout jagged with two rows of no entries; the number
    of results
Expected: 0x0.0p+0 (0), float32 of 0
Got: RuntimeError: cannot reshape tensor of 0 elements into shape [0, -1]
    because the unspecified dimension size -1 can be any value and is ambiguous
Because: rows without entries have no results. With one row that has an entry
    beside them the call works; so does torch.softmax of shape (2, 0)
Documentation: says nothing of it
Upstream: not found among the issues that could be searched on 2026-11-30
"""

import torch

x = torch.nested.nested_tensor([torch.zeros(0), torch.zeros(0)], layout=torch.jagged)
try:
    size = float(torch.softmax(x, 1).values().numel())
    got = f"{size.hex()} ({size:.6g})"
except RuntimeError as error:
    got = f"RuntimeError: {error}"

print(__doc__)
print(f"torch {torch.__version__}: {got}")
