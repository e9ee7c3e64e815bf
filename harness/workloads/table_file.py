"""Columns of lists in Parquet and Arrow (Feather) files, opened; a list is a row of logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.numerics.formats import float_format
from harness.workloads.stored import BLOCK, LogitsError, Stored, check_shape, refused

_PARQUET, _ARROW, _STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_COLUMN = "a column of lists of float16, float32 or float64, all of one length"
_ADVICE = "write the column as a FixedSizeList of float32"

Chunks = Callable[[], Iterator[Any]]
"""Anew from the beginning: the column's arrays, one after the other."""


def begins(start: bytes) -> bool:
    """Whether a file that starts so is of this kind."""
    return start.startswith((_PARQUET, _ARROW, _STREAM))


@contextmanager
def _arrow(path: Path) -> Iterator[Any]:
    """pyarrow, whose errors become one line."""
    try:
        import pyarrow
    except ImportError:
        raise LogitsError(
            f"{path}: Parquet and Arrow files need pyarrow; "
            "pip install 'softmax-bench[report-export]'"
        ) from None
    try:
        yield pyarrow
    except LogitsError:
        raise
    except (pyarrow.ArrowException, OSError, MemoryError, UnicodeError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise LogitsError(f"{path}: cannot be read: {lines[0][:300]}; write it again") from error


def _is_list(pyarrow: Any, kind: Any) -> bool:
    is_ = pyarrow.types
    return bool(is_.is_fixed_size_list(kind) or is_.is_list(kind) or is_.is_large_list(kind))


def names(path: Path) -> list[str]:
    """Of the columns that hold lists."""
    with _arrow(path) as pyarrow, _table(pyarrow, path) as (schema, _):
        return [f.name for f in schema if _is_list(pyarrow, f.type)]


@contextmanager
def _table(pyarrow: Any, path: Path) -> Iterator[tuple[Any, Any]]:
    """The schema of a file, and a function of a column's index and a batch size to its chunks."""
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(_PARQUET):
        from pyarrow import parquet

        with parquet.ParquetFile(path, pre_buffer=False) as table:
            yield table.schema_arrow, table
        return
    with pyarrow.memory_map(str(path)) as source:
        read = pyarrow.ipc.open_stream if start.startswith(_STREAM) else pyarrow.ipc.open_file
        with read(source) as table:
            yield table.schema, table


def opened(path: Path, name: str | None, as_bfloat16: bool, max_bytes: int | None) -> Stored:
    """A column of a file that `begins` so; `harness.workloads.captured.open_logits`."""
    if as_bfloat16:
        raise LogitsError(f"{path}: Parquet and Arrow files tell their types; drop ::bfloat16")
    with _arrow(path) as pyarrow, _table(pyarrow, path) as (schema, table):
        lists = [f.name for f in schema if _is_list(pyarrow, f.type)]
        if name is None:
            if not lists:
                got = ", ".join(f"{f.name}: {f.type}" for f in list(schema)[:8]) or "no column"
                raise refused(path, _COLUMN, got, _ADVICE)
            name = lists[0]
        places = schema.get_all_field_indices(name)
        if len(places) != 1:
            shown = ", ".join(schema.names[:8])
            raise refused(path, f"one column named {name!r}", shown, "give one of these")
        kind = schema.field(places[0]).type
        if not _is_list(pyarrow, kind) or not pyarrow.types.is_floating(kind.value_type):
            raise refused(path, _COLUMN, f"{name}: {kind}", _ADVICE)
        dtype = np.dtype(kind.value_type.to_pandas_dtype())
        chunks = _chunks(pyarrow, path, name, kind)
        classes = kind.list_size if pyarrow.types.is_fixed_size_list(kind) else None
        parquet = hasattr(table, "iter_batches")
        rows = table.metadata.num_rows if parquet else sum(len(c) for c in chunks(1))
        if classes is None and rows:
            first = next((c for c in chunks(1) if len(c)), None)
            classes = 0 if first is None else len(first[0].as_py() or ())
        rows, classes = check_shape((rows, classes or 0), path)
    wanted = rows * classes * dtype.itemsize
    if max_bytes is not None and wanted > max_bytes:
        got = f"{rows} lists of {classes}, {wanted:,} bytes"
        raise refused(path, f"at most {max_bytes:,} bytes", got, "save fewer rows")
    size = max(1, BLOCK // classes)
    column = _Column(path, name, rows, classes, dtype, lambda: chunks(size))
    return Stored(path, rows, classes, float_format(dtype).dtype, column.read, column.close)


def _chunks(pyarrow: Any, path: Path, name: str, kind: Any) -> Callable[[int], Iterator[Any]]:
    """A function of a number of rows to the column's arrays; Arrow files come as they are cut."""

    def chunks(size: int) -> Iterator[Any]:
        with _table(pyarrow, path) as (_, table):
            if hasattr(table, "iter_batches"):
                batches = table.iter_batches(batch_size=size, columns=[name])
            elif hasattr(table, "num_record_batches"):
                batches = (table.get_batch(i) for i in range(table.num_record_batches))
            else:
                batches = iter(table)
            for batch in batches:
                column = batch.column(name)
                column.validate(full=True)  # offsets that a stranger wrote
                yield column

    return chunks


class _Column:
    """Reads a column forwards, a chunk at a time; for a row before, from the beginning."""

    def __init__(
        self, path: Path, name: str, rows: int, classes: int, dtype: np.dtype[Any],
        chunks: Callable[[], Iterator[Any]],
    ) -> None:  # fmt: skip
        self._path, self._name = path, name
        self._rows, self._classes, self._dtype = rows, classes, dtype
        self._open = chunks
        self._chunks: Iterator[Any] | None = None
        self._first = 0
        self._held: NDArray[Any] = np.empty((0, classes), dtype)

    def close(self) -> None:
        self._chunks = None
        self._held = self._held[:0].copy()

    def read(self, r0: int, r1: int, c0: int, c1: int) -> NDArray[Any]:
        with _arrow(self._path):
            if self._chunks is None or r0 < self._first:
                self._chunks, self._first = self._open(), 0
                self._held = self._held[:0]
            pieces, at = [self._held[:0, c0:c1]], r0
            while at < r1:
                last = self._first + len(self._held)
                if at < last:
                    pieces.append(self._held[at - self._first : r1 - self._first, c0:c1])
                    at += len(pieces[-1])
                else:
                    self._first = last
                    self._held = self._lists(self._next())
            return np.concatenate(pieces)

    def _next(self) -> Any:
        assert self._chunks is not None
        chunk = next(self._chunks, None)
        if chunk is None:
            expected = f"{self._rows} rows of {self._name}"
            raise refused(self._path, expected, "fewer", "write it again")
        return chunk

    def _lists(self, column: Any) -> NDArray[Any]:
        """(rows, classes) of one chunk."""
        values = column.flatten()
        if column.null_count or values.null_count:
            count = column.null_count or values.null_count
            raise refused(
                self._path, _COLUMN, f"{count} nulls in {self._name}", "fill or drop them"
            )
        if hasattr(column, "offsets"):
            lengths = np.diff(column.offsets.to_numpy(zero_copy_only=False))
            other = lengths != self._classes
            if other.any():
                row = int(other.argmax())
                at = f"row {self._first + row} of {self._name}"
                got = f"{lengths[row]} in {at}, not {self._classes}"
                raise refused(self._path, _COLUMN, got, "make them equal, -inf for what is masked")
        numbers = np.asarray(values.to_numpy(zero_copy_only=False), self._dtype)
        return numbers.reshape(-1, self._classes)
