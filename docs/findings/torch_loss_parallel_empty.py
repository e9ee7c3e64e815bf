"""cross_entropy under loss_parallel raises on a rank that holds no class.

Library: torch 2.13.0
Processor: x86-64
Severity: exception
Input: rank 1 of 2; logits float32 [[0]], sharded along the classes: rank 0
    holds the one, rank 1 none; target 0; the loss
Expected: 0x0.0p+0 (0), float32 of log(1)
Got: RuntimeError: index 0 is out of bounds for dimension 1 with size 0
Because: the only class has the probability 1. A DTensor of 6 classes among 4
    ranks leaves the last without any, too: 2, 2, 2, 0
Documentation: says nothing of ranks without classes
Upstream: not found among the issues that could be searched on 2026-11-30; of
    uneven shards in general https://github.com/pytorch/pytorch/issues/103306
"""

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor, Shard, init_device_mesh
from torch.distributed.tensor.parallel import loss_parallel
from torch.nn.functional import cross_entropy
from torch.testing._internal.distributed.fake_pg import FakeStore

dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
mesh, one = init_device_mesh("cpu", (2,)), torch.Size([1, 1])
x = DTensor.from_local(torch.zeros(1, 0), mesh, [Shard(1)], shape=one, stride=(1, 1))
try:
    with loss_parallel():
        loss = cross_entropy(x, torch.tensor([0])).to_local().item()
    got = f"{loss.hex()} ({loss:.6g})"
except RuntimeError as error:
    got = f"RuntimeError: {error}"

print(__doc__)
print(f"torch {torch.__version__}: {got}")
