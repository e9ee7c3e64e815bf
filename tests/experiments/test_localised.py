"""The judge of localised errors has the power that it states, at every number of places."""

from __future__ import annotations

import numpy as np
import pytest

from harness.experiments.conformance.cases.localised import (
    _PLACE,
    _median_of_the_others,
    _suspect,
)
from harness.experiments.conformance.judge import Options, judge
from harness.experiments.conformance.target import LocalSubject

SOURCE = (
    '"""Off by some u in one place."""\nimport numpy as np\n\n'
    + """
def softmax(x, axis=-1):
    wide = x.astype(np.longdouble)
    e = np.exp(wide - wide.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
    if x.ndim and x.shape[-1] == {classes}:
        y[..., {place}] *= 1 + {size} * 2.0**-24
    return y.astype(x.dtype)
"""
)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9, 33, 1024])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("level", [0.0, 0.3])
def test_a_place_is_suspect_beyond_the_limit_and_not_below(
    count: int, sign: int, level: float
) -> None:
    for place in {0, count // 2, count - 1}:
        for size, found in ((1.01 * _PLACE, place), (0.99 * _PLACE, None)):
            values = np.full(count, level)
            values[place] += sign * size
            seen = _suspect(values, _PLACE, 0.0)
            assert (seen is None) == (found is None)
            assert seen in (found, 0) if count == 2 else seen == found


def test_the_median_leaves_out_the_value_itself() -> None:
    rng = np.random.default_rng(5)
    for count in (2, 3, 4, 7, 10, 101):
        values = rng.normal(size=count).round(1)
        expected = [np.median(np.delete(values, i)) for i in range(count)]
        np.testing.assert_allclose(_median_of_the_others(values), expected)


@pytest.mark.parametrize(("classes", "place"), [(2, 0), (2, 1), (3, 1), (7, 6)])
@pytest.mark.parametrize(("size", "verdict"), [(3.0, "failure"), (0.0, "pass")])
def test_a_file_that_is_off_in_one_place_fails(
    tmp_path, classes: int, place: int, size: float, verdict: str
) -> None:
    """3 u, where 1.6 and what chance adds are allowed: half of the power would not find it."""
    path = tmp_path / "off.py"
    path.write_text(SOURCE.format(classes=classes, place=place, size=size), encoding="utf-8")
    (result,) = judge(
        LocalSubject.from_path(path), "softmax", "float32", options=Options(cases=("localised",))
    )
    assert result.verdict == verdict
