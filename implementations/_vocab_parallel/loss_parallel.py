"""torch's own loss_parallel as work of a team; apart, since DTensor takes long to import."""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

with warnings.catch_warnings():  # torch's own modules use what torch deprecates
    warnings.simplefilter("ignore")
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor, Shard
    from torch.distributed.tensor.parallel import loss_parallel
    from torch.nn import functional

from implementations._vocab_parallel.work import loopback_gloo

if TYPE_CHECKING:
    from torch import Tensor

_BACKEND = "loopback_gloo"


class LossParallel:
    """torch's own `loss_parallel` on DTensor, in the default group of the process."""

    _group: dist.ProcessGroup | None = None
    """The default group, if it was made here."""

    def __init__(self, store: dist.Store, rank: int, ranks: int, timeout_s: float) -> None:
        if dist.is_initialized():
            if dist.group.WORLD is not LossParallel._group:
                raise RuntimeError(
                    "loss_parallel: needs the default process group, and this process has one "
                    "already; call it from another process"
                )
            dist.destroy_process_group()  # of ranks that ended
        dist.Backend.register_backend(_BACKEND, loopback_gloo, devices=["cpu"])
        dist.init_process_group(
            f"cpu:{_BACKEND}",
            store=store,
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=timeout_s),
        )
        LossParallel._group = dist.group.WORLD
        self.mesh = DeviceMesh.from_group(LossParallel._group, "cpu")

    @staticmethod
    def sizes(classes: int, ranks: int) -> tuple[int, ...]:
        """As DTensor divides: chunks of one size, rounded up, and what is left for the last."""
        chunk = -(-classes // ranks)
        sizes = tuple(min(chunk, max(0, classes - rank * chunk)) for rank in range(ranks))
        if 0 in sizes and classes:
            raise ValueError(
                f"loss_parallel: {classes} classes among {ranks} ranks leave one without any, "
                "where PyTorch's loss_parallel fails"
            )
        return sizes

    def __call__(
        self, operation: str, shard: Tensor, classes: int, targets: Tensor | None
    ) -> tuple[Tensor, ...]:
        if targets is None:
            raise ValueError(f"loss_parallel: expected cross_entropy; got {operation}")
        shape = torch.Size((len(shard), classes))
        logits = DTensor.from_local(
            shard.clone(), self.mesh, [Shard(1)], run_check=False, shape=shape, stride=(classes, 1)
        ).requires_grad_()
        with loss_parallel():
            loss = functional.cross_entropy(logits, targets.clone(), reduction="none")
            (gradient,) = torch.autograd.grad(loss.sum(), logits)
        return gradient.to_local(), loss.detach().to_local()
