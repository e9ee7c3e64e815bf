"""Workloads: identity, reproducibility, ranges, real logits, untrusted files, class counts."""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import digits_training
import ml_dtypes
import numpy as np
import pytest

from harness import workloads as w
from harness.numerics.formats import FORMATS, float_format, to_float64, to_ordinal
from harness.workloads import workload as workload_module
from harness.workloads.digits import pixels_and_labels
from harness.workloads.families import underflow_gap

FORMAT_NAMES = ("float64", "float32", "float16", "bfloat16")
DRAWN = tuple(i for i in w.standard_ids() if i != "digits")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    """One cache folder for the module: the classifier is trained once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTMAX_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


# --- identity ---


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("normal", "normal(scale=1)"),
        ("normal(scale=10)", "normal(scale=10)"),
        (" normal( scale = 1e-1 ) ", "normal(scale=0.1)"),
        ("uniform(high=3)", "uniform(low=-10,high=3)"),
        ("constant(value=-0.0)", "constant(value=0)"),
        ("masked()", "masked(fraction=0.3,scale=1)"),
        ("wide_range", "wide_range"),
        ("near_ties(ulps=2)", "near_ties(base=10,ulps=2)"),
        ("offset(offset=1e5)", "offset(offset=100000,scale=1)"),
    ],
)
def test_parse_gives_the_canonical_id(text, canonical):
    assert w.parse(text).id == canonical


@pytest.mark.parametrize("identifier", w.standard_ids())
def test_standard_ids_read_back(identifier):
    assert w.parse(identifier).id == identifier


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gauss", "workload: expected one of normal"),
        ("normal(", "workload: expected an id such as"),
        ("", "workload: expected an id such as"),
        ("normal(sigma=1)", "expected parameters from (scale); got 'sigma'"),
        ("constant(scale=1)", "expected parameters from (value)"),
        ("wide_range(x=1)", "expected parameters from (none)"),
        ("normal(10)", "expected name=value pairs"),
        ("normal(scale=1,scale=2)", "each name once"),
        ("normal(scale=abc)", "expected scale to be a number"),
        ("normal(scale=nan)", "expected scale to be a number"),
        ("normal(scale=-1)", "expected scale to be a number"),
        ("near_ties(ulps=1.5)", "expected ulps to be an integer"),
        ("masked(fraction=1.01)", "expected fraction to be a number from 0 to 1"),
        ("file(name=a.npy,sha256=0123)", "file(path=FILE.npy)"),
        ("file", "file(path=FILE.npy)"),
    ],
)
def test_bad_ids_are_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match="workload") as caught:
        w.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 0}, "classes: expected a positive integer"),
        ({"rows": 0}, "rows: expected a positive integer"),
        ({"seed": -1}, "seed: expected a non-negative integer"),
    ],
)
def test_bad_shapes_and_seeds_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        w.parse("normal", **arguments)


def test_unknown_dtype_is_refused():
    with pytest.raises(TypeError, match="dtype: expected one of"):
        w.generate("normal", 3, 1, "int32")


def test_uniform_needs_an_interval():
    with pytest.raises(ValueError, match="expected low <= high"):
        w.generate("uniform(low=1,high=0)", 3)


# --- reproducibility ---


@pytest.mark.parametrize("identifier", DRAWN)
def test_same_workload_twice_is_bitwise_equal(identifier):
    a, b = (w.generate(identifier, 17, 5, "float32", 3) for _ in range(2))
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    "other",
    [
        w.make("normal", 16, 4, "float32", 1),
        w.make("normal", 17, 4, "float32", 0),
        w.make("normal", 16, 5, "float32", 0),
        w.make("normal", 16, 4, "float16", 0),
        w.make("normal", 16, 4, "float32", 0, {"scale": 1.25}),
    ],
    ids=lambda o: f"{o.id}-{o.classes}-{o.rows}-{o.dtype}-{o.seed}",
)
def test_every_part_of_a_workload_has_its_own_stream(other):
    base = w.make("normal", 16, 4, "float32", 0)
    a = base.generate().astype(np.float64).ravel()[:60]
    b = other.generate().astype(np.float64).ravel()[:60] / float(other.options["scale"])
    assert not np.any(np.isclose(a, b, rtol=1e-3))


def test_streams_do_not_depend_on_the_process():
    code = (
        "from harness import workloads as w;"
        "print(w.input_sha256(w.generate('masked', 33, 7, 'float16', 5)))"
    )
    root = Path(w.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == w.input_sha256(w.generate("masked", 33, 7, "float16", 5))


def test_a_new_version_is_a_new_stream(monkeypatch):
    before = w.generate("normal", 8)
    monkeypatch.setattr(workload_module, "VERSION", w.VERSION + 1)
    assert not np.array_equal(before, w.generate("normal", 8))


def test_large_arrays_repeat_the_drawn_rows(monkeypatch):
    monkeypatch.setattr(workload_module, "DISTINCT_ELEMENTS", 40)
    workload = w.make("normal", 10, 11)
    x = workload.generate()
    assert workload.distinct_rows == 4
    assert x.shape == (11, 10)
    np.testing.assert_array_equal(x[4:8], x[:4])
    np.testing.assert_array_equal(x[8:], x[:3])
    assert len({row.tobytes() for row in x[:4]}) == 4


def test_input_sha256_sees_dtype_shape_and_values_but_not_layout():
    x = w.generate("normal", 4, 3)
    digest = w.input_sha256(x)
    changed = x.copy()
    changed[1, 2] = np.nextafter(changed[1, 2], np.float32(9))
    different = (changed, x.reshape(4, 3), x.view(np.int32), x.astype(np.float64))
    assert len({digest, *(w.input_sha256(d) for d in different)}) == 5
    assert w.input_sha256(np.asfortranarray(x)) == digest
    assert len(w.input_sha256(x.astype(ml_dtypes.bfloat16))) == 64


# --- what the families promise ---


@pytest.mark.parametrize("dtype", FORMAT_NAMES)
@pytest.mark.parametrize("classes", [1, 2, 37])
@pytest.mark.parametrize("identifier", DRAWN)
def test_shape_dtype_and_finiteness(identifier, classes, dtype):
    x = w.generate(identifier, classes, 9, dtype)
    assert x.shape == (9, classes)
    assert x.dtype == float_format(dtype).dtype
    assert x.flags.c_contiguous
    values = to_float64(x)
    if identifier.startswith("masked"):
        assert not np.isnan(values).any()
        assert not np.isposinf(values).any()
    else:
        assert np.isfinite(values).all()


@pytest.mark.parametrize("name", [n for n in w.FAMILIES if n not in ("file", "digits")])
def test_every_family_is_described(name):
    assert w.FAMILIES[name].description.endswith(".")


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 30.0, 100.0])
def test_normal_has_its_scale(scale):
    x = to_float64(w.make("normal", 1000, 40, params={"scale": scale}).generate())
    assert abs(x.std() / scale - 1) < 0.03
    assert abs(x.mean() / scale) < 0.03


@pytest.mark.parametrize("dtype", FORMAT_NAMES)
def test_uniform_stays_inside(dtype):
    x = to_float64(w.generate("uniform(low=-2,high=5)", 1000, 20, dtype))
    assert x.min() >= -2
    assert x.max() <= 5
    assert abs(x.mean() - 1.5) < 0.1


def test_offset_moves_a_normal():
    x = to_float64(w.generate("offset(offset=5000,scale=2)", 1000, 20))
    assert abs(x.mean() - 5000) < 0.2
    assert abs(x.std() - 2) < 0.1


@pytest.mark.parametrize("dtype", [*FORMAT_NAMES, "float8_e5m2"])
@pytest.mark.parametrize("classes", [2, 10, 1000, 4096])
def test_wide_range_reaches_subnormal_results_without_underflow(dtype, classes):
    fmt = FORMATS[dtype]
    if classes > 1 / fmt.smallest_subnormal / 8:
        pytest.skip(f"{classes} equal classes underflow in {dtype} already")
    x = to_float64(w.generate("wide_range", classes, 8, dtype))
    y = np.exp(x - x.max(axis=1, keepdims=True), dtype=np.longdouble)
    y /= y.sum(axis=1, keepdims=True)
    assert (y.min(axis=1) < fmt.smallest_normal).all()
    assert (y.min(axis=1) > fmt.smallest_subnormal / 2).all()


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("classes", [1, 2, 10**6, 2**31])
def test_underflow_gap_is_finite_and_positive(name, classes):
    fmt = FORMATS[name]
    assert math.log(2) <= underflow_gap(fmt, classes) <= -math.log(fmt.smallest_subnormal)


def test_constant_is_constant():
    assert set(w.generate("constant(value=-2.5)", 7, 3).ravel()) == {np.float32(-2.5)}


def test_one_dominant_leads_by_its_gap_at_varying_places():
    x = np.sort(to_float64(w.generate("one_dominant(gap=15)", 50, 30, "float64")), axis=1)
    np.testing.assert_allclose(x[:, -1] - x[:, -2], 15, rtol=0, atol=1e-12)
    places = w.generate("one_dominant(gap=15)", 50, 30).argmax(axis=1)
    assert len(set(places.tolist())) > 5


@pytest.mark.parametrize("dtype", FORMAT_NAMES)
def test_near_ties_are_within_their_ulps_of_the_base(dtype):
    x = w.generate("near_ties(base=-3,ulps=2)", 200, 4, dtype)
    base = int(to_ordinal(np.array([-3.0]), dtype)[0])
    assert set((to_ordinal(x) - base).ravel().tolist()) == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize(("identifier", "sign"), [("ascending", 1), ("descending", -1)])
@pytest.mark.parametrize("dtype", FORMAT_NAMES)
def test_ramps_are_monotone(identifier, sign, dtype):
    x = to_float64(w.generate(identifier, 300, 5, dtype))
    assert (sign * np.diff(x, axis=1) >= 0).all()
    assert abs(abs(x[0, -1] - x[0, 0]) - 20) < 0.2
    assert len({row.tobytes() for row in x}) == 5


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("classes", [2, 3, 71, 1000])
def test_masked_rows_keep_and_lose_at_least_one(fraction, classes):
    x = w.make("masked", classes, 50, params={"fraction": fraction}).generate()
    hidden = np.isneginf(x).sum(axis=1)
    assert (hidden >= 1).all()
    assert (hidden <= classes - 1).all()
    if classes == 1000:
        assert abs(hidden.mean() / classes - fraction) < 0.02


def test_masked_leaves_a_single_class_alone():
    assert np.isfinite(w.generate("masked(fraction=1)", 1, 50)).all()


@pytest.mark.parametrize("dtype", FORMAT_NAMES)
def test_heavy_tails_are_heavy_and_no_difference_overflows(dtype):
    x = w.generate("heavy_tailed", 4096, 40, dtype)
    values = to_float64(x)
    assert np.abs(values).max() > 1000 * np.median(np.abs(values))
    assert np.ptp(values) <= FORMATS[dtype].max


@pytest.mark.parametrize(
    "identifier",
    ["normal(scale=30000)", "offset(offset=1e5)", "constant(value=7e4)", "near_ties(base=1e6)"],
)
def test_values_beyond_the_format_are_reported_not_clipped(identifier):
    with pytest.raises(w.WorkloadUnavailable, match="largest finite float16, 65504"):
        w.generate(identifier, 1000, 8, "float16")


def test_overflow_to_minus_infinity_is_no_mask():
    for seed in range(20):  # with two classes, often nothing but a negative value is left
        with pytest.raises(w.WorkloadUnavailable, match="largest finite float16"):
            w.generate("masked(scale=1e30)", 2, 1, "float16", seed)


@pytest.mark.parametrize("value", [-1e308, 1e308, 3.4e38])
def test_constant_at_the_far_end_of_float64(value):
    assert set(w.make("constant", 3, 1, "float64", 0, {"value": value}).generate()[0]) == {value}


# --- real logits ---


def test_digits_are_real_logits_of_a_good_classifier():
    found = w.digits_logits()
    assert found.logits.shape == (1797, 10)
    assert 0.95 < found.accuracy < 1
    assert found.accuracy <= found.training_accuracy
    held_out = found.logits[:450].argmax(axis=1) == found.labels[:450]
    assert held_out.mean() == found.accuracy


def test_digits_logits_are_exact_multiples_of_the_quantum():
    scaled = w.digits_logits().logits * 2.0**20
    assert (scaled == np.rint(scaled)).all()


def test_digits_repeat_and_round():
    x = w.generate("digits", 10, 2000, "float16")
    assert x.dtype == np.float16
    np.testing.assert_array_equal(x[1797:], x[:203])
    np.testing.assert_array_equal(x[:1797], w.digits_logits().logits.astype(np.float16))


def test_digits_have_a_natural_shape_and_no_other_class_count():
    workload = w.parse("digits")
    assert (workload.rows, workload.classes) == (1797, 10)
    with pytest.raises(ValueError, match="digits: expected classes=10; got 11"):
        w.generate("digits", 11, 1)


@pytest.mark.slow  # trains for 20 seconds
def test_the_stored_logits_are_those_of_the_training():
    logits, labels = digits_training.trained()
    found = w.digits_logits()
    np.testing.assert_array_equal(found.logits, logits * 2.0**-20)
    np.testing.assert_array_equal(found.labels, labels)


def test_training_is_deterministic_and_forgets_perturbations():
    pixels, labels = pixels_and_labels()
    pixels, labels = pixels[:400], labels[:400]
    a = digits_training.train_weights(pixels, labels)
    # Another order of summation, as another BLAS would have: the quantised weights agree.
    order = np.random.default_rng(0).permutation(len(labels))
    b = digits_training.train_weights(pixels[order], labels[order])
    assert np.abs(a - b).max() < 2.0**-24


# --- captured logits ---


def _save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_load_npy_gives_rows_by_classes(tmp_path, dtype, order):
    x = np.asarray(np.random.default_rng(1).normal(size=(2, 3, 5)), dtype=dtype, order=order)
    got = w.load_logits(_save(tmp_path / "x.npy", x))
    assert got.dtype == x.dtype.newbyteorder("=")
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, x.reshape(6, 5))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_load_npz_by_name_or_first(tmp_path, save):
    a, b = np.ones((2, 3), np.float32), np.zeros((4, 5), np.float32)
    save(tmp_path / "x.npz", a=a, b=b)
    assert w.load_logits(tmp_path / "x.npz").shape == (2, 3)
    assert w.load_logits(f"{tmp_path / 'x.npz'}::b").shape == (4, 5)
    with pytest.raises(w.LogitsError, match="expected an array named 'c'; got a, b"):
        w.load_logits(f"{tmp_path / 'x.npz'}::c")


@pytest.mark.parametrize("view", ["<u2", ">u2", "V2"])
def test_load_bfloat16_bits(tmp_path, view):
    x = np.array([[1.5, -2.25, 0.0]], ml_dtypes.bfloat16)
    bits = x.view(np.uint16)
    path = _save(tmp_path / "x.npy", bits.view(view) if view == "V2" else bits.astype(view))
    got = w.load_logits(f"{path}::bfloat16")
    assert got.dtype == x.dtype
    assert got.tobytes() == x.tobytes()
    with pytest.raises(w.LogitsError, match="::bfloat16"):
        w.load_logits(path)


def test_load_one_axis_and_masks(tmp_path):
    got = w.load_logits(_save(tmp_path / "x.npy", np.array([1.0, -np.inf])))
    assert got.shape == (1, 2)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([1, 2]), "expected dtype float16, float32 or float64"),
        (np.array([1 + 2j]), "expected dtype"),
        (np.array([True]), "expected dtype"),
        (np.array(["a"]), "expected dtype"),
        (np.zeros(2, np.longdouble), "expected dtype"),
        (np.zeros(2, [("a", "f4")]), "expected dtype"),
        (np.array([{}], dtype=object), "Python objects, which are never unpickled"),
        (np.zeros((0, 3)), "expected at least one row and one class; got shape (0, 3)"),
        (np.zeros((3, 0)), "expected at least one row and one class"),
        (np.float32(1), "got a scalar"),
        (np.array([[1.0], [np.nan]]), "got nan at row 1, class 0"),
        (np.array([[1.0, np.inf]]), "got inf at row 0, class 1"),
        (np.array([[1.0], [-np.inf]]), "only -inf in row 1"),
    ],
    ids=str,
)
def test_unusable_arrays_are_refused_in_one_line(tmp_path, array, message):
    with pytest.raises(w.LogitsError) as caught:
        w.load_logits(_save(tmp_path / "x.npy", array))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def _zip(suffix: str = ".npy", **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name + suffix, data)
    return buffer.getvalue()


_NUMBERS = np.random.default_rng(3).normal(size=(3, 5))


def _packed(numbers):
    packed = np.zeros(numbers.shape, [("a", "f8"), ("b", "f4")])
    packed["a"] = numbers
    return packed


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize(
    "array",
    [
        _NUMBERS.astype(ml_dtypes.bfloat16),  # saved as |V2
        _NUMBERS.astype(ml_dtypes.bfloat16).view(np.uint16),
        _NUMBERS.astype(ml_dtypes.float8_e4m3fn),  # saved as |V1
        _NUMBERS.astype(complex),
        _NUMBERS.astype(np.longdouble),
        _NUMBERS.astype(np.int32),
        _NUMBERS > 0,
        _NUMBERS.astype(object),
        _NUMBERS.astype(str),
        _packed(_NUMBERS),
    ],
    ids=lambda array: array.dtype.str,
)
def test_advice_about_a_dtype_can_be_followed(tmp_path, monkeypatch, array, suffix):
    """The words of the message themselves are run: the suffix to give, or the code to save with."""
    monkeypatch.chdir(tmp_path)
    path = f"x.{suffix}"
    np.save(path, array) if suffix == "npy" else np.savez(path, other=_NUMBERS, mine=array)
    given = path if suffix == "npy" else f"{path}::mine"
    with pytest.raises(w.LogitsError) as caught:
        w.load_logits(given)
    advice = str(caught.value).rpartition("; ")[2]
    suffixed = re.search(r" give (\S+),", advice)
    assert (suffixed is not None) is (array.dtype.str[1:] in ("V2", "u2"))
    if suffixed is not None:
        assert w.load_logits(suffixed[1]).tobytes() == array.tobytes()
    code = re.search(r"array\S*\)", advice)
    assert code is not None, advice
    np.save("converted.npy", eval(code[0], {"array": array}))
    got = w.load_logits("converted.npy")
    assert got.dtype == np.float32
    if array.dtype.kind in "cfOUV" and array.dtype.itemsize > 1:
        close = array.dtype == ml_dtypes.bfloat16
        np.testing.assert_allclose(got, _NUMBERS, rtol=2**-8 if close else 1e-6)


def _torch_saved(path, what):
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(_NUMBERS, dtype=torch.bfloat16, requires_grad=True)
    if what == "a state":
        torch.save({"logits": tensor}, path)
    else:
        torch.save(tensor, path, _use_new_zipfile_serialization=what == "a tensor")
    return {"tensor": tensor}


def _pickle_saved(path, what):
    path.write_bytes(pickle.dumps(_NUMBERS))
    return {"array": _NUMBERS}


@pytest.mark.parametrize(
    ("saved", "what"),
    [
        (_torch_saved, "a tensor"),
        (_torch_saved, "a tensor of old"),
        (_torch_saved, "a state"),
        (_pickle_saved, "an array"),
    ],
)
def test_advice_about_pickled_objects_can_be_followed(tmp_path, monkeypatch, saved, what):
    monkeypatch.chdir(tmp_path)
    names = saved(tmp_path / "x.pt", what)
    with pytest.raises(w.LogitsError, match=r"pickled objects .* never unpickled") as caught:
        w.load_logits("x.pt")
    (kind,) = names
    code = re.search(rf"numpy\.save\('logits\.npy', {kind}\.[\w.('=)]+?\)\)", str(caught.value))
    assert code is not None
    exec(code[0], {"numpy": np, **names})
    np.testing.assert_allclose(w.load_logits("logits.npy"), _NUMBERS, rtol=2**-8)


@pytest.mark.parametrize(
    ("given", "advised"),
    [
        ("single.npy::x", r"drop ::x$"),
        ("single.npy::bfloat16", r"drop ::bfloat16$"),
        ("several.npz::c", r"got a, b; give one of these$"),
    ],
)
def test_advice_about_a_suffix_can_be_followed(tmp_path, monkeypatch, given, advised):
    monkeypatch.chdir(tmp_path)
    np.save("single.npy", _NUMBERS)
    np.savez("several.npz", a=_NUMBERS, b=_NUMBERS)
    with pytest.raises(w.LogitsError, match=advised):
        w.load_logits(given)
    file = given.partition("::")[0]
    for followed in ("several.npz::a", "several.npz::b") if "several" in given else (file,):
        np.testing.assert_array_equal(w.load_logits(followed), _NUMBERS)


@pytest.mark.parametrize(
    ("array", "advised", "follow"),
    [
        (np.float64(1), "save with one axis", np.atleast_1d),
        (np.ones((1,) * 33), "save (rows, classes)", lambda a: a.reshape(1, -1)),
        (np.array([[1.0], [np.nan]]), "remove those rows", lambda a: a[:1]),
        (np.array([[1.0, 2], [np.inf, 1]]), "remove those rows", lambda a: a[:1]),
        (np.array([[1.0], [-np.inf]]), "such rows; remove them", lambda a: a[:1]),
    ],
    ids=["scalar", "axes", "NaN", "infinity", "masked"],
)
def test_advice_about_a_shape_or_a_value_can_be_followed(tmp_path, array, advised, follow):
    path = _save(tmp_path / "x.npy", array)
    with pytest.raises(w.LogitsError, match=re.escape(advised)):
        w.load_logits(path)
    assert np.isfinite(w.load_logits(_save(path, follow(array)))).all()


@pytest.mark.parametrize("content", [b"", b"1.0,2.0\n", _zip(), _zip(".txt", a=b"hello")])
def test_advice_about_what_is_no_array_can_be_followed(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(w.LogitsError, match=r"write it with numpy\.savez?$") as caught:
        w.load_logits("x.npz")
    with open("x.npz", "wb") as file:
        eval(str(caught.value).rpartition(" ")[2], {"numpy": np})(file, _NUMBERS)
    np.testing.assert_array_equal(w.load_logits("x.npz"), _NUMBERS)


def _npy(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text + data


_HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1099511627776)}"
_FOUR = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4)}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a .npy, .npz, .safetensors, Parquet or Arrow file"),
        (b"hello, world", "or Arrow file; got one that starts with b'hello,'"),
        (b"\x93NUMPY", "expected a valid .npy header"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "expected a valid .npy header"),
        (_npy("__import__('os')"), "expected a valid .npy header"),
        (_npy("{'descr': '<f4'}"), "expected a valid .npy header"),
        (_npy(_FOUR.replace("4)", "-4)")), "expected at least one row"),
        (_npy(_FOUR, version=(9, 0)), "expected"),
        (_npy(_HUGE), "expected at most 2,147,483,648 bytes"),
        (_npy(_FOUR, b"\0" * 15), "expected 16 bytes of data for shape (1, 4); got 15"),
        (_zip(a=_npy(_HUGE)), "expected at most"),
        (_zip(a=_npy(_FOUR)), "the file is cut off"),
        (_zip(a=b"junk"), "expected a valid .npy header"),
        (_zip(), "an empty archive"),
        (_zip(a=_npy(_FOUR, b"\0" * 16))[:-30], "cannot be read"),
        (b"PK\x03\x04junk", "cannot be read"),
        (_npy(_FOUR.replace("(1, 4)", f"({'1, ' * 100})"), b"\0" * 4), "expected at most 32 axes"),
        # a length that NumPy would allocate before it finds the file shorter
        (b"\x93NUMPY\x02\x00\xf0\xff\xff\xff{", "at most 65,536 bytes; got 4,294,967,280"),
    ],
    ids=range(18),
)
def test_damaged_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(w.LogitsError) as caught:
        w.load_logits(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_compressed_data_are_refused(tmp_path):
    content = bytearray(_zip(a=_npy(_FOUR, np.random.default_rng(0).bytes(16))))
    content[60:120] = b"\xff" * 60
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(w.LogitsError, match="write it again"):
        w.load_logits(tmp_path / "x.npz")


def test_the_size_limit_is_the_callers(tmp_path):
    path = _save(tmp_path / "x.npy", np.zeros((4, 8), np.float32))
    assert w.load_logits(path, max_bytes=128).shape == (4, 8)
    with pytest.raises(w.LogitsError, match="expected at most 127 bytes"):
        w.load_logits(path, max_bytes=127)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(w.LogitsError, match="got nothing there"):
        w.load_logits(tmp_path / "absent.npy")
    with pytest.raises(w.LogitsError, match="a folder or a device"):
        w.load_logits(tmp_path)


def test_file_workload_rounds_and_repeats_and_hides_the_path(tmp_path):
    x = np.random.default_rng(2).normal(size=(3, 7))
    path = _save(tmp_path / "a, (b).npy", x)
    workload = w.parse(f"file(path={path})", rows=5, dtype="float16")
    got = workload.generate()
    np.testing.assert_array_equal(got, x[[0, 1, 2, 0, 1]].astype(np.float16))
    assert workload.classes == 7
    assert str(tmp_path) not in workload.id
    assert workload.id.startswith("file(name=a, (b).npy,sha256=")
    np.testing.assert_array_equal(w.generate("file", path=str(path), dtype="float64"), x)


def test_file_workload_notices_a_changed_file(tmp_path):
    path = _save(tmp_path / "x.npy", np.ones((1, 3)))
    workload = w.parse(f"file(path={path})")
    _save(path, np.zeros((1, 3)))
    with pytest.raises(w.WorkloadUnavailable, match="the file has changed"):
        workload.generate()


def test_file_workload_keeps_its_class_count(tmp_path):
    path = _save(tmp_path / "x.npy", np.ones((1, 3)))
    with pytest.raises(ValueError, match="expected classes=3, as in the file; got 4"):
        w.generate(f"file(path={path})", 4, 1)


def test_captured_logits_too_large_for_the_format_are_reported(tmp_path):
    for sign in (1, -1):
        path = _save(tmp_path / "x.npy", np.array([[1.0, sign * 1e5, -np.inf]]))
        with pytest.raises(w.WorkloadUnavailable, match=r"1 of 3 values exceed .* float16"):
            w.generate(f"file(path={path})", dtype="float16")


# --- class counts ---


@pytest.mark.parametrize(
    ("text", "count"),
    [("digits", 10), ("GPT-2", 50257), (" 1_000 ", 1000), ("million", 10**6), ("1", 1)],
)
def test_class_counts_by_name_and_number(text, count):
    assert w.parse_class_count(text) == count


@pytest.mark.parametrize("text", ["", "0", "-3", "1e6", "gpt2x", "1.5", "٣", "9" * 30])
def test_bad_class_counts_are_refused(text):
    with pytest.raises(ValueError, match="class count: expected a positive integer or one of"):
        w.parse_class_count(text)


def test_named_class_counts():
    assert dict(w.CLASS_COUNTS) == {
        "digits": 10,
        "imagenet": 1000,
        "llama-2": 32000,
        "gpt-2": 50257,
        "llama-3": 128256,
        "qwen-2.5": 151936,
        "gemma": 256000,
        "amazon-670k": 670091,
        "million": 1000000,
    }
