"""Lazy rescaling: the reference is replaced only when the maximum has grown by more than 2**tau.

As FlashAttention-4 does to spare multiplications: weights are up to 2**tau, and divided by the sum
in the end as all others. With tau = 0 it is the online softmax of FlashAttention.
"""

from __future__ import annotations

from implementations._shared import attention_blocks
from implementations._shared.numpy_rows import Array

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": (),
    "source": "FlashAttention-4, https://github.com/Dao-AILab/flash-attention",
    "formula": "m ← max where max > m + τ·ln 2;  yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m)",
    "bound": "online",
    "threads": "single",
    "accumulator": "float32",
    "parameters": {"tau": (0, 1, 2, 4, 8, 16, 32, 64)},
}


def attention_weights(x: Array, axis: int = -1, *, tau: float = 8.0) -> Array:
    """Softmax along `axis`, block by block."""
    return attention_blocks.attention_weights(x, axis, tau=tau)
