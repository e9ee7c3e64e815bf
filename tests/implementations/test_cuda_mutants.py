"""Broken CUDA kernels, and broken uses of CUDA: the catalogue and the emulation must fail them."""

from __future__ import annotations

from typing import Any

import cuda_emulation as emulation
import numpy as np
import pytest
from cuda_emulation import EmulationError, FakeCupy

from harness.experiments.conformance.judge import Options, judge
from harness.reference import softmax_exact

pytestmark = pytest.mark.skipif(
    emulation.compiler() is None, reason="no C++ compiler: the kernels' logic is not run here"
)

SPLIT: dict[str, Any] = {"LANES": (), "_SPLIT_FROM": 1, "_PART": 2}
"""Thresholds with which every row is split, however short."""


def _logits(classes: int, dtype: np.dtype[Any], rows: int = 3, scale: float = 4.0) -> Any:
    return (scale * np.random.default_rng(classes).standard_normal((rows, classes))).astype(dtype)


# ------------------------------------------------------------------------ beyond 2**31 elements


def _last_block(device: FakeCupy, grid: int) -> None:
    device.blocks = (grid - 1, grid)


def _huge(texts: dict[str, str] | None = None) -> tuple[Any, Any]:
    """(logits, result) of the last row of an array of more than 2**31 elements, mostly unmapped."""
    device = FakeCupy(emulation.attributes(), texts=texts, formats=("float16",))
    classes = 1000
    rows = (1 << 31) // classes + 5
    with emulation.implementation("cupy_gpu", device) as module:
        from implementations._cuda.launch import device_of
        from implementations._cuda.plan import plan

        chosen = plan(rows, classes, 2, 1, True, device_of(0))
        _last_block(device, chosen.grid)
        x = emulation.device_empty((rows, classes), np.float16)
        out = emulation.device_empty((rows, classes), np.float16)
        x[-1] = _logits(classes, np.dtype(np.float16), 1)[0]
        module.softmax(x, out=out)
        return np.array(x[-1:]), np.array(out[-1:])


def _huge_is_right(texts: dict[str, str] | None = None) -> bool:
    x, y = _huge(texts)
    return bool(np.allclose(y.astype(float), softmax_exact(x).to_float64(), rtol=2**-9, atol=1e-7))


def test_offsets_beyond_2_31() -> None:
    assert _huge_is_right()


def test_one_row_of_more_than_2_31() -> None:
    """The last part of a split row, whose entries lie beyond 2**31: its maximum and its sum."""
    device = FakeCupy(emulation.attributes(), formats=("float16",))
    classes = (1 << 31) + 24_008
    with emulation.implementation("cupy_gpu", device, threads=64):
        from implementations._cuda import launch as _cuda_rows

        library = emulation.compiled("Softmax", formats=("float16",))
        assert library is not None
        kernel = _cuda_rows._kernel(0, _cuda_rows.definitions("Softmax", "float16"), "partial")
        parts = (classes // 8 + 511) // 512
        x = emulation.device_empty((1, classes), np.float16)
        partials = emulation.device_empty(3 * parts, np.float32)
        x[0, -3:] = [1.0, 3.0, 2.0]
        device.blocks = (parts - 1, parts)
        arguments = (x.data.ptr, 0, 0, 0, 0, partials.data.ptr, 1, classes, parts, classes, 0, 0)
        kernel((parts,), (64,), arguments, shared_mem=1024)
        top, rest, _ = np.array(partials[-3:], dtype=float)
    chunks = classes // 8
    each = -(-chunks // parts)
    entries = 8 * (chunks - each * (parts - 1))
    want = entries - 3 + sum(np.exp([1.0, 3.0, 2.0]))
    assert top == 3.0
    assert rest * 2.0 ** (round(3 / np.log(2)) - 64) == pytest.approx(want, rel=1e-5)


# --------------------------------------------------------------------------------- mutants

# name: (file, what is right, what is wrong, operation that shows it)
MUTANTS = {
    "half of the lanes in the mask": (
        "exchange.cuh", "ALL_LANES 0xffffffffu", "ALL_LANES 0x0000ffffu", "softmax",
    ),
    "the tail is read past the end": (
        "formats.cuh", "first + chunk<T>::size <= classes) {\n    c.raw",
        "first < classes) {\n    c.raw", "softmax",
    ),
    "the tail is missing": (
        "formats.cuh", "(shift + classes + chunk<T>::size - 1)", "(shift + classes)", "softmax",
    ),
    "no guard for a masked part": (
        "parts.cuh", "if (Op::SHIFTED && v == -(A)INFINITY) continue;", "", "softmax",
    ),
    "a NaN is below everything": (
        "formats.cuh", "return k < lowest ? (A)0", "return !(k >= lowest) ? (A)0", "softmax",
    ),
    "no barrier before the warps' maxima are read": (
        "exchange.cuh",
        "p->maximum[threadIdx.x / 32] = v;\n  __syncthreads();",
        "p->maximum[threadIdx.x / 32] = v;", "softmax",
    ),
    "no barrier of the cluster before the sums are read": (
        "exchange.cuh",
        "p->block_count = v.count;\n    }\n    cluster_barrier();",
        "p->block_count = v.count;\n    }", "softmax",
    ),
    "a block of the cluster leaves early": (
        "held.cuh", "if (CLUSTER > 1) cluster_barrier();\n}", "}", "softmax",
    ),
    "sums in half precision": (
        "operations.cuh", "  s.rest += e;\n  return e;",
        "  s.rest = widen(float16{to_float16(s.rest * (A)0x1p-64f + e * (A)0x1p-64f)})"
        " * (A)0x1p64f;\n  return e;",
        "softmax",
    ),
    "parts are joined without rescaling": (
        "parts.cuh", "const A factor = rescaling(frame_of(from), own);", "const A factor = 1;",
        "softmax",
    ),
    "ties are counted once": (
        "operations.cuh", "s.count += top ? (A)1 : (A)0;", "s.count = top ? (A)1 : s.count;",
        "log_softmax",
    ),
    "the target is not where the row begins": (
        "views.cuh", "Op::TARGETS && first + j == target",
        "Op::TARGETS && index * chunk<T>::size + j == target", "cross_entropy",
    ),
    "results are stored as if aligned": (
        "views.cuh", "v.out_aligned = shift_of(v.out) == v.shift;", "v.out_aligned = true;",
        "softmax",
    ),
    "no barrier between the rows of a block": (
        "held.cuh", "if (!Op::SHIFTED) __syncthreads();", "", "softmax_backward",
    ),
    "the last cluster has no part": (
        "held.cuh", "end = begin + each < all ? begin + each : all;",
        "end = rank && rank == CLUSTER - 1 ? begin : begin + each < all ? begin + each : all;",
        "softmax",
    ),
}  # fmt: skip
IN_PARTS = {"no guard for a masked part", "parts are joined without rescaling"}
"""Judged on a device where every row is split."""
OUTSIDE_THE_CATALOGUE = {
    "results are stored as if aligned",
    "no barrier between the rows of a block",
}
"""Caught by a launch that the catalogue does not make: a view, many rows in few blocks."""


def _changed(mutant: str) -> dict[str, str]:
    file, right, wrong, _ = MUTANTS[mutant]
    texts = emulation.sources()
    assert right in texts[file], mutant
    texts[file] = texts[file].replace(right, wrong)
    return texts


def test_there_are_enough_mutants() -> None:
    assert len(MUTANTS) >= 12


@pytest.mark.parametrize("mutant", sorted(set(MUTANTS) - OUTSIDE_THE_CATALOGUE))
def test_the_catalogue_catches_broken_kernels(mutant: str) -> None:
    operation = MUTANTS[mutant][3]
    split = mutant in IN_PARTS
    device = FakeCupy(
        emulation.attributes(MultiProcessorCount=4096 if split else 4),
        texts=_changed(mutant),
        formats=("float32",),
    )
    thresholds = SPLIT if split else {}
    with emulation.implementation("cupy_gpu", device, **thresholds) as module:
        subject = emulation.EmulatedSubject.of("cupy_gpu", module)
        options = Options(thorough=False, budget_s=0.3)
        caught = False
        for order in (2, 3):
            device.order = order
            results = judge(subject, operation, "float32", options=options)
            caught = caught or any(r.verdict == "failure" for r in results)
    assert caught, f"{mutant}: not caught"


def test_the_view_catches_a_store_that_takes_alignment_for_granted() -> None:
    texts = _changed("results are stored as if aligned")
    device = FakeCupy(emulation.attributes(), texts=texts, formats=("float32",))
    x = _logits(1001, np.dtype(np.float32), 2)
    native = emulation.to_device(x)
    out = emulation.device_empty(x.shape, x.dtype, offset=4)
    out[...] = 55
    with (
        emulation.implementation("cupy_gpu", device) as module,
        pytest.raises(EmulationError, match="sixteen bytes"),
    ):
        module.softmax(native, out=out)


def test_many_rows_in_one_block_catch_a_missing_barrier() -> None:
    """A block goes on with further rows beyond 2**31 - 1 blocks; here beyond one."""
    y = softmax_exact(_logits(1000, np.dtype(np.float32), 4)).round_to("float32")
    g = _logits(1000, np.dtype(np.float32), 4, 1.0)

    def backward(texts: dict[str, str] | None) -> Any:
        device = FakeCupy(emulation.attributes(), "80", texts=texts, order=3, formats=("float32",))
        one_block: dict[str, Any] = {"LANES": (), "_MAX_BLOCKS": 1}
        with emulation.implementation("cupy_gpu", device, **one_block) as module:
            return emulation.call(module.softmax_backward, g, y)

    wide, other = y.astype(float), g.astype(float)
    want = wide * (other - (wide * other).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(backward(None), want, atol=1e-6)
    wrong = backward(_changed("no barrier between the rows of a block"))
    assert not np.allclose(wrong, want, atol=1e-6)


def test_32_bit_offsets_are_caught() -> None:
    texts = emulation.sources()
    original = "v.x = a.x + row * a.x_pitch;"
    assert original in texts["views.cuh"]
    texts["views.cuh"] = texts["views.cuh"].replace(original, "v.x = a.x + (int)(row * a.x_pitch);")
    try:
        right = _huge_is_right(texts)
    except EmulationError:  # an address where nothing is
        right = False
    assert not right


# ------------------------------------------------------------------ the emulation itself

HOSTILE = {
    "a thread that misses a barrier": "if (threadIdx.x) __syncthreads();",
    "a lane that misses a shuffle": "if (threadIdx.x) __shfl_xor_sync(ALL_LANES, 1, 16);",
    "masks that differ": "__shfl_xor_sync(threadIdx.x < 16 ? 0xffffffffu : 0xffff0000u, 1, 1);",
    "a read behind the array": (
        "if (*(volatile const int*)(a.x + a.rows * a.x_pitch + 4) == 1) return;"
    ),
    "a write beyond shared memory": "dynamic[emulation::shared_bytes / 16].x = 1;",
}


@pytest.mark.parametrize("wrong", HOSTILE)
def test_the_emulation_reports_what_a_device_hides(wrong: str) -> None:
    texts = emulation.sources()
    place = "const int lane = threadIdx.x % LANES;"
    assert place in texts["lanes.cuh"]
    texts["lanes.cuh"] = texts["lanes.cuh"].replace(place, f"{place} {HOSTILE[wrong]}")
    device = FakeCupy(emulation.attributes(), texts=texts, formats=("float32",))
    with (
        emulation.implementation("cupy_gpu", device) as module,
        pytest.raises(EmulationError, match="lanes_4_1: "),
    ):
        emulation.call(module.softmax, np.zeros((3, 5), np.float32))
