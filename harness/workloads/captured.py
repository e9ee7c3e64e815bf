"""Logits that the user captured from a model, in the files in which people keep arrays.

The files are not trusted: everything that can be refused is refused from the header, before
an array is allocated, and nothing is ever unpickled. An array is opened, of any size
(`open_logits`), or loaded (`load_logits`).
"""

from __future__ import annotations

import hashlib
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.workloads import npy_file, safetensors_file, table_file
from harness.workloads.stored import (
    MAX_BYTES,
    LogitsError,
    Stored,
    kind_of,
    reading,
    refused,
)

_SUFFIX = "bfloat16"
_FILE = "a .npy, .npz, .safetensors, Parquet or Arrow file"
_SETTLED_S = 2.0  # a change that comes later than this has another time in the file system


def split_source(source: str | os.PathLike[str]) -> tuple[Path, str | None, bool]:
    """``FILE[::NAME][::bfloat16]`` as (path, array name or None, read as bfloat16)."""
    text = os.fspath(source)
    if os.path.exists(text):
        return Path(text), None, False
    head, *rest = text.split("::")
    as_bfloat16 = bool(rest) and rest[-1] == _SUFFIX
    if as_bfloat16:
        rest = rest[:-1]
    if len(rest) > 1:
        raise LogitsError(f"{text}: expected FILE[::NAME][::bfloat16]; got {len(rest)} names")
    return Path(head), (rest[0] if rest else None), as_bfloat16


def _format_of(path: Path) -> Any:
    """The module that reads a file, by its first bytes."""
    if not os.path.isfile(path):  # which takes names that no file can have
        raise refused(path, _FILE, kind_of(path), "check the path")
    with reading(path), path.open("rb") as file:
        start = file.read(9)
    for module in (npy_file, table_file, safetensors_file):
        if module.begins(start):
            return module
    if start[:1] == b"\x80":  # the opcode that pickles begin with
        raise npy_file.pickled(path)
    raise refused(path, _FILE, f"one that starts with {start[:6]!r}", "write it with numpy.save")


def open_logits(source: str | os.PathLike[str], max_bytes: int | None = None) -> Stored:
    """Captured logits, opened: shape and dtype, and blocks of them on demand.

    Args:
        source: ``FILE`` or ``FILE::NAME``, by its content a `.npy` or `.npz` file, `.safetensors`,
            or Parquet or Arrow with a column of lists of equal length; without a name, the first
            array. With ``::bfloat16`` behind it, `.npy` and `.npz` hold the bits of bfloat16
            numbers (as uint16, or as the two void bytes that NumPy writes for ml_dtypes').
        max_bytes: refuse arrays that take more memory than this.

    Returns:
        The array, to be closed. The last axis is the class axis, all others are rows. Its values
        are not looked at: see `check_values`.

    Raises:
        LogitsError: before anything is allocated for a missing, damaged, oversized or empty file
            and for a dtype that is not a floating-point one.
    """
    path, name, as_bfloat16 = split_source(source)
    stored: Stored = _format_of(path).opened(path, name, as_bfloat16, max_bytes)
    return stored


def sources_in(source: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Every array that a file holds, as a source of its own, and what is left out and why.

    A source that names its array, or whose file holds one, is itself.

    Raises:
        LogitsError: the file cannot be read, or holds nothing that could be logits.
    """
    path, name, as_bfloat16 = split_source(source)
    if name is not None:
        return [os.fspath(source)], []
    names: list[str] = _format_of(path).names(path)
    if len(names) < 2:
        return [os.fspath(source)], []
    found, left_out = [], []
    for one in names:
        named = f"{path}::{one}" + (f"::{_SUFFIX}" if as_bfloat16 else "")
        try:
            open_logits(named).close()
        except LogitsError as e:
            left_out.append(str(e))
        else:
            found.append(named)
    if not found:
        raise LogitsError(f"{left_out[0]} ({len(left_out)} such arrays)")
    return found, left_out


def check_values(logits: Stored) -> None:
    """Nothing where all values are finite or a mask; in bounded memory.

    Raises:
        LogitsError: there is a NaN, a +inf, or a row of -inf alone.
    """
    bad = masked = 0
    where = ""
    masked_row = 0
    unmasked = False  # whether the row that is being read has a finite logit
    for rows, classes in logits.slices():
        block = logits.block(rows, classes)
        with np.errstate(invalid="ignore"):
            odd = np.isnan(block) | (block == np.inf)
        if odd.any():
            if not bad:
                row, column = (int(i) for i in np.argwhere(odd)[0])
                at = f"row {rows.start + row}, class {classes.start + column}"
                where = f"{block[row, column]} at {at}"
            bad += int(odd.sum())
        above = np.asarray((block > -np.inf).any(axis=1) | odd.any(axis=1))
        if classes.start:
            above |= unmasked
        unmasked = bool(above[-1])
        if classes.stop == logits.classes and not above.all():
            masked_row = masked_row if masked else rows.start + int((~above).argmax())
            masked += int((~above).sum())
    if bad:
        expected = "finite logits (or -inf for a mask)"
        raise refused(logits.path, expected, f"{where}; {bad} in all", "remove those rows")
    if masked:
        got = f"only -inf in row {masked_row}; {masked} such rows"
        raise refused(logits.path, "a finite logit in every row", got, "remove them")


def load_logits(source: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """Captured logits as a ``(rows, classes)`` array in the dtype in which they were stored.

    Args:
        source: as in `open_logits`.
        max_bytes: refuse arrays that take more memory than this.

    Returns:
        A C-contiguous array in native byte order. The last axis is the class axis, all others
        are rows. -inf is allowed as a mask; NaN and +inf are not.

    Raises:
        LogitsError: as `open_logits`; after reading for bad values.
    """
    with open_logits(source, max_bytes) as stored:
        check_values(stored)
        return stored.block()


def _identity(path: Path) -> tuple[int, ...] | None:
    """What changes when a file does; None where it has just changed, and could unnoticed again."""
    try:
        status = path.stat()
    except OSError:
        return None
    if time.time() - max(status.st_mtime, status.st_ctime) < _SETTLED_S:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def file_digest(source: str | os.PathLike[str]) -> str:
    """SHA-256 of the file's bytes as 64 hex digits; computed once while the file stays as it is.

    Raises:
        LogitsError: if the file cannot be read.
    """
    path, _, _ = split_source(source)
    if not os.path.isfile(path):
        raise refused(path, _FILE, "nothing there or no file", "check the path")
    identity = _identity(path)
    return _digest(path) if identity is None else _digest_of(path, identity)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LogitsError(f"{path}: cannot be read: {error}; check its permissions") from error


@lru_cache(maxsize=64)
def _digest_of(path: Path, _: tuple[int, ...]) -> str:
    return _digest(path)


def checked_shape(source: str | os.PathLike[str]) -> tuple[int, int]:
    """(rows, classes) of logits whose values were looked at, once while the file stays as it is.

    Raises:
        LogitsError: as `open_logits` and `check_values`.
    """
    identity = _identity(split_source(source)[0])
    text = os.fspath(source)
    return _checked(text) if identity is None else _checked_of(text, identity)


def _checked(source: str) -> tuple[int, int]:
    with open_logits(source) as stored:
        check_values(stored)
        return stored.rows, stored.classes


@lru_cache(maxsize=64)
def _checked_of(source: str, _: tuple[int, ...]) -> tuple[int, int]:
    return _checked(source)
