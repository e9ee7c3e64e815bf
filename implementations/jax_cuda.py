"""jax.nn.softmax on an NVIDIA GPU, compiled by XLA.

The peer of the world of compiled arrays. Each function is compiled at the first call for a shape
and an axis; timings are of later ones. It works in the dtype that it is given.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jax import Array

jax.config.update("jax_enable_x64", True)  # else float64 arrays silently become float32 ones

IMPLEMENTATION = {
    "backend": "jax_cuda",
    "device": "cuda",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("jax", "jaxlib", "jax_cuda13_plugin|jax_cuda12_plugin"),
    "source": "https://docs.jax.dev/en/latest/_autosummary/jax.nn.softmax.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "generic",
    "threads": "many",
    "deviations": (),
}


@partial(jax.jit, static_argnames=("axis",))
def softmax(x: Array, axis: int = -1) -> Array:
    """jax.jit(jax.nn.softmax)(x, axis)."""
    return jax.nn.softmax(x, axis)


@partial(jax.jit, static_argnames=("axis",))
def log_softmax(x: Array, axis: int = -1) -> Array:
    """jax.jit(jax.nn.log_softmax)(x, axis)."""
    return jax.nn.log_softmax(x, axis)


@partial(jax.jit, static_argnames=("axis",))
def logsumexp(x: Array, axis: int = -1) -> Array:
    """jax.jit(jax.nn.logsumexp)(x, axis)."""
    return jax.nn.logsumexp(x, axis)


def _losses(logits: Array, targets: Array) -> Array:
    at_target = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)
    return -at_target[..., 0]


def _total(logits: Array, targets: Array) -> tuple[Array, Array]:
    losses = _losses(logits, targets)
    return losses.sum(), losses


@jax.jit
def cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Minus the log-softmax at the target, and the gradient of its sum by jax.grad."""
    gradient, losses = jax.grad(_total, has_aux=True)(logits, targets)
    return losses, gradient


@jax.jit
def cross_entropy_loss(logits: Array, targets: Array) -> Array:
    """The loss alone."""
    return _losses(logits, targets)
