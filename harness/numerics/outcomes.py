"""The class of outcome of one row: what a result *is*, before how accurate it is.

Conformance, the map of overflow and the report share these words.
`raises` and `crashed` are not here: where they apply there is no array to judge.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, float_format, to_float64
from harness.numerics.ulps import ulp_error, wrong_threshold

Outcome = Literal["exact", "accurate", "nan", "inf", "zero", "wrong", "inaccurate"]
"""In the order in which `row_outcomes` tries them: the first that applies is the class."""

SEVERITY = (
    "exact", "accurate", "limit", "inaccurate", "zero", "inf", "nan", "raises", "wrong", "crashed",
)  # fmt: skip
"""All outcomes, the least serious first, for everything that asks which of two is worse.

After what a caller can use as it is comes what still has digits, then what has lost them and shows
it: a zero can be taken for a small number, an infinity or a NaN cannot, and a NaN has lost the sign
and the order too. A wrong number is worse than a NaN or a refusal, since nothing shows it. A crash
takes the caller along.
"""


def severity(outcome: str) -> int:
    """How serious an outcome is, by its place in `SEVERITY`; exact and accurate are alike."""
    return max(SEVERITY.index("accurate"), SEVERITY.index(outcome))


def outcome(computed: ArrayLike, exact: Exact, *, tolerance: ArrayLike = 1.0) -> Outcome:
    """The class of one row, or of any array that is judged as a whole; see `row_outcomes`.

    Args:
        tolerance: ulp, a number or an array that broadcasts to the shape of `exact`.

    Raises:
        ValueError: for unequal shapes.
    """
    array = np.asarray(computed)
    error = ulp_error(array, exact).reshape(1, -1)
    limits = np.broadcast_to(np.asarray(tolerance), array.shape).reshape(1, -1)
    row = array.reshape(1, -1)
    (found,) = row_outcomes(row, exact.reshape(1, row.size), tolerance=limits, error=error)
    return found


def row_outcomes(
    computed: ArrayLike, exact: Exact, *, tolerance: Float64Array, error: Float64Array
) -> list[Outcome]:
    """The class of each row of a (rows, classes) array: the first that applies.

    1. `exact`: every element is the exact value rounded to nearest even (NaN where it is NaN).
    2. `accurate`: every ulp error is at most `tolerance`; NaN and infinities only where due.
    3. `nan`: a NaN where the reference has none.
    4. `inf`: an infinity where the reference has another value.
    5. `zero`: the element of the largest exact magnitude was computed as 0 and does not round
       to 0: the mass is gone. (Zeros at lesser elements are `wrong` or `inaccurate`.)
    6. `wrong`: a finite value where the reference is NaN or infinite, or an error of 2**(p-1)
       ulp or more: no bit of that element is right.
    7. `inaccurate`: what is left: finite, of the right size, and beyond `tolerance`.

    Args:
        computed: array of any format, of the shape of `exact`.
        exact: the exact result, special values by the reference's convention.
        tolerance: ulp, of that shape: usually the error bound of the algorithm
            (`BoundResult.ulp`), else what the caller calls accurate. An infinite one never excuses
            an error that is not finite.
        error: `ulp_error(computed, exact)`.
    """
    array = np.asarray(computed)
    fmt = float_format(array.dtype)
    c, expected = to_float64(array), to_float64(exact.round_to(fmt))
    right = (c == expected) | (np.isnan(c) & np.isnan(expected))
    finite = np.isfinite(expected)
    size = np.where(finite, np.abs(exact.to_float64()), -1.0)
    dominant = size.argmax(axis=1)[:, None]
    lost = (np.take_along_axis(c, dominant, 1) == 0) & (
        np.take_along_axis(expected, dominant, 1) != 0
    )
    classes: tuple[tuple[Outcome, Any], ...] = (  # of each row
        ("exact", right.all(axis=1)),
        ("accurate", ((error <= tolerance) & np.isfinite(error)).all(axis=1)),
        ("nan", (np.isnan(c) & ~np.isnan(expected)).any(axis=1)),
        ("inf", (np.isinf(c) & (c != expected)).any(axis=1)),
        ("zero", lost[:, 0] & finite.any(axis=1)),
        ("wrong", (error >= wrong_threshold(fmt)).any(axis=1)),
    )
    found: list[Outcome] = ["inaccurate"] * len(c)
    for name, rows in reversed(classes):  # the first that applies is the last that is written
        for row in np.flatnonzero(rows):
            found[row] = name
    return found
