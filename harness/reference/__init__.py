"""Certified results of softmax and its relatives: the root of trust of the whole instrument.

Every function takes NumPy arrays of a format of `formats.FORMATS` (booleans and integers
that float64 holds exactly, too), of any number of dimensions and strides, along any axis (an
integer, a tuple, or None for all). The input is taken as it is, already rounded, and is exact.

- `softmax`, `log_softmax`, `logsumexp`, `softmax_backward`, `cross_entropy`, and attention's
  `scaled_softmax`, `softcap_softmax`, `masked_softmax`, `softmax_with_sink`,
  `merge_logsumexp`, and `linear_cross_entropy`, and `ragged_softmax` of rows of unlike lengths:
  plain arrays, correctly rounded, once, to nearest even.
- `*_exact`: `exact.Exact`, the unrounded pair hi + lo, for errors in ulps. One such
  evaluation serves every format: `Exact.round_to(fmt)` is the correctly rounded result.

Special values: a NaN or +inf in a row makes the row NaN, all -inf too; -inf among others has
softmax 0 and log-softmax -inf. Log-sum-exp of all -inf (or of nothing) is -inf, with +inf it is
+inf, with NaN it is NaN. Magnitudes below about 2**-2**19 are given as 2**-2**19.

How: double-double with a-priori bounds (`operations`, `elementary`), and what that can't certify
by Ziv's loop in Arb balls or mpmath intervals (`balls`, `ziv`, `engines`).
"""

from harness.reference.api import (
    cross_entropy,
    cross_entropy_exact,
    linear_cross_entropy,
    linear_cross_entropy_exact,
    log_softmax,
    log_softmax_exact,
    logsumexp,
    logsumexp_exact,
    masked_softmax,
    masked_softmax_exact,
    merge_logsumexp,
    merge_logsumexp_exact,
    ragged_softmax,
    ragged_softmax_exact,
    scaled_softmax,
    scaled_softmax_exact,
    softcap_softmax,
    softcap_softmax_exact,
    softmax,
    softmax_backward,
    softmax_backward_exact,
    softmax_exact,
    softmax_with_sink,
    softmax_with_sink_exact,
)
from harness.reference.cache import (
    cached_cross_entropy_exact,
    cached_exact,
    cached_softmax_exact,
)

__all__ = [
    "cached_cross_entropy_exact",
    "cached_exact",
    "cached_softmax_exact",
    "cross_entropy",
    "cross_entropy_exact",
    "linear_cross_entropy",
    "linear_cross_entropy_exact",
    "log_softmax",
    "log_softmax_exact",
    "logsumexp",
    "logsumexp_exact",
    "masked_softmax",
    "masked_softmax_exact",
    "merge_logsumexp",
    "merge_logsumexp_exact",
    "ragged_softmax",
    "ragged_softmax_exact",
    "scaled_softmax",
    "scaled_softmax_exact",
    "softcap_softmax",
    "softcap_softmax_exact",
    "softmax",
    "softmax_backward",
    "softmax_backward_exact",
    "softmax_exact",
    "softmax_with_sink",
    "softmax_with_sink_exact",
]
