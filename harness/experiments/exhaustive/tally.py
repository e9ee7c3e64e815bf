"""What is added up over the blocks of a long judgement, and its checkpoint on disk."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError
from harness.experiments.exhaustive.kernels import CLASSES, Counts
from harness.registry.discovery import Implementation

CHECKPOINT_VERSION = 1
_ARRAYS = ("done", "counts", "worst", "worst_place", "extremes", "places")


class CheckpointError(UserError):
    """A checkpoint that is not of the judgement that was to be resumed."""


@dataclass
class Tally:
    """Counts of the blocks done.

    Attributes:
        done: bool, by block.
        rows: rows judged.
        counts: int64 (outputs, 7), by class.
        worst: (outputs, 2), the largest error and the value computed there.
        worst_place: (outputs,), where that is.
        extremes, places: for the pairs: (65536, 2) least and largest difference at which each
            bit pattern was right, and where. For constant rows: (lengths, 2), the misrounded
            results and the largest error of each length.
        elapsed_s: seconds that earlier, interrupted sessions took.
    """

    done: NDArray[np.bool_]
    counts: NDArray[np.int64]
    worst: NDArray[np.float64]
    worst_place: NDArray[np.int64]
    extremes: NDArray[np.float64]
    places: NDArray[np.int64]
    rows: int = 0
    elapsed_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, block: int, rows: int, found: Counts) -> None:
        """Add one block."""
        with self.lock:
            self.done[block] = True
            self.rows += rows
            self._count(found.counts, found.worst, found.place)

    def merge(self, part: Tally) -> None:
        """Take over another tally of the same domain, of other blocks."""
        with self.lock:
            self.done |= part.done
            self.rows += part.rows
            self._count(part.counts, part.worst, part.worst_place)
        self.widen(part.extremes, part.places)

    def _count(
        self, counts: NDArray[np.int64], worst: NDArray[np.float64], place: NDArray[np.int64]
    ) -> None:
        """Of equal errors the first is kept, by place, whatever the order of the blocks."""
        self.counts += counts
        new, old = worst[:, 0], self.worst[:, 0]
        better = (new > old) | ((new == old) & (place < self.worst_place))
        self.worst[better] = worst[better]
        self.worst_place[better] = place[better]

    def widen(self, extremes: NDArray[np.float64], places: NDArray[np.int64]) -> None:
        """Take over extremes, and where they are, as this tally has them."""
        with self.lock:
            for side, sign in ((0, 1.0), (1, -1.0)):
                new, old = sign * extremes[:, side], sign * self.extremes[:, side]
                tie = (new == old) & (places[:, side] < self.places[:, side])
                better = (new < old) | tie
                self.extremes[better, side] = extremes[better, side]
                self.places[better, side] = places[better, side]


def empty_tally(blocks: int, outputs: int, patterns: int = 1) -> Tally:
    """A tally with nothing in it; `patterns` is how many extremes are kept."""
    return Tally(
        done=np.zeros(blocks, bool),
        counts=np.zeros((outputs, CLASSES), np.int64),
        worst=np.tile(np.array([-1.0, np.nan]), (outputs, 1)),
        worst_place=np.full(outputs, -1, np.int64),
        extremes=np.tile(np.array([np.inf, -np.inf]), (patterns, 1)),
        places=np.full((patterns, 2), -1, np.int64),
    )


def identity(implementation: Implementation, **more: Any) -> dict[str, Any]:
    """What a checkpoint must agree in to be resumed: sources, versions, and the domain."""
    versions = {}
    for package in ("numpy", *implementation.metadata.requires):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "version": CHECKPOINT_VERSION,
        "implementation": implementation.name,
        "sha256": implementation.metadata.sha256(),
        "versions": versions,
        **more,
    }


def packed(tally: Tally, key: Mapping[str, Any], elapsed_s: float) -> bytes:
    """A tally as `restore` reads it."""
    stream = BytesIO()
    with tally.lock:
        np.savez_compressed(
            stream,
            key=np.array(json.dumps(dict(key), sort_keys=True)),
            **{name: getattr(tally, name) for name in _ARRAYS},
            totals=np.array([float(tally.rows), elapsed_s]),
        )
    return stream.getvalue()


def save(tally: Tally, path: Path, key: Mapping[str, Any], elapsed_s: float) -> None:
    """Write a checkpoint, whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(packed(tally, key, elapsed_s))
    os.replace(temporary, path)


def restore(tally: Tally, path: Path | BytesIO, key: Mapping[str, Any]) -> None:
    """Fill `tally` from a checkpoint, a file or what `packed` gave.

    Raises:
        CheckpointError: it is of another judgement, or cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = json.loads(str(stored["key"]))
            parts = {name: stored[name] for name in stored.files if name != "key"}
    except (OSError, ValueError, KeyError, EOFError) as e:
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint ({e}); delete it to start anew"
        ) from None
    wanted = json.loads(json.dumps(dict(key), sort_keys=True))
    for name in wanted:
        if found.get(name) != wanted[name]:
            raise CheckpointError(
                f"{path}: a checkpoint with {name} {found.get(name)!r}; expected "
                f"{wanted[name]!r}; delete it to start anew, or give another path"
            )
    for name in _ARRAYS:
        getattr(tally, name)[...] = parts[name]
    tally.rows = int(parts["totals"][0])
    tally.elapsed_s = float(parts["totals"][1])
