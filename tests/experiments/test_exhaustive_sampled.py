"""Tables of drawn rows: any worker draws the same ones, and known-wrong results are counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.experiments.exhaustive.blocks import Blocks, run_blocks
from harness.experiments.exhaustive.exp_order import OrderJudge
from harness.experiments.exhaustive.run import run_exhaustive
from harness.experiments.exhaustive.sampled import CLASS_COUNTS, KINDS, BoundsJudge, TripleSample
from harness.experiments.exhaustive.tables import SAMPLED
from harness.numerics.formats import from_hex, to_float64
from harness.numerics.ulps import ulp_error
from harness.records import ExhaustiveRecord
from harness.reference import softmax_exact
from harness.registry.contract import read_metadata
from harness.registry.discovery import Implementation, load

PLAIN = """
import numpy as np

IMPLEMENTATION = {"bound": "shift_divide"%s}


def exp(x):
    return np.exp(x)


def softmax(x, axis=-1):
    e = np.exp(x.astype(np.float64) - x.max(axis=axis, keepdims=True))
    y = (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)
%s
    return y
"""
Make = Callable[..., Implementation]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    def make(lines: str = "", declared: str = "") -> Implementation:
        path = tmp_path / "subject.py"
        path.write_text(PLAIN % (declared, lines))
        return Implementation(read_metadata(path))

    return make


def judged(one: Implementation, judge: TripleSample | BoundsJudge | OrderJudge) -> ExhaustiveRecord:
    return run_blocks(Blocks(one, judge), 1)


def test_rows_are_drawn_from_the_number_of_their_block() -> None:
    first, again = (TripleSample("float16", blocks=6, rows=64) for _ in range(2))
    for block in range(6):
        x = first.inputs(block)
        assert x.tobytes() == again.inputs(block).tobytes()
        assert np.isfinite(to_float64(x)).all()
        assert x.shape == (64, 3)
    assert first.inputs(0).tobytes() != first.inputs(2).tobytes()


def test_every_kind_of_row_meets_every_class_count() -> None:
    judge = BoundsJudge("float16", load("max_shift"), blocks=len(KINDS) * len(CLASS_COUNTS), rows=8)
    shapes = [judge.inputs(block).shape for block in range(judge.blocks)]
    assert [shapes.count((8, n)) for n in CLASS_COUNTS] == [len(KINDS)] * len(CLASS_COUNTS)
    assert all(np.isfinite(to_float64(judge.inputs(b))).all() for b in range(judge.blocks))


@pytest.mark.parametrize("table", SAMPLED)
def test_a_sample_claims_no_true_maximum(table: str) -> None:
    record = run_exhaustive("max_shift", table, "bfloat16", workers=1, every=1023)  # type: ignore[arg-type]
    assert record.status == "ok"
    assert record.exhaustive is False
    small = TripleSample("bfloat16", blocks=2, rows=64)
    assert judged(load("max_shift"), small).exhaustive is False  # though it has all that was drawn


def test_a_right_implementation_misrounds_nothing(made: Make) -> None:
    found = judged(made(), TripleSample("float16", blocks=4, rows=4096))
    assert found.misrounded == [0]
    assert found.judged == 4 * 4096
    assert sum((found.ulp_histogram or {}).values()) == 3 * 4 * 4096


def test_a_wrong_triple_is_counted_and_shown(made: Make) -> None:
    sample = TripleSample("float16", blocks=3, rows=256)
    x = sample.inputs(1)[77]
    bits = ", ".join(str(int(v)) for v in x.view(np.uint16))
    body = (
        f"    at = (x.view(np.uint16) == np.array([{bits}], np.uint16)).all(-1)\n"
        "    y[at, 1] = np.nextafter(np.nextafter(y[at, 1], np.float16(2)), np.float16(2))"
    )
    found = judged(made(body), sample)
    assert found.misrounded == [1]
    assert [from_hex(t, "float16") for t in found.worst_logits or ()] == list(x)
    assert found.worst_class == 1
    assert found.max_ulp is not None
    assert 1.4 < found.max_ulp < 2.6


def test_an_error_beyond_the_bound_is_found_with_its_row(made: Make) -> None:
    judge = BoundsJudge("float32", made(), blocks=12, rows=512)
    right = judged(made(), judge)
    assert right.figures is not None
    assert right.figures["error / bound"] < 1.0
    assert "beyond it" not in right.figures
    x = judge.inputs(7)[33]
    body = (
        f"    y[(x == np.float32({x.tolist()})).all(-1) if x.shape[-1] == {x.size} else []] *= 1.5"
    )
    wrong = judged(made(body), BoundsJudge("float32", made(body), blocks=12, rows=512))
    assert wrong.figures is not None
    assert wrong.figures["error / bound"] > 1000
    assert x[0].astype(float).hex() in wrong.figures["beyond it"]
    assert wrong.worst_logits == [float(v).hex() for v in x]
    exact = softmax_exact(x[np.newaxis])
    y = exact.round_to("float32") * np.float32(1.5)
    assert wrong.max_ulp == pytest.approx(float(ulp_error(y, exact).max()), rel=1e-4)


def test_what_a_declared_deviation_explains_is_a_figure_of_its_own(made: Make) -> None:
    body = "    e = np.exp(x)\n    y = e / e.sum(axis=axis, keepdims=True)"
    declared = ', "deviations": ({"id": "overflow", "reason": "no shift"},)'
    one = made(body, declared)
    found = judged(one, BoundsJudge("float16", one, blocks=30, rows=256))
    assert found.figures is not None
    assert found.figures["error / bound where a deviation is declared"] == np.inf
    assert found.figures["error / bound"] < np.inf
    assert (found.ulp_histogram or {})["wrong"] > 0
    bare = made(body)
    same = judged(bare, BoundsJudge("float16", bare, blocks=30, rows=256))
    assert same.figures is not None
    assert same.figures["error / bound"] == np.inf


def test_the_error_of_every_exponential_is_measured(made: Make, tmp_path: Path) -> None:
    right = judged(made(), OrderJudge("float16"))
    assert right.figures is not None
    assert right.figures["largest error, ulp"] <= 0.51
    path = tmp_path / "off.py"
    path.write_text(
        (PLAIN % ("", "")).replace(
            "return np.exp(x)", "return np.where(x == 1.5, np.nextafter(np.exp(x), x), np.exp(x))"
        )
    )
    off = judged(Implementation(read_metadata(path)), OrderJudge("float16"))
    assert off.figures is not None
    assert 0.9 < off.figures["largest error, ulp"] < 1.6
    assert off.figures["at"] == (1.5).hex()
