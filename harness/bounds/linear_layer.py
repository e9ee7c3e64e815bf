"""How far cross-entropy of a linear layer may be off: the loss and both gradients, in ulps.

Logits z = h . w are off by (d + 2) u sum |h_j w_j| as a sum of d products in any order, u of the
format that is computed in, and by u abs(z) of the format of the input, in which they may be kept.
What that does to softmax is the factor of `perturbation`; cross-entropy of the logits has its own
bound. The gradients are sums of n terms: their errors, and (n + 2) u of their magnitudes, the
target's 1 and its probability each for itself: some take them apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from harness.bounds.tolerances import Arithmetic, cross_entropy_allowance, perturbation
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, FloatFormat, float_format, scale_by_power
from harness.reference import cross_entropy_exact

Layer = tuple[Float64Array, Float64Array, NDArray[np.int64]]
"""Inputs (rows, features), weights (classes, features) and targets (rows,)."""


def linear_allowance(
    layer: Layer, exact: tuple[Exact, Exact, Exact], fmt: DTypeLike | FloatFormat,
    arithmetic: Arithmetic,
) -> tuple[Float64Array, Float64Array, Float64Array]:  # fmt: skip
    """Ulps allowed to the loss (rows,) and to its gradients in the inputs and in the weights.

    Args:
        exact: what they are, of `harness.reference.linear_cross_entropy_exact`.
        fmt: the format of inputs and results.
    """
    hidden, weight, targets = layer
    output = float_format(fmt)
    inside = arithmetic.internal(output)
    z = hidden @ weight.T
    loss, gradient = cross_entropy_exact(z, targets)
    loss_ulps, gradient_ulps = cross_entropy_allowance(
        z, targets, loss, gradient, output, arithmetic
    )
    products = (hidden.shape[1] + 2) * inside.unit_roundoff * (np.abs(hidden) @ np.abs(weight).T)
    off = products + output.unit_roundoff * np.abs(z)
    p, rows = gradient.to_float64(), np.arange(len(z))
    p[rows, targets] += 1.0
    factor = perturbation(off, p)
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = np.nan_to_num(p * factor, nan=np.inf)
        others = shifted.sum(axis=1) - shifted[rows, targets]
        shifted[rows, targets] = np.fmin(shifted[rows, targets], others)
        size = p.copy()
        size[rows, targets] += 1.0
        each = _absolute(gradient_ulps, gradient, output) + shifted
        # of the logarithm of the sum, and of the target's logit
        moved = np.log1p(factor.min(axis=1)) + off[rows, targets]
        loss_off = _absolute(loss_ulps, loss, output) + moved
        in_hidden = _sum_off(each, size, np.abs(weight), inside)
        in_weight = _sum_off(each.T, size.T, np.abs(hidden), inside)
    return (
        _in_ulps(loss_off, exact[0], output),
        _in_ulps(in_hidden, exact[1], output),
        _in_ulps(in_weight, exact[2], output),
    )


def _sum_off(
    off: Float64Array, terms: Float64Array, by: Float64Array, inside: FloatFormat
) -> Float64Array:
    """What sums of terms times others may be off."""
    return np.asarray(off @ by + (len(by) + 2) * inside.unit_roundoff * (terms @ by))


def _absolute(ulps: Float64Array, exact: Exact, fmt: FloatFormat) -> Float64Array:
    return scale_by_power(np.minimum(ulps, 1e300), exact.in_ulps(fmt)[0])


def _in_ulps(absolute: Float64Array, exact: Exact, fmt: FloatFormat) -> Float64Array:
    """And half an ulp, for the result itself."""
    return scale_by_power(np.minimum(absolute, 1e300), -exact.in_ulps(fmt)[0]) + 0.5
