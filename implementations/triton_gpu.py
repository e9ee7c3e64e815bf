"""A softmax written in Triton: one program per row, which it reads twice.

The peer that a kernel author would write first. Up to 16384 classes a program holds its row in
registers and reads it once; beyond, it goes over the row in blocks with a running (maximum, sum)
and reads it again to write. Computed in float32, in float64 for float64. With the environment
variable TRITON_INTERPRET=1 it runs on the CPU, slowly, for tests.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

with warnings.catch_warnings():  # torch's own modules use what torch deprecates
    warnings.simplefilter("ignore")
    import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

IMPLEMENTATION = {
    "backend": "torch_cuda",
    "device": "cuda",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("torch", "triton"),
    "source": "our own, after the fused softmax of Triton's tutorials, "
    "https://triton-lang.org/main/getting-started/tutorials/02-fused-softmax.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "online",
    "passes": 2,
    "threads": "many",
    "accumulator": "float32",
    "deviations": (),
}

_HELD = 16384  # classes that a program holds
_BLOCK = 4096


@triton.jit
def _held(x, out, classes, pitch, SIZE: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, SIZE)
    inside = column < classes
    v = tl.load(x + row * pitch + column, mask=inside, other=-float("inf")).to(WIDE)
    e = tl.exp(v - tl.max(v, axis=0))
    y = e / tl.sum(e, axis=0)
    tl.store(out + row * classes + column, y.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _online(x, out, classes, pitch, SIZE: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, SIZE).to(tl.int64)
    m = tl.full((), -float("inf"), WIDE)
    s = tl.full((), 0.0, WIDE)
    for start in range(0, classes, SIZE):
        at = start + column
        v = tl.load(x + row * pitch + at, mask=at < classes, other=-float("inf")).to(WIDE)
        top = tl.maximum(m, tl.max(v, axis=0))
        # While nothing but -inf was seen there is nothing to subtract, and NaN stays NaN.
        shift = tl.where(top == -float("inf"), 0.0, top)
        s = s * tl.exp(m - shift) + tl.sum(tl.exp(v - shift), axis=0)
        m = top
    for start in range(0, classes, SIZE):
        at = start + column
        v = tl.load(x + row * pitch + at, mask=at < classes, other=-float("inf")).to(WIDE)
        y = tl.exp(v - m) / s
        tl.store(out + row * classes + at, y.to(out.dtype.element_ty), mask=at < classes)


def softmax(x: Tensor, axis: int = -1, out: Tensor | None = None) -> Tensor:
    """Softmax along `axis` of a tensor on the device."""
    if not x.is_floating_point():
        raise TypeError(f"x: expected a floating-point tensor; got {x.dtype}")
    if out is not None and (out.shape != x.shape or out.dtype != x.dtype):
        raise ValueError(
            f"out: expected shape {tuple(x.shape)} and dtype {x.dtype}; "
            f"got {tuple(out.shape)} and {out.dtype}"
        )
    rows = torch.movedim(x, axis, -1).contiguous()
    last = axis in (-1, x.ndim - 1)
    direct = out is not None and last and out.is_contiguous()
    result: Any = out if direct else torch.empty_like(rows)
    classes = rows.shape[-1]
    if rows.numel():
        wide = tl.float64 if x.dtype == torch.float64 else tl.float32
        held = classes <= _HELD
        size = triton.next_power_of_2(classes) if held else _BLOCK
        warps = 4 if size <= 2048 else 8 if size <= 8192 else 16
        kernel = _held if held else _online
        grid = (rows.numel() // classes,)
        kernel[grid](rows, result, classes, classes, SIZE=size, WIDE=wide, num_warps=warps)
    if direct:
        return result
    moved = torch.movedim(result, -1, axis)
    return moved.contiguous() if out is None else out.copy_(moved)


@triton.jit
def _exponentials(x, out, count, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    v = tl.load(x + at, mask=at < count, other=0.0)
    tl.store(out + at, tl.exp(v), mask=at < count)


def exp(x: Tensor) -> Tensor:
    """The exponential of the kernels, elementwise, so that its error can be measured."""
    flat = x.contiguous()
    result = torch.empty_like(flat)
    if flat.numel():
        _exponentials[(triton.cdiv(flat.numel(), 1024),)](flat, result, flat.numel(), SIZE=1024)
    return result
