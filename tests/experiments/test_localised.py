"""The power of the judge of localised errors: what it documents, whatever the number of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from local_subject import LocalSubject

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.cases.localised import (
    _LANE,
    _NARROW,
    _PLACE,
    _WIDE,
    _places,
    _suspect,
)
from harness.experiments.conformance.catalogue import CASES
from harness.experiments.conformance.judge import Options, judge
from harness.numerics.formats import Float64Array

COUNTS = [classes for classes, _ in (*_NARROW, *_WIDE)]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    path = tmp_path_factory.mktemp("lanes") / "mine.py"
    path.write_text('"""Of a test."""\n\n\ndef softmax(x, axis=-1): ...\n')
    case = next(c for c in CASES if c.id == "localised")
    arithmetic = Arithmetic("generic", None)
    return Trial(
        LocalSubject.from_path(path), case.id, case.number, "softmax", "float32", arithmetic
    )


def found(trial: Trial, scaled: Float64Array) -> str | None:
    """What the judge says of errors in u; None if nothing."""
    observations = _places(trial, trial.step(np.zeros(scaled.shape, np.float32)), scaled)
    return observations[0].message if observations else None


def limit(least: float, kinds: int, samples: int) -> float:
    """The offset of one of `kinds` alike, without any other noise, at which the judge fails it.

    Six standard deviations of a mean are allowed besides `least`, and the offset itself is all
    that deviates.
    """
    deviation = np.sqrt(kinds - 1) / kinds
    return float(least / (1 - 6 * deviation / np.sqrt(samples)))


@pytest.mark.parametrize("classes", COUNTS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_place_is_wrong_just_above_its_limit_and_right_just_below(
    trial: Trial, classes: int, sign: int
) -> None:
    rows = max(100, 60_000 // classes)
    edge = sign * limit(_PLACE, classes, rows)
    for place in {0, classes // 2, classes - 1}:
        scaled = np.zeros((rows, classes))
        scaled[:, place] = 0.999 * edge
        assert found(trial, scaled) is None
        scaled[:, place] = 1.001 * edge
        text = found(trial, scaled)
        assert text is not None
        if classes > 2:  # of two places nobody knows which is wrong
            assert f"out[..., {place}]" in text
        assert f"{1.001 * abs(edge):.3g} u" in text


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 9])
def test_what_a_row_shares_is_no_fault_of_a_place(trial: Trial, classes: int) -> None:
    rows = 6000
    shared = np.random.default_rng(classes).normal(scale=15, size=(rows, 1))
    scaled = np.repeat(shared, classes, axis=1)
    assert found(trial, scaled) is None
    scaled[:, 1] += 1.05 * limit(_PLACE, classes, rows)
    assert found(trial, scaled) is not None


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 9])
def test_elements_that_are_not_judged_do_not_dilute_a_place(trial: Trial, classes: int) -> None:
    """The gradient of cross-entropy at its target is left out, in half of all rows of two."""
    rows = 6000
    edge = limit(_PLACE, classes, rows)
    targets = np.arange(rows) % classes
    for size, wrong in ((0.97, False), (1.03, True)):
        scaled = np.zeros((rows, classes))
        scaled[:, 1] = size * edge
        scaled[np.arange(rows), targets] = np.nan
        assert (found(trial, scaled) is not None) == wrong


@pytest.mark.parametrize("classes", [2, 3, 4, 9])
def test_errors_of_either_sign_in_one_place_are_seen(trial: Trial, classes: int) -> None:
    scaled = np.zeros((2000, classes))
    scaled[::2, 0], scaled[1::2, 0] = 4.0, -4.0
    text = found(trial, scaled)
    assert text is not None
    assert "mean absolute" in text


@pytest.mark.parametrize("classes", [n for n in COUNTS if n >= 8])
def test_a_lane_is_wrong_just_above_its_limit_and_right_just_below(
    trial: Trial, classes: int
) -> None:
    rows = max(100, 60_000 // classes)
    for width in (w for w in (4, 8, 16, 32, 64) if classes >= 2 * w):
        edge = limit(_LANE, width, rows * (classes // width))
        lane = np.arange(classes // width) * width + width - 1
        scaled = np.zeros((rows, classes))
        scaled[:, lane] = 0.99 * edge
        assert found(trial, scaled) is None
        scaled[:, lane] = 1.01 * edge
        text = found(trial, scaled)
        assert text is not None
        assert f"in lane {width - 1} of {width}" in text


def test_a_place_is_held_against_the_others_alone() -> None:
    rng = np.random.default_rng(3)
    for count in (2, 3, 4, 5, 8, 101):
        values = rng.normal(size=count)
        off = [v - np.median(np.delete(values, i)) for i, v in enumerate(values)]
        place = int(np.argmax(np.abs(off)))
        assert _suspect(values, 0.0) == (place, pytest.approx(off[place]))
        assert _suspect(values, abs(off[place]) * 1.001) is None


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("operation", ["softmax", "log_softmax", "cross_entropy"])
@pytest.mark.parametrize(("size", "verdict"), [(1.2, "pass"), (2.4, "failure")])
def test_a_file_that_is_off_at_one_place(
    tmp_path: Path, classes: int, operation: str, size: float, verdict: str
) -> None:
    """1.6 u are allowed, and chance; the place is off by `size` u before it is rounded."""
    path = tmp_path / "off.py"
    path.write_text(
        f'''"""Of a test."""
import numpy as np
from implementations._shared import numpy_rows as _rows


def _off(y, dtype, absolute=0):
    if y.shape[-1] == {classes}:
        y[..., 0] += (np.abs(y[..., 0]) + absolute) * {size} * 2.0**-24
    return y.astype(dtype)


def softmax(x, axis=-1):
    e = np.exp(np.float64(x) - x.max(axis=axis, keepdims=True))
    return _off(e / e.sum(axis=axis, keepdims=True), x.dtype)


def log_softmax(x, axis=-1):
    d = np.float64(x) - x.max(axis=axis, keepdims=True)
    return _off(d - np.log(np.exp(d).sum(axis=axis, keepdims=True)), x.dtype, 1)


def cross_entropy(x, targets):
    loss, gradient = _rows.cross_entropy(np.float64(x), targets)
    return loss.astype(x.dtype), _off(gradient, x.dtype)
''',
        encoding="utf-8",
    )
    options = Options(cases=("localised",))
    (result,) = judge(LocalSubject.from_path(path), operation, "float32", options=options)
    assert result.verdict == verdict, result.message
