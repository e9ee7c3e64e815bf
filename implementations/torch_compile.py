"""torch.compile of torch.softmax on the CPU: C++ made by TorchInductor.

The peer of the compiled training world. The first call for a format traces, writes C++ and runs
the compiler: seconds, or tenths of one where Inductor's cache on disk knows the program. Compiled
are functions of rows of classes, or of classes with more dimensions behind them, in contiguous
memory: anything else is brought to that shape. Small arrays share a program for all shapes; one of
2¹⁷ elements or more gets its own, as torch.compile does at first, which is up to a fifth faster.
More programs than Inductor allows by default are compiled, and one that cannot be is an error:
never the eager softmax under this name.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

with warnings.catch_warnings():  # torch's own modules use what torch deprecates
    warnings.simplefilter("ignore")
    import torch
    import torch._dynamo
    import torch._inductor.config

from implementations._shared import torch_operations as operations

if TYPE_CHECKING:
    from torch import Tensor

IMPLEMENTATION = {
    "backend": "torch",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("torch",),
    "programs": ("g++",),
    "source": "https://docs.pytorch.org/docs/stable/generated/torch.compile.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "deviations": (
        {"id": "saturation", "reason": "log_softmax is 0 where the probability is near 1"},
        {"id": "gradient", "reason": "the gradient at the target is p - 1, rounded"},
    ),
}

_OWN_PROGRAM = 2**17  # elements
_PROGRAMS = 1 << 20  # by default 8: the ninth call would be eager, or an error

torch._dynamo.config.recompile_limit = _PROGRAMS
torch._dynamo.config.accumulated_recompile_limit = _PROGRAMS
torch._inductor.config.compile_threads = 1  # else a pool of processes stays behind


def _forward(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Tensor, out: Tensor | None) -> Tensor:
        y = function(x, 1)
        return y if out is None else out.copy_(y)

    return call


def _backward(grad: Tensor, y: Tensor) -> Tensor:
    return operations.softmax_backward(grad, y, 1)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "softmax": _forward(torch.softmax),
    "log_softmax": _forward(torch.log_softmax),
    "logsumexp": _forward(torch.logsumexp),
    "exp": _forward(lambda x, _: torch.exp(x)),
    "scaled_softmax": lambda x, scale: operations.scaled(x, scale, 1),
    "masked_softmax": lambda x, mask: operations.masked(x, mask, 1),
    "softmax_with_sink": lambda x, sink: operations.with_sink(x, sink, 1),
    "softcap_softmax": lambda x, cap: operations.softcapped(x, cap, 1),
    "softmax_backward": _backward,
    "cross_entropy": operations.losses,
    "linear_cross_entropy": operations.linear_losses,
}


@lru_cache(maxsize=16)
def _compiled(operation: str, dynamic: bool) -> Callable[..., Any]:
    return torch.compile(_FUNCTIONS[operation], dynamic=dynamic, fullgraph=True)


def _program(operation: str, x: Tensor) -> Callable[..., Any]:
    return _compiled(operation, x.numel() < _OWN_PROGRAM)


def _shape(x: Tensor, axis: int) -> tuple[int, ...]:
    """The same elements with the classes as axis 1: (rows, classes), or more behind them."""
    if x.ndim == 0:
        return (1, 1)
    if not -x.ndim <= axis < x.ndim:
        raise IndexError(f"axis: expected one of {x.ndim} dimensions; got {axis}")
    axis %= x.ndim
    inner = math.prod(x.shape[axis + 1 :])
    rows, classes = math.prod(x.shape[:axis]), x.shape[axis]
    return (rows, classes) if inner == 1 else (rows, classes, inner)


def _run(operation: str, x: Tensor, axis: int, out: Tensor | None) -> Tensor:
    shape = _shape(x, axis)
    # Inductor makes a program that writes into a result of three dimensions, and cannot run it.
    if out is None or not out.is_contiguous() or len(shape) > 2:
        result = _program(operation, x)(x.reshape(shape).contiguous(), None).reshape(x.shape)
        return result if out is None else out.copy_(result)
    if out.shape != x.shape or out.dtype != x.dtype:
        raise ValueError(
            f"out: expected shape {tuple(x.shape)} and {x.dtype}; "
            f"got {tuple(out.shape)} and {out.dtype}"
        )
    _program(operation, x)(x.reshape(shape).contiguous(), out.view(shape))
    return out


@torch.no_grad()
def softmax(x: Tensor, axis: int = -1, out: Tensor | None = None) -> Tensor:
    """torch.compile(torch.softmax)(x, axis)."""
    return _run("softmax", x, axis, out)


@torch.no_grad()
def log_softmax(x: Tensor, axis: int = -1, out: Tensor | None = None) -> Tensor:
    """torch.compile(torch.log_softmax)(x, axis)."""
    return _run("log_softmax", x, axis, out)


@torch.no_grad()
def logsumexp(x: Tensor, axis: int = -1) -> Tensor:
    """torch.compile(torch.logsumexp)(x, axis)."""
    shape = _shape(x, axis)
    kept = [n for i, n in enumerate(x.shape) if i != axis % x.ndim]
    return _program("logsumexp", x)(x.reshape(shape).contiguous(), None).reshape(kept)


@torch.no_grad()
def scaled_softmax(x: Tensor, scale: float, axis: int = -1) -> Tensor:
    """torch.compile of softmax(x * scale); the scale is a constant of the program."""
    return _changed("scaled_softmax", x, axis, scale)


@torch.no_grad()
def masked_softmax(x: Tensor, mask: Tensor, axis: int = -1) -> Tensor:
    """torch.compile of softmax(x.masked_fill(~mask, -inf))."""
    shape = _shape(x, axis)
    return _changed("masked_softmax", x, axis, mask.reshape(shape).contiguous())


@torch.no_grad()
def softmax_with_sink(x: Tensor, sink: float, axis: int = -1) -> Tensor:
    """torch.compile of softmax with the sink as one more class, which is dropped."""
    return _changed("softmax_with_sink", x, axis, sink)


@torch.no_grad()
def softcap_softmax(x: Tensor, cap: float, axis: int = -1) -> Tensor:
    """torch.compile of softmax(tanh(x / cap) * cap)."""
    return _changed("softcap_softmax", x, axis, cap)


def _changed(operation: str, x: Tensor, axis: int, argument: Any) -> Tensor:
    shape = _shape(x, axis)
    return _program(operation, x)(x.reshape(shape).contiguous(), argument).reshape(x.shape)


@torch.no_grad()
def softmax_backward(grad: Tensor, y: Tensor, axis: int = -1) -> Tensor:
    """The backward of torch.softmax, compiled."""
    shape = _shape(y, axis)
    given = (t.reshape(shape).contiguous() for t in (grad, y))
    return _program("softmax_backward", y)(*given).reshape(y.shape)


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each row by a compiled function, and the gradient of its sum by autograd."""

    def losses(rows: Tensor, targets: Tensor) -> Tensor:
        return _program("cross_entropy", rows)(rows, targets)

    return operations.loss_and_gradient(logits, targets, losses)


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of each row by a compiled function, and the gradients of its sum by autograd."""

    def losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        return _program("linear_cross_entropy", hidden)(hidden, weight, targets)

    return operations.layer_loss_and_gradients(hidden, weight, targets, losses)


@torch.no_grad()
def exp(x: Tensor) -> Tensor:
    """The exponential of the compiled code, so that its error can be measured."""
    return _program("exp", x)(x.reshape(1, -1), None).reshape(x.shape)
