"""The folder of reference vectors: arrays as plain bytes, an index of them twice, checksums.

docs/vectors.md describes the format. The same version writes the same bytes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from harness.errors import CannotWrite, writing
from harness.experiments.run_info import git_state
from harness.experiments.runner import NothingToRun
from harness.experiments.vectors.inputs import about, vectors
from harness.experiments.vectors.readme import readme
from harness.experiments.vectors.vector import CERTIFIED, Array, Vector, arrays_of
from harness.numerics.formats import FORMATS
from harness.version import VERSION

FORMAT = 1
"""Version of the layout of the folder."""
ALIGNMENT = 64
"""Offsets are multiples of it."""
COLUMNS = ("file", "operation", "dtype", "vector", "array", "type", "rows", "columns", "offset")
"""Of index.txt, a line for every array."""
SUMS = "SHA256SUMS"


class NoVectors(NothingToRun):
    """There are none of what was asked for."""


@dataclass
class Contents:
    """What was written.

    Attributes:
        vectors, rows: their number, and that of their rows, by operation and format.
        groups: what the vectors of a name without the length of a row are, in a sentence.
        left_out: what could not be certified: operation, dtype, vector and reason of each.
        size: of the folder, in bytes.
    """

    vectors: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    groups: dict[str, str] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)
    size: int = 0


@dataclass(frozen=True)
class _Place:
    """Where an array is, as the index tells it."""

    type: str
    rows: int
    columns: int
    offset: int


@dataclass
class _Store:
    """A file of arrays; equal bytes are stored once."""

    file: IO[bytes]
    known: dict[bytes, int] = field(default_factory=dict)

    def put(self, array: Array) -> _Place:
        """Write a two-dimensional array in little-endian C order, booleans as bytes."""
        size = array.dtype.itemsize
        bits = np.ascontiguousarray(array).view(f"u{size}").astype(f"<u{size}").tobytes()
        key = hashlib.sha256(bits).digest()
        if key not in self.known:
            self.file.write(b"\0" * (-self.file.tell() % ALIGNMENT))
            self.known[key] = self.file.tell()
            self.file.write(bits)
        name = "uint8" if array.dtype == np.bool_ else array.dtype.name
        rows, columns = array.shape
        return _Place(name, rows, columns, self.known[key])


def write(
    folder: Path,
    operations: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    seed: int = 0,
    told: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Contents:
    """Write reference vectors to a folder that is empty or not there yet: all of it, or nothing.

    Args:
        operations: of `CERTIFIED`; all if empty.
        dtypes: formats; all if empty.
        seed: of the inputs that are drawn.
        told: called with what is begun: how much is done, of how much, and its name.

    Raises:
        CannotWrite: the folder holds something, or it cannot be written.
        NoVectors: there are none of these operations in these formats.
    """
    chosen = [o for o in CERTIFIED if o in (operations or CERTIFIED)]
    formats = [d for d in FORMATS if d in (dtypes or FORMATS)]
    total, contents = len(chosen) * len(formats), Contents()
    lines, described = [], []
    with _new(folder) as made:
        for i, dtype in enumerate(formats):
            with (made / f"{dtype}.bin").open("wb") as file:
                store = _Store(file)
                for j, operation in enumerate(chosen):
                    told(i * len(chosen) + j, total, f"{operation} {dtype}")
                    for vector in vectors(operation, dtype, seed):
                        places = _stored(vector, store, contents)
                        if places:
                            lines += _lines(vector, places)
                            described.append(_described(vector, places))
        if not described:
            raise NoVectors(f"no vectors of {', '.join(chosen)} in {', '.join(formats)}")
        for file_ in made.iterdir():
            if not file_.stat().st_size:  # a format of which there is nothing
                file_.unlink()
        _texts(made, contents, lines, described, _command(operations, dtypes, seed), seed)
        contents.size = sum(f.stat().st_size for f in made.iterdir())
    return contents


@contextmanager
def _new(folder: Path) -> Iterator[Path]:
    """A folder beside it that takes its name when all is written, and else is removed."""
    with writing(folder):
        if folder.is_dir() and any(folder.iterdir()):
            raise CannotWrite(f"{folder}: expected an empty folder, or none; give another place")
        if folder.exists() and not folder.is_dir():
            raise CannotWrite(f"{folder}: expected a folder; it is a file; give another place")
        final = folder.absolute()
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = final.with_name(f".{final.name}.{os.getpid()}.partial")
        partial.mkdir()
        try:
            yield partial
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _stored(vector: Vector, store: _Store, contents: Contents) -> dict[str, _Place]:
    """The places of a vector's arrays by name; empty where a result could not be certified."""
    try:
        exact = vector.exact()
    except ArithmeticError as e:
        contents.left_out.append({
            "operation": vector.operation, "dtype": vector.dtype, "vector": vector.name,
            "reason": str(e),
        })  # fmt: skip
        return {}
    what = vector.operation, vector.dtype
    contents.vectors[what] += 1
    contents.rows[what] += vector.rows
    group = vector.name.split(":")[0]
    contents.groups.setdefault(group, about(group))
    return {name: store.put(array) for name, array in arrays_of(vector, exact).items()}


def _lines(vector: Vector, places: Mapping[str, _Place]) -> list[str]:
    """Of index.txt."""
    head = f"{vector.dtype}.bin {vector.operation} {vector.dtype} {vector.name}"
    return [f"{head} {n} {p.type} {p.rows} {p.columns} {p.offset}" for n, p in places.items()]


def _described(vector: Vector, places: Mapping[str, _Place]) -> dict[str, Any]:
    """Of index.json."""
    return {
        "file": f"{vector.dtype}.bin", "operation": vector.operation, "dtype": vector.dtype,
        "vector": vector.name, "arrays": {n: asdict(p) for n, p in places.items()},
    }  # fmt: skip


def _command(operations: Sequence[str], dtypes: Sequence[str], seed: int) -> str:
    """What was asked, but for the folder: in another one are the same bytes."""
    asked = [f"--operation {o}" for o in operations] + [f"--dtype {d}" for d in dtypes]
    return " ".join(["softmax-bench vectors -o DIR", *asked, *([f"--seed {seed}"] if seed else [])])


def _texts(
    folder: Path, contents: Contents, lines: Sequence[str], described: Sequence[dict[str, Any]],
    command: str, seed: int,
) -> None:  # fmt: skip
    """The indices, README.md, LICENSE and the checksums of all of it."""
    commit, changed = git_state()
    made_by = {
        "format": FORMAT, "version": VERSION, "commit": commit, "changed": changed,
        "command": command, "seed": seed, "licence": "BSD-3-Clause", "byte_order": "little",
        "groups": contents.groups, "left_out": contents.left_out,
    }  # fmt: skip
    head = json.dumps(made_by, indent=1).removesuffix("\n}")
    rows = ",\n".join(json.dumps(d, separators=(",", ":")) for d in described)
    texts = {
        "index.txt": "\n".join([" ".join(COLUMNS), *lines]) + "\n",
        "index.json": f'{head},\n "vectors": [\n{rows}\n ]\n}}\n',
        "README.md": readme(contents.vectors, contents.rows, made_by),
        "LICENSE": _licence(),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    sums = [f"{_sha256(f)}  {f.name}\n" for f in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(sums), encoding="ascii", newline="")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _licence() -> str:
    """The licence of this package: of the one that is installed, or of the checkout."""
    try:
        files = importlib.metadata.files("softmax-bench") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "LICENSE":
            return file.read_text(encoding="utf-8")
    return (Path(__file__).parents[3] / "LICENSE").read_text(encoding="utf-8")
