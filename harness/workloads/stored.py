"""An array of a file that is opened and not loaded: its shape, and blocks of it on demand.

Blocks are read, not mapped: a map counts as memory, and a file that is cut off meanwhile would end
the process that looks at it.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError
from harness.numerics.formats import float_format
from harness.text import one_line

MAX_BYTES = 2**31
"""Of what is read whole, if nobody says otherwise."""
BLOCK = 1 << 20
"""Elements of a block: as many classes as the largest vocabularies have. Judging one takes some
160 bytes an element."""
CUT_OFF = "the file is cut off, write it again"
_LONGEST_MESSAGE = 6000  # longer than any path
_MAX_AXES = 32  # as many as any NumPy has

Read = Callable[[int, int, int, int], NDArray[Any]]
"""(first row, last row, first class, last class), the lasts excluded, to that block."""


class LogitsError(UserError):
    """A file of logits that cannot be used; the message says what, why and what to do.

    It is one line, whatever the name of the file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message, _LONGEST_MESSAGE))


def refused(path: Path, expected: str, got: object, advice: str) -> LogitsError:
    return LogitsError(f"{path}: expected {expected}; got {got}; {advice}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What goes wrong while a file is read becomes one line."""
    try:
        yield
    except LogitsError:
        raise
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise LogitsError(f"{path}: cannot be read: {error}; write it again") from error
    except Exception as error:  # zlib, lzma and bz2 raise errors of their own on damaged data
        raise LogitsError(f"{path}: cannot be decompressed: {error}; write it again") from error


@dataclass
class Stored:
    """One array of a file, opened.

    Attributes:
        path: the file.
        rows, classes: its shape; all axes but the last are rows, in C order.
        dtype: a format of `formats.FORMATS`, in native byte order.
        read: a block, in the byte order and layout in which it comes.
        close: lets the file go.
    """

    path: Path
    rows: int
    classes: int
    dtype: np.dtype[Any]
    read: Read
    close: Callable[[], None] = field(default=lambda: None)

    @property
    def nbytes(self) -> int:
        return self.rows * self.classes * self.dtype.itemsize

    def block(self, rows: slice = slice(None), classes: slice = slice(None)) -> NDArray[Any]:
        """Some rows of some classes, C-contiguous and in native byte order; a copy.

        Raises:
            LogitsError: the file is damaged, or has become shorter.
        """
        r0, r1, _ = rows.indices(self.rows)
        c0, c1, _ = classes.indices(self.classes)
        with reading(self.path):
            return np.array(self.read(r0, r1, c0, c1), dtype=self.dtype, order="C")

    def slices(self, elements: int = BLOCK) -> Iterator[tuple[slice, slice]]:
        """Blocks of at most so many elements: of whole rows, or of one row's classes."""
        for rows in spans(self.rows, max(1, elements // self.classes)):
            for classes in spans(self.classes, min(elements, self.classes)):
                yield rows, classes

    def __enter__(self) -> Stored:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def spans(length: int, step: int) -> Iterator[slice]:
    """Slices of at most `step` that make up `length`."""
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def check_shape(shape: tuple[int, ...], path: Path) -> tuple[int, int]:
    """(rows, classes) of a shape that has both."""
    if len(shape) == 0:
        raise refused(path, "(..., classes)", "a scalar", "save with one axis")
    if len(shape) > _MAX_AXES:
        raise refused(path, f"at most {_MAX_AXES} axes", len(shape), "save (rows, classes)")
    if min(shape) < 1:
        got = f"shape {shape}"
        raise refused(
            path, "at least one row and one class", got, "save an array that is not empty"
        )
    return math.prod(shape[:-1]), shape[-1]


def numbers(data: bytes, stored: np.dtype[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Bytes as numbers: of `stored`, in any byte order, or bits of a bfloat16 `dtype`."""
    flat = np.frombuffer(data, stored)
    if dtype == float_format("bfloat16").dtype:  # two void bytes have no byte order of their own
        flat = (flat if stored.kind == "V" else flat.astype(np.uint16)).view(dtype)
    return flat


def raw_array(
    path: Path, stream: IO[bytes], start: int, shape: tuple[int, ...],
    stored: np.dtype[Any], dtype: np.dtype[Any], *, fortran: bool = False,
    forward: bool = False, close: Callable[[], None] = lambda: None,
) -> Stored:  # fmt: skip
    """An array whose elements lie one after the other in a stream.

    Args:
        start: where it begins.
        stored: dtype of the elements as they lie there; `dtype`: what they stand for.
        fortran: the first axis is the one whose elements are neighbours.
        forward: what lies behind is dear to come back to (it is decompressed again).
    """
    rows, classes = check_shape(shape, path)
    inner_length = rows if fortran else classes

    def take(first: int, count: int) -> NDArray[Any]:
        stream.seek(start + first * stored.itemsize)
        data = stream.read(count * stored.itemsize)
        if len(data) != count * stored.itemsize:
            raise refused(path, f"{count * stored.itemsize:,} bytes", f"{len(data):,}", CUT_OFF)
        return numbers(data, stored, dtype)

    def runs(outer: slice, inner: slice) -> NDArray[Any]:
        if inner == slice(0, inner_length):
            flat = take(outer.start * inner_length, (outer.stop - outer.start) * inner_length)
            return flat.reshape(-1, inner_length)
        block = np.empty((outer.stop - outer.start, inner.stop - inner.start), dtype)
        for i in range(len(block)):
            first = (outer.start + i) * inner_length + inner.start
            block[i] = take(first, block.shape[1])
        return block

    def read(r0: int, r1: int, c0: int, c1: int) -> NDArray[Any]:
        if fortran:
            return runs(slice(c0, c1), slice(r0, r1)).T
        return runs(slice(r0, r1), slice(c0, c1))

    if fortran and (forward or len(shape) > 2):
        nbytes = rows * classes * stored.itemsize
        if nbytes > MAX_BYTES:
            got = f"shape {shape} of {nbytes:,} bytes in Fortran order"
            advice = "save numpy.ascontiguousarray(array)"
            raise refused(path, f"C order or at most {MAX_BYTES:,} bytes", got, advice)
        whole = cache(
            lambda: take(0, rows * classes).reshape(shape, order="F").reshape(rows, classes)
        )
        return Stored(
            path, rows, classes, dtype, lambda r0, r1, c0, c1: whole()[r0:r1, c0:c1], close
        )

    return Stored(path, rows, classes, dtype, read, close)


def kind_of(path: Path) -> str:
    """What stands at a path that is no file."""
    return "a folder or a device" if os.path.exists(path) else "nothing there"
