"""Cross-entropy of a linear layer: the judge, on implementations known to be right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contexts import MakeContext

from harness.bounds.linear_layer import linear_allowance
from harness.bounds.tolerances import Arithmetic
from harness.experiments.attention import layers
from harness.experiments.attention import plan as attention
from harness.experiments.profiles import SMOKE
from harness.numerics.formats import to_float64
from harness.numerics.ulps import ulp_error
from harness.records import AttentionRecord
from harness.records.reader import cell_key
from harness.reference import linear_cross_entropy_exact
from harness.worker.local import load

Write = Callable[[str, str], Path]
PROFILE = replace(SMOKE, dtypes=("float32",), operations=("linear_cross_entropy",))

RIGHT = """return np.exp(x)

def linear_cross_entropy(hidden, weight, targets):
    z = hidden @ weight.T
    rows = np.arange(len(z))
    m = z.max(axis=1, keepdims=True)
    e = np.exp(z - m)
    s = e.sum(axis=1, keepdims=True)
    loss = np.log(s)[:, 0] - (z[rows, targets] - m[:, 0])
    g = e / s
    g[rows, targets] -= 1
    return loss, g @ weight, g.T @ hidden"""

PLANTED: dict[str, tuple[str, str, set[str]]] = {
    # what is wrong: in the place of what, and in which results it shows
    "small gradients are left out, below what bfloat16 tells": (
        "    return loss", "    g[np.abs(g) < 2.0**-9] = 0\n    return loss", {"hidden", "weight"},
    ),
    "logits are rounded to float16": (
        "z = hidden @ weight.T", "z = (hidden @ weight.T).astype(np.float16).astype(np.float32)",
        {"loss", "hidden", "weight"},
    ),
    "nothing is subtracted": (
        "m = z.max(axis=1, keepdims=True)", "m = 0 * z[:, :1]", {"loss", "hidden", "weight"},
    ),
    "the target is left out": ("g[rows, targets] -= 1", "pass", {"hidden", "weight"}),
    "the gradients are of the mean": (
        "g.T @ hidden", "g.T @ hidden / len(hidden)", {"weight"},
    ),
    "the last row does not count": ("g.T @ hidden", "g[:-1].T @ hidden[:-1]", {"weight"}),
    "the loss is in base 2": ("np.log(s)", "np.log2(s)", {"loss"}),
}  # fmt: skip


def measured(context: Any, kind: str = "layer") -> list[AttentionRecord]:
    found = (r for unit in attention.plan(context) for r in unit.measure())
    return [r for r in found if r.kind == kind]  # type: ignore[attr-defined,misc]


def test_what_is_right_passes(make_context: MakeContext, plain_file: Write) -> None:
    context = make_context([plain_file("right", RIGHT)], PROFILE)
    records = measured(context)
    assert {r.status for r in records} == {"ok"}, [r.reason for r in records if r.reason]
    assert [(r.workload, r.result) for r in records] == [
        (name, result) for name in layers.LAYERS for result in layers.RESULTS
    ]
    assert all(r.norm_u is not None and r.norm_u > 0 for r in records)
    records += measured(context, "onset")
    planned = {k for unit in attention.plan(context) for k in unit.keys}
    assert {cell_key(r) for r in records} == planned


def test_a_loss_without_a_shift_ends_where_exp_does(
    make_context: MakeContext, plain_file: Write
) -> None:
    plain = "m = z.max(axis=1, keepdims=True)"
    for text, bad in ((RIGHT, None), (RIGHT.replace(plain, "m = 0 * z[:, :1]"), 88.72)):
        with np.errstate(all="ignore"):
            path = plain_file(f"f{len(text)}", text)
            (record,) = measured(make_context([path], PROFILE), "onset")
        assert record.occurs == (bad is not None)
        assert record.first_bad == (None if bad is None else pytest.approx(bad, abs=0.01))


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_wrong_fails_where_it_is_wrong(
    make_context: MakeContext, plain_file: Write, what: str
) -> None:
    right, wrong, results = PLANTED[what]
    assert RIGHT.count(right) == 1
    path = plain_file("planted", "\n".join(RIGHT.replace(right, wrong).splitlines()))
    with np.errstate(all="ignore"):
        records = measured(make_context([path], PROFILE))
    assert {r.result for r in records if r.status == "failed"} == results
    assert all(r.reason for r in records if r.status == "failed")


@pytest.mark.parametrize("given", ["loss.mean()", "loss", "loss, g @ weight, (g.T @ hidden).T"])
def test_what_has_other_shapes_is_said_in_one_line(
    make_context: MakeContext, plain_file: Write, given: str
) -> None:
    text = RIGHT.replace("return loss, g @ weight, g.T @ hidden", f"return {given}")
    records = measured(make_context([plain_file("other", text)], PROFILE))
    assert {r.status for r in records} == {"failed"}
    assert all("expected float32 [8] and float32 [8, 16] and" in str(r.reason) for r in records)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["max_shift", "online", "torch", "torch_fused"])
def test_no_implementation_exceeds_what_is_allowed(name: str, dtype: str) -> None:
    """A campaign of random layers, of many magnitudes."""
    subject = load(name)
    if subject.unavailable_reason is not None:
        pytest.skip(subject.unavailable_reason)
    rng = np.random.default_rng(len(name))
    arithmetic = Arithmetic("generic", subject.metadata.accumulator, 8.0)
    kind = np.dtype(dtype) if dtype != "bfloat16" else __import__("ml_dtypes").bfloat16
    for _ in range(10):
        rows, features, classes = (int(n) for n in rng.integers(2, 24, 3))
        magnitude = 10.0 ** rng.uniform(-1, 1)
        h = rng.normal(size=(rows, features)).astype(kind)
        w = (magnitude * rng.normal(size=(classes, features))).astype(kind)
        targets = rng.integers(0, classes, rows)
        exact = linear_cross_entropy_exact(h, w, targets)
        layer = (to_float64(h), to_float64(w), targets)
        allowed = linear_allowance(layer, exact, dtype, arithmetic)
        found = subject.linear_cross_entropy(h, w, targets)
        for y, e, most in zip(found, exact, allowed, strict=True):
            assert (ulp_error(y, e) <= most).all()


def test_an_allowance_is_no_licence() -> None:
    """Few features of like signs: what is allowed is a few digits, not all of them."""
    rng = np.random.default_rng(0)
    h = rng.uniform(0.5, 1.0, (4, 3)).astype(np.float32)
    w = rng.uniform(0.5, 1.0, (5, 3)).astype(np.float32)
    targets = np.arange(4)
    exact = linear_cross_entropy_exact(h, w, targets)
    loss, _, in_weight = linear_allowance(
        (to_float64(h), to_float64(w), targets), exact, "float32", Arithmetic()
    )
    assert loss.max() < 60
    assert np.median(in_weight) < 500
