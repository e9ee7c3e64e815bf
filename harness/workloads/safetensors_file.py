"""Tensors of `.safetensors` files, opened.

The format: the length of a header (eight bytes, little-endian), the header in JSON, and the data of
all tensors, to which the header's offsets refer (huggingface/safetensors, README, "Format").
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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

_MAX_HEADER = 100_000_000  # as the format has it
_DTYPES = {
    "F64": ("<f8", "float64"),
    "F32": ("<f4", "float32"),
    "F16": ("<f2", "float16"),
    "BF16": ("<u2", "bfloat16"),
}
_WRITE = "write it with safetensors.numpy.save_file"


@dataclass(frozen=True)
class _Tensor:
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def begins(start: bytes) -> bool:
    """Whether a file that starts so is of this kind."""
    return start[8:9] == b"{"


def names(path: Path) -> list[str]:
    """Of the tensors, in the order of their data."""
    return list(_header(path)[0])


def opened(path: Path, name: str | None, as_bfloat16: bool, max_bytes: int | None) -> Stored:
    """A tensor of a file that `begins` so; `harness.workloads.captured.open_logits`."""
    tensors, start = _header(path)
    if as_bfloat16:
        raise LogitsError(f"{path}: a .safetensors file tells its dtypes; drop ::bfloat16")
    if not tensors:
        raise refused(path, "at least one tensor", "none", _WRITE)
    name = next(iter(tensors)) if name is None else name
    if name not in tensors:
        shown = ", ".join(sorted(tensors)[:8])
        raise refused(path, f"a tensor named {name!r}", shown, "give one of these")
    tensor = tensors[name]
    if tensor.dtype not in _DTYPES:
        got = f"{tensor.dtype} of {name!r}"
        raise refused(path, f"dtype {', '.join(_DTYPES)}", got, "convert it before it is saved")
    rows, classes = check_shape(tensor.shape, path)
    code, form = _DTYPES[tensor.dtype]
    stored = np.dtype(code)
    wanted = rows * classes * stored.itemsize
    if tensor.end - tensor.begin != wanted:
        got = f"{tensor.end - tensor.begin:,}"
        raise refused(path, f"{wanted:,} bytes for shape {tensor.shape} of {name!r}", got, _WRITE)
    if max_bytes is not None and wanted > max_bytes:
        got = f"shape {tensor.shape} of {wanted:,} bytes"
        raise refused(path, f"at most {max_bytes:,} bytes", got, "save fewer rows")
    with reading(path):
        file = path.open("rb")
    return raw_array(
        path, file, start + tensor.begin, tensor.shape, stored, float_format(form).dtype,
        close=file.close,
    )  # fmt: skip


def _header(path: Path) -> tuple[dict[str, _Tensor], int]:
    """The tensors of a file, and where their data begin."""
    with reading(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length > min(_MAX_HEADER, size - 8):
            most = f"a header of at most {min(_MAX_HEADER, max(0, size - 8)):,} bytes"
            raise refused(path, most, f"one of {length:,}", CUT_OFF)
        text = file.read(length)
    try:
        held = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        if not isinstance(held, dict):
            raise ValueError("no JSON object")
        held.pop("__metadata__", None)
        tensors = {name: _tensor(name, of) for name, of in held.items()}
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise refused(path, "a valid .safetensors header", reason, _WRITE) from error
    tensors = dict(sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)))
    before = 0
    for name, tensor in tensors.items():
        if tensor.begin < before:
            got = f"{name!r} from byte {tensor.begin:,} on, within another"
            raise refused(path, "tensors one after the other", got, _WRITE)
        before = tensor.end
    if before > size - 8 - length:
        raise refused(path, f"{before:,} bytes of data", f"{size - 8 - length:,}", CUT_OFF)
    return tensors, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name that occurs twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} in the header")


def _tensor(name: str, held: Any) -> _Tensor:
    if not isinstance(held, dict) or not {"dtype", "shape", "data_offsets"} <= set(held):
        raise ValueError(f"no dtype, shape and data_offsets of {name!r}")
    shape, offsets, dtype = held["shape"], held["data_offsets"], held["dtype"]
    natural = all(
        isinstance(part, list) and all(type(n) is int and 0 <= n < 2**63 for n in part)
        for part in (shape, offsets)
    )
    if not natural or len(offsets) != 2 or offsets[0] > offsets[1] or not isinstance(dtype, str):
        raise ValueError(f"shape or data_offsets of {name!r} that cannot be")
    if len(shape) > 64 or math.prod(shape) >= 2**63:
        raise ValueError(f"a shape of {name!r} that cannot be")
    return _Tensor(dtype, tuple(shape), *offsets)
