"""Files of logits that are opened: blocks are the whole, lies of headers are refused."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from harness import workloads as w
from harness.workloads.captured import check_values, checked_shape, file_digest, sources_in
from harness.workloads.stored import BLOCK

BF16 = ml_dtypes.bfloat16
MANY = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)


def numbers(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return (np.random.default_rng(sum(shape)).normal(size=shape) * 9).astype(dtype)


def as_npy(path: Path, x: np.ndarray) -> str:
    np.save(path, x.view(np.uint16) if x.dtype == BF16 else x)
    return f"{path}.npy" + ("::bfloat16" if x.dtype == BF16 else "")


def as_npz(path: Path, x: np.ndarray, save: Callable[..., None] = np.savez) -> str:
    save(f"{path}.npz", other=numbers(1, 2), mine=x.view(np.uint16) if x.dtype == BF16 else x)
    return f"{path}.npz::mine" + ("::bfloat16" if x.dtype == BF16 else "")


def as_compressed(path: Path, x: np.ndarray) -> str:
    return as_npz(path, x, np.savez_compressed)


_CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def as_safetensors(path: Path, x: np.ndarray) -> str:
    entries = {
        "__metadata__": {"format": "pt"},
        "mine": {
            "dtype": _CODES[x.dtype.name],
            "shape": x.shape,
            "data_offsets": [8, 8 + x.nbytes],
        },
        "other": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
    }
    content = safetensors(entries, bytes(8) + np.ascontiguousarray(x).tobytes())
    Path(f"{path}.safetensors").write_bytes(content)
    return f"{path}.safetensors::mine"


def table(x: np.ndarray, fixed: bool = True) -> pa.Table:
    rows = x.reshape(-1, x.shape[-1])
    values = pa.array(rows.ravel())
    if fixed:
        column = pa.FixedSizeListArray.from_arrays(values, rows.shape[1])
    else:
        offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
        column = pa.ListArray.from_arrays(offsets, values)
    return pa.table({"id": pa.array(range(len(rows))), "mine": column})


def as_parquet(path: Path, x: np.ndarray, fixed: bool = True) -> str:
    parquet.write_table(table(x, fixed), f"{path}.parquet", row_group_size=3)
    return f"{path}.parquet"


def as_parquet_of_lists(path: Path, x: np.ndarray) -> str:
    return as_parquet(path, x, fixed=False)


def as_feather(path: Path, x: np.ndarray) -> str:
    feather.write_feather(table(x), f"{path}.feather", chunksize=2)
    return f"{path}.feather::mine"


def as_stream(path: Path, x: np.ndarray) -> str:
    held = table(x, fixed=False)
    with pa.ipc.new_stream(f"{path}.arrows", held.schema) as sink:
        sink.write_table(held, max_chunksize=2)
    return f"{path}.arrows::mine"


RAW = (as_npy, as_npz, as_compressed, as_safetensors)
TABLES = (as_parquet, as_parquet_of_lists, as_feather, as_stream)


@MANY
@given(st.data())
def test_blocks_are_the_whole_in_every_format(tmp_path: Path, data: st.DataObject) -> None:
    write = data.draw(st.sampled_from(RAW + TABLES))
    dtypes = ["f8", "f4", "f2"] + ([">f8", ">f4", BF16] if write in RAW[:3] else [])
    dtype = data.draw(st.sampled_from(dtypes + ([BF16] if write is as_safetensors else [])))
    shape = data.draw(st.sampled_from([(7, 5), (1, 11), (11, 1), (4,), (2, 3, 5), (2, 1, 2, 3)]))
    x = np.asarray(numbers(*shape, dtype=dtype))
    order = data.draw(st.sampled_from("CF")) if write in RAW[:3] else "C"
    source = write(tmp_path / "x", np.asarray(x, order=order))
    rows = x.reshape(-1, x.shape[-1])
    with w.open_logits(source) as logits:
        assert (logits.rows, logits.classes) == rows.shape
        assert logits.dtype == x.dtype.newbyteorder("=")
        elements = data.draw(st.integers(1, rows.size + 1))
        slices = list(logits.slices(elements))
        for _ in range(2):  # forwards, and from the beginning again
            found = np.full(rows.shape, np.nan, logits.dtype)
            for r, c in slices:
                block = logits.block(r, c)
                assert block.size <= max(elements, 1)
                assert block.flags.c_contiguous
                assert block.flags.writeable
                found[r, c] = block
            assert found.tobytes() == rows.astype(logits.dtype).tobytes()
        a, b = sorted(data.draw(st.tuples(st.integers(0, len(rows)), st.integers(0, len(rows)))))
        np.testing.assert_array_equal(logits.block(slice(a, b)), rows[a:b])
    np.testing.assert_array_equal(w.load_logits(source), rows)


def refused(source: Any, **options: Any) -> str:
    with pytest.raises(w.LogitsError) as caught:
        w.load_logits(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def read_or_refused(source: Any) -> np.ndarray | None:
    """None where it is refused, which must be in one line; any other error passes."""
    try:
        return w.load_logits(source, max_bytes=1 << 20)
    except w.LogitsError as e:
        message = str(e)
    assert "\n" not in message
    return None


GOOD = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (safetensors({"a": GOOD}, bytes(23)), "expected 24 bytes of data; got 23"),
        (safetensors({"a": GOOD})[:20], "expected a header of at most 12 bytes"),
        (struct.pack("<Q", 2**63) + b"{}", "expected a header of at most 2 bytes"),
        (struct.pack("<Q", 99_999_999) + b"{}", "expected a header of at most 2 bytes"),
        (safetensors({"a": {**GOOD, "shape": [2, 4]}}, bytes(24)), "expected 32 bytes for shape"),
        (safetensors({"a": {**GOOD, "dtype": "F64"}}, bytes(24)), "expected 48 bytes for shape"),
        (safetensors({"a": {**GOOD, "dtype": "F8_E4M3"}}, bytes(24)), "expected dtype F64, F32"),
        (safetensors({"a": {**GOOD, "dtype": 4}}, bytes(24)), "that cannot be"),
        (safetensors({"a": {**GOOD, "shape": [-2, -3]}}, bytes(24)), "that cannot be"),
        (safetensors({"a": {**GOOD, "shape": [2.0, 3]}}, bytes(24)), "that cannot be"),
        (safetensors({"a": {**GOOD, "shape": [True, 6]}}, bytes(24)), "that cannot be"),
        (safetensors({"a": {**GOOD, "shape": [2**40, 2**40]}}, bytes(24)), "that cannot be"),
        (safetensors({"a": {**GOOD, "shape": [0, 3], "data_offsets": [0, 0]}}), "at least one row"),
        (safetensors({"a": {**GOOD, "shape": []}}, bytes(24)), "got a scalar"),
        (safetensors({"a": {**GOOD, "data_offsets": [24, 0]}}, bytes(24)), "that cannot be"),
        (safetensors({"a": {**GOOD, "data_offsets": [0]}}, bytes(24)), "that cannot be"),
        (safetensors({"a": {**GOOD, "data_offsets": [-24, 0]}}, bytes(24)), "that cannot be"),
        (
            safetensors({"a": {**GOOD, "data_offsets": [2**60, 2**60 + 24]}}, bytes(24)),
            "bytes of data; got 24",
        ),
        (
            safetensors({"a": GOOD, "b": {**GOOD, "data_offsets": [20, 44]}}, bytes(44)),
            "tensors one after the other; got 'b' from byte 20 on",
        ),
        (safetensors(b'{"a": 1, "a": 2}'), "a name that occurs twice"),
        (safetensors(b'{"a": NaN}'), "NaN in the header"),
        (safetensors(b'{"a": [}'), "expected a valid .safetensors header"),
        (safetensors(b'{"a": "\xff"}'), "expected a valid .safetensors header"),
        (safetensors(b"{" + b'"a":{' * 50_000), "expected a valid .safetensors header"),
        (safetensors(b'{"a": ' + b"9" * 5000 + b"}"), "expected a valid .safetensors header"),
        (safetensors({"a": 7}), "no dtype, shape and data_offsets of 'a'"),
        (safetensors({"__metadata__": {}}), "expected at least one tensor"),
    ],
    ids=range(27),
)
def test_lies_of_a_safetensors_header_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert message in refused(path)


@MANY
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "__metadata__"]),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "F64", "BF16", "I8", "f32", ""]),
                "shape": st.lists(st.integers(-1, 2**40), max_size=3),
                "data_offsets": st.lists(st.integers(-1, 50) | st.integers(0, 2**70), max_size=3),
            }
        ),
        max_size=3,
    ),
    st.integers(0, 64),
)
def test_what_a_header_says_is_read_or_refused(tmp_path: Path, header: Any, size: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors(header, bytes(size)))
    found = read_or_refused(path)
    assert found is None or 0 < found.nbytes <= size


@MANY
@given(st.sampled_from(RAW + TABLES), st.data())
def test_damaged_files_are_read_or_refused(
    tmp_path: Path, write: Callable[[Path, np.ndarray], str], data: st.DataObject
) -> None:
    """Cut off anywhere, or with a byte changed anywhere."""
    source = write(tmp_path / "x", numbers(6, 3))
    path = Path(source.partition("::")[0])
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    found = read_or_refused(source)
    assert found is None or found.ndim == 2


def test_a_tensor_is_lazy_and_read_by_its_own_library_alike(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    x = numbers(5, 4)
    library.save_file({"b": x, "a": numbers(2, 2)}, tmp_path / "x.safetensors")
    np.testing.assert_array_equal(w.load_logits(f"{tmp_path / 'x.safetensors'}::b"), x)
    assert "expected a tensor named 'c'; got a, b" in refused(f"{tmp_path / 'x.safetensors'}::c")
    assert "drop ::bfloat16" in refused(f"{tmp_path / 'x.safetensors'}::b::bfloat16")


def _written(path: Path, column: pa.Array) -> Path:
    parquet.write_table(pa.table({"x": column}), path)
    return path


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([[1.0, 2.0], [3.0]]), "got 1 in row 1 of x, not 2"),
        (pa.array([[1.0, 2.0], [3.0, None]]), "got 1 nulls in x"),
        (pa.array([[1.0, 2.0], None]), "got 1 nulls in x"),
        (pa.array([[1.0, None]], pa.list_(pa.float32(), 2)), "got 1 nulls in x"),
        (pa.array([None, [1.0, 2.0]], pa.list_(pa.float32(), 2)), "got 1 nulls in x"),
        (pa.array([[1, 2], [3, 4]]), "got x: list<"),
        (pa.array([1.0, 2.0]), "got x: double"),
        (pa.array([["a"]]), "got x: list<"),
        (pa.array([[[1.0, 2.0]]]), "got x: list<"),
        (  # whose classes are not all of a list
            pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((2, 2, 3), np.float32)),
            "got x: extension<",
        ),
        (pa.array([[1.0, float("nan")]]), "got nan at row 0, class 1"),
        (pa.array([[1.0], [float("-inf")]]), "only -inf in row 1"),
        (pa.array([[]], pa.list_(pa.float32())), "at least one row and one class"),
        (pa.array([], pa.list_(pa.float32(), 2)), "at least one row and one class"),
    ],
    ids=range(14),
)
def test_columns_that_are_no_logits_are_refused(
    tmp_path: Path, column: pa.Array, message: str
) -> None:
    assert message in refused(_written(tmp_path / "x.parquet", column))


def test_columns_are_told_by_name(tmp_path: Path) -> None:
    source = as_parquet(tmp_path / "x", numbers(4, 3))
    assert "expected one column named 'z'; got id, mine" in refused(f"{source}::z")
    assert "got id: int64" in refused(f"{source}::id")
    assert "drop ::bfloat16" in refused(f"{source}::bfloat16")
    assert "at most 11 bytes" in refused(source, max_bytes=11)


@pytest.mark.parametrize("write", [as_parquet, as_feather, as_stream])
def test_names_of_columns_that_are_no_text_are_refused(
    tmp_path: Path, write: Callable[[Path, np.ndarray], str]
) -> None:
    path = Path(write(tmp_path / "x", numbers(4, 3)).partition("::")[0])
    path.write_bytes(path.read_bytes().replace(b"mine", b"\xff\xfe\xff\xfe"))
    assert "cannot be read: 'utf-8' codec" in refused(path)


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = as_parquet(tmp_path / "x", numbers(4, 3))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'softmax-bench[report-export]'" in refused(source)


# --- what is in a file ---


def test_every_array_of_a_file_is_a_source(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=numbers(2, 3), b=numbers(4, 5), labels=np.arange(3))
    found, left_out = sources_in(path)
    assert found == [f"{path}::a", f"{path}::b"]
    assert [w.load_logits(f).shape for f in found] == [(2, 3), (4, 5)]
    (reason,) = left_out
    assert "float32 or float64" in reason
    assert sources_in(f"{path}::labels") == ([f"{path}::labels"], [])  # named, and refused by name
    one = as_npy(tmp_path / "one", numbers(2, 3))
    assert sources_in(one) == ([one], [])
    np.savez(path, only=numbers(2, 3))
    assert sources_in(path) == ([str(path)], [])  # as it always was
    tensors = as_safetensors(tmp_path / "t", numbers(2, 3)).removesuffix("::mine")
    found, left_out = sources_in(tensors)
    assert found == [f"{tensors}::mine"]
    assert "I64 of 'other'" in left_out[0]
    columns = as_parquet(tmp_path / "c", numbers(2, 3))
    assert sources_in(columns) == ([columns], [])  # one column of lists
    np.savez(path, a=np.arange(3), b=np.arange(4))
    with pytest.raises(w.LogitsError, match=r"\(2 such arrays\)"):
        sources_in(path)


def test_bits_of_bfloat16_are_chosen_of_all_arrays(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=numbers(2, 3, dtype=BF16).view(np.uint16), b=numbers(4, 5))
    found, left_out = sources_in(f"{path}::bfloat16")
    assert found == [f"{path}::a::bfloat16"]
    assert len(left_out) == 1


# --- values, in blocks ---


def looked_at(x: np.ndarray, elements: int, monkeypatch: pytest.MonkeyPatch, path: Path) -> str:
    source = as_npy(path / "x", x)
    monkeypatch.setattr(w.Stored.slices, "__defaults__", (elements,))
    with w.open_logits(source) as logits, pytest.raises(w.LogitsError) as caught:
        check_values(logits)
    return str(caught.value)


@pytest.mark.parametrize("elements", [1, 3, 4, 8, 9, 100])
def test_bad_values_are_counted_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elements: int
) -> None:
    x = numbers(5, 4)
    x[2, 3], x[3, 0], x[4, 1] = np.nan, np.inf, np.nan
    found = looked_at(x, elements, monkeypatch, tmp_path)
    assert "got nan at row 2, class 3; 3 in all" in found
    x = numbers(5, 4)
    x[1], x[4], x[2, :3] = -np.inf, -np.inf, -np.inf
    found = looked_at(x, elements, monkeypatch, tmp_path)
    assert "got only -inf in row 1; 2 such rows" in found


def test_a_digest_is_kept_while_the_file_stays(tmp_path: Path) -> None:
    source = as_npy(tmp_path / "x", numbers(2, 3))
    before = file_digest(source)
    as_npy(tmp_path / "x", numbers(2, 3) + 1)  # at once: the file has no other time yet
    assert file_digest(source) != before
    assert checked_shape(source) == (2, 3)
    as_npy(tmp_path / "x", numbers(3, 3))
    assert checked_shape(source) == (3, 3)


# --- larger than memory ---


def _sparse(path: Path, shape: tuple[int, ...], fortran: bool = False) -> str:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": fortran, "shape": shape}
    )
    path.write_bytes(header.getvalue())
    with path.open("r+b") as file:
        file.truncate(len(header.getvalue()) + 4 * int(np.prod(shape)))
    return str(path)


@pytest.mark.parametrize("fortran", [False, True])
def test_a_terabyte_is_opened_and_any_block_of_it_read(tmp_path: Path, fortran: bool) -> None:
    shape = (1 << 20, 1 << 18)
    source = _sparse(tmp_path / "x.npy", shape, fortran)
    with open(source, "r+b") as file:
        file.seek(-4, 2)
        file.write(np.float32(7).tobytes())
    with w.open_logits(source) as logits:
        assert (logits.rows, logits.classes, logits.nbytes) == (*shape, 1 << 40)
        last = logits.block(slice(shape[0] - 2, None), slice(shape[1] - 3, None))
        assert last.tolist() == [[0, 0, 0], [0, 0, 7]]
    assert "expected at most 2,147,483,648 bytes; got shape" in refused(source)


def test_a_member_that_is_not_compressed_is_read_where_it_lies(tmp_path: Path) -> None:
    x = numbers(50, 400)
    source = as_npz(tmp_path / "x", x)
    with w.open_logits(source) as logits:
        np.testing.assert_array_equal(logits.block(slice(40, 41)), x[40:41])
        np.testing.assert_array_equal(logits.block(slice(3, 5)), x[3:5])
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("mine2.npy", b"junk")
    assert "valid .npy header" in refused(f"{tmp_path / 'x.npz'}::mine2")


_PEAK = """
import sys
from harness.workloads import load_logits, open_logits
from harness.workloads.captured import check_values

def peak():
    # Not ru_maxrss: that of a process that was started counts what its parent had
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1])

base = peak()
if sys.argv[2] == "whole":
    load_logits(sys.argv[1])
else:
    with open_logits(sys.argv[1]) as logits:
        check_values(logits)
        for rows, classes in logits.slices():
            logits.block(rows, classes)
print((peak() - base) >> 10)
"""


def _peak(source: str, how: str) -> int:
    """MiB of memory that a process takes for the logits."""
    command = [sys.executable, "-c", _PEAK, source, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("fortran", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, fortran: bool) -> None:
    """A file of 512 MiB takes a few blocks of 4 MiB, and loaded whole at least its size."""
    source = _sparse(tmp_path / "x.npy", (1 << 17, 1 << 10), fortran)
    assert BLOCK * 4 == 4 << 20
    assert _peak(source, "blocks") < 64
    if not fortran:
        assert _peak(source, "whole") > 500
