"""The catalogue as data, and how its steps are performed and its expectations made."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import (
    Array,
    Layout,
    Result,
    Step,
    arranged,
    extremes,
    packed,
    repeated,
    unpacked,
)
from harness.experiments.conformance.cases.lengths import _prefixes
from harness.experiments.conformance.cases.special import positions, spans
from harness.experiments.conformance.catalogue import CASES
from harness.experiments.conformance.executor import perform_steps
from harness.experiments.conformance.expected import expected_of, expected_shapes
from harness.numerics.formats import float_format
from harness.reference import softmax_exact
from harness.worker import backends
from harness.worker.local import load

SHARED = {20: 19, 24: 23, 25: 23, 46: 44}  # judged together with another number


def test_ids_are_unique() -> None:
    ids = [c.id for c in CASES]
    assert len(ids) == len(set(ids))


def test_every_number_of_the_catalogue_has_a_case() -> None:
    numbers = {c.number for c in CASES}
    missing = set(range(1, 64)) - numbers
    assert missing == set(SHARED)
    assert set(SHARED.values()) <= numbers


@pytest.mark.parametrize("layout", get_args(Layout))
def test_layouts_keep_the_values(layout: Layout) -> None:
    x = np.arange(12.0).reshape(3, 4)
    if layout == "broadcast":
        x = np.broadcast_to(x[:1], x.shape)
    y = arranged(x, layout)
    assert np.array_equal(x, y)
    assert layout != "misaligned" or not y.flags.aligned
    assert layout != "reversed" or all(s < 0 for s in y.strides)
    assert layout != "broadcast" or 0 in y.strides


def test_positions_cover_a_short_row_and_the_edges_of_a_long_one() -> None:
    assert positions(17) == list(range(17))
    assert {0, 1, 63, 64, 255, 256} <= set(positions(257))


def test_spans_start_and_end_at_the_edges() -> None:
    runs = list(spans(71))
    assert slice(0, 64) in runs
    assert slice(7, 71) in runs


def softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


_BUFFER = np.zeros(3, np.float32)


def _mutates(x: Array, axis: int = -1) -> Array:
    x += 1
    return softmax(x, axis)


def _shares(x: Array, axis: int = -1) -> Array:
    _BUFFER[...] = softmax(x, axis)
    return _BUFFER


def _raises(x: Array, axis: int = -1) -> Array:
    raise ValueError("no\nreally")


def perform(function: object, *values: list[float]) -> list[Result]:
    steps = [Step("softmax", (np.array(v, np.float32),)) for v in values]
    return perform_steps(lambda name: function, backends.get("numpy"), steps)  # type: ignore[arg-type,return-value]


def test_a_modified_input_is_seen() -> None:
    assert perform(_mutates, [1, 2, 3])[0].modified
    assert not perform(softmax, [1, 2, 3])[0].modified


def test_a_result_that_the_next_call_overwrites_is_seen() -> None:
    first, second = perform(_shares, [1, 2, 3], [3, 2, 1])
    assert first.changed
    assert not second.changed
    assert not any(r.changed for r in perform(softmax, [1, 2, 3], [3, 2, 1]))


def test_an_exception_is_one_line() -> None:
    assert perform(_raises, [1.0])[0].error == "ValueError: no"


def test_steps_and_results_survive_the_wire() -> None:
    arrays = [np.full((2, 3), float(i)) for i in range(3)]
    steps = [
        Step(
            "softmax", (arrays[0],), (0, 1), "F",
            scale=0.5, keywords={"dtype": "float32"},
        ),
        Step("softmax_backward", (arrays[1], arrays[2]), "default"),
    ]  # fmt: skip
    results = [Result(error="no"), Result((arrays[0], arrays[1]), ("float64", ">f4"), changed=True)]
    plain, values = packed(steps)
    again = unpacked(Step, json.loads(json.dumps(plain)), values)
    assert [vars(s) for s in again] == [vars(s) for s in steps]
    plain, values = packed(results)
    returned = unpacked(Result, json.loads(json.dumps(plain)), values)
    assert [vars(r) for r in returned] == [vars(r) for r in results]


@pytest.mark.parametrize(("dtype", "room"), [("float32", 1e-12), ("float64", 2e-18)])
def test_prefix_sums_give_the_certified_rows(dtype: str, room: float) -> None:
    z, e, sums = _prefixes(dtype, 0)
    for n in (1, 2, 77, 4096):
        exact = softmax_exact(z[:n])
        hi, lo = (part.astype(np.longdouble) for part in (exact.hi, exact.lo))
        right = np.ldexp(hi + lo, exact.exponent)
        assert np.all(np.abs(e[:n] / sums[n - 1] - right) <= room * right)


def test_implementations_share_what_does_not_depend_on_their_algorithm() -> None:
    fmt = float_format("float32")
    one, other = Arithmetic("naive", None, 2.0), Arithmetic("online", "float32", 2.0)
    assert one.relevant("log_softmax", fmt) == other.relevant("log_softmax", fmt)
    assert one.relevant("softmax_backward", fmt) == Arithmetic()
    assert one.relevant("softmax", fmt) != other.relevant("softmax", fmt)
    half = float_format("float16")
    assert one.relevant("logsumexp", half) != other.relevant("logsumexp", half)


def test_rows_without_an_answer_are_free() -> None:
    inf = np.inf
    x = np.array([[0.0, 1.0], [inf, 0.0], [-inf, -inf], [np.nan, 0.0]], np.float32)
    (expected,) = expected_of(Step("softmax", (x,)), float_format("float32"), Arithmetic())
    assert expected.free.tolist() == [[False] * 2, [True] * 2, [True] * 2, [False] * 2]
    assert np.isnan(expected.exact.hi[1:]).all()
    assert expected.alternatives[0][1].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("operation", "right"), [("logsumexp", [np.inf, -np.inf]), ("log_softmax", [np.nan, np.nan])]
)
def test_sums_of_infinities(operation: str, right: list[float]) -> None:
    x = np.array([[np.inf, 0.0], [-np.inf, -np.inf]], np.float32)
    (expected,) = expected_of(Step(operation, (x,)), float_format("float32"), Arithmetic())
    got = expected.exact.hi.reshape(2, -1)[:, 0]
    assert np.array_equal(got, right, equal_nan=True)


def test_log_sum_exp_of_an_empty_row_is_no_convention() -> None:
    x = np.array([[-np.inf, -np.inf], [np.inf, 0.0]], np.float32)
    (expected,) = expected_of(Step("logsumexp", (x,)), float_format("float32"), Arithmetic())
    assert expected.free.tolist() == [False, True]


@pytest.mark.parametrize("wrong", [np.nan, -1.0, 9.0])
@pytest.mark.parametrize("place", [0, 4, 12, 13])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_the_extremes_of_repetitions_find_one_element(wrong: float, place: int, dtype: str) -> None:
    base = np.arange(10.0, dtype=dtype).reshape(5, 2) / 2
    whole = repeated(base, 0, 14).copy()
    value, which = extremes(whole, 0, 5)
    assert np.array_equal(value, np.stack([base, base]))
    assert not which.any()
    whole[place, 1] = wrong
    value, which = extremes(whole, 0, 5)
    half = int(wrong > 0)
    assert np.array_equal(value[half, place % 5, 1], wrong, equal_nan=True)
    assert which[half, place % 5, 1] == place // 5
    others = np.ones((5, 2), bool)
    others[place % 5, 1] = False
    assert np.array_equal(value[:, others], np.stack([base, base])[:, others])


def _tiled(operation: str, axis: int, along: int) -> Step:
    x = np.random.default_rng(3).normal(size=(7, 5)).astype(np.float32)
    arrays = (x, np.arange(7) % 5) if operation == "cross_entropy" else (x,)
    if operation == "softmax_backward":
        arrays = (x, np.abs(x))
    return Step(operation, arrays, axis, tiled=(along, 40))


@pytest.mark.parametrize(
    ("operation", "axis", "along"),
    [
        ("softmax", -1, 0), ("softmax", 0, 1), ("logsumexp", -1, 0), ("logsumexp", 0, 1),
        ("softmax", -1, 1), ("logsumexp", -1, 1), ("softmax_backward", -1, 0),
        ("cross_entropy", -1, 0), ("cross_entropy", -1, 1),
    ],
)  # fmt: skip
def test_a_step_of_repetitions_is_one_call_on_all_of_them(
    operation: str, axis: int, along: int
) -> None:
    step = _tiled(operation, axis, along)
    module = load("max_shift").module()
    backend = backends.get("numpy")
    (got,) = perform_steps(lambda name: getattr(module, name), backend, [step])
    whole = tuple(repeated(a, along, 40) if a.ndim > along else a for a in step.arrays)
    (plain,) = perform_steps(
        lambda name: getattr(module, name), backend, [Step(operation, whole, axis)]
    )
    assert got.error is None
    assert not got.modified
    assert got.shapes == plain.shapes == expected_shapes(step)
    for i, array in enumerate(plain.arrays):
        assert np.array_equal(got.arrays[i][0].min(), array.min())
        assert np.array_equal(got.arrays[i][1].max(), array.max())


def test_one_changed_repetition_is_a_modified_input() -> None:
    def function(x: Array, axis: int = -1) -> Array:
        y = softmax(x, axis)
        x[33, 2] += 1
        return y

    step = _tiled("softmax", -1, 0)
    (got,) = perform_steps(lambda name: function, backends.get("numpy"), [step])
    assert got.modified
