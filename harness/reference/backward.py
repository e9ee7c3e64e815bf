"""The vector-Jacobian product of softmax from its output: y_i (g_i - sum_j g_j y_j), exactly.

The given y and g are exact, so the result is rational (dyadic): no transcendental function, no
Ziv's loop, but true ties, true zeros and any amount of cancellation. The sum comes from
`math.fsum`, which is correctly rounded (R. Hettinger, after J. Shewchuk, "Adaptive precision
floating-point arithmetic", 1997), taken again on what the parts so far leave. Elements are
distilled by error-free transformations; those that three parts don't hold go to integers.
Small y are scaled by a power of two first, so that underflow is rare, and it is accounted for.

Rows with a NaN or an infinity in y or g have no exact answer; by convention they are NaN.
"""

from __future__ import annotations

import math

import numpy as np

from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array
from harness.reference.certificate import certify_triple
from harness.reference.double_double import two_prod, two_sum
from harness.reference.tails import BoolArray, column_blocks, row_blocks
from harness.reference.ziv import exact_pair

_PARTS = 3  # of the sum: 159 bits; the rest is below 2**-158 of it
_SMALLEST, _LARGEST = -960, 960  # exponents between which every product below is exact
_UNDERFLOW = 2.0**-1070  # what one product with underflow may lose
_SMALL, _LIFT = 2.0**-300, 600


def backward_rows(grad: Float64Array, y: Float64Array) -> Exact:
    """Rows of float64 (rows, classes), classes >= 1."""
    rows, classes = y.shape
    finite = (np.isfinite(grad) & np.isfinite(y)).all(axis=1)
    no_underflow, no_overflow = _product_ranges(grad, y)
    within = finite & no_overflow
    parts = np.zeros((rows, _PARTS))
    for row in np.nonzero(within)[0]:
        parts[row] = _dot(grad[row], y[row])
    # What the parts leave of the sum: nothing if the last is zero and no product underflowed
    unknown = np.where(parts[:, -1] == 0, 0.0, np.abs(parts[:, 0]) * 2.0**-156)
    unknown += np.where(no_underflow, 0.0, classes * _UNDERFLOW)
    lost = np.where(no_underflow, 0.0, 8 * _UNDERFLOW)
    out = Exact(np.full(y.shape, np.nan), np.zeros(y.shape), np.zeros(y.shape, dtype=np.int32))
    unsure = np.zeros(y.shape, dtype=bool)
    for r in row_blocks(rows, classes):
        for c in column_blocks(classes):
            safe = within[r, None]
            factor = np.where(safe, y[r, c], 0.0)
            small = (np.abs(factor) < _SMALL) & ~no_underflow[r, None]
            factor = np.where(small, factor * 2.0**_LIFT, factor)
            hi, lo, sure = _elements(
                np.where(safe, grad[r, c], 0.0), factor, parts[r], unknown[r], lost[r]
            )
            lowered = small & (np.abs(hi) < 2.0**-250)
            scale = np.where(small & ~lowered, 2.0**-_LIFT, 1.0)
            out.hi[r, c] = np.where(safe, hi * scale, np.nan)
            out.lo[r, c] = np.where(safe, lo * scale, 0.0)
            out.exponent[r, c] = np.where(lowered & (hi != 0), -_LIFT, 0)
            unsure[r, c] = ~sure & safe
    unsure[finite & ~within] = True
    for row in np.nonzero(unsure.any(axis=1))[0]:
        _settle_in_integers(out, grad, y, int(row), np.nonzero(unsure[row])[0].tolist())
    return out


def _product_ranges(grad: Float64Array, y: Float64Array) -> tuple[BoolArray, BoolArray]:
    """Rows in which no last place of y*y*g comes near underflow; rows in which none overflows."""
    low_g, high_g = _exponent_range(grad)
    low_y, high_y = _exponent_range(y)
    length = math.ceil(math.log2(y.shape[1] + 1))
    low = np.minimum(low_g, 0) + 2 * np.minimum(low_y, 0) - 4 * 53
    high = high_g + 2 * np.maximum(high_y, 0) + length
    no_underflow: BoolArray = low > _SMALLEST
    no_overflow: BoolArray = (high < _LARGEST) & (high_y < _LARGEST - _LIFT)
    return no_underflow, no_overflow


def _exponent_range(x: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Per row: the least and the largest binary exponent of the non-zero entries (or 0)."""
    exponent = np.frexp(x)[1].astype(np.float64)
    used = x != 0
    low = np.where(used, exponent, 0.0).min(axis=1)
    high = np.where(used, exponent, 0.0).max(axis=1)
    return low, high


def _dot(grad: Float64Array, y: Float64Array) -> list[float]:
    """The exact sum of g_j y_j as leading parts: each is the rest so far, correctly rounded."""
    products, errors = two_prod(grad, y)
    terms = products.tolist()
    terms.extend(errors[errors != 0].tolist())
    parts: list[float] = []
    while len(parts) < _PARTS:
        part = math.fsum(terms)
        parts.append(part)
        if part == 0.0:
            break
        terms.append(-part)
    return parts + [0.0] * (_PARTS - len(parts))


def _distil(terms: list[Float64Array]) -> list[Float64Array]:
    """As many terms with exactly the same sum, of which the leading ones do not overlap."""
    for _ in range(len(terms) - 1):
        for i in range(len(terms) - 1, 0, -1):
            terms[i - 1], terms[i] = two_sum(terms[i - 1], terms[i])
    return terms


def _elements(
    grad: Float64Array,
    y: Float64Array,
    parts: Float64Array,
    unknown: Float64Array,
    lost: Float64Array,
) -> tuple[Float64Array, Float64Array, BoolArray]:
    """hi, lo, certain of y * (grad - sum of parts +- unknown) +- lost."""
    shape = y.shape
    terms = [grad, *(np.broadcast_to(-parts[:, i, None], shape) for i in range(_PARTS))]
    products: list[Float64Array] = []
    for part in _distil(terms):
        products.extend(two_prod(y, part))
    head, middle, tail, *rest = _distil(products)
    dropped = sum((np.abs(p) for p in rest), np.zeros(shape))
    error = 2 * dropped + np.abs(y) * unknown[:, None] + lost[:, None] * (y != 0)
    hi, lo, sure = certify_triple((head, middle, tail), error)
    exact = (error == 0) & (tail == 0) & (head + middle == head)
    return np.where(exact, head + 0.0, hi), np.where(exact, middle, lo), sure | exact


def _settle_in_integers(
    out: Exact, grad: Float64Array, y: Float64Array, row: int, columns: list[int]
) -> None:
    g, g_exponent = _integers(grad[row])
    v, v_exponent = _integers(y[row])
    total = sum(a * b for a, b in zip(g, v, strict=True))
    exponent = g_exponent + 2 * v_exponent
    for column in columns:
        value = v[column] * ((g[column] << -v_exponent) - total)
        out.hi[row, column], out.lo[row, column], out.exponent[row, column] = exact_pair(
            value, exponent
        )


def _integers(x: Float64Array) -> tuple[list[int], int]:
    """Integers and one exponent <= 0 such that x = integer * 2**exponent."""
    ratios = [value.as_integer_ratio() for value in x.tolist()]
    scale = max(q for _, q in ratios)
    return [p * (scale // q) for p, q in ratios], 1 - scale.bit_length()
