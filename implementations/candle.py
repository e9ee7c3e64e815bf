"""candle's softmax on the CPU, through its Python package candle-nn.

The peer of Rust: candle_nn::ops::softmax, which is max, subtract, exp, sum and divide, each over
the whole tensor and in its own format. The newest package there is has candle 0.4.2, of March 2024.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if __name__ == "candle":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "candle: found implementations/candle.py in place of the package; "
        "start Python in another directory, or with -P"
    )

from candle import functional

if TYPE_CHECKING:
    from candle import Tensor

IMPLEMENTATION = {
    "backend": "candle",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("candle",),
    "source": "https://docs.rs/candle-nn/0.4.1/candle_nn/ops/fn.softmax.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "single",
    "by_name": True,
}


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """candle.functional.softmax(x, axis), which takes no negative axis."""
    return functional.softmax(x, axis % max(x.rank, 1))
