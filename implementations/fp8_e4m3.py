"""Weights in FP8, E4M3: times a power of two before they are rounded, as FlashAttention does.

Weights are up to 2**tau, of lazy rescaling; times 2**power they must not exceed 448, at which
they saturate. The sum is of weights that are not rounded.
"""

from __future__ import annotations

import ml_dtypes

from implementations._shared import attention_blocks
from implementations._shared.numpy_rows import Array

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": (),
    "source": "FlashAttention-3, https://arxiv.org/abs/2407.08608; saturation: "
    "https://github.com/Dao-AILab/flash-attention/issues/2577",
    "formula": "yⱼ = 2⁻ᵏ·fp8(2ᵏ·exp(xⱼ − m)) / Σᵢ exp(xᵢ − m)",
    "bound": "online",
    "threads": "single",
    "accumulator": "float32",
    "weights": "float8_e4m3fn",
    "parameters": {"power": (0, 2, 4, 6, 8, 9, 10), "tau": (0, 1, 2, 4, 8)},
}


def attention_weights(x: Array, axis: int = -1, *, power: int = 8, tau: float = 0.0) -> Array:
    """Softmax along `axis`, block by block."""

    def kept(weights: Array) -> Array:
        return attention_blocks.narrowed(weights, int(power), ml_dtypes.float8_e4m3fn)

    return attention_blocks.attention_weights(x, axis, tau=tau, kept=kept)
