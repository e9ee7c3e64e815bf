"""A-priori error bounds of the softmax algorithms, by name, evaluated elementwise.

A *gate* is a bound that a correct implementation of its
algorithm cannot exceed (derived in docs/bounds.md, tested in seeded campaigns): above it there is
a bug, in the code or in the bound. A published bound is first order in u and assumes exponentials
accurate to u: it is drawn, and no implementation fails by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from harness.bounds import formulas
from harness.bounds.context import BoundContext, make_context, numpy_pairwise_depth
from harness.bounds.formulas import BoundResult
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, FloatFormat
from harness.numerics.ulps import ulp_error

__all__ = [
    "BOUNDS",
    "Bound",
    "BoundContext",
    "BoundResult",
    "error_over_bound",
    "evaluate_bound",
    "make_context",
    "numpy_pairwise_depth",
    "over_bound",
]

_BHH = (
    "P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and softmax "
    "functions, IMA J. Numer. Anal. 41 (2021) 2311-2330, doi:10.1093/imanum/draa038, "
)
_DERIVED = "derived in docs/bounds.md"


@dataclass(frozen=True)
class Bound:
    """A bound with its provenance.

    Attributes:
        name: key in `BOUNDS`; what an implementation's metadata names.
        algorithm: the computation that it is a bound for.
        formula: to first order, relative error unless it says otherwise.
        source: paper and theorem, or where it is derived.
        published: True for a bound as printed in the literature.
        gate: True if a correct implementation cannot exceed it.
        misprinted: True if it is known to be violated by correct code.
        published_name: the bound of the literature for the same algorithm, if there is one.
        theorem: of a published bound, what its paper calls it.
        paper: of a published bound, its authors and year.
        evaluate: the bound on a `BoundContext`.
    """

    name: str
    algorithm: str
    formula: str
    source: str
    evaluate: Callable[[BoundContext], BoundResult]
    published: bool = False
    gate: bool = True
    misprinted: bool = False
    published_name: str | None = None
    theorem: str | None = None
    paper: str | None = None


def _published(
    name: str, algorithm: str, formula: str, theorem: str, remark: str = "", **more: Any
) -> Bound:
    function = getattr(formulas, f"published_{name}")
    return Bound(
        f"published_{name}",
        algorithm,
        formula,
        _BHH + theorem + remark,
        function,
        published=True,
        gate=False,
        theorem=theorem,
        paper="Blanchard, Higham and Higham (2021)",
        **more,
    )


_ALL = (
    Bound(
        "naive",
        "exp(x_j) / Σ exp(x_i)",
        "(n+2E)u + underflow of exp(x_i) against the sum; nothing where the sum overflows",
        _DERIVED,
        formulas.naive,
        published_name="published_naive",
    ),
    Bound(
        "shift_divide",
        "exp(x_j−m) / Σ exp(x_i−m), m = max x",
        "(n+2E+Δ_j+A)u + (½+E_η/s)η; Δ_j = m−x_j, A = Σ p_i Δ_i ≤ ln n",
        _DERIVED,
        formulas.shift_divide,
        published_name="published_shift_divide",
    ),
    Bound(
        "log_sum_exp_unshifted",
        "exp(x_j−y), y = log Σ exp(x_i)",
        "(n−1+2E+E_l·|y|+|x_j−y|)u + E_η η; nothing where the sum overflows",
        _DERIVED,
        formulas.log_sum_exp_unshifted,
        published_name="published_log_sum_exp_unshifted",
    ),
    Bound(
        "log_sum_exp_shifted",
        "exp(x_j−y), y = m + log Σ exp(x_i−m)",
        "(n−1+2E+A+E_l·ln s+|y|+|x_j−y|)u + E_η η; with E_l = 1, A + ln s is the entropy H",
        _DERIVED,
        formulas.log_sum_exp_shifted,
        published_name="published_log_sum_exp_shifted",
    ),
    Bound(
        "log_sum_exp_shifted_difference",
        "exp((x_j−m) − log Σ exp(x_i−m))",
        "(n−1+2E+A+E_l·ln s+Δ_j+|x_j−y|)u + E_η η",
        _DERIVED,
        formulas.log_sum_exp_shifted_difference,
    ),
    Bound(
        "online",
        "exp(x_j−m) / s with a running maximum, s rescaled by exp(m_old−m_new) R times",
        "(n+2E+Δ_j+A+R(E+1))u + (½+E_η/s)η",
        _DERIVED,
        formulas.online,
    ),
    Bound(
        "two_pass",
        "(mantissa, exponent) pairs: a_j·2^k_j / Σ a_i·2^k_i, no shift",
        "(n+2E+2ρ+1)u + η/2; ρu the absolute error of the reduced argument",
        _DERIVED + "; algorithm: M. Dukhan, A. Ablavatski, The two-pass softmax algorithm, 2020, "
        "arXiv:2001.04438",
        formulas.two_pass,
    ),
    Bound(
        "half_in_out",
        "float16 or bfloat16 in and out, shift and divide in float32 inside",
        "½ + (n+2E+Δ_j+A)·2^(p−24) ulp, p = 11 or 8, + underflow",
        _DERIVED,
        formulas.half_in_out,
    ),
    Bound(
        "rounded_once",
        "exp(x_j−m) / Σ exp(x_i−m) in float64 (double-double for float64) by a table of sixteen",
        "½ + (2^6.8+k+2Δ_j+2A)·2^(p−53) ulp, k = min(n−1, 137); float64: ½ + 2^−9.2 ulp",
        _DERIVED,
        formulas.rounded_once,
    ),
    Bound(
        "generic",
        "nothing declared: any of shift and divide, online, exp(x−lse) in both shifted forms",
        "the largest of their bounds, elementwise",
        _DERIVED,
        formulas.generic,
    ),
    _published("naive", "exp(x_j) / Σ exp(x_i)", "(n+3)u", "Theorem 3.3"),
    _published(
        "shift_divide",
        "exp(x_j−m) / Σ exp(x_i−m)",
        "(n+2+2(xmax−xmin))u",
        "Theorem 4.3",
    ),
    _published(
        "log_sum_exp_unshifted",
        "exp(x_j−y), y = log Σ exp(x_i)",
        "(|y|+max|x_j−y|+n+2)u",
        "Theorem 3.4",
    ),
    _published(
        "log_sum_exp_shifted",
        "exp(x_j−y), y = m + log1p(Σ_{i≠k} exp(x_i−m))",
        "(1+max|x_j−y|+|y+n−xmin|)u",
        "Theorem 4.4",
        ", as printed: violated, since its proof drops the rounding of m + log1p",
        misprinted=True,
    ),
)

BOUNDS: Mapping[str, Bound] = MappingProxyType({b.name: b for b in _ALL})
"""Every bound by name."""


def evaluate_bound(
    name: str,
    logits: ArrayLike,
    exact: Exact,
    output: DTypeLike | FloatFormat | None = None,
    **parameters: Any,
) -> BoundResult:
    """The bound `name` at each element; parameters as for `make_context`. Result (rows, classes).

    Raises:
        KeyError: for an unknown name, listing the known ones.
    """
    if name not in BOUNDS:
        raise KeyError(f"bound: expected one of {', '.join(BOUNDS)}; got {name}")
    return BOUNDS[name].evaluate(make_context(logits, exact, output, **parameters))


def error_over_bound(
    computed: ArrayLike,
    exact: Exact,
    bound: BoundResult,
    fmt: DTypeLike | FloatFormat | None = None,
) -> Float64Array:
    """Ulp error / bound, elementwise; above 1 is a bug in the code or in the bound.

    The shape is that of `computed`; see `over_bound` for bounds of 0 and of infinity.
    """
    error = ulp_error(computed, exact, fmt)
    return over_bound(error, bound.ulp.reshape(error.shape))


def over_bound(error: Float64Array, limit: Float64Array) -> Float64Array:
    """Error / bound, elementwise, of errors and bounds in ulps.

    0 where there is no error; infinite where there is one and none is allowed. A bound that claims
    nothing (infinite) excuses every finite error, and no NaN or infinity in the place of a number:
    their error is infinite, and so is the ratio.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = error / limit
    unlimited = np.where(np.isfinite(error), 0.0, np.inf)
    return np.where(error == 0, 0.0, np.where(np.isinf(limit), unlimited, ratio))
