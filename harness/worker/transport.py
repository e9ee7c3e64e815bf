"""Frames between the coordinator and a worker: a JSON header and raw array bytes, over pipes.

No pickle: a header is data, and an array is its bytes with dtype, shape, strides and offset, so
that a worker sees the very layout (negative strides, misalignment) that the coordinator made.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from harness.numerics.formats import FORMATS

_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 64
_MAX_HEADER = 1 << 24
_CHUNK = 1 << 20
_MAX_ARRAYS = 1 << 16
_MAX_BYTES = 1 << 48


class FrameError(RuntimeError):
    """The other side closed the pipe, or sent something that is no frame."""


class FrameClosed(FrameError):
    """The other side closed the pipe."""


class FrameTimeout(RuntimeError):
    """No complete frame arrived in time."""


def describe(array: NDArray[Any]) -> tuple[dict[str, Any], memoryview]:
    """The description of an array, and the bytes that it spans in memory."""
    if array.size == 0:
        layout: dict[str, Any] = {"strides": None, "offset": 0, "misalignment": 0}
        raw = memoryview(b"")
    elif array.flags.c_contiguous:
        start = array.__array_interface__["data"][0]
        layout = {"strides": None, "offset": 0, "misalignment": start % _ALIGNMENT}
        raw = array.reshape(-1).view(np.uint8).data
    else:
        low, high = byte_bounds(array)
        start = array.__array_interface__["data"][0]
        span = np.ndarray((high - low,), np.uint8, buffer=_memory_at(low, high - low, array))
        layout = {
            "strides": list(array.strides),
            "offset": start - low,
            "misalignment": low % _ALIGNMENT,
        }
        raw = span.data
    name = array.dtype.name if array.dtype.isnative else array.dtype.str
    return {"dtype": name, "shape": list(array.shape), "nbytes": raw.nbytes, **layout}, raw


def _memory_at(address: int, nbytes: int, owner: NDArray[Any]) -> Any:
    """The memory that a strided view spans, as a buffer that keeps its owner alive."""
    import ctypes

    buffer = (ctypes.c_uint8 * nbytes).from_address(address)
    buffer._owner = owner  # type: ignore[attr-defined]
    return buffer


def _checked(description: Any, left: int) -> tuple[np.dtype[Any], int, int]:
    """(dtype, bytes, misalignment) of a description that may say anything.

    The other side may be a stranger's code. Above all no dtype of objects: NumPy would take the
    bytes for pointers.

    Raises:
        FrameError: it describes no array of plain numbers of at most `left` bytes.
    """
    try:
        name = str(description["dtype"])
        dtype = FORMATS[name].dtype if name in FORMATS else np.dtype(name)
        nbytes, misalignment = description["nbytes"], description["misalignment"]
        whole = [nbytes, misalignment, description["offset"], *description["shape"]]
        strides = description["strides"]
        if not all(type(n) is int and n >= 0 for n in whole):
            raise ValueError("sizes that are no counts")
        if not (strides is None or all(type(n) is int for n in strides)):
            raise ValueError("strides that are no integers")
        if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
            raise ValueError(f"dtype {dtype}")
    except (KeyError, TypeError, ValueError, SyntaxError) as e:
        raise FrameError(f"expected an array of numbers; got {str(e)[:200]}") from None
    if misalignment >= _ALIGNMENT:
        raise FrameError(f"misalignment of {misalignment} bytes; expected less than {_ALIGNMENT}")
    if nbytes > left:
        raise FrameError(f"an array of {nbytes} bytes; expected at most {left}")
    return dtype, nbytes, misalignment


def _restore(
    description: dict[str, Any], dtype: np.dtype[Any], raw: NDArray[np.uint8]
) -> NDArray[Any]:
    shape = tuple(description["shape"])
    strides = description["strides"]
    try:
        if raw.size == 0:
            if 0 not in shape:
                raise ValueError(f"no bytes for shape {shape}")
            return np.empty(shape, dtype)
        return np.ndarray(
            shape,
            dtype,
            buffer=raw.data,
            offset=description["offset"],
            strides=None if strides is None else tuple(strides),
        )
    except (ValueError, TypeError, OverflowError, MemoryError) as e:
        raise FrameError(f"an array that does not fit its bytes: {str(e)[:200]}") from None


def _aligned(nbytes: int, misalignment: int) -> NDArray[np.uint8]:
    """Fresh bytes whose address is `misalignment` modulo the alignment."""
    block = np.empty(nbytes + 2 * _ALIGNMENT, np.uint8)
    start = (misalignment - block.__array_interface__["data"][0]) % _ALIGNMENT
    return block[start : start + nbytes]


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise FrameTimeout
    return left


def _write(fd: int, data: memoryview, deadline: float | None) -> None:
    while data:
        if not select.select([], [fd], [], _left(deadline))[1]:
            raise FrameTimeout
        try:
            data = data[os.write(fd, data[:_CHUNK]) :]
        except BlockingIOError:
            continue


def send(
    fd: int,
    header: dict[str, Any],
    arrays: Sequence[NDArray[Any]] = (),
    deadline: float | None = None,
) -> None:
    """Write one frame; a deadline holds only where `fd` is non-blocking.

    Raises:
        BrokenPipeError: the other side is gone.
        FrameTimeout: the deadline passed, part of the frame may have been written.
    """
    parts = [describe(a) for a in arrays]
    body = json.dumps({**header, "arrays": [d for d, _ in parts]}, allow_nan=False).encode()
    _write(fd, memoryview(_LENGTH.pack(len(body)) + body), deadline)
    for _, raw in parts:
        _write(fd, raw, deadline)


def _read_into(fd: int, buffer: memoryview, deadline: float | None) -> None:
    done = 0
    while done < len(buffer):
        if not select.select([fd], [], [], _left(deadline))[0]:
            raise FrameTimeout
        count = os.readv(fd, [buffer[done : done + _CHUNK]])
        if count == 0:
            raise FrameClosed("the pipe was closed")
        done += count


def begins(fd: int, deadline: float) -> bool:
    """Whether something comes, or the pipe is closed, before a deadline as in `receive`."""
    return bool(select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0])


def receive(
    fd: int,
    deadline: float | None = None,
    *,
    max_bytes: int = _MAX_BYTES,
    allocate: Callable[[int, int], NDArray[np.uint8]] = _aligned,
) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Read one frame: its header and its arrays, freshly allocated and writable.

    Args:
        fd: the pipe's reading end.
        deadline: on the clock of `time.monotonic`; None waits for ever.
        max_bytes: of all arrays together; more is refused before anything is allocated.
        allocate: gives so many bytes whose address is a number modulo 64.

    Raises:
        FrameClosed: the pipe was closed.
        FrameError: what came is no frame, or too large.
        FrameTimeout: the deadline passed.
    """
    prefix = bytearray(_LENGTH.size)
    _read_into(fd, memoryview(prefix), deadline)
    (length,) = _LENGTH.unpack(prefix)
    if length > _MAX_HEADER:
        raise FrameError(f"header of {length} bytes; expected at most {_MAX_HEADER}")
    body = bytearray(length)
    _read_into(fd, memoryview(body), deadline)
    try:
        header = json.loads(body)
        descriptions = list(header.pop("arrays"))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise FrameError("the header is not a JSON object with arrays") from None
    if len(descriptions) > _MAX_ARRAYS:
        raise FrameError(f"{len(descriptions)} arrays; expected at most {_MAX_ARRAYS}")
    left = max_bytes
    checked = []
    for description in descriptions:
        dtype, nbytes, misalignment = _checked(description, left)
        left -= nbytes
        checked.append((description, dtype, nbytes, misalignment))
    arrays = []
    for description, dtype, nbytes, misalignment in checked:
        try:
            raw = allocate(nbytes, misalignment)
        except MemoryError:
            raise FrameError(f"no memory for an array of {nbytes} bytes") from None
        if nbytes:
            _read_into(fd, raw.data, deadline)
        arrays.append(_restore(description, dtype, raw))
    return header, arrays
