"""Softmax, its logarithm and cross-entropy where each rank holds some of the classes.

What one rank of a process group calls, with its shard of the logits, (rows, own classes); every
rank calls the same at the same time. Any backend of torch.distributed will do: tensors on the CPU
with gloo, on a device with NCCL. Shards may be of any size, 0 included.

A rank reads its shard once and has, for each row, its maximum m, the rest t = Σ exp(x − m) − 1 of
its sum, and the target's logit, or 0 where another rank holds that. These numbers are exchanged;
the shard is read once more for the result. t instead of the sum itself keeps what log1p needs
where one class has nearly all probability. 16-bit logits are computed, and exchanged, in float32.

A NaN travels in t, never in a maximum: reductions to a maximum may drop it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from torch import Tensor

Exchange = Literal["gather", "reduce"]
"""How ranks tell each other: one all-gather of what each has, merged by every rank in the order of
ranks; or an all-reduce of the maxima, then one of what was rescaled to them."""
Smoothing = Literal["uniform", "others"]
"""Where the label's share α goes: to all K classes alike, α/K each, the target among them
(torch, TensorFlow, Szegedy et al. 2016); or to the K − 1 others, α/(K − 1) each (Megatron-LM,
NeMo), which is the first with α·K/(K − 1) in place of α."""


_FORMATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Shards:
    """How many of the classes each rank holds, in the order of ranks."""

    sizes: tuple[int, ...]

    @classmethod
    def balanced(cls, classes: int, ranks: int) -> Shards:
        """Sizes that differ by at most one, the larger ones first."""
        least, more = divmod(classes, ranks)
        return cls(tuple(least + (rank < more) for rank in range(ranks)))

    @property
    def classes(self) -> int:
        """How many classes there are in all."""
        return sum(self.sizes)

    def bounds(self, rank: int) -> tuple[int, int]:
        """The first class of a rank, and the one after its last."""
        ends = list(accumulate(self.sizes))
        return ends[rank] - self.sizes[rank], ends[rank]


@dataclass(frozen=True)
class Row:
    """What is known of whole rows after the exchange; each (rows, 1), in the working precision.

    Attributes:
        maximum: of all classes.
        rest: Σ exp(x − maximum) − 1; infinite where the maximum is +inf.
        target: the target's logit.
        depth: Σ (maximum − x), where labels are smoothed.
    """

    maximum: Tensor
    rest: Tensor
    target: Tensor | None = None
    depth: Tensor | None = None

    @property
    def finite(self) -> Tensor:
        """The rest, NaN in a row with +inf, of which no probability is known."""
        return torch.where(self.rest.isinf(), torch.nan, self.rest)


def softmax(
    shard: Tensor, shards: Shards, group: dist.ProcessGroup | None, exchange: Exchange = "gather"
) -> Tensor:
    """exp(x − max) / Σ exp(x − max) of the rank's own classes.

    Args:
        shard: the rank's logits, (rows, own classes), in float64, float32, float16 or bfloat16.
        shards: how the classes are divided; the same on every rank.
        group: the ranks; None for one alone.
        exchange: see `Exchange`.

    Returns:
        Of the shape and dtype of `shard`. NaN in a row with NaN or +inf, or with nothing but −inf.

    Raises:
        TypeError: for another dtype.
        ValueError: `shard` and `shards` do not fit each other or the group.
        RuntimeError: another rank ended, or did not answer within the group's time limit.
    """
    x = _rows(shard, shards, group)
    row = _exchanged(x, shards, group, exchange)
    return _probabilities(x, row).to(shard.dtype)


def log_softmax(
    shard: Tensor, shards: Shards, group: dist.ProcessGroup | None, exchange: Exchange = "gather"
) -> Tensor:
    """(x − max) − log Σ exp(x − max) of the rank's own classes; arguments as of `softmax`."""
    x = _rows(shard, shards, group)
    row = _exchanged(x, shards, group, exchange)
    return (x - row.maximum).sub_(torch.log1p(row.finite)).to(shard.dtype)


def logsumexp(
    shard: Tensor, shards: Shards, group: dist.ProcessGroup | None, exchange: Exchange = "gather"
) -> Tensor:
    """max + log Σ exp(x − max), (rows,), the same on every rank; arguments as of `softmax`.

    −inf where every class is, +inf where one is, NaN in a row with NaN.
    """
    row = _exchanged(_rows(shard, shards, group), shards, group, exchange)
    return (row.maximum + torch.log1p(row.rest))[:, 0].to(shard.dtype)


def cross_entropy(
    shard: Tensor,
    targets: Tensor,
    shards: Shards,
    group: dist.ProcessGroup | None,
    exchange: Exchange = "gather",
    label_smoothing: float = 0.0,
    smoothing: Smoothing = "uniform",
) -> tuple[Tensor, Tensor]:
    """The loss of each row, and the gradient of their sum in the rank's own logits.

    With labels q the loss is −Σ qⱼ log pⱼ and the gradient p − q. A target's own probability is
    not taken from 1 where it is the largest: its gradient is −(sum of the others).

    Args:
        shard: as of `softmax`.
        targets: the class of each row among all classes, (rows,), int64; the same on every rank.
        shards: as of `softmax`.
        group: as of `softmax`.
        exchange: as of `softmax`.
        label_smoothing: α, at least 0 and below 1.
        smoothing: the formula, see `Smoothing`.

    Returns:
        Loss, (rows,), the same on every rank, and gradient, of the shape of `shard`; in its dtype.

    Raises:
        TypeError: for another dtype.
        ValueError: what does not fit, a target that is no class, an α out of range.
        RuntimeError: as of `softmax`.
    """
    x = _rows(shard, shards, group)
    _check_targets(targets, x, shards.classes)
    share = _share(label_smoothing, smoothing, shards.classes)
    own = _own_targets(targets, shards, group)
    row = _exchanged(x, shards, group, exchange, own, depth=share > 0)
    target, each = _known(row.target), share / shards.classes
    rest = row.finite
    loss = torch.log1p(rest) + (1 - share) * (row.maximum - target)
    if share > 0:
        loss += each * _known(row.depth)
    gradient = _probabilities(x, row)
    if each > 0:
        gradient -= each
    here, index = own
    if x.shape[1]:
        p = torch.exp(target - row.maximum) / (1 + rest)
        at_target = torch.where(target == row.maximum, -rest / (1 + rest), p - 1) + (share - each)
        gradient.scatter_(1, index, torch.where(here, at_target, gradient.gather(1, index)))
    return loss[:, 0].to(shard.dtype), gradient.to(shard.dtype)


def _rows(shard: Tensor, shards: Shards, group: dist.ProcessGroup | None) -> Tensor:
    """The shard in the working precision, or one clear line on what does not fit."""
    if shard.dtype not in _FORMATS:
        raise TypeError(f"shard: expected float64, float32, float16 or bfloat16; got {shard.dtype}")
    ranks, rank = (1, 0) if group is None else (group.size(), group.rank())
    if len(shards.sizes) != ranks:
        raise ValueError(f"shards: expected the sizes of {ranks} ranks; got {shards.sizes}")
    if shard.ndim != 2 or shard.shape[1] != shards.sizes[rank]:
        raise ValueError(
            f"shard: expected (rows, {shards.sizes[rank]}) of rank {rank}; got {tuple(shard.shape)}"
        )
    return shard if shard.dtype == torch.float64 else shard.float()


def _check_targets(targets: Tensor, x: Tensor, classes: int) -> None:
    if targets.dtype != torch.int64 or targets.shape != x.shape[:1]:
        raise ValueError(
            f"targets: expected int64 of shape ({x.shape[0]},); "
            f"got {targets.dtype} of shape {tuple(targets.shape)}"
        )
    if ((targets < 0) | (targets >= classes)).any():
        raise ValueError(
            f"targets: expected class indices from 0 to {classes - 1}; "
            f"got {int(targets.min())} to {int(targets.max())}"
        )


def _share(label_smoothing: float, smoothing: Smoothing, classes: int) -> float:
    """What of the label goes to all classes alike, the target among them."""
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing: expected 0 or more, below 1; got {label_smoothing}")
    if smoothing == "uniform" or label_smoothing == 0:
        return label_smoothing
    if classes < 2:
        raise ValueError("smoothing: 'others' needs two classes or more; got 1")
    return label_smoothing * classes / (classes - 1)


def _own_targets(
    targets: Tensor, shards: Shards, group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor]:
    """Whether the rank holds a row's target, and its index there or 0; (rows, 1) each."""
    first, end = shards.bounds(0 if group is None else group.rank())
    targets = targets[:, None]
    here = (first <= targets) & (targets < end)
    return here, torch.where(here, targets - first, 0)


def _probabilities(x: Tensor, row: Row) -> Tensor:
    return torch.exp(x - row.maximum).div_(1 + row.finite)


def _exchanged(
    x: Tensor,
    shards: Shards,
    group: dist.ProcessGroup | None,
    exchange: Exchange,
    own: tuple[Tensor, Tensor] | None = None,
    depth: bool = False,
) -> Row:
    m, t = _partial(x)
    more = []
    if own is not None:
        here, index = own
        zero = torch.zeros_like(m)
        more.append(torch.where(here, x.gather(1, index), zero) if x.shape[1] else zero)
    if depth:  # a shard of nothing but -inf is infinitely deep, an empty one not at all
        lost = torch.inf if x.shape[1] else 0.0
        more.append(torch.where(m == -torch.inf, lost, (m - x).sum(1, keepdim=True)))
    if group is None:
        found = [m, t, *more]
    elif exchange == "gather":
        found = _gathered([m, t, *more], shards.sizes, group, depth)
    else:
        size = shards.sizes[group.rank()]
        found = _reduced([m, t, *more], size, group, depth)
    maximum, rest, *others = found
    target = others.pop(0) if own is not None else None
    return Row(maximum, rest, target, others[0] if depth else None)


def _partial(x: Tensor) -> tuple[Tensor, Tensor]:
    """(m, t) of a shard, (rows, 1) each; (−inf, −1) without any class above −inf, (inf, inf) with
    +inf, (−inf, NaN) with NaN."""
    if x.shape[1] == 0:
        m = x.new_full((x.shape[0], 1), -torch.inf)
        return m, torch.full_like(m, -1.0)
    top = x.argmax(1, keepdim=True)  # of a NaN, if there is one
    m = x.gather(1, top)
    e = torch.exp(x - m)
    e.scatter_(1, top, e.gather(1, top) - 1)  # 0, and NaN in place of infinity or NaN
    t = e.sum(1, keepdim=True)
    t = torch.where(m.isinf(), m.clamp(min=-1.0), t)
    return torch.where(m.isnan(), -torch.inf, m), t


def _weight(m: Tensor, maximum: Tensor) -> Tensor:
    """exp(m − maximum); 1 where they are equal, infinite ones too."""
    return torch.where(m == maximum, 1.0, torch.exp(m - maximum))


def _deeper(depth: Tensor, size: int, m: Tensor, maximum: Tensor) -> Tensor:
    """Σ (maximum − x) of a shard from its Σ (m − x)."""
    return depth + size * (maximum - m) if size else depth


def _gathered(
    own: list[Tensor], sizes: tuple[int, ...], group: dist.ProcessGroup, depth: bool
) -> list[Tensor]:
    """One all-gather, and the same merge on every rank, in the order of ranks."""
    planes = torch.stack(own)
    everyones = [torch.empty_like(planes) for _ in sizes]
    dist.all_gather(everyones, planes, group=group)
    m, t, *more = torch.stack(everyones, dim=1)
    maximum = m.amax(0)
    top = m.argmax(0, keepdim=True)  # whose sum alone keeps its 1 apart
    terms = ((1 + t) * _weight(m, maximum)).scatter(0, top, t.gather(0, top))
    if depth:
        more[-1] = torch.stack(
            [_deeper(d, n, own_m, maximum) for d, n, own_m in zip(more[-1], sizes, m, strict=True)]
        )
    return [maximum, *(_in_order(ranks) for ranks in (terms, *more))]


def _reduced(own: list[Tensor], size: int, group: dist.ProcessGroup, depth: bool) -> list[Tensor]:
    """Two all-reduces, of maxima and of what was rescaled to them, as most libraries do it."""
    m, t, *more = own
    maximum = m.clone()
    dist.all_reduce(maximum, dist.ReduceOp.MAX, group=group)
    top = m == maximum
    if depth:
        more[-1] = _deeper(more[-1], size, m, maximum)
    # How many ranks have the maximum: each of them keeps the 1 of its sum apart
    sums = torch.stack([torch.where(top, t, (1 + t) * _weight(m, maximum)), top.to(t), *more])
    dist.all_reduce(sums, dist.ReduceOp.SUM, group=group)
    rest, tops, *others = sums
    return [maximum, rest + (tops - 1), *others]


def _in_order(ranks: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, ranks)


def _known(value: Tensor | None) -> Tensor:
    if value is None:
        raise RuntimeError("not exchanged")
    return value
