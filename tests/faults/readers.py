"""Everything that reads what a stranger may have written, each with the errors that it may raise.

`read` is the property that fuzzing holds them to: whatever the bytes, a result or one clear error.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.experiments.worst_case.corpus import CorpusError, read_corpus
from harness.records import AccuracyRecord, ClaimRecord, OverflowRecord, RunInfo, ThroughputRecord
from harness.records.reader import CELLS_FILE, RUN_FILE, ResultsError, cell_key, read_run
from harness.registry.contract import ImplementationError, read_metadata
from harness.worker import transport
from harness.workloads import LogitsError, load_logits, parse, parse_class_count

INFO = RunInfo(
    id="20260101T000000Z-abc123",
    created="2026-01-01T00:00:00+00:00",
    command=["softmax-bench", "run"],
    profile="smoke",
    seed=0,
    workload_version=1,
    harness_version="0",
    machine={"slug": "box"},
    versions={},
    implementations=[],
    planned_cells=2,
)
RECORDS = (
    AccuracyRecord(implementation="a", dtype="float32", max_ulp=1.5, status="ok"),
    OverflowRecord(implementation="a", kind="threshold", probe="tie", sign=1, status="ok"),
    ThroughputRecord(implementation="a", regime="cached", samples_ns=[1.0, 2.0], status="ok"),
    ClaimRecord(implementation="A1", status="skipped", reason="none"),
)


@dataclass(frozen=True)
class Reader:
    """A reader of bytes.

    Attributes:
        read: reads them, in a folder of its own.
        errors: those that it may raise; all else is a defect.
        examples: bytes that it takes.
    """

    read: Callable[[bytes, Path], object]
    errors: tuple[type[Exception], ...]
    examples: tuple[bytes, ...]


def _info(data: bytes, folder: Path) -> object:
    (folder / RUN_FILE).write_bytes(data)
    return read_run(folder).info.model_dump_json().encode()


def _cells(data: bytes, folder: Path) -> object:
    (folder / RUN_FILE).write_text(INFO.model_dump_json(), encoding="utf-8")
    (folder / CELLS_FILE).write_bytes(data)
    found = read_run(folder)
    for problem in found.problems:
        assert problem.isprintable(), problem
        assert len(problem) < 400, problem
    for record in found.records:  # whatever was taken can be written again, and named
        record.model_dump_json().encode()
        cell_key(record).encode()
    return found.rows


def _logits(data: bytes, folder: Path) -> object:
    path = folder / "x.npy"
    path.write_bytes(data)
    return load_logits(path, max_bytes=1 << 20)


def _metadata(data: bytes, folder: Path) -> object:
    path = folder / "subject.py"
    path.write_bytes(data)
    return read_metadata(path).sha256()


def _corpus(data: bytes, folder: Path) -> object:
    path = folder / "corpus.jsonl"
    path.write_bytes(data)
    return read_corpus(path)


def _frame(data: bytes, _: Path) -> object:
    read, write = os.pipe()
    try:
        os.set_blocking(write, False)
        with contextlib.suppress(BlockingIOError):
            os.write(write, data)
        os.close(write)
        write = -1
        _, arrays = transport.receive(read, max_bytes=1 << 20)
        return [np.array(a, copy=True) if a.size < 1 << 20 else a for a in arrays]
    finally:
        for fd in (read, write):
            if fd >= 0:
                os.close(fd)


def _file_of(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _archive_of(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, x=array, allow_pickle=False)
    return stream.getvalue()


def _frame_of(array: np.ndarray) -> bytes:
    read, write = os.pipe()
    try:
        transport.send(write, {"id": 1}, (array,))
        return os.read(read, 1 << 16)
    finally:
        os.close(read)
        os.close(write)


_LOGITS = np.arange(6.0, dtype=np.float32).reshape(2, 3)
_SOURCE = (
    b'"""Docstring."""\nIMPLEMENTATION = {"dtypes": ("float32",), "bound": "naive"}\n'
    b"def softmax(x, axis=-1, out=None): ...\n"
)

READERS: Mapping[str, Reader] = {
    "run.json": Reader(_info, (ResultsError,), (INFO.model_dump_json().encode(),)),
    "cells.jsonl": Reader(
        _cells,
        (),
        tuple(r.model_dump_json(exclude_none=True).encode() + b"\n" for r in RECORDS),
    ),
    "logits": Reader(_logits, (LogitsError,), (_file_of(_LOGITS), _archive_of(_LOGITS))),
    "implementation": Reader(_metadata, (ImplementationError,), (_SOURCE,)),
    "corpus": Reader(_corpus, (CorpusError,), (b"{}",)),
    "frame": Reader(_frame, (transport.FrameError,), (_frame_of(_LOGITS), _frame_of(_LOGITS.T))),
    "workload": Reader(
        lambda data, _: parse(data.decode("utf-8", "replace")),
        (ValueError,),
        (b"normal(scale=10)", b"file(path=x.npy)", b"constant"),
    ),
    "class count": Reader(
        lambda data, _: parse_class_count(data.decode("utf-8", "replace")),
        (ValueError,),
        (b"1000", b"gpt-2"),
    ),
}


def read(name: str, data: bytes, folder: Path) -> None:
    """Read once.

    Raises:
        AssertionError: the error was not one line.
        Exception: whatever the reader may not raise.
    """
    reader = READERS[name]
    try:
        reader.read(data, folder)
        return
    except reader.errors as e:
        said = str(e)
    assert said.strip(), "an error without a word"
    assert "\n" not in said, repr(said)
    assert len(said) < 4000 + 2 * len(data), len(said)
