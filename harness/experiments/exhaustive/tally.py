"""What is added up over the blocks of a long judgement, and its checkpoint on disk."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
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
        """Add one block; the first of equal errors, by place, is kept, whatever the order."""
        with self.lock:
            self.done[block] = True
            self.rows += rows
            self.counts += found.counts
            new, old = found.worst[:, 0], self.worst[:, 0]
            better = (new > old) | ((new == old) & (found.place < self.worst_place))
            self.worst[better] = found.worst[better]
            self.worst_place[better] = found.place[better]

    def widen(self, table: NDArray[np.float64], places: NDArray[np.int64]) -> None:
        """Take over the extremes of a block's table of `judge_pairs`."""
        with self.lock:
            for side, column, sign in ((0, 2, 1.0), (1, 3, -1.0)):
                new, old = sign * table[:, column], sign * self.extremes[:, side]
                tie = (new == old) & (places[:, side] < self.places[:, side])
                better = (new < old) | tie
                self.extremes[better, side] = table[better, column]
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


def save(tally: Tally, path: Path, key: Mapping[str, Any], elapsed_s: float) -> None:
    """Write a checkpoint, whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    with tally.lock, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            key=np.array(json.dumps(dict(key), sort_keys=True)),
            **{name: getattr(tally, name) for name in _ARRAYS},
            totals=np.array([float(tally.rows), elapsed_s]),
        )
        stream.close()
        os.replace(temporary, path)


def restore(tally: Tally, path: Path, key: Mapping[str, Any]) -> None:
    """Fill `tally` from a checkpoint.

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
