"""Attention's operations: the judge, on implementations known to be right and wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contexts import MakeContext

from harness.bounds.tolerances import Arithmetic
from harness.experiments.attention import disagreement
from harness.experiments.attention import plan as attention
from harness.experiments.attention.variants import Variant, variants
from harness.experiments.profiles import SMOKE
from harness.numerics.ulps import ulp_error
from harness.records import AttentionRecord
from harness.records.reader import cell_key
from harness.worker.local import load

Write = Callable[[str, str], Path]
PROFILE = replace(SMOKE, dtypes=("float32",))

RIGHT = """return of(x, axis)

def of(z, axis, extra=None):
    m = z.max(axis=axis, keepdims=True)
    m = m if extra is None else np.maximum(m, extra)
    e = np.exp(z - m)
    t = e.sum(axis=axis, keepdims=True)
    return e / (t if extra is None else t + np.exp(extra - m))

def scaled_softmax(x, scale, axis=-1):
    return of(x * x.dtype.type(scale), axis)

def masked_softmax(x, mask, axis=-1):
    with np.errstate(invalid="ignore"):
        return of(np.where(mask, x, x.dtype.type(-np.inf)), axis)

def softmax_with_sink(x, sink, axis=-1):
    return of(x, axis, x.dtype.type(sink))

def softcap_softmax(x, cap, axis=-1):
    c = x.dtype.type(cap)
    return of(c * np.tanh(x / c), axis)"""

PLANTED: dict[str, tuple[str, str, str]] = {
    # what is wrong: in the place of what, and in which operation it shows
    "the scale is left out": ("x * x.dtype.type(scale)", "x", "scaled_softmax"),
    "the scale is rounded to 8 bits": (
        "x * x.dtype.type(scale)", "x * np.float32(np.round(scale * 256) / 256)", "scaled_softmax",
    ),
    "masked places get a large negative number, and a row without any is uniform": (
        "x.dtype.type(-np.inf)", "x.dtype.type(-30)", "masked_softmax",
    ),
    "the mask is the other way round": (
        "np.where(mask, x, x.dtype.type(-np.inf))", "np.where(mask, x.dtype.type(-np.inf), x)",
        "masked_softmax",
    ),
    "the sink is not shifted": ("np.exp(extra - m)", "np.exp(extra)", "softmax_with_sink"),
    "the sink is left out": ("t + np.exp(extra - m)", "t", "softmax_with_sink"),
    "the cap is not multiplied back": ("c * np.tanh(x / c)", "np.tanh(x / c)", "softcap_softmax"),
    "the cap is clipped in place of bent": (
        "c * np.tanh(x / c)", "np.clip(x, -c, c)", "softcap_softmax",
    ),
}  # fmt: skip


def measured(context: Any, only: str = "accuracy") -> list[AttentionRecord]:
    return [
        r
        for unit in attention.plan(context)
        if all(getattr(c, "kind", None) == only for c in unit.coordinates)
        for r in unit.measure()
    ]  # type: ignore[misc]


def test_what_is_right_passes(make_context: MakeContext, plain_file: Write) -> None:
    records = measured(make_context([plain_file("right", RIGHT)], PROFILE))
    assert {r.status for r in records} == {"ok"}, [r.reason for r in records if r.reason]
    assert {r.operation for r in records} == set(attention_operations())
    masked = [r for r in records if r.parameter == "mask" and r.value == 0.25]
    assert {r.empty_rows for r in masked} == {"NaN"}
    assert all(r.leaked == 0 for r in masked)


def attention_operations() -> Iterator[str]:
    return (v.operation for v in variants("float32"))


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_wrong_fails_where_it_is_wrong(
    make_context: MakeContext, plain_file: Write, what: str
) -> None:
    right, wrong, operation = PLANTED[what]
    assert RIGHT.count(right) == 1
    records = measured(make_context([plain_file("planted", RIGHT.replace(right, wrong))], PROFILE))
    failed = {r.operation for r in records if r.status == "failed"}
    assert failed == {operation}
    assert all(r.reason for r in records if r.status == "failed")


def test_an_operation_that_is_not_offered_is_unsupported(
    make_context: MakeContext, plain_file: Write
) -> None:
    records = measured(make_context([plain_file("plain", "return np.exp(x)")], PROFILE))
    assert {r.status for r in records} == {"unsupported"}
    assert {str(r.reason).split("(")[0] for r in records} == {
        f"offers no {o}" for o in attention_operations()
    }
    assert "offers no scaled_softmax(x, scale, axis, out)" in {r.reason for r in records}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["max_shift", "online", "torch"])
def test_no_implementation_exceeds_what_is_allowed(name: str, dtype: str) -> None:
    """A campaign of random rows, of many magnitudes, through every variant."""
    subject = load(name)
    rng = np.random.default_rng(len(name))
    arithmetic = Arithmetic("generic", subject.metadata.accumulator, 8.0)
    kind = np.dtype(dtype) if dtype != "bfloat16" else __import__("ml_dtypes").bfloat16
    for trial in range(12):
        magnitude = 10.0 ** rng.uniform(-2, 2)
        x = (rng.normal(size=(16, int(rng.integers(2, 200)))) * magnitude).astype(kind)
        for variant in variants(dtype):
            mask = variant.mask(*x.shape, trial)
            arrays = (x,) if mask is None else (x, mask)
            y = getattr(subject, variant.operation)(*arrays, **variant.options)
            exact = variant.exact(x, mask)
            kept = np.ones(len(x), bool) if mask is None else mask.any(axis=1)
            allowed = variant.allowed(x, mask, exact, dtype, arithmetic)
            error = ulp_error(y, exact)
            assert (error[kept] <= allowed[kept]).all(), (variant, magnitude)


def test_where_nothing_is_claimed_a_result_is_a_probability_all_the_same(
    make_context: MakeContext, plain_file: Write
) -> None:
    """bfloat16, an offset of 1000, scaled by 10: rounding the product takes all digits."""
    wild = RIGHT.replace(
        "return of(x * x.dtype.type(scale), axis)",
        "y = of(x * x.dtype.type(scale), axis); return y if scale < 5 else y - x.dtype.type(1)",
    )
    profile = replace(PROFILE, dtypes=("bfloat16",), operations=("scaled_softmax",))
    for text, expected in ((RIGHT, {"ok"}), (wild, {"ok", "failed"})):
        records = measured(make_context([plain_file(f"f{len(text)}", text)], profile))
        assert {r.status for r in records} == expected
    assert any("are no probabilities" in str(r.reason) for r in records)


def test_an_allowance_is_no_licence() -> None:
    """Where nothing is rounded it is that of softmax; elsewhere within a few of what is seen."""
    x = np.random.default_rng(0).normal(size=(8, 50)).astype(np.float32)
    plain = Variant("sink", -1000.0)  # which takes nothing away
    exact_scale = Variant("scale", 0.125)
    rough = Variant("scale", float(np.float32(0.1)))
    arithmetic = Arithmetic()
    found = {
        v: v.allowed(x, None, v.exact(x, None), "float32", arithmetic).max()
        for v in (plain, exact_scale, rough)
    }
    assert found[exact_scale] <= found[plain]
    assert found[rough] <= found[exact_scale] + 4.0


def test_onset_is_where_the_product_leaves_the_format(
    make_context: MakeContext, plain_file: Write
) -> None:
    found = measured(make_context([plain_file("right", RIGHT)], PROFILE), "onset")
    (logits, scale, offset, *others) = found
    assert {(r.operation, r.status, r.occurs) for r in others} == {
        ("softcap_softmax", "ok", False), ("softmax_with_sink", "ok", False),
        ("masked_softmax", "ok", False), ("merge_logsumexp", "unsupported", None),
        ("linear_cross_entropy", "unsupported", None),
    }  # fmt: skip
    assert (logits.over, scale.over, offset.over) == ("logits", "scale", "offset")
    largest = float(np.finfo(np.float32).max)
    assert not logits.occurs  # a product with 0.1 stays within
    assert not offset.occurs
    assert scale.occurs
    assert scale.last_good is not None
    assert scale.first_bad is not None
    assert scale.first_bad == np.nextafter(np.float32(scale.last_good), np.float32(np.inf))
    with np.errstate(over="ignore"):
        products = np.float32([scale.last_good, scale.first_bad]) * np.float32(10)
    assert np.isfinite(products).tolist() == [True, False]
    assert largest / 10.0 == pytest.approx(scale.first_bad)


CONTRACTED = RIGHT.replace(
    "return of(x * x.dtype.type(scale), axis)",
    "c = np.float64(x.dtype.type(scale)); z = (x * x.dtype.type(scale)).max(-1, keepdims=True)\n"
    "    e = np.exp((x.astype(np.float64) * c - z).astype(np.float32))\n"
    "    return e / e.sum(axis=-1, keepdims=True)",
)
"""c * x - max as one fused step, less a maximum that was rounded: what compilers make of it."""


def test_a_contracted_product_is_found_long_before(
    make_context: MakeContext, plain_file: Write
) -> None:
    path = plain_file("fused", CONTRACTED)
    (logits, _, offset, *_) = measured(make_context([path], PROFILE), "onset")
    assert logits.occurs
    assert offset.occurs
    assert logits.last_good is not None
    assert logits.first_bad == np.nextafter(np.float32(logits.last_good), np.float32(np.inf))
    assert logits.first_bad is not None
    # exp(ulp/2 of the product) overflows from about 2**30 on
    assert 2.0**28 < 0.1 * logits.first_bad < 2.0**40
    assert logits.got_at_first_bad is not None
    assert "nan" in logits.got_at_first_bad
    assert logits.first_bad_logits is not None
    assert float.fromhex(logits.first_bad_logits[0]) == logits.first_bad


EARLY = {
    # what overflows: in the place of what, in which operation, and before which logit
    "tanh by exponentials": (
        "np.tanh(x / c)", "((a := np.exp(x / c)) - (b := np.exp(-x / c))) / (a + b)",
        "softcap_softmax", 1e4,
    ),
    "no shift beside a sink": ("e = np.exp(z - m)", "e = np.exp(z - (m if extra is None else 0))",
                               "softmax_with_sink", 1e3),
}  # fmt: skip


@pytest.mark.parametrize("what", EARLY)
def test_what_overflows_early_is_found(
    make_context: MakeContext, plain_file: Write, what: str
) -> None:
    right, wrong, operation, before = EARLY[what]
    path = plain_file("early", RIGHT.replace(right, wrong))
    found = {r.operation: r for r in measured(make_context([path], PROFILE), "onset")[3:]}
    assert {name for name, r in found.items() if r.occurs} == {operation}
    assert known(found[operation].first_bad) < before


def known(value: float | None) -> float:
    assert value is not None
    return value


def test_the_records_are_those_that_were_planned(
    make_context: MakeContext, plain_file: Write
) -> None:
    context = make_context([plain_file("right", RIGHT)], PROFILE)
    for unit in attention.plan(context):
        found = {cell_key(r) for r in unit.measure()}
        assert found == set(unit.keys)


MERGE = """return np.exp(x)

def merge_logsumexp(m1, s1, m2, s2):
    m = np.maximum(m1, m2)
    with np.errstate(invalid="ignore"):
        a = np.where(m1 == -np.inf, 0, np.exp(m1 - m)).astype(m.dtype)
        b = np.where(m2 == -np.inf, 0, np.exp(m2 - m)).astype(m.dtype)
    return m, s1 * a + s2 * b"""

WRONG_MERGES = {
    "parts without a class are not guarded": ("np.where(m2 == -np.inf, 0, np.exp(m2 - m))",
                                              "np.exp(m2 - m)"),
    "only one side is rescaled": ("s1 * a + s2 * b", "s1 + s2 * b"),
    "the larger maximum is lost": ("return m, s1", "return m1, s1"),
    "the base is 2": ("np.exp(m2 - m)", "np.exp2(m2 - m)"),
}  # fmt: skip


def test_merges_are_judged_step_by_step(make_context: MakeContext, plain_file: Write) -> None:
    (record,) = measured(make_context([plain_file("merges", MERGE)], PROFILE), "merge")
    assert record.status == "ok", record.reason
    assert record.parts == 13
    assert record.order_ulp is not None
    assert record.order_ulp < 60.0


@pytest.mark.parametrize("what", WRONG_MERGES)
def test_merges_that_are_wrong_fail(
    make_context: MakeContext, plain_file: Write, what: str
) -> None:
    right, wrong = WRONG_MERGES[what]
    assert MERGE.count(right) == 1
    path = plain_file("planted", MERGE.replace(right, wrong))
    (record,) = measured(make_context([path], PROFILE), "merge")
    assert record.status == "failed"


def test_disagreement_is_the_largest_ratio_and_the_largest_divergence() -> None:
    a = np.array([[0.5, 0.5, 0.0], [0.9, 0.09999, 1e-5]])
    b = np.array([[0.5, 0.5, 0.0], [0.8, 0.19998, 2e-5]])
    found = disagreement.compared(a, b)
    assert found["max_ratio"] == pytest.approx(2.0)
    assert found["likely_ratio"] == pytest.approx(0.19998 / 0.09999)
    assert found["kl"] == pytest.approx(
        0.9 * np.log(0.9 / 0.8) + 0.09999 * np.log(0.5) + 1e-5 * np.log(0.5)
    )
    assert not found["same_bits"]
    assert found["argmax_differs"] == 0
    same = disagreement.compared(a, a)
    assert same == {
        "max_ratio": 1.0, "likely_ratio": 1.0, "kl": 0.0, "argmax_differs": 0, "same_bits": True,
    }  # fmt: skip
    broken = disagreement.compared(np.full((1, 2), np.nan), np.array([[0.25, 0.75]]))
    assert (broken["max_ratio"], broken["likely_ratio"], broken["kl"]) == (np.inf,) * 3
    assert (
        disagreement.compared(a, np.array([[0.5, 0.5, 1e-9], [0.9, 0.1, 0.0]]))["max_ratio"]
        == np.inf
    )


def test_every_pair_has_a_record(make_context: MakeContext, plain_file: Write) -> None:
    end = "return e / e.sum(axis, keepdims=True)"
    softmax = f"e = np.exp(x - x.max(axis, keepdims=True)); {end}"
    files = [plain_file(name, softmax) for name in ("one", "two")]
    rough = softmax.replace("; return", " + np.float32(1e-6); return")
    context = make_context([*files, plain_file("rough", rough)], PROFILE)
    records = measured(context, "disagreement")
    found = {(r.implementation, r.other): r for r in records}
    assert found["one", "two"].same_bits
    assert not found["one", "rough"].same_bits
    assert (found["one", "rough"].max_ratio or 0.0) > 2.0
    assert len(records) == 3
