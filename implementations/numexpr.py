"""Max-shift softmax in NumExpr: the whole-array expressions of NumPy, in blocks and threads.

The peer of scripts that outgrew NumPy without a compiler. exp(x - m) and the quotient are
evaluated block by block in the cache, on all threads; maximum and sum stay NumPy's, since
NumExpr's own reductions sum one by one on one thread. Six passes over the array.
"""

from __future__ import annotations

from typing import Any

if __name__ == "numexpr":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "numexpr: found implementations/numexpr.py in place of the package; "
        "start Python in another directory, or with -P"
    )

import numexpr
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

IMPLEMENTATION = {
    "backend": "numexpr",
    "device": "cpu",
    "dtypes": ("float64", "float32"),
    "requires": ("numexpr",),
    "source": "https://numexpr.readthedocs.io/en/latest/user_guide.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "passes": 6,
    "threads": "many",
    "deviations": (
        {"id": "strided-sum", "reason": "NumPy sums one by one along an axis that is not last"},
    ),
}


def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    m = np.max(x, axis=axis, keepdims=True)
    # One that overlaps the logits in part would be written to before they are read.
    serves = out is x or not (out is None or np.may_share_memory(x, out))
    e = out if serves and out is not None else np.empty(x.shape, x.dtype)
    numexpr.evaluate("exp(x - m)", local_dict={"x": x, "m": m}, out=e)
    s = np.sum(e, axis=axis, keepdims=True)
    result = e if out is None else out
    numexpr.evaluate("e / s", local_dict={"e": e, "s": s}, out=result)
    return result


def exp(x: Array) -> Array:
    """NumExpr's exponential, so that its error can be measured."""
    return np.asarray(numexpr.evaluate("exp(x)", local_dict={"x": x}))
