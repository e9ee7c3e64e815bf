"""What goes between the coordinator and the workers of a scheduler: plain data, and who they are.

Nothing here needs Dask.
"""

from __future__ import annotations

import hashlib
import os
import platform
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.bounds.exp_error import ExpError
from harness.experiments.profiles import Filters, Profile
from harness.machine.description import describe
from harness.records import Status
from harness.registry.contract import ImplementationError, read_metadata
from harness.version import VERSION

LOCAL = "local:"
_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Scheduling:
    """Where a run's units are measured.

    Attributes:
        address: of a scheduler, such as ``tcp://host:8786``; ``local:4`` for four workers here.
        others: take workers of other versions or processors, too; the run says which.
        patience_s: how long to wait for a scheduler or a worker.
    """

    address: str
    others: bool = False
    patience_s: float = 600.0


@dataclass(frozen=True)
class Campaign:
    """What a worker must know to measure any unit of a run.

    Attributes:
        run: its id.
        profile: the grid, filters applied.
        filters: what the command line asked for.
        seed, baseline, cores, logits: as in `Context`.
        paths: of the implementations, which every worker must find under the same ones.
        environment: the coordinator's variables that change threads or speed; None where unset.
        units: digest of the plan, so that nobody measures another one.
    """

    run: str
    profile: Profile
    filters: Filters
    seed: int
    baseline: str
    cores: int
    logits: tuple[str, ...]
    paths: tuple[str, ...]
    environment: Mapping[str, str | None]
    units: str


@dataclass(frozen=True)
class Piece:
    """What a worker is given to do: a unit, by its place in the plan, or a share of it.

    Attributes:
        near: equal for pieces that have references in common: one worker had best do all of them.
    """

    unit: int
    share: tuple[int, ...] = ()
    near: str = ""


@dataclass(frozen=True)
class Made:
    """What came of a piece.

    Attributes:
        records: of a unit, a line of JSON each.
        share: of a share, what `Divided.add` takes.
        ended: the status and the reason of what could not be measured any more.
        exp_errors: measured on the way, by implementation or library and format.
        notes: what the worker would have told its user.
    """

    records: tuple[str, ...] = ()
    share: bytes = b""
    ended: tuple[Status, str] | None = None
    exp_errors: Mapping[tuple[str, str], ExpError | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def digest_of(keys: Sequence[Sequence[str]]) -> str:
    """A digest of a plan: the keys of the cells of each unit."""
    return hashlib.sha256("\n".join("\t".join(k) for k in keys).encode()).hexdigest()


@cache
def _sources() -> str:
    """A digest of the harness that runs here."""
    digest = hashlib.sha256()
    for file in sorted((_ROOT / "harness").rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def identity(paths: Sequence[str], packages: Sequence[str]) -> dict[str, str]:
    """What must be the same in every process that takes part, by name.

    Args:
        paths: of the implementations.
        packages: distributions whose versions matter.
    """
    machine = describe()
    found = {
        "softmax-bench": f"{VERSION} ({_sources()})",
        "Python": platform.python_version(),
        "architecture": machine.architecture,
        "processor": machine.cpu,
        "instructions": " ".join(machine.simd),
    }
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    for path in paths:
        try:
            found[Path(path).name] = read_metadata(Path(path)).sha256()[:12]
        except (ImplementationError, OSError) as e:
            found[Path(path).name] = f"cannot be read there ({e})"
    return found


def introduce(paths: Sequence[str], packages: Sequence[str]) -> dict[str, Any]:
    """A worker's answer to who it is: `identity`, its host, and the processors that it may use."""
    return {
        "identity": identity(paths, packages),
        "host": socket.gethostname(),
        "processors": len(os.sched_getaffinity(0)),
    }
