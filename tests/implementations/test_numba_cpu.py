"""The fastest CPU softmax: vector paths, ways by class count, memory that it must not touch."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import Any

import ml_dtypes
import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from harness import reference
from harness.bounds import error_over_bound, evaluate_bound
from harness.numerics.ulps import ulp_error
from implementations import numba_cpu
from implementations._numba import shared_rows
from implementations._numba import softmax as kernels
from implementations._simd import compilation as _simd_path

Array = NDArray[Any]

WAYS = [1, 2, 7, 8, 16, 31, 33, 47, 48, 100, 127, 128, 255, 256, 1001, 5003]
"""Class counts of a row in a lane, of groups of rows and of a row, with and without a remainder."""


def _logits(rows: int, classes: int, scale: float, dtype: str = "float32") -> Array:
    rng = np.random.default_rng(classes)
    return (scale * rng.standard_normal((rows, classes))).astype(dtype)


@pytest.fixture
def set_threads():
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


_ON_A_PATH = """
import sys
import numpy as np
from harness import reference
from harness.numerics.ulps import ulp_error
from implementations import numba_cpu
from implementations._simd import compilation as _simd_path
path = sys.argv[1]
assert path == _simd_path.PATH
size = {"avx512": 64, "avx2": 32, "generic": 16}[path]
assert _simd_path.compiled_for() == _simd_path.VECTOR_BYTES == size
rng = np.random.default_rng(0)
for classes in (3, 10, 33, 48, 127, 300, 1001):
    for scale in (1, 30):
        x = (scale * rng.standard_normal((9, classes))).astype(np.float32)
        x[0, 1], x[1, 0], x[2, -1], x[3] = np.nan, np.inf, -np.inf, -np.inf
        y = numba_cpu.softmax(x)
        assert np.isnan(y[[0, 1, 3]]).all()
        assert y[2, -1] == 0
        finite = x[[2, 4, 5, 6, 7, 8]]
        error = ulp_error(y[[2, 4, 5, 6, 7, 8]], reference.softmax_exact(finite)).max()
        assert error <= 4, (classes, scale, error)
        half = numba_cpu.scaled_softmax(x, -0.5)
        assert np.isnan(half[[0, 2, 3]]).all() and half[1, 0] == 0
        error = ulp_error(half[4:], reference.softmax_exact(np.float32(-0.5) * x[4:])).max()
        assert error <= 4, (classes, scale, error)
        kept = rng.random(x.shape) < 0.7
        kept[0, 1] = kept[1, 0] = kept[3] = False
        y = numba_cpu.masked_softmax(x, kept)
        assert not y[~kept].any()
        some = kept.any(axis=1)
        exact = reference.softmax_exact(np.where(kept, x, np.float32(-np.inf))[some])
        assert ulp_error(y[some], exact).max() <= 4
x = (30 * rng.standard_normal((2, 266_000))).astype(np.float32)
x[1, :5000] = -np.inf
wide = np.exp(x.astype(np.longdouble) - x.max(axis=1, keepdims=True))
exact = wide / wide.sum(axis=1, keepdims=True)
assert (abs(numba_cpu.softmax(x) - exact) <= 4 * np.spacing(exact.astype(np.float32))).all()
"""


def _run_on(path: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, _simd_path.VARIABLE: path}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("path", ["avx512", "avx2", "generic"])
def test_every_path_is_right_and_the_one_that_was_asked_for(path: str) -> None:
    if path not in _simd_path.available_paths():
        pytest.skip(f"this processor cannot run the path {path}")
    done = _run_on(path, "-c", _ON_A_PATH, path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shape", [(20, 50), (3, 4, 5), (1, 70_000), (300, 300)])
def test_the_first_call_of_a_process_that_finds_all_compiled(shape: tuple[int, ...]) -> None:
    """Threads are started by what is called first, whichever way that is."""
    numba_cpu.softmax(np.zeros(shape, np.float32))
    code = (
        "import numpy as np; from implementations import numba_cpu; "
        f"print(numba_cpu.softmax(np.zeros({shape}, np.float32)).size)"
    )
    done = _run_on(_simd_path.PATH, "-c", code)
    assert done.stdout.strip() == str(np.prod(shape)), (done.returncode, done.stderr)


def test_a_path_that_does_not_exist_is_refused_in_one_line() -> None:
    done = _run_on("mmx", "-c", "import implementations._simd.compilation")
    assert done.returncode == 1
    assert "SOFTMAX_BENCH_SIMD: expected one of" in done.stderr
    assert "got 'mmx'" in done.stderr


def test_a_change_of_an_imported_module_changes_the_key_of_the_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(_simd_path, "_PACKAGES", tmp_path)
    made = tmp_path / "_made"
    made.mkdir()
    (made / "below.py").write_text("A = 1\n")
    (made / "above.py").write_text("from implementations._made.below import A\n")
    (made / "other.py").write_text("B = 1\n")

    def text() -> list[bytes]:
        return sorted(_simd_path._sources(made / "above.py", {}).values())

    before = text()
    (made / "other.py").write_text("B = 2\n")
    assert text() == before
    (made / "below.py").write_text("A = 2\n")
    assert text() != before


def error_over_its_bound(x: Any) -> float:
    """What is proven: the bound of `two_pass`, with the exponential's error of its own test."""
    exact = reference.softmax_exact(x)
    bound = evaluate_bound("two_pass", x, exact, exp_error=1.5, exp_underflow=1.0)
    return float(error_over_bound(numba_cpu.softmax(x), exact, bound).max())


@pytest.mark.parametrize("classes", WAYS)
@pytest.mark.parametrize("scale", [0.1, 1, 10, 30, 100])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_way_keeps_its_bound(classes: int, scale: float, dtype: str) -> None:
    x = _logits(max(2, 4000 // classes), classes, scale, dtype)
    assert error_over_its_bound(x) <= 1


LARGEST_KNOWN = {
    "float32": (4.74, """
    -0x1.be443ap+1 0x1.93befcp+2 0x1.074b7cp+0 -0x1.4309e4p-1 -0x1.2c4926p+2
    -0x1.1de82cp+3
    """),
    "float64": (3.48, """
    0x1.5045d29219cd5p+3 0x1.327984c76ad8dp+1 -0x1.d5df79ea49a3p+1
    -0x1.b958fc0583e71p+1 -0x1.df12a8ce47e7ep+1 0x1.3f88380580f1ep+2
    0x1.27ef366578ff5p+3 0x1.499586982db2bp+3 0x1.a41b622da99ap+2 0x1.e0a4e9512727bp+1
    -0x1.a4447492208fep+2 0x1.85ce1572bc35cp+1 -0x1.b1fc1c6547f7p+1
    0x1.6fb053c881738p-1 0x1.837e92011d77cp+1 -0x1.56ad015542d02p+2
    0x1.6848a017568eep+1 -0x1.6ca7c72d56bfep+1 -0x1.d04538d2554fap+3
    0x1.2ef74d03c2b0ap+2 0x1.aa1a108c8124ap-5 0x1.ffc80b7832279p+2
    0x1.2b8009f8deaa2p-2 -0x1.d18bf1813f3c8p+2 0x1.49e755a49dff4p+3
    0x1.26bf8cc172a28p+2 -0x1.07d060af91cb9p+2 0x1.abe5d8f7a06d6p+1
    -0x1.532d5b0ed122fp+1 -0x1.0e29048503f62p+2 -0x1.26069e9966f1dp+3
    0x1.67b7fab81a603p+1 0x1.db321f25fb58ap+2 -0x1.4d586430feb88p+0
    -0x1.d14fa0b5bc68ap-1 -0x1.1b67d7f6b0306p+2 -0x1.6d6d00b382cc4p+1
    0x1.00148a79de941p+4 -0x1.e17ace6225691p+0 -0x1.94a848f339187p+2
    -0x1.e7153e9a7491ep+0 -0x1.b501ef038f23ap+2 0x1.d7a9a5abf5b0cp+2
    0x1.6b59c91f8a215p+1 -0x1.a11daa76d2b7ep+2 -0x1.2c3b9028dabf6p+1
    0x1.2d41de6b23e4ep+1 -0x1.791d80649ed5cp-2
    """),
}  # fmt: skip
"""The largest errors found so far, and their rows, by a search: the maxima are these or more."""


@pytest.mark.parametrize("dtype", LARGEST_KNOWN)
def test_the_largest_known_error_is_within_the_bound(dtype: str) -> None:
    largest, row = LARGEST_KNOWN[dtype]
    x = np.array([[float.fromhex(v) for v in row.split()]], dtype)
    error = ulp_error(numba_cpu.softmax(x), reference.softmax_exact(x)).max()
    assert error <= largest
    if dtype == "float32" or _simd_path.PATH == "avx512":  # its lanes sum in another order
        assert error > largest - 0.01
    assert error_over_its_bound(x) <= 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", WAYS)
def test_the_bits_of_a_row_depend_on_the_row_alone(classes: int, dtype: str, set_threads) -> None:
    x = _logits(67, classes, 20, dtype)
    x[5, 0], x[6] = np.nan, 0.25
    want = numba_cpu.softmax(x)
    for row in (0, 5, 6, 66):
        assert numba_cpu.softmax(x[row]).tobytes() == want[row].tobytes()
    big = np.tile(x, (1 + 40_000 // x.size, 1))
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        set_threads(threads)
        assert numba_cpu.softmax(big)[-67:].tobytes() == want.tobytes()


@pytest.mark.parametrize("classes", [kernels.LONG, kernels.LONG + 4097])
@pytest.mark.parametrize("offset", [0, -290, 1000])
def test_a_long_row_is_divided_without_a_change_of_bits(
    classes: int, offset: float, set_threads
) -> None:
    x = _logits(2, classes, 10) + np.float32(offset)
    x[1, : classes // 2] = -np.inf
    set_threads(1)
    want = numba_cpu.softmax(x)
    set_threads(min(3, numba.config.NUMBA_NUM_THREADS))
    assert numba_cpu.softmax(x[:1]).tobytes() == want[:1].tobytes()
    assert numba_cpu.softmax(x[1:]).tobytes() == want[1:].tobytes()
    total = want.sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    shifted = x.astype(np.float64) - x.max(axis=1, keepdims=True)
    exact = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(want, exact, rtol=5e-7, atol=1e-40)


@pytest.mark.parametrize("shift", [0, 5])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_rows_past_the_caches(
    dtype: str, threads: int, shift: int, monkeypatch, set_threads
) -> None:
    """Near rows, far ones, blocks far below others, a maximum that is subtracted; in place."""
    set_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    x = _logits(6, kernels.LONG + 4099, 1, dtype)
    x[1] *= 30
    x[2] += np.linspace(-250, 200, x.shape[1])
    x[3] += 1000
    x[4, ::2] = -np.inf
    monkeypatch.setattr(numba_cpu, "_PAST", 1 << 60)
    want = numba_cpu.softmax(x)
    wide = x.astype(np.longdouble) - x.max(axis=1, keepdims=True)
    exact = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
    assert (abs(want - exact) <= 4 * np.spacing(exact.astype(dtype))).all()
    monkeypatch.setattr(numba_cpu, "_PAST", 0)
    for rows in (6, 2, 1):
        buffer = np.full(rows * x.shape[1] + 32, 7, dtype)
        out = buffer[16 + shift :][: rows * x.shape[1]].reshape(rows, -1)
        numba_cpu.softmax(x[:rows], out=out)
        assert out.tobytes() == want[:rows].tobytes()
        out[:] = 7
        assert (buffer == 7).all()
    same = x.copy()
    numba_cpu.softmax(same, out=same)
    assert same.tobytes() == want.tobytes()


@pytest.mark.parametrize("place", [0, 5000, -1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_entry_of_a_long_row_makes_it_nan(place: int, value: float) -> None:
    x = np.full(kernels.LONG + 5, -350.0, np.float32)
    x[7] = 0
    x[place] = value
    assert np.isnan(numba_cpu.softmax(x)).all()


@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("shift", [0, 1, 15])
@pytest.mark.parametrize("classes", [1, 7, 40, 65, 129, 300, 1003])
def test_nothing_beside_the_result_is_written(
    classes: int, shift: int, past: bool, monkeypatch
) -> None:
    monkeypatch.setattr(numba_cpu, "_PAST", 0 if past else 1 << 60)
    monkeypatch.setattr(numba_cpu, "_PARALLEL", 1)
    x = _logits(37, classes, 5)
    buffer = np.full(x.size + 64, 7, np.float32)
    out = buffer[16 + shift :][: x.size].reshape(x.shape)
    assert numba_cpu.softmax(x, out=out) is out
    assert out.tobytes() == numba_cpu.softmax(x).tobytes()
    out[:] = 7
    assert (buffer == 7).all()


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("classes", [128, 256, 257, 999, 3000])
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_of_every_kind_past_the_caches(
    classes: int, shift: int, threads: int, monkeypatch, set_threads
) -> None:
    """Rows that take the shorter way and rows that do not, in every order of three."""
    set_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    monkeypatch.setattr(numba_cpu, "_PARALLEL", 1)
    x = _logits(29, classes, 1)
    kinds = "nfnnfffonnnmfnmmo0nifo1nmfi00"
    for row, kind in zip(x, kinds, strict=True):
        row *= 1 if kind in "no" else 30
        row += 100 * (kind == "o")
        if kind == "m":
            row[classes // 3 :] = -np.inf
        if kind in "01i":
            row[-int(kind == "1")] = np.inf if kind == "i" else np.nan
    out = np.zeros(x.size + shift, np.float32)[shift:].reshape(x.shape)
    monkeypatch.setattr(numba_cpu, "_PAST", 1 << 60)
    want = numba_cpu.softmax(x)
    monkeypatch.setattr(numba_cpu, "_PAST", 0)
    for rows in (29, 3, 2, 1):
        numba_cpu.softmax(x[:rows], out=out[:rows])
        assert out[:rows].tobytes() == want[:rows].tobytes()


@pytest.mark.parametrize("classes", [3, 16, 33, 50, 128, 255, 256, 1001, kernels.LONG + 3000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_has_the_same_bits_behind_rows_of_every_kind(classes: int, dtype: str) -> None:
    """What a kernel guesses of a row from the one before decides how it is computed."""
    long = classes > kernels.LONG
    x = _logits(10 if long else 200, classes, 1, dtype)
    kinds = ["mild", "wide", "moved", "mixed", "nan", "masked", "edge", "larger", "brink", "sunk"]
    for r, row in enumerate(x):
        kind = kinds[(r * r // 3 + r) % len(kinds)]
        row *= 30 if kind == "wide" else 1
        row += 100 if kind == "moved" else 0
        if kind == "mixed":
            row[classes // 2 :] += 40
        elif kind in ("nan", "masked"):
            row[-1 - classes // 3] = np.nan if kind == "nan" else -np.inf
        elif kind == "larger":
            row += 50
        elif kind == "sunk":
            row -= 80
            row[classes // 2 :] -= 9
        elif kind in ("edge", "brink"):  # sizes from which on rows are taken otherwise
            limit = x.dtype.type(31 if kind == "edge" else 86)
            row[0], row[-1] = np.nextafter(limit, x.dtype.type(0)), -limit
            row[-1] = np.nextafter(row[-1], x.dtype.type(0)) if r % 2 else row[-1]
    together = numba_cpu.softmax(x)
    for row, got in zip(x, together, strict=True):
        assert numba_cpu.softmax(row).tobytes() == got.tobytes()
        whole = np.isfinite(row) | (row == -np.inf)
        assert np.isnan(got).all() if not whole.all() else abs(got.sum(dtype=float) - 1) < 1e-5


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("in_place", [False, True])
def test_parts_of_shared_rows_may_run_one_after_the_other(rows: int, in_place: bool) -> None:
    """Whoever comes first does it all, and nobody waits for a thread that has not started."""
    x = _logits(rows, kernels.LONG + 5000, 1)
    x[0, :9000] *= 40
    want = numba_cpu.softmax(x)
    y = x.copy() if in_place else np.empty_like(x)
    parts, classes = 3, x.shape[1]
    size = shared_rows.shared_room(rows, classes, 4, parts, in_place)
    room = np.zeros(size + 64, np.uint8)
    place = room.ctypes.data + -room.ctypes.data % 64
    integer = ctypes.c_longlong
    kernel = ctypes.CFUNCTYPE(None, *[integer] * 9)(
        kernels.kernel("softmax", kernels.IN_BLOCKS, x.dtype)
    )
    start = y.ctypes.data if in_place else x.ctypes.data
    for part in (2, 0, 1):
        kernel(kernels.SHARED, start, y.ctypes.data, rows, classes, 0, place, part, parts)
    assert y.tobytes() == want.tobytes()


@pytest.mark.parametrize("classes", [1, 7, 16, 40, 100, 1000, 5003, kernels.LONG + 1])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("past", [False, True])
def test_formats_of_16_bits_are_float32_rounded(
    classes: int, dtype: str, past: bool, monkeypatch, set_threads
) -> None:
    set_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    monkeypatch.setattr(numba_cpu, "_PAST", 0 if past else 1 << 60)
    monkeypatch.setattr(numba_cpu, "_PARALLEL", 1)
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    x = _logits(37, classes, 8).astype(kind)
    x[1, 0], x[2, -1], x[3], x[4] = np.nan, np.inf, -np.inf, 0.1
    x[5, : classes // 2] = -np.inf
    want = numba_cpu.softmax(x.astype(np.float32)).astype(kind)
    buffer = np.full(x.size + 64, 7, kind)
    out = buffer[13:][: x.size].reshape(x.shape)
    assert numba_cpu.softmax(x, out=out) is out
    for got in (out, numba_cpu.softmax(x), numba_cpu.softmax(x[None])[0]):
        np.testing.assert_array_equal(got.astype(np.float32), want.astype(np.float32))
    for row, one in zip(x[:6], want, strict=False):  # a long one is divided over the threads
        got = numba_cpu.softmax(row)
        np.testing.assert_array_equal(got.astype(np.float32), one.astype(np.float32))
    out[:] = 7
    assert (buffer.astype(np.float32) == 7).all()
    numba_cpu.softmax(x, out=x)
    np.testing.assert_array_equal(x.astype(np.float32), want.astype(np.float32))


def test_every_number_of_16_bits_is_lifted_and_rounded_as_numpy_does() -> None:
    """Beside 0, where results take many values, and beside its neighbour, whatever its size."""
    patterns = np.arange(1 << 16, dtype=np.uint16)
    for kind in (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)):
        for other in (np.zeros_like(patterns), np.roll(patterns, -1)):
            given = np.stack([patterns, other], axis=1).view(kind)
            with np.errstate(invalid="ignore"):
                want = numba_cpu.softmax(given.astype(np.float32)).astype(kind)
            got = numba_cpu.softmax(given)
            assert len(np.unique(want.view(np.uint16))) > 20
            np.testing.assert_array_equal(got.astype(np.float32), want.astype(np.float32))


@pytest.mark.parametrize("classes", [1003, kernels.LONG + 5, 300_001])
@pytest.mark.parametrize("peak", [0.0, 8.0, 25.0, 60.0])
@pytest.mark.parametrize("offset", [0, -75, 60, 300])
@pytest.mark.parametrize("threads", [1, 2])
def test_losses_and_logarithms_of_a_row_that_one_class_dominates(
    classes: int, peak: float, offset: float, threads: int, monkeypatch, set_threads
) -> None:
    """Of several rows and of one, which is divided over the threads, to the same bits."""
    monkeypatch.setattr(numba_cpu, "_PARALLEL", 1)
    set_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    x = _logits(3, classes, 1)
    x[:, 3] = peak
    x[2] *= 0.5
    x += np.float32(offset)
    x[1, classes // 2 :] -= 15
    wide = x.astype(np.longdouble)
    top = wide.max(axis=1, keepdims=True)
    others = np.exp(wide - top)
    np.put_along_axis(others, x.argmax(axis=1)[:, None], 0, 1)
    log_sum = np.log1p(others.sum(axis=1, keepdims=True))
    exact = (wide - top) - log_sum
    assert (abs(numba_cpu.log_softmax(x) - exact) <= 2 * np.spacing(abs(exact).astype("f"))).all()
    exact_sum = (top + log_sum)[:, 0]
    error = abs(numba_cpu.logsumexp(x) - exact_sum)
    assert (error <= 2 * np.spacing(abs(exact_sum).astype("f"))).all()
    loss, gradient = numba_cpu.cross_entropy(x, np.full(3, 3))
    others = np.delete(np.arange(classes), 3)
    probability = np.exp(exact[:, others])
    bound = 4 * np.spacing(probability.astype("f"))
    assert (abs(gradient[:, others] - probability) <= bound).all()
    assert (abs(loss + exact[:, 3]) <= 2 * np.spacing(abs(exact[:, 3]).astype("f"))).all()
    same, logarithms = x.copy(), numba_cpu.log_softmax(x)
    numba_cpu.log_softmax(same, out=same)
    assert same.tobytes() == logarithms.tobytes()
    for row, want in zip(x, logarithms, strict=True):
        assert numba_cpu.log_softmax(row).tobytes() == want.tobytes()
        one = row.copy()
        assert numba_cpu.log_softmax(one, out=one).tobytes() == want.tobytes()
    for row, want in zip(x, numba_cpu.logsumexp(x), strict=True):
        assert numba_cpu.logsumexp(row) == want


@pytest.mark.parametrize("classes", [3, 100, 1000])
def test_in_place_and_onto_a_shifted_part_of_the_input(classes: int) -> None:
    x = _logits(50, classes, 3)
    want = numba_cpu.softmax(x)
    same = x.copy()
    assert numba_cpu.softmax(same, out=same) is same
    assert same.tobytes() == want.tobytes()
    longer = np.concatenate([x, x[:1]])
    numba_cpu.softmax(longer[:-1], out=longer[1:])
    assert longer[1:].tobytes() == want.tobytes()


@pytest.mark.parametrize("classes", [5, 1000])
def test_input_that_cannot_be_written_or_is_not_aligned(classes: int) -> None:
    x = _logits(40, classes, 3)
    want = numba_cpu.softmax(x)
    frozen = x.copy()
    frozen.flags.writeable = False
    assert numba_cpu.softmax(frozen).tobytes() == want.tobytes()
    odd = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    odd[:] = x
    assert numba_cpu.softmax(odd).tobytes() == want.tobytes()
    out = np.zeros(x.nbytes + 2, np.uint8)[2:].view(np.float32).reshape(x.shape)
    assert numba_cpu.softmax(x, out=out).tobytes() == want.tobytes()


@pytest.mark.parametrize("classes", [128, 1001])
@pytest.mark.parametrize("peak", [0.0, 8.0, 20.0, 60.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_does_not_cancel_where_one_class_dominates(
    classes: int, peak: float, dtype: str
) -> None:
    x = _logits(6, classes, 1, dtype)
    x[:, 3] += peak
    target = np.array([3, 3, 3, 0, classes - 1, 3])
    loss, gradient = numba_cpu.cross_entropy(x, target)
    want_loss, want = reference.cross_entropy_exact(x, target)
    assert ulp_error(gradient, want).max() <= 4
    assert ulp_error(loss, want_loss).max() <= 4


def test_functions_that_only_compiled_ones_call_have_no_machine_code() -> None:
    """Where they had some, not optimised, callers compiled in the same process ran that."""
    import numba

    from implementations._simd.compilation import internal

    @internal
    def inside(x: float) -> float:
        return x + 1.0

    @numba.njit
    def outside(x: float) -> float:
        return inside(x) * 2.0  # type: ignore[no-any-return]

    assert outside(1.0) == 4.0
    (found,) = inside.overloads.values()
    with pytest.raises(RuntimeError, match="no compiled object"):
        found.library._get_compiled_object()
