"""``softmax-bench new``: a correct implementation to begin with, and its test.

The files are written once and never overwritten; they belong to whoever asked for them.
"""

from __future__ import annotations

import keyword
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.exits import one_line_errors
from harness.errors import writing

_IMPLEMENTATION = '''"""{name}: the max-shift softmax, to be replaced by yours.

The first line is what `softmax-bench list` and reports show. Judge this file with:

    softmax-bench check {name}.py
"""

import numpy as np

# Read from the source without running it, hence a literal: no names, no calls. All of it is
# optional; what is declared is what the file is judged on.
IMPLEMENTATION = {{
    # The library whose arrays the functions take and give: "numpy", "torch" or "cupy".
    "backend": "numpy",
    # Where they run: "cpu" or "cuda".
    "device": "cpu",
    # The formats that it is meant for; others are then unsupported.
    "dtypes": ("float64", "float32"),
    # Packages without which it is listed as unavailable, by their import names.
    "requires": (),
    # Where the algorithm comes from: a paper, documentation.
    "source": "",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    # The error bound that the algorithm obeys; `softmax-bench list bounds` shows all.
    "bound": "shift_divide",
    # Departures from the right answer that follow from the algorithm, each with its reason:
    # {{"id": "overflow", "reason": "exp(x) overflows for large logits: there is no shift"}}
    "deviations": (),
}}


def softmax(x, axis=-1, out=None):
    """Probabilities along `axis`, of the shape and dtype of `x`, which is left unchanged.

    With `out`, an array of that shape and dtype, the result is written there and returned.
    """
    with np.errstate(all="ignore"):  # an infinite or NaN logit gives NaN without a warning
        # Shifted by the maximum, no exponential overflows and their sum is at least 1.
        shifted = np.subtract(x, np.max(x, axis=axis, keepdims=True), out=out)
        e = np.exp(shifted, out=shifted)
        return np.divide(e, np.sum(e, axis=axis, keepdims=True), out=e)


# More operations are judged as soon as they are here, and none of them need be:
#
#     log_softmax(x, axis=-1, out=None)           logsumexp(x, axis=-1)
#     softmax_backward(grad, y, axis=-1)          cross_entropy(logits, targets)
#     merge_logsumexp(m1, s1, m2, s2)             linear_cross_entropy(hidden, weight, targets)
#     ragged_softmax(values, offsets)             row i is values[offsets[i] : offsets[i + 1]]
#
# and what attention asks for; scale, sink and cap are numbers and are passed by name:
#
# def scaled_softmax(x, scale, axis=-1):
#     return softmax(x * x.dtype.type(scale), axis)
#
#
# def masked_softmax(x, mask, axis=-1):
#     """True keeps; what is masked may be anything, NaN too, and is exactly 0."""
#     y = softmax(np.where(mask, x, x.dtype.type(-np.inf)), axis)
#     # A row of which nothing is kept is all zeros (or all NaN).
#     return np.where(np.any(mask, axis=axis, keepdims=True), y, x.dtype.type(0))
#
#
# def softmax_with_sink(x, sink, axis=-1):
#     """exp(x) / (exp(sink) + the sum of exp(x)): the sink is one more class, which is dropped."""
#     one = np.full_like(np.take(x, [0], axis=axis), sink)
#     whole = softmax(np.concatenate([x, one], axis=axis), axis)
#     return np.take(whole, np.arange(x.shape[axis]), axis=axis)
#
#
# def softcap_softmax(x, cap, axis=-1):
#     c = x.dtype.type(cap)
#     return softmax(c * np.tanh(x / c), axis)
'''

_TEST = '''"""Tests of {name} against certified results.

Far more, one test a case: pytest --softmax-implementation {name}.py
"""

from pathlib import Path

import harness
import numpy as np
import pytest
from harness.bounds import error_over_bound, evaluate_bound
from harness.reference import softmax_exact

implementation = harness.load(Path(__file__).with_name("{name}.py"))
WORKLOADS = ("normal(scale=1)", "normal(scale=30)", "offset(offset=10000)")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_error_is_within_the_bound(workload, classes, dtype):
    x = harness.workloads.generate(workload, classes, 8, dtype, seed=0)
    exact = softmax_exact(x)
    # exp_error: the error of the exponential in units of roundoff; 8 is 4 ulp.
    bound = evaluate_bound("shift_divide", x, exact, dtype, exp_error=8.0)
    assert error_over_bound(implementation.softmax(x), exact, bound).max() <= 1.0


def test_the_input_is_left_unchanged():
    x = np.array([1.0, 2.0, 3.0])
    implementation.softmax(x)
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_out_holds_the_result():
    x = np.array([[1.0, 2.0, 3.0]])
    out = np.empty_like(x)
    implementation.softmax(x, out=out)
    assert out.tobytes() == implementation.softmax(x).tobytes()


def test_a_masked_class_has_probability_zero():
    assert implementation.softmax(np.array([0.0, -np.inf])).tolist() == [1.0, 0.0]


def test_nan_spoils_its_row_alone():
    y = implementation.softmax(np.array([[np.nan, 0.0], [0.0, 0.0]]))
    assert np.isnan(y[0]).all()
    assert y[1].tolist() == [0.5, 0.5]
'''


def scaffold(name: str, folder: Path = Path()) -> tuple[Path, Path]:
    """Write ``NAME.py`` and ``test_NAME.py`` in `folder`; their paths.

    Raises:
        ImplementationError: the name is no lower-case Python name, is that of an implementation
            that exists, or one of the files is there already. Then nothing is written.
        CannotWrite: the folder cannot be written; nothing of it is left.
    """
    from harness.registry.contract import ImplementationError
    from harness.registry.discovery import implementations

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ImplementationError(
            f"{name!r}: expected a lower-case Python name such as my_softmax: it is the name of "
            f"the module and of the implementation"
        )
    if name.startswith("test_") or name in implementations():
        why = "is taken" if name in implementations() else "would be taken for a test by pytest"
        raise ImplementationError(f"{name!r} {why}; choose another name")
    texts = {
        folder / f"{name}.py": _IMPLEMENTATION.format(name=name),
        folder / f"test_{name}.py": _TEST.format(name=name),
    }
    for path in texts:
        if path.exists() or path.is_symlink():
            raise ImplementationError(
                f"{path}: exists, and is not overwritten; choose another name"
            )
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        made = []
        try:
            for path, text in texts.items():
                with open(path, "x", encoding="utf-8") as file:
                    made.append(path)
                    file.write(text)
        except OSError:  # what is there would not be overwritten the next time
            for path in made:
                path.unlink(missing_ok=True)
            raise
    first, second = texts
    return first, second


def new(
    name: Annotated[str, typer.Argument(help="Name of the implementation, such as my_softmax.")],
    folder: Annotated[Path, typer.Option(help="Where the files go.")] = Path(),
    debug: options.Debug = False,
) -> None:
    """Write NAME.py, a right softmax to change, and test_NAME.py; overwrite nothing."""
    with one_line_errors(debug):
        implementation, test = scaffold(name, folder)
    print(f"wrote {implementation} and {test}")
    path, its_test = shlex.quote(str(implementation)), shlex.quote(str(test))
    print(f"judge it:     softmax-bench check {path}")
    print(f"run its test: pytest {its_test} --softmax-implementation {path}")
