"""jax.nn.softmax on the CPU, compiled by XLA.

The peer of the world of compiled arrays. Each function is compiled at the first call for a shape
and an axis; timings are of later ones. It works in the dtype that it is given, so that 16-bit
sums are 16-bit sums unless XLA widens them, and XLA's code for CPUs takes subnormal numbers for 0.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if __name__ == "jax":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "jax: found implementations/jax.py in place of the package; "
        "start Python in another directory, or with -P"
    )

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jax import Array

jax.config.update("jax_enable_x64", True)  # else float64 arrays silently become float32 ones

IMPLEMENTATION = {
    "backend": "jax",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("jax", "jaxlib"),
    "source": "https://docs.jax.dev/en/latest/_autosummary/jax.nn.softmax.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "deviations": (
        {"id": "flushes", "reason": "XLA's code for CPUs takes subnormal numbers for 0"},
        {"id": "float16-sum", "reason": "a float16 sum overflows beyond 65504 equal classes"},
        {"id": "contraction", "reason": "XLA contracts c*x - max to a fused multiply-add"},
    ),
}


@partial(jax.jit, static_argnames=("axis",))
def _softmax(x: Array, axis: int) -> Array:
    return jax.nn.softmax(x, axis)


@partial(jax.jit, static_argnames=("axis",))
def _log_softmax(x: Array, axis: int) -> Array:
    return jax.nn.log_softmax(x, axis)


@partial(jax.jit, static_argnames=("axis",))
def _logsumexp(x: Array, axis: int) -> Array:
    return jax.nn.logsumexp(x, axis)


@partial(jax.jit, static_argnames=("axis",))
def _scaled(x: Array, scale: float, axis: int) -> Array:
    return jax.nn.softmax(x * scale, axis)


@partial(jax.jit, static_argnames=("axis",))
def _masked(x: Array, mask: Array, axis: int) -> Array:
    return jax.nn.softmax(x, axis, where=mask)


@partial(jax.jit, static_argnames=("axis",))
def _with_sink(x: Array, sink: float, axis: int) -> Array:
    one = jnp.full_like(jax.lax.slice_in_dim(x, 0, 1, axis=axis), sink)
    whole = jax.nn.softmax(jnp.concatenate([x, one], axis), axis)
    return jax.lax.slice_in_dim(whole, 0, x.shape[axis], axis=axis)


@partial(jax.jit, static_argnames=("axis",))
def _capped(x: Array, cap: float, axis: int) -> Array:
    return jax.nn.softmax(jnp.tanh(x / cap) * cap, axis)


def scaled_softmax(x: Array, scale: float, axis: int = -1) -> Array:
    """jax.jit of softmax(x * scale), the scale an argument in the format of x."""
    return _scaled(x, jnp.asarray(scale, x.dtype), axis)


def masked_softmax(x: Array, mask: Array, axis: int = -1) -> Array:
    """jax.jit(jax.nn.softmax)(x, axis, where=mask)."""
    return _masked(x, mask, axis)


def softmax_with_sink(x: Array, sink: float, axis: int = -1) -> Array:
    """jax.jit of softmax with the sink as one more class, which is dropped."""
    return _with_sink(x, jnp.asarray(sink, x.dtype), axis % x.ndim)


def softcap_softmax(x: Array, cap: float, axis: int = -1) -> Array:
    """jax.jit of softmax(tanh(x / cap) * cap)."""
    return _capped(x, jnp.asarray(cap, x.dtype), axis)


def softmax(x: Array, axis: int = -1) -> Array:
    """jax.jit(jax.nn.softmax)(x, axis)."""
    return _softmax(x, axis)


def log_softmax(x: Array, axis: int = -1) -> Array:
    """jax.jit(jax.nn.log_softmax)(x, axis)."""
    return _log_softmax(x, axis)


def logsumexp(x: Array, axis: int = -1) -> Array:
    """jax.jit(jax.nn.logsumexp)(x, axis)."""
    return _logsumexp(x, axis)


@jax.jit
def _layer(hidden: Array, weight: Array, targets: Array) -> tuple[Array, ...]:
    def losses(h: Array, w: Array) -> Array:
        z = h @ w.T
        own = jnp.take_along_axis(z, targets[..., None], -1)[..., 0]
        return jax.nn.logsumexp(z, -1) - own

    loss, gradients_of = jax.vjp(losses, hidden, weight)
    return loss, *gradients_of(jnp.ones_like(loss))


def linear_cross_entropy(
    hidden: Array, weight: Array, targets: Array
) -> tuple[Array, Array, Array]:
    """jax.jit of logsumexp(z) - z[target] with z = hidden @ weight.T, and its jax.vjp."""
    loss, in_hidden, in_weight = _layer(hidden, weight, targets)
    return loss, in_hidden, in_weight
