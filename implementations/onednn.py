"""oneDNN's softmax primitive, through torch.

The library of Intel that PyTorch, TensorFlow and others have inside. A tensor of torch's layout for
oneDNN is made of the argument, softmax of it is oneDNN's, and the result is brought back: two
copies. oneDNN makes no primitive of float16 where the processor lacks its instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from implementations._shared.session_arrays import rows_and_classes

if TYPE_CHECKING:
    from torch import Tensor

IMPLEMENTATION = {
    "backend": "torch",
    "device": "cpu",
    "dtypes": ("float32", "bfloat16"),
    "requires": ("torch",),
    "source": "https://uxlfoundation.github.io/oneDNN/dev_guide_softmax.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "by_name": True,
    "deviations": ({"id": "flushes", "reason": "its code for CPUs takes subnormal results for 0"},),
}


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """torch.softmax(x.to_mkldnn(), axis).to_dense(), of three dimensions: torch allows five."""
    rows = x.reshape(rows_and_classes(x.shape, axis))
    return torch.softmax(rows.to_mkldnn(), 1).to_dense().reshape(x.shape)
