"""Certified results on disk, by content: the same input is never certified twice.

The key is a hash of the operation, the inputs' bytes, dtype, shape and axis, and of the oracle's
own source, so that no result of an older oracle is ever believed. A stored result carries a
checksum of its content. A cache that is missing, broken or unwritable costs time, never an error.

The folder is the user's cache folder for ``softmax-bench``, or `SOFTMAX_BENCH_CACHE`; it is kept
below `MAX_BYTES`, the longest unused going first.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.numerics.exact import Exact
from harness.reference import api, elementary
from harness.reference.memo import content_key

MAX_BYTES = 1 << 30
CACHE_VARIABLE = "SOFTMAX_BENCH_CACHE"

_OPERATIONS = ("softmax", "log_softmax", "logsumexp", "softmax_backward")


def cache_directory() -> Path:
    """Where references are stored; the folder need not exist."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("softmax-bench")) / "reference"


@cache
def oracle_version() -> str:
    """A hash of the source that makes the results: this package, `exact` and `formats`."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    numerics = here.parent / "numerics"
    for path in [*sorted(here.glob("*.py")), numerics / "exact.py", numerics / "formats.py"]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def cached_exact(operation: str, *arrays: ArrayLike, axis: api.Axis = -1) -> Exact:
    """The `<operation>_exact` of `arrays` along `axis`, from the cache where it is there.

    Args:
        operation: softmax, log_softmax, logsumexp (one array) or softmax_backward (grad, y).

    Raises:
        ValueError: for another operation; otherwise as the operation's function.
    """
    if operation not in _OPERATIONS:
        raise ValueError(f"operation: expected one of {', '.join(_OPERATIONS)}; got {operation!r}")
    inputs = [np.asarray(a) for a in arrays]
    evaluate: Callable[..., Exact] = getattr(api, f"{operation}_exact")
    return _through_cache((operation, axis), inputs, lambda: (evaluate(*inputs, axis=axis),))[0]


def cached_softmax_exact(x: ArrayLike, axis: api.Axis = -1) -> Exact:
    """`softmax_exact` through the cache."""
    return cached_exact("softmax", x, axis=axis)


def cached_cross_entropy_exact(logits: ArrayLike, targets: ArrayLike) -> tuple[Exact, Exact]:
    """`cross_entropy_exact` through the cache."""
    inputs = [np.asarray(logits), np.asarray(targets)]
    loss, gradient = _through_cache(
        ("cross_entropy", None), inputs, lambda: api.cross_entropy_exact(*inputs), results=2
    )
    return loss, gradient


def cached_exp_exact(x: NDArray[np.float64]) -> Exact:
    """`elementary.exp` of arguments that are exact, through the cache."""

    def evaluate() -> tuple[Exact]:
        hi, lo, k = elementary.exp(x, np.zeros_like(x))
        return (Exact(hi, lo, k.astype(np.int32)),)

    return _through_cache(("exp", None), [x], evaluate)[0]


def _through_cache(
    what: tuple[str, api.Axis],
    inputs: list[NDArray[Any]],
    evaluate: Callable[[], tuple[Exact, ...]],
    results: int = 1,
) -> tuple[Exact, ...]:
    key = content_key((oracle_version(), *what), *inputs).hex()
    path = cache_directory() / f"{key}.npz"
    stored = _read(path)
    if stored is not None and len(stored) == results:
        return stored
    fresh = evaluate()
    _write(path, fresh)
    return fresh


def _checksum(key: str, parts: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
    names = sorted(parts)
    return np.frombuffer(content_key((key, names), *(parts[n] for n in names)), dtype=np.uint8)


def _read(path: Path) -> tuple[Exact, ...] | None:
    try:
        # From memory: NumPy leaves a file that it refuses open until collected
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            parts = {name: file[name] for name in file.files}
        claimed = parts.pop("checksum")
        if not np.array_equal(claimed, _checksum(path.stem, parts)):
            return None
        found = tuple(
            Exact(parts[f"hi{i}"], parts[f"lo{i}"], parts[f"exponent{i}"])
            for i in range(len(parts) // 3)
        )
    except Exception:
        # A damaged archive raises almost anything; all of it means "not cached"
        return None
    with contextlib.suppress(OSError):  # a read-only cache serves, it forgets what was used
        os.utime(path)
    return found


def _write(path: Path, results: tuple[Exact, ...]) -> None:
    parts: dict[str, NDArray[Any]] = {}
    for i, result in enumerate(results):
        parts |= {f"hi{i}": result.hi, f"lo{i}": result.lo, f"exponent{i}": result.exponent}
    if sum(part.nbytes for part in parts.values()) > MAX_BYTES // 4:
        return
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, checksum=_checksum(path.stem, parts), **parts)
        os.replace(temporary, path)
        temporary = None
        _prune(path.parent)
    except OSError:
        return  # full, read-only or absent: the result is returned all the same
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _prune(directory: Path) -> None:
    """Removes the longest unused files (and abandoned partial ones) beyond `MAX_BYTES`."""
    entries = []
    for path in (*directory.glob("*.npz"), *directory.glob("*.partial")):
        try:
            status = path.stat()
        except OSError:
            continue  # another process was faster
        entries.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries, key=lambda entry: entry[0]):
        if total <= MAX_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= size
