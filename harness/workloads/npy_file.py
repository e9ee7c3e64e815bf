"""Arrays of `.npy` and `.npz` files, opened."""

from __future__ import annotations

import os
import struct
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from harness.numerics.formats import float_format
from harness.workloads.stored import (
    CUT_OFF,
    LogitsError,
    Stored,
    check_shape,
    raw_array,
    reading,
    refused,
)

_MAX_HEADER = 1 << 16
_FILE = "a .npy or .npz file"
_ACCEPTED = "float16, float32 or float64, or bfloat16 bits as uint16 with the suffix ::bfloat16"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_LOCAL_HEADER = struct.Struct("<26xHH")  # the lengths of name and extra field, which follow


def begins(start: bytes) -> bool:
    """Whether a file that starts so is of this kind."""
    return start[:6] == npy.MAGIC_PREFIX or start[:4] in _ZIP


def pickled(path: Path) -> LogitsError:
    return refused(
        path,
        _FILE,
        "pickled objects (torch.save, pickle), which are never unpickled",
        "save a tensor of PyTorch with numpy.save('logits.npy', "
        "tensor.float().numpy(force=True)), an array with numpy.save('logits.npy', "
        "array.astype('float32'))",
    )


def names(path: Path) -> list[str]:
    """Of the arrays of an archive; none of a `.npy` file."""
    with reading(path), path.open("rb") as file:
        if file.read(4) not in _ZIP:
            return []
        with zipfile.ZipFile(file) as archive:
            return list(_arrays(archive, path))


def _arrays(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    members = {m.filename: m for m in archive.infolist()}
    if any(m.endswith("data.pkl") for m in members):  # as torch.save writes it
        raise pickled(path)
    arrays = {n.removesuffix(".npy"): m for n, m in members.items() if n.endswith(".npy")}
    if not arrays:
        held = f"an archive of {', '.join(sorted(members)[:8])}" if members else "an empty archive"
        raise refused(path, "at least one array", held, "write it with numpy.savez")
    return arrays


def opened(path: Path, name: str | None, as_bfloat16: bool, max_bytes: int | None) -> Stored:
    """An array of a file that `begins` so; `harness.workloads.captured.open_logits`."""
    with ExitStack() as stack, reading(path):
        file = stack.enter_context(path.open("rb"))
        stream, held, forward = _stream(stack, file, path, name)
        shape, fortran, stored, start = _header(stream, path)
        dtype = _stored_dtype(stored, as_bfloat16, path, name)
        rows, classes = check_shape(shape, path)
        wanted = rows * classes * stored.itemsize
        if max_bytes is not None and wanted > max_bytes:
            got = f"shape {shape} of {wanted:,} bytes"
            raise refused(path, f"at most {max_bytes:,} bytes", got, "save fewer rows")
        if held - start < wanted:
            expected = f"{wanted:,} bytes of data for shape {shape}"
            raise refused(path, expected, f"{held - start:,}", CUT_OFF)
        return raw_array(
            path, stream, start, shape, stored, dtype,
            fortran=fortran, forward=forward, close=stack.pop_all().close,
        )  # fmt: skip
    raise AssertionError  # `reading` suppresses nothing


def _stream(
    stack: ExitStack, file: IO[bytes], path: Path, name: str | None
) -> tuple[IO[bytes], int, bool]:
    """At an array in `.npy` form: the stream, the offset of its end, whether it is compressed."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(6)
    file.seek(0)
    if start == npy.MAGIC_PREFIX:
        if name is not None:
            raise LogitsError(f"{path}: a .npy file holds one array without a name; drop ::{name}")
        return file, size, False
    archive = stack.enter_context(zipfile.ZipFile(file))
    arrays = _arrays(archive, path)
    name = next(iter(arrays)) if name is None else name
    if name not in arrays:
        shown = ", ".join(sorted(arrays)[:8])
        raise refused(path, f"an array named {name!r}", shown, "give one of these")
    member = arrays[name]
    stream = stack.enter_context(archive.open(member))
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        return stream, member.file_size, True
    file.seek(member.header_offset)
    name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    start_of_data = file.seek(name_length + extra_length, os.SEEK_CUR)
    return file, min(size, start_of_data + member.file_size), False


def _header(stream: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """(shape, Fortran order, dtype, offset of the first element) of an array in `.npy` form."""
    try:
        version = npy.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = npy.read_array_header_1_0(stream)
        elif version == (2, 0):
            _check_header_length(stream, path)
            shape, fortran, dtype = npy.read_array_header_2_0(stream)
        else:  # version 3 exists for field names beyond latin-1, which no plain float has
            got = f"{version[0]}.{version[1]}"
            raise refused(path, ".npy format 1.0 or 2.0", got, "save a plain array")
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
        raise refused(path, expected, f"{length:,}", "save a plain array")


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
        raise refused(path, f"dtype {_ACCEPTED}", got, "save array.astype('float32')")
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8) or dtype.fields is not None:
        advice = _remedy(dtype, f"{path}::{name}" if name else str(path))
        raise refused(path, f"dtype {_ACCEPTED}", dtype.str, advice)
    native: np.dtype[Any] = dtype.newbyteorder("=")
    return native
