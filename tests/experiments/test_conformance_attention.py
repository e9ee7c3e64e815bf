"""Cases of attention's operations: what is right passes, what is wrong fails where it should."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contexts import MakeContext
from local_subject import LocalSubject

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import Step, plain_step
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.cases.attention import CASES
from harness.experiments.conformance.expected import expected_of
from harness.experiments.conformance.judge import Options, judge
from harness.experiments.conformance.plan import _measure_deviations, plan
from harness.experiments.conformance.target import RemoteSubject
from harness.numerics.formats import float_format
from harness.records import ConformanceRecord
from harness.records.reader import cell_key
from harness.registry.contract import CHANGED, Deviation
from harness.registry.discovery import load

RIGHT = """
import numpy as np


def softmax_of(z, axis, sink=-np.inf):
    with np.errstate(all="ignore"):
        s = z.dtype.type(sink)
        m = np.maximum(z.max(axis=axis, keepdims=True), s)
        e, beside = np.exp(z - m), np.exp(s - m)
        return e / (e.sum(axis=axis, keepdims=True) + beside)


def scaled_softmax(x, scale, axis=-1, out=None):
    z = x * x.dtype.type(scale)
    y = softmax_of(z, axis)
    if out is not None:
        out[...] = y
        y = out
    return y


def masked_softmax(x, mask, axis=-1):
    z = np.where(mask, x, x.dtype.type(-np.inf))
    y = softmax_of(z, axis)
    return y


def softmax_with_sink(x, sink, axis=-1):
    return softmax_of(x, axis, sink)


def softcap_softmax(x, cap, axis=-1):
    c = x.dtype.type(cap)
    with np.errstate(all="ignore"):
        z = c * np.tanh(x / c)
    return softmax_of(z, axis)
"""
SCALED, MASKED, SINK, CAP = CHANGED
PRODUCT, FILLED = "z = x * x.dtype.type(scale)", "z = np.where(mask, x, x.dtype.type(-np.inf))"
SHIFT, BENT = "m = np.maximum(z.max(axis=axis, keepdims=True), s)", "z = c * np.tanh(x / c)"
BEFORE, AFTER = f"{FILLED}\n    y = softmax_of(z, axis)", "y = softmax_of(x, axis)"
TOTAL = "e / (e.sum(axis=axis, keepdims=True) + beside)"
FUSED = """z = x * x.dtype.type(scale)
    m = z.max(axis=axis, keepdims=True)
    with np.errstate(all="ignore"):
        e = np.exp((x.astype(np.longdouble) * scale - m).astype(x.dtype))
        return e / e.sum(axis=axis, keepdims=True)"""
MULTIPLIED = """e = np.exp(x - x.max(axis=axis, keepdims=True)) * mask
    y = e / e.sum(axis=axis, keepdims=True)"""
UNMOVED = """x = np.moveaxis(x, axis, -1)
    z = np.where(mask.reshape(x.shape), x, x.dtype.type(-np.inf))
    return np.moveaxis(softmax_of(z, -1), -1, axis)"""

WRONG = {
    "one fused step less a rounded maximum": (SCALED, "scale-contraction", PRODUCT, FUSED),
    "the scale is ignored": (SCALED, "scale-rounded", PRODUCT, "z = x"),
    "the sign of the scale is lost": (SCALED, "scale-exact", "type(scale)", "type(abs(scale))"),
    "a scale of 0 counts as none": (SCALED, "scale-exact", "type(scale)", "type(scale or 1)"),
    "the product is a float16": (
        SCALED, "scale-rounded", PRODUCT, f"{PRODUCT}.astype(np.float16).astype(x.dtype)",
    ),
    "no shift": (SCALED, "scale-offset", SHIFT, "m = z.dtype.type(0)"),
    "small logits are flushed": (
        SCALED, "scale-range", PRODUCT, f"{PRODUCT} * (np.abs(x) > 1e-30)",
    ),
    "-1e9 is added, and NaN leaks": (
        MASKED, "mask-garbage", FILLED, "z = x + np.where(mask, 0, -1e9).astype(x.dtype)",
    ),
    "-1e9 is added, which is not enough": (
        MASKED, "mask-far-below", FILLED, "z = x + np.where(mask, 0, -1e9).astype(x.dtype)",
    ),
    "exponentials times the mask": (MASKED, "mask-garbage", BEFORE, MULTIPLIED),
    "not normalised again": (
        MASKED, "mask-ends", BEFORE, f"{AFTER}; y = np.where(mask, y, x.dtype.type(0))",
    ),
    "a little is added to the sum": (MASKED, "mask-one-kept", TOTAL, TOTAL[:-1] + " + 1e-5)"),
    "the first class is never masked": (
        MASKED, "mask-ends", FILLED, f"mask = mask | (np.arange(mask.shape[-1]) == 0); {FILLED}",
    ),
    "one mask for all rows": (
        MASKED, "mask-causal", FILLED, f"mask = np.broadcast_to(mask[-1:], x.shape); {FILLED}",
    ),
    "an empty row is uniform": (MASKED, "mask-no-class", "-np.inf))", "np.finfo(x.dtype).min))"),
    "an empty row is NaN in part": (
        MASKED, "mask-no-class", BEFORE, f"{BEFORE}; y[..., 0] = np.nan_to_num(y[..., 0])",
    ),
    "the mask stays where the axis moves": (MASKED, "changed-layouts", FILLED, UNMOVED),
    "a smaller mask is repeated in memory": (
        MASKED, "mask-broadcast", FILLED, f"mask = np.resize(mask, x.shape); {FILLED}",
    ),
    "the mask is written to": (MASKED, "mask-causal", BEFORE, f"{BEFORE}; mask[...] = True"),
    "the logits are written to": (
        MASKED, "mask-causal", FILLED, "x[~mask] = -np.inf; z = x",
    ),
    "the sink is ignored": (SINK, "sink-zero", " + beside)", ")"),
    "the sink is in the numerator": (
        SINK, "sink-zero", TOTAL, TOTAL.replace("e /", "(e + beside) /"),
    ),
    "the sink is not in the maximum": (
        SINK, "sink-large", SHIFT, SHIFT.replace("np.maximum(", "(").replace(", s)", ")"),
    ),
    "the sink alone is the maximum": (SINK, "sink-offset", SHIFT, "m = s"),
    "the sink is not shifted": (SINK, "sink-offset", "np.exp(s - m)", "np.exp(s)"),
    "a sink of -inf counts as -20": (SINK, "sink-none", "type(sink)", "type(max(sink, -20))"),
    "one class is always sure": (
        SINK, "sink-one-class", "return softmax_of(x, axis, sink)",
        "return softmax_of(x, axis, sink) if x.shape[axis] > 1 else np.ones_like(x)",
    ),
    "-inf beside a sink is NaN": (
        SINK, "changed-minus-infinity", SHIFT,
        f"{SHIFT}; m = np.where(z.max(axis=axis, keepdims=True) == -np.inf, -np.inf, m)",
    ),
    "the cap clips": (CAP, "cap", BENT, "z = np.clip(x, -c, c)"),
    "the cap is not multiplied back": (CAP, "cap", BENT, "z = np.tanh(x / c)"),
    "tanh of exponentials that overflow": (
        CAP, "cap-infinity", BENT, "v = np.exp(2 * x / c); z = c * ((v - 1) / (v + 1))",
    ),
    "far beyond the cap nothing is capped": (
        CAP, "cap-small", BENT, f"{BENT}; z = np.where(abs(x / c) > 1e4, x, z)",
    ),
    "tanh loses the digits of small numbers": (
        CAP, "cap-large", BENT, "z = c * (1 - 2 / (1 + np.exp(2 * x / c)))",
    ),
    **{
        f"NaN counts as nothing in {name}": (
            name, "changed-nan", "def softmax_of(z, axis, sink=-np.inf):",
            "def softmax_of(z, axis, sink=-np.inf):\n    z = np.nan_to_num(z, nan=-np.inf)",
        )
        for name in CHANGED
    },
    "out= is not written": (SCALED, "changed-out", "out[...] = y", "pass"),
}  # fmt: skip
"""What is wrong: the operation, the case that is made for it, what to replace, and by what."""


def subject(tmp_path: Path, source: str) -> LocalSubject:
    path = tmp_path / "candidate.py"
    path.write_text(source)
    return LocalSubject.from_path(path)


def judged(
    who: LocalSubject, operation: str, dtype: str = "float32", *cases: str
) -> list[ConformanceRecord]:
    asked = cases or tuple(c.id for c in CASES)
    return list(judge(who, operation, dtype, options=Options(cases=asked, thorough=False)))


def failures(who: LocalSubject, dtype: str) -> dict[str, str | None]:
    offered = [o for o in who.metadata.operations if o in CHANGED]
    found = [r for o in offered for r in judged(who, o, dtype)]
    assert len(found) > 30
    return {str(r.case): r.message for r in found if r.verdict == "failure"}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["max_shift", "online", "torch", "numba_cpu"])
def test_implementations_pass(name: str, dtype: str) -> None:
    one = load(name)
    if not one.available:
        pytest.skip(str(one.unavailable_reason))
    failed = failures(LocalSubject.from_path(one.metadata.path), dtype)
    assert failed == {}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_two_plain_steps_pass(tmp_path: Path, dtype: str) -> None:
    assert failures(subject(tmp_path, RIGHT), dtype) == {}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_fails_the_case_made_for_it(tmp_path: Path, what: str) -> None:
    operation, case, right, wrong = WRONG[what]
    assert RIGHT.count(right) >= 1
    source = RIGHT.replace(right, wrong)
    (found,) = judged(subject(tmp_path, source), operation, "float32", case)
    assert found.verdict == "failure", found
    assert operation in str(found.message)


def test_every_case_has_something_wrong_that_it_catches() -> None:
    assert {case for _, case, *_ in WRONG.values()} == {c.id for c in CASES}


def test_rows_without_a_class_are_zeros_or_nan_by_convention(tmp_path: Path) -> None:
    (nan,) = judged(subject(tmp_path, RIGHT), MASKED, "float32", "mask-no-class")
    assert (nan.verdict, nan.outcome) == ("finding", "nan")
    zeros = RIGHT.replace(
        BEFORE,
        f"{BEFORE}\n    y = np.where(mask.any(axis=axis, keepdims=True), y, x.dtype.type(0))",
    )
    (zero,) = judged(subject(tmp_path, zeros), MASKED, "float32", "mask-no-class")
    assert zero.verdict == "pass"


def test_a_refused_smaller_mask_is_no_fault(tmp_path: Path) -> None:
    source = RIGHT.replace(FILLED, f"assert mask.shape == x.shape\n    {FILLED}")
    (found,) = judged(subject(tmp_path, source), MASKED, "float32", "mask-broadcast")
    assert (found.verdict, found.outcome) == ("pass", "raises")


def test_a_declared_deviation_is_expected(tmp_path: Path) -> None:
    declared = 'IMPLEMENTATION = {"deviations": ({"id": "overflow", "reason": "no shift"},)}\n'
    source = declared + RIGHT.replace(SHIFT, "m = z.dtype.type(0)")
    (found,) = judged(subject(tmp_path, source), SCALED, "float32", "scale-offset")
    assert (found.verdict, found.deviation) == ("expected", "overflow")


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("the sink is ignored", "the sink is ignored"),
        ("the scale is ignored", "the scale is ignored"),
        ("not normalised again", "the sum is over all classes"),
        ("the mask is written to", "the argument is written to"),
        ("exponentials times the mask", "what is masked is computed with"),
        ("a sink of -inf counts as -20", ""),
        ("the cap clips", ""),
    ],
)
def test_a_failure_is_shrunk_to_a_line_that_shows_it(tmp_path: Path, what: str, told: str) -> None:
    operation, case, right, wrong = WRONG[what]
    who = subject(tmp_path, RIGHT.replace(right, wrong))
    (found,) = judged(who, operation, "float32", case)
    witness = found.witness
    assert witness is not None, found
    assert witness.classes <= 3
    assert told in (found.diagnosis or "")
    call = witness.text.split("  # ")[0]
    with np.errstate(all="ignore"):
        value = eval(call, {"np": np, operation: getattr(who.implementation.module(), operation)})
    if np.ndim(value) == 0:
        assert float(witness.got) == pytest.approx(float(value), rel=0.01, nan_ok=True)


def test_the_mask_is_told_beside_the_logits(tmp_path: Path) -> None:
    operation, case, right, wrong = WRONG["one mask for all rows"]
    (found,) = judged(
        subject(tmp_path, RIGHT.replace(right, wrong)), operation, "float32", case
    )  # fmt: skip
    assert found.case_input is not None
    bits = found.case_input[-1]
    assert bits.startswith("mask=1")
    assert len(bits) == len("mask=") + 17


@pytest.mark.parametrize("operation", CHANGED)
def test_a_worker_gives_the_same_verdicts(tmp_path: Path, operation: str) -> None:
    near = subject(tmp_path, RIGHT)
    far = RemoteSubject(load(near.metadata.path))
    options = Options(cases=tuple(c.id for c in CASES), thorough=False)
    try:
        found = list(judge(far, operation, "float32", options=options))
    finally:
        far.stop()
    assert found == judged(near, operation)
    assert {r.verdict for r in found} <= {"pass", "skipped", "finding"}


@pytest.mark.parametrize("operation", CHANGED)
def test_a_step_that_asks_for_nothing_in_particular_is_complete(
    tmp_path: Path, operation: str
) -> None:
    who = subject(tmp_path, RIGHT)
    trial = Trial(who, "x", None, operation, "float16", Arithmetic())
    for step in (
        trial.step(trial.normal((3, 5)), 0),
        plain_step(operation, (2, 3), trial.fmt.dtype),
    ):
        (result,) = who.perform([step])
        assert result.error is None
        assert trial.observe(step, result).grade == "pass"
        assert all(float(np.float16(v)) == v for v in step.numbers.values())


def test_beyond_the_format_only_a_convention_decides() -> None:
    fmt = float_format("float32")
    x = np.array([[3e38, 0.0], [1.0, 0.0], [-3e38, 0.0], [-np.inf, 0.0]], np.float32)
    (due,) = expected_of(Step(SCALED, (x,), keywords={"scale": 2.0}), fmt, Arithmetic())
    assert due.free.any(axis=1).tolist() == [True, False, True, False]
    (due,) = expected_of(Step(CAP, (x,), keywords={"cap": 2.0}), fmt, Arithmetic())
    assert not due.free.any()


def test_what_is_expected_depends_on_the_number() -> None:
    x, fmt = np.array([[1.0, 0.0]], np.float32), float_format("float32")
    expect = partial(expected_of, fmt=fmt, arithmetic=Arithmetic())
    rounded = [
        float(expect(Step(SINK, (x,), keywords={"sink": s}))[0].rounded[0, 1])
        for s in (-np.inf, 0.0, 1.0)
    ]
    total = 1.0 + np.e
    assert rounded == pytest.approx([1 / total, 1 / (total + 1), 1 / (total + np.e)], rel=1e-6)


PLAIN = "e = np.exp(x - x.max(axis=axis, keepdims=True))"
PLAIN = f"{PLAIN}; return e / e.sum(axis=axis, keepdims=True)"


def test_who_offers_none_of_them_has_no_cell_of_them(
    make_context: MakeContext, plain_file: Any, tmp_path: Path
) -> None:
    one = plain_file("one", PLAIN)
    other = tmp_path / "other.py"
    other.write_text(one.read_text() + RIGHT.replace("import numpy as np", ""))
    units = list(plan(make_context([one, other])))
    cells = {(u.implementation, u.operation) for unit in units for u in unit.coordinates}
    assert {o for name, o in cells if name == "other"} >= set(CHANGED)
    assert {o for name, o in cells if name == "one"}.isdisjoint(CHANGED)


def test_a_declaration_that_shows_nowhere_is_found_beside_attention(
    make_context: MakeContext, plain_file: Any
) -> None:
    """attention_weights has no case, and does not keep the others from being complete."""
    path = plain_file("one", PLAIN)
    more = "\n\ndef attention_weights(x, axis=-1):\n    return softmax(x, axis)\n"
    declared = 'IMPLEMENTATION = {"deviations": ({"id": "overflow", "reason": "none"},)}\n'
    path.write_text(declared + path.read_text() + more + RIGHT.replace("import numpy as np", ""))
    context = make_context([path])
    (one,) = context.implementations
    assert one.metadata.deviations == (Deviation("overflow", "none"),)
    passed = [
        ConformanceRecord(
            implementation="one", operation=o, dtype=d, device="cpu", workload=c, case=c, seed=0,
            status="ok", verdict="pass",
        )
        for d in ("float64", "float32")
        for o, c in (("softmax", "11-overflow"), *((o, "changed-layouts") for o in CHANGED))
    ]  # fmt: skip
    context.records.update({cell_key(r): r for r in passed})
    (record,) = _measure_deviations(context, one)
    assert record.verdict == "unexpected_pass"
    del context.records[cell_key(passed[0])]
    (record,) = _measure_deviations(context, one)
    assert record.verdict == "skipped"
