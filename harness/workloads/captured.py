"""Logits that the user captured from a model, read from `.npy` and `.npz` files.

The files are not trusted: everything that can be refused is refused from the header, before
an array is allocated, and nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from harness.errors import UserError
from harness.numerics.formats import float_format
from harness.text import one_line

MAX_BYTES = 2**31
_LONGEST_MESSAGE = 6000  # longer than any path
_MAX_HEADER = 1 << 16
_MAX_AXES = 32  # as many as any NumPy has
_SUFFIX = "bfloat16"
_FILE = "a .npy or .npz file"
_CUT_OFF = "the file is cut off, write it again"
_ACCEPTED = "float16, float32 or float64, or bfloat16 bits as uint16 with the suffix ::bfloat16"


class LogitsError(UserError):
    """A file of logits that cannot be used; the message says what, why and what to do.

    It is one line, whatever the name of the file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message, _LONGEST_MESSAGE))


def _refused(path: Path, expected: str, got: object, advice: str) -> LogitsError:
    return LogitsError(f"{path}: expected {expected}; got {got}; {advice}")


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


def _pickled(path: Path) -> LogitsError:
    return _refused(
        path,
        _FILE,
        "pickled objects (torch.save, pickle), which are never unpickled",
        "save a tensor of PyTorch with numpy.save('logits.npy', "
        "tensor.float().numpy(force=True)), an array with numpy.save('logits.npy', "
        "array.astype('float32'))",
    )


def _member(archive: zipfile.ZipFile, path: Path, name: str | None) -> zipfile.ZipInfo:
    members = {m.filename: m for m in archive.infolist()}
    if any(m.endswith("data.pkl") for m in members):  # as torch.save writes it
        raise _pickled(path)
    arrays = {n.removesuffix(".npy"): m for n, m in members.items() if n.endswith(".npy")}
    if not arrays:
        held = f"an archive of {', '.join(sorted(members)[:8])}" if members else "an empty archive"
        raise _refused(path, "at least one array", held, "write it with numpy.savez")
    if name is None:
        return next(iter(arrays.values()))
    if name not in arrays:
        shown = ", ".join(sorted(arrays)[:8])
        raise _refused(path, f"an array named {name!r}", shown, "give one of these")
    return arrays[name]


@contextmanager
def _opened(path: Path, name: str | None) -> Iterator[tuple[IO[bytes], int]]:
    """The stream of one array in `.npy` form, and how many bytes it holds."""
    if not os.path.isfile(path):  # which takes names that no file can have
        kind = "a folder or a device" if os.path.exists(path) else "nothing there"
        raise _refused(path, _FILE, kind, "check the path")
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        if start == npy.MAGIC_PREFIX:
            if name is not None:
                raise LogitsError(
                    f"{path}: a .npy file holds one array without a name; drop ::{name}"
                )
            yield file, path.stat().st_size
        elif start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            with zipfile.ZipFile(file) as archive:
                member = _member(archive, path, name)
                with archive.open(member) as stream:
                    yield stream, member.file_size
        elif start[:1] == b"\x80":  # the opcode that pickles begin with
            raise _pickled(path)
        else:
            got = f"one that starts with {start!r}"
            raise _refused(path, _FILE, got, "write it with numpy.save")


def _header(stream: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """(shape, Fortran order, dtype, bytes of the header) of a `.npy` stream."""
    try:
        version = npy.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = npy.read_array_header_1_0(stream)
        elif version == (2, 0):
            _check_header_length(stream, path)
            shape, fortran, dtype = npy.read_array_header_2_0(stream)
        else:  # version 3 exists for field names beyond latin-1, which no plain float has
            got = f"{version[0]}.{version[1]}"
            raise _refused(path, ".npy format 1.0 or 2.0", got, "save a plain array")
    except LogitsError:
        raise
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LogitsError(
            f"{path}: expected a valid .npy header; got: {reason[:200]}; write it again with "
            f"numpy.save"
        ) from error
    return shape, fortran, dtype, stream.tell()


def _check_header_length(stream: IO[bytes], path: Path) -> None:
    """Refuse a length that NumPy would allocate before it finds the file shorter."""
    start = stream.tell()
    length = int.from_bytes(stream.read(4), "little")
    stream.seek(start)
    if length > _MAX_HEADER:
        expected = f"a valid .npy header of at most {_MAX_HEADER:,} bytes"
        raise _refused(path, expected, f"{length:,}", "save a plain array")


def _remedy(dtype: np.dtype[Any], named: str) -> str:
    """What to do about an array of a dtype that is not read.

    Args:
        named: the array as it was given, ``FILE`` or ``FILE::NAME``.
    """
    convert = "save array.astype('float32')"
    if dtype.fields is not None:
        return (
            f"save one of its fields, such as array[{next(iter(dtype.fields))!r}].astype('float32')"
        )
    if dtype.kind == "c":
        return "save array.real.astype('float32')"
    if dtype.str[1:] in ("V2", "u2"):
        return f"for bits of bfloat16 numbers give {named}::bfloat16, for others {convert}"
    if dtype.kind == "V":  # what NumPy writes for a type that is not its own, and cannot read
        return f"{convert}, converted before it is saved"
    return convert


def _stored_dtype(
    dtype: np.dtype[Any], as_bfloat16: bool, path: Path, name: str | None
) -> np.dtype[Any]:
    """The dtype the bytes stand for, or a refusal."""
    if as_bfloat16:
        # NumPy writes ml_dtypes' bfloat16 as two void bytes; others store the bits as uint16.
        if dtype.itemsize == 2 and dtype.kind in "uV" and dtype.fields is None:
            return float_format("bfloat16").dtype
        raise LogitsError(
            f"{path}: ::bfloat16 expected two-byte words (uint16 or V2); got {dtype.str}; "
            "drop ::bfloat16"
        )
    if dtype.hasobject:
        got = "Python objects, which are never unpickled"
        raise _refused(path, f"dtype {_ACCEPTED}", got, "save array.astype('float32')")
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8) or dtype.fields is not None:
        advice = _remedy(dtype, f"{path}::{name}" if name else str(path))
        raise _refused(path, f"dtype {_ACCEPTED}", dtype.str, advice)
    native: np.dtype[Any] = dtype.newbyteorder("=")
    return native


def _check_shape(shape: tuple[int, ...], path: Path) -> int:
    if len(shape) == 0:
        raise _refused(path, "(..., classes)", "a scalar", "save with one axis")
    if len(shape) > _MAX_AXES:
        raise _refused(path, f"at most {_MAX_AXES} axes", len(shape), "save (rows, classes)")
    if min(shape) < 1:
        got = f"shape {shape}"
        raise _refused(
            path, "at least one row and one class", got, "save an array that is not empty"
        )
    return math.prod(shape)


def _check_values(logits: NDArray[Any], path: Path) -> None:
    bad = np.isnan(logits) | (logits == np.inf)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        got = f"{logits[row, column]} at row {row}, class {column}; {int(bad.sum())} in all"
        raise _refused(path, "finite logits (or -inf for a mask)", got, "remove those rows")
    masked = np.isneginf(logits).all(axis=1)
    if masked.any():
        got = f"only -inf in row {int(masked.argmax())}; {int(masked.sum())} such rows"
        raise _refused(path, "a finite logit in every row", got, "remove them")


def load_logits(source: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """Captured logits as a ``(rows, classes)`` array in the dtype in which they were stored.

    Args:
        source: ``FILE.npy``, ``FILE.npz`` (its first array) or ``FILE.npz::NAME``, either with
            ``::bfloat16`` behind it where the file holds the bits of bfloat16 numbers (as uint16,
            or as the two void bytes that NumPy writes for ml_dtypes' bfloat16).
        max_bytes: refuse arrays that take more memory than this.

    Returns:
        A C-contiguous array in native byte order. The last axis is the class axis, all others
        are rows. -inf is allowed as a mask; NaN and +inf are not.

    Raises:
        LogitsError: before anything is allocated for a missing, damaged, oversized or empty file
            and for a dtype that is not a floating-point one; after reading for bad values.
    """
    path, name, as_bfloat16 = split_source(source)
    try:
        with _opened(path, name) as (stream, held):
            shape, fortran, stored, start = _header(stream, path)
            dtype = _stored_dtype(stored, as_bfloat16, path, name)
            count = _check_shape(shape, path)
            wanted = count * stored.itemsize
            if wanted > max_bytes:
                got = f"shape {shape} of {wanted:,} bytes"
                raise _refused(path, f"at most {max_bytes:,} bytes", got, "save fewer rows")
            if held - start < wanted:
                expected = f"{wanted:,} bytes of data for shape {shape}"
                raise _refused(path, expected, f"{held - start:,}", _CUT_OFF)
            data = stream.read(wanted)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise LogitsError(f"{path}: cannot be read: {error}; write it again") from error
    except LogitsError:
        raise
    except Exception as error:  # zlib, lzma and bz2 raise errors of their own on damaged data
        raise LogitsError(f"{path}: cannot be decompressed: {error}; write it again") from error
    if len(data) != wanted:
        raise _refused(path, f"{wanted:,} bytes", f"{len(data):,}", _CUT_OFF)
    flat = np.frombuffer(data, stored)
    if as_bfloat16:  # two void bytes have no byte order of their own
        flat = (flat if stored.kind == "V" else flat.astype(np.uint16)).view(dtype)
    array = flat.reshape(shape, order="F" if fortran else "C")
    logits = np.array(array.reshape(-1, shape[-1]), dtype=dtype, order="C")
    _check_values(logits, path)
    return logits


def file_digest(source: str | os.PathLike[str]) -> str:
    """SHA-256 of the file's bytes as 64 hex digits.

    Raises:
        LogitsError: if the file cannot be read.
    """
    path, _, _ = split_source(source)
    if not os.path.isfile(path):
        raise _refused(path, _FILE, "nothing there or no file", "check the path")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LogitsError(f"{path}: cannot be read: {error}; check its permissions") from error
