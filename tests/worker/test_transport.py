"""Frames: arrays cross a pipe with their layout; what is no frame is refused."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest

from harness.worker import transport


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            continue


def crossed(pipe: tuple[int, int], *arrays: np.ndarray) -> list[np.ndarray]:
    sender = threading.Thread(target=transport.send, args=(pipe[1], {"command": "x"}, arrays))
    sender.start()
    header, received = transport.receive(pipe[0], time.monotonic() + 10)
    sender.join()
    assert header == {"command": "x"}
    return received


BASE = np.arange(24, dtype=np.float32).reshape(4, 6)
LAYOUTS = {
    "contiguous": BASE,
    "transposed": BASE.T,
    "negative strides": BASE[::-1, ::-1],
    "every other": BASE[:, ::2],
    "zero stride": np.broadcast_to(np.float32(3), (2, 3)),
    "empty": np.empty((3, 0)),
    "0-d": np.array(1.5),
    "bfloat16": BASE.astype(ml_dtypes.bfloat16),
    "bool": BASE > 3,
    "big-endian": BASE.astype(">f4"),
    "large": np.arange(300_000, dtype=np.float64),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_values_dtype_and_strides_survive(pipe: tuple[int, int], name: str) -> None:
    array = LAYOUTS[name]
    (got,) = crossed(pipe, array)
    assert got.dtype == array.dtype
    assert got.shape == array.shape
    if array.size:
        assert got.strides == array.strides
    assert (got == array).all()


def test_misalignment_survives(pipe: tuple[int, int]) -> None:
    raw = np.zeros(1000, np.uint8)
    start = (-raw.ctypes.data) % 64
    array = raw[start + 4 : start + 404].view(np.float32)
    (got,) = crossed(pipe, array)
    assert got.ctypes.data % 64 == 4


def test_received_arrays_can_be_written(pipe: tuple[int, int]) -> None:
    (got,) = crossed(pipe, BASE)
    got[0, 0] = 7
    assert BASE[0, 0] == 0


def test_a_closed_pipe_is_an_error(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"\x05\x00")
    os.close(pipe[1])
    with pytest.raises(transport.FrameError, match="closed"):
        transport.receive(pipe[0], time.monotonic() + 5)


@pytest.mark.parametrize("body", [b"no json", b"[1]", b"{}", b'{"arrays": 3}'])
def test_what_is_no_frame_is_refused(pipe: tuple[int, int], body: bytes) -> None:
    os.write(pipe[1], len(body).to_bytes(8, "little") + body)
    with pytest.raises(transport.FrameError, match="header"):
        transport.receive(pipe[0], time.monotonic() + 5)


def test_an_absurd_length_is_refused_before_it_is_allocated(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], (1 << 60).to_bytes(8, "little"))
    with pytest.raises(transport.FrameError, match="at most"):
        transport.receive(pipe[0], time.monotonic() + 5)


def test_a_deadline_holds_for_reading(pipe: tuple[int, int]) -> None:
    with pytest.raises(transport.FrameTimeout):
        transport.receive(pipe[0], time.monotonic() + 0.05)


def test_a_deadline_holds_for_writing(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    with pytest.raises(transport.FrameTimeout):
        transport.send(pipe[1], {}, (np.zeros(1 << 20),), time.monotonic() + 0.1)
