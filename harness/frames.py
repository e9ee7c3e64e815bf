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
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from harness.floats import FORMATS

_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 64
_MAX_HEADER = 1 << 24
_CHUNK = 1 << 20


class FrameError(RuntimeError):
    """The other side closed the pipe, or sent something that is no frame."""


class FrameTimeout(RuntimeError):
    """No complete frame arrived in time."""


def _dtype(name: str) -> np.dtype[Any]:
    return FORMATS[name].dtype if name in FORMATS else np.dtype(name)


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


def _restore(description: dict[str, Any], raw: NDArray[np.uint8]) -> NDArray[Any]:
    dtype = _dtype(description["dtype"])
    shape = tuple(description["shape"])
    if description["nbytes"] == 0:
        return np.empty(shape, dtype)
    strides = description["strides"]
    return np.ndarray(
        shape,
        dtype,
        buffer=raw.data,
        offset=description["offset"],
        strides=None if strides is None else tuple(strides),
    )


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
            raise FrameError("the pipe was closed")
        done += count


def receive(fd: int, deadline: float | None = None) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Read one frame: its header and its arrays, freshly allocated and writable.

    Args:
        fd: the pipe's reading end.
        deadline: on the clock of `time.monotonic`; None waits for ever.

    Raises:
        FrameError: the pipe was closed, or what came is no frame.
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
    except (ValueError, KeyError, AttributeError, TypeError):
        raise FrameError("the header is not a JSON object with arrays") from None
    arrays = []
    for description in descriptions:
        raw = _aligned(description["nbytes"], description["misalignment"])
        if description["nbytes"]:
            _read_into(fd, raw.data, deadline)
        arrays.append(_restore(description, raw))
    return header, arrays
