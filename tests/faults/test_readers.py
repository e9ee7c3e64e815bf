"""Whatever the bytes: a result, or one clear error. `fuzz.py` asks the same with atheris."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS, RECORDS, read

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["NaN", "Infinity", "accuracy", "../..", "\x1b[2J", "=1+1", "\udc80", 10**400]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(max_size=300))
@QUICK
def test_any_bytes(name: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        read(name, data, Path(folder))


@pytest.mark.parametrize("name", READERS)
@given(st.data())
@QUICK
def test_damaged_bytes(name: str, data: st.DataObject) -> None:
    example = bytearray(data.draw(st.sampled_from(READERS[name].examples)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(example) - 1)))
        kind = data.draw(st.sampled_from(["replace", "insert", "delete", "cut"]))
        if kind == "replace" and example:
            example[at] = data.draw(st.integers(0, 255))
        elif kind == "insert":
            example[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        elif kind == "delete":
            del example[at : at + data.draw(st.integers(1, 8))]
        else:
            del example[at:]
    with tempfile.TemporaryDirectory() as folder:
        read(name, bytes(example), Path(folder))


@pytest.mark.parametrize(
    "text", ["file(path=" + "x" * 5000 + ")", "file(path=a\0b)", "file(path=a\nb)", "file(path=)"]
)
def test_paths_that_no_file_can_have(tmp_path: Path, text: str) -> None:
    read("workload", text.encode(), tmp_path)  # two of them were found by atheris


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.experiment)
@given(st.data())
@QUICK
def test_records_with_strange_values(record: Any, data: st.DataObject) -> None:
    plain = record.model_dump()
    for _ in range(data.draw(st.integers(1, 3))):
        plain[data.draw(st.sampled_from([*plain, "unknown", "\x1b[2J\n"]))] = data.draw(VALUES)
    line = json.dumps(plain, ensure_ascii=True).encode()
    with tempfile.TemporaryDirectory() as folder:
        read("cells.jsonl", line, Path(folder))


@given(st.data())
@QUICK
def test_descriptions_with_strange_values(data: st.DataObject) -> None:
    plain = json.loads(READERS["run.json"].examples[0])
    for _ in range(data.draw(st.integers(1, 3))):
        plain[data.draw(st.sampled_from([*plain, "unknown"]))] = data.draw(VALUES)
    with tempfile.TemporaryDirectory() as folder:
        read("run.json", json.dumps(plain).encode(), Path(folder))


@given(st.data())
@QUICK
def test_frames_with_strange_descriptions(data: st.DataObject) -> None:
    description = {
        "dtype": "float32", "shape": [2, 3], "nbytes": 24, "strides": None, "offset": 0,
        "misalignment": 0,
    }  # fmt: skip
    dtypes = st.sampled_from(["object", "O", "|O8", "V8", "U3", "i4,O", "float64", "f4", "M8[s]"])
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(list(description)))
        sizes = st.lists(st.integers(-(2**65), 2**65), max_size=3)
        description[key] = data.draw(dtypes if key == "dtype" else VALUES | sizes)
    body = json.dumps({"id": 1, "arrays": [description]}).encode()
    with tempfile.TemporaryDirectory() as folder:
        read("frame", len(body).to_bytes(8, "little") + body + bytes(24), Path(folder))
