"""Reference vectors: every result is right by other means too, and wrong ones are found."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from typer.testing import CliRunner
from vector_files import Stored, differing, read

from harness.cli.app import app
from harness.errors import CannotWrite
from harness.experiments.vectors import folder as folder_module
from harness.experiments.vectors.folder import ALIGNMENT, NoVectors, write
from harness.experiments.vectors.inputs import vectors
from harness.experiments.vectors.readme import FORMAT, table
from harness.experiments.vectors.vector import CERTIFIED, WIDE, Vector, arrays_of
from harness.numerics.formats import FORMATS, float_format, from_ordinal, to_ordinal
from harness.version import VERSION

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "vectors.md").read_text(encoding="utf-8")
LOGITS = CERTIFIED[:5]
OTHERS = CERTIFIED[5:]
QUICK = ("masked_softmax", "merge_logsumexp", "linear_cross_entropy")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders that have every operation, and formats of every width, between them."""
    place = tmp_path_factory.mktemp("vectors")
    write(place / "narrow", LOGITS, ["float8_e5m2"])
    write(place / "backward", ["softmax_backward"], ["bfloat16"])
    write(place / "others", OTHERS, ["float64"])
    return [place / "narrow", place / "backward", place / "others"]


@pytest.fixture(scope="module")
def stored(written: list[Path]) -> list[Stored]:
    return [v for folder in written for v in read(folder)]


def test_the_results_are_those_of_the_reference(written: list[Path], stored: list[Stored]) -> None:
    assert {v.operation for v in stored} == set(CERTIFIED)
    assert [differing(folder) for folder in written] == [[], [], []]


# Another way, without the reference


def _softmax(z: list[Any], extra: list[Any] | None = None) -> list[Any]:
    top = max(z + (extra or []))
    e = [mpmath.exp(v - top) for v in z]
    total = sum(e) + sum(mpmath.exp(v - top) for v in extra or [])
    return [v / total for v in e]


def _lse(z: list[Any]) -> Any:
    top = max(z)
    return top + mpmath.log(sum(mpmath.exp(v - top) for v in z))


def _cross_entropy(z: list[Any], t: list[Any]) -> tuple[list[Any], ...]:
    loss = [_lse(z) - z[int(t[0])]]
    return loss, [p - (k == int(t[0])) for k, p in enumerate(_softmax(z))]


def _masked(z: list[Any], mask: list[Any]) -> list[Any]:
    kept = iter(_softmax([v for v, m in zip(z, mask, strict=True) if m]))
    return [next(kept) if m else mpmath.mpf(0) for m in mask]


def _merged(m1: list[Any], s1: list[Any], m2: list[Any], s2: list[Any]) -> tuple[list[Any], ...]:
    top = max(m1[0], m2[0])
    return [top], [s1[0] * mpmath.exp(m1[0] - top) + s2[0] * mpmath.exp(m2[0] - top)]


def _layer(h: list[Any], w: list[Any], t: list[Any]) -> tuple[list[Any], ...]:
    z = [[mpmath.fdot(a, b) for b in w] for a in h]
    both = [_cross_entropy(row, target) for row, target in zip(z, t, strict=True)]
    loss, p = [a[0] for a, _ in both], [b for _, b in both]
    in_hidden = [mpmath.fdot(row, column) for row in p for column in zip(*w, strict=True)]
    in_weight = [mpmath.fdot(a, b) for a in zip(*p, strict=True) for b in zip(*h, strict=True)]
    return loss, in_hidden, in_weight


ROWS: dict[str, Callable[..., Any]] = {
    "softmax": _softmax,
    "log_softmax": lambda z: [v - _lse(z) for v in z],
    "logsumexp": lambda z: [_lse(z)],
    "softmax_backward": lambda g, y: [
        b * (a - sum(p * q for p, q in zip(g, y, strict=True))) for a, b in zip(g, y, strict=True)
    ],
    "cross_entropy": _cross_entropy,
    "scaled_softmax": lambda z, c: _softmax([c[0] * v for v in z]),
    "masked_softmax": _masked,
    "softmax_with_sink": _softmax,
    "softcap_softmax": lambda z, c: _softmax([c[0] * mpmath.tanh(v / c[0]) for v in z]),
    "merge_logsumexp": _merged,
}
"""Of rows of finite numbers, at the precision of mpmath."""


def _calls(v: Stored) -> list[tuple[list[list[Any]], tuple[Any, ...]]]:
    """Some rows of a vector, the arguments of `ROWS` and which results belong to them."""
    if v.operation == "ragged_softmax":
        ends = v.arrays["offsets"][:, 0]
        rows = [slice(a, b) for a, b in pairwise(ends.tolist()) if 0 < b - a < 40]
        return [([v.arrays["values"][r, 0].tolist()], (r, 0)) for r in rows[::3]]
    arrays = list(v.inputs.values())
    if v.operation == "linear_cross_entropy" or arrays[0].shape[1] > 40:
        return []
    return [([a[i].tolist() for a in arrays], (i,)) for i in range(0, len(arrays[0]), 5)]


def _off(got: Any, more: float | None, due: Any, dtype: str) -> str | None:
    """What is wrong with a result and what stands beside it, for the value that is due."""
    fmt = float_format(dtype)
    e = mpmath.frexp(due)[1] - 1 if due else fmt.emin
    ulp = mpmath.ldexp(1, max(e, fmt.emin) - fmt.precision + 1)
    if abs(mpmath.mpf(float(got)) - due) > ulp / 2 * (1 + mpmath.mpf(2) ** -60):
        return f"{float(got)!r} is not {mpmath.nstr(due, 20)}"
    if more is not None:
        unrounded = mpmath.mpf(more) + (mpmath.mpf(float(got)) if dtype == "float64" else 0)
        # half an ulp of float64, or what is known of the reference; subnormal numbers are coarser
        room = mpmath.mpf(2) ** (-80 if dtype == "float64" else -53)
        if abs(unrounded - due) > max(abs(due) * room * (1 + room), mpmath.ldexp(1, -1075)):
            return f"{more!r} beside {float(got)!r} is not {mpmath.nstr(due, 20)}"
    return None


def _layer_by_mpmath(v: Stored) -> list[str]:
    """The same of a whole call of linear_cross_entropy."""
    due = _layer(*([[mpmath.mpf(float(x)) for x in row] for row in a] for a in v.inputs.values()))
    found = []
    for name, values in zip(v.results, due, strict=True):
        beside = v.arrays[name + ("_rest" if v.dtype == "float64" else "_float64")].ravel()
        for got, more, value in zip(v.arrays[name].ravel(), beside, values, strict=True):
            wrong = _off(got, float(more), value, v.dtype)
            found += [f"{v.operation} {v.name} {name}: {wrong}"] if wrong else []
    return found


def _by_mpmath(v: Stored) -> list[str]:
    """The results of some rows that are not correctly rounded; of finite rows."""
    if v.operation == "linear_cross_entropy":
        return _layer_by_mpmath(v)
    function = ROWS["softmax" if v.operation == "ragged_softmax" else v.operation]
    found = []
    for given, place in _calls(v):
        if not np.isfinite(np.concatenate(given).astype(np.float64)).all():
            continue
        if v.operation == "masked_softmax" and not any(given[1]):
            continue
        due = function(*([mpmath.mpf(float(a)) for a in g] for g in given))
        for name, values in zip(v.results, due if isinstance(due, tuple) else (due,), strict=True):
            beside = v.arrays.get(name + ("_rest" if v.dtype == "float64" else "_float64"))
            for k, value in enumerate(values):
                at = (*place, k) if len(place) == 1 else (place[0].start + k, 0)
                more = None if beside is None else float(beside[at])
                wrong = _off(v.arrays[name][at], more, value, v.dtype)
                found += [f"{v.operation} {v.name} {name}{at}: {wrong}"] if wrong else []
    return found


def test_the_results_are_those_of_mpmath(stored: list[Stored]) -> None:
    sample = [v for i, v in enumerate(stored) if i % 5 == 0 or v.operation in OTHERS]
    assert {v.operation for v in sample} == {*CERTIFIED}
    with mpmath.workprec(2000):  # a float64 sum of 2**1000 and of 2**-1000
        assert sum(len(_calls(v)) for v in sample) > 300
        assert [wrong for v in sample for wrong in _by_mpmath(v)] == []


# Wrong ones


def _patch(folder: Path, line: int, change: Callable[[bytes, str], bytes]) -> str:
    """Change the bytes of the array of a line of index.txt; the vector that it is of."""
    words = (folder / "index.txt").read_text().splitlines()[line].split()
    dtype, size = words[5], int(words[6]) * int(words[7]) * np.dtype(words[5]).itemsize
    data = bytearray((folder / words[0]).read_bytes())
    at = slice(int(words[8]), int(words[8]) + size)
    data[at] = change(bytes(data[at]), dtype)
    (folder / words[0]).write_bytes(data)
    return f"{words[1]} {words[3]} {words[4]}"


def _one_ulp(data: bytes, dtype: str) -> bytes:
    y = np.frombuffer(data, dtype).copy()
    y[0] = from_ordinal(to_ordinal(y[:1]) + 1, dtype)[0]
    return y.tobytes()


def _zeros(data: bytes, dtype: str) -> bytes:
    return bytes(len(data))


def _other_endianness(data: bytes, dtype: str) -> bytes:
    return np.frombuffer(data, dtype).byteswap().tobytes()


@pytest.mark.parametrize("change", [_one_ulp, _zeros, _other_endianness])
@pytest.mark.parametrize(
    ("dtype", "vector", "array"),
    [
        ("bfloat16", "merge:1", "s"), ("bfloat16", "merge:1", "s_float64"),
        ("float64", "merge:1", "s"), ("float64", "merge:1", "s_rest"),
        ("float16", "mask-causal:17", "result"),
    ],
)  # fmt: skip
def test_a_wrong_number_is_found_by_both_ways(
    change: Callable[[bytes, str], bytes], dtype: str, vector: str, array: str, tmp_path: Path
) -> None:
    folder = tmp_path / "v"
    write(folder, ["merge_logsumexp" if "merge" in vector else "masked_softmax"], [dtype])
    assert differing(folder) == []
    lines = (folder / "index.txt").read_text().splitlines()
    line = next(i for i, text in enumerate(lines) if f" {vector} {array} " in text)
    what = _patch(folder, line, change)
    assert _checked(folder) == f"{dtype}.bin: FAILED"
    last_bit_of_rest = array == "s_rest" and change is _one_ulp  # is beyond what is certified
    assert (what in differing(folder)) == (array != "s_rest")
    with mpmath.workprec(300):
        found = [text for v in read(folder) for text in _by_mpmath(v)]
    assert any(f" {vector} {array.split('_')[0]}" in text for text in found) != last_bit_of_rest


def test_offsets_that_are_swapped_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    write(folder, ["merge_logsumexp"], ["float32"])
    path = folder / "index.txt"
    lines = [line.split() for line in path.read_text().splitlines()]
    first, second = (
        i for i, w in enumerate(lines) if w[3:5] in (["merge:1", "m"], ["merge:1", "s"])
    )
    lines[first][8], lines[second][8] = lines[second][8], lines[first][8]
    path.write_text("\n".join(map(" ".join, lines)) + "\n")
    assert {"merge_logsumexp merge:1 m", "merge_logsumexp merge:1 s"} <= set(differing(folder))
    assert _checked(folder) == "index.txt: FAILED"


def _checked(folder: Path) -> str:
    """What sha256sum complains of; nothing where all is as it was written."""
    command = ["sha256sum", "--quiet", "-c", "SHA256SUMS"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (done.stdout == "")
    return done.stdout.strip()


# The folder


def test_the_indices_agree_and_the_checksums_are_of_every_file(written: list[Path]) -> None:
    for folder in written:
        lines = [line.split() for line in (folder / "index.txt").read_text().splitlines()]
        assert lines[0] == list(folder_module.COLUMNS)
        index = json.loads((folder / "index.json").read_text())
        again = [
            [v["file"], v["operation"], v["dtype"], v["vector"], name, a["type"],
             *(str(a[k]) for k in ("rows", "columns", "offset"))]
            for v in index["vectors"] for name, a in v["arrays"].items()
        ]  # fmt: skip
        assert again == lines[1:]
        assert all(int(line[8]) % ALIGNMENT == 0 for line in again)
        names = [(v["operation"], v["dtype"], v["vector"]) for v in index["vectors"]]
        assert len(set(names)) == len(names)
        assert {v["vector"].split(":")[0] for v in index["vectors"]} == set(index["groups"])
        assert index["left_out"] == []
        assert index["version"] == VERSION
        summed = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines()]
        assert {name for _, name in summed} == {f.name for f in folder.iterdir()} - {"SHA256SUMS"}
        for digest, name in summed:
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        assert _checked(folder) == ""
        assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
        readme = (folder / "README.md").read_text(encoding="utf-8")
        assert FORMAT in readme
        assert index["command"] in readme


def test_the_same_version_writes_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write(tmp_path / name, QUICK, ["float16"], seed)
    bytes_of = {
        name: {f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in "abc"
    }
    assert bytes_of["a"] == bytes_of["b"]
    assert bytes_of["a"]["float16.bin"] != bytes_of["c"]["float16.bin"]


@pytest.mark.parametrize(("dtype", "beside"), [("float16", "_float64"), ("float64", "_rest")])
def test_only_wide_rows_have_nothing_beside_their_results(dtype: str, beside: str) -> None:
    for classes, names in ((WIDE, {"x", "result"}), (WIDE - 1, {"x", "result", "result" + beside})):
        vector = Vector("softmax", dtype, "zeros", {"x": np.zeros((1, classes), dtype)})
        assert set(arrays_of(vector, vector.exact())) == names


def test_what_cannot_be_certified_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Vector.exact

    def fails(self: Vector) -> Any:
        if self.name == "merge-far:1":
            raise ArithmeticError("not decided")
        return exact(self)

    monkeypatch.setattr(Vector, "exact", fails)
    made = write(tmp_path / "v", ["merge_logsumexp"], ["float32"])
    left = {"operation": "merge_logsumexp", "dtype": "float32", "vector": "merge-far:1",
            "reason": "not decided"}  # fmt: skip
    assert made.left_out == json.loads((tmp_path / "v" / "index.json").read_text())["left_out"]
    assert made.left_out == [left]
    assert "| merge-far:1 | not decided |" in (tmp_path / "v" / "README.md").read_text()
    assert {v.name for v in read(tmp_path / "v")} == {"merge:1", "merge-empty:1", "merge-nan:1"}
    assert differing(tmp_path / "v") == []


def test_a_folder_that_holds_something_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    command = ["vectors", "-o", str(tmp_path), "--operation", "merge_logsumexp"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "expected an empty folder, or none" in done.stderr
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(CannotWrite, match="it is a file"):
        write(tmp_path / "mine.txt", QUICK)


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left")])
def test_it_is_written_whole_or_not_at_all(
    fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(*asked: Any) -> Any:
        yield next(iter(vectors(*asked)))
        raise fault

    monkeypatch.setattr(folder_module, "vectors", half)
    (tmp_path / "empty").mkdir()
    wanted: Any = KeyboardInterrupt if fault is KeyboardInterrupt else CannotWrite
    for name in ("empty", "new"):
        with pytest.raises(wanted):
            write(tmp_path / name, ["merge_logsumexp"], ["float32"])
    assert os.listdir(tmp_path) == ["empty"]
    assert os.listdir(tmp_path / "empty") == []


def test_the_command_says_what_it_wrote_and_how_to_check_it(tmp_path: Path) -> None:
    out = str(tmp_path / "v")
    asked = ["--operation", "merge_logsumexp", "--dtype", "float32"]
    done = CliRunner().invoke(app, ["vectors", "-o", out, *asked])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"wrote {out}: 4 vectors, ")
    assert "sha256sum --quiet -c SHA256SUMS" in done.stdout
    none = ["vectors", "-o", out + "2", "--operation", "masked_softmax", "--dtype", "float8_e5m2"]
    assert CliRunner().invoke(app, none).exit_code == 3
    unknown = CliRunner().invoke(
        app, ["vectors", "-o", out + "2", "--operation", "attention_weights"]
    )
    assert unknown.exit_code == 2
    assert os.listdir(tmp_path) == ["v"]


# The page


def test_the_page_has_the_format_and_the_counts() -> None:
    assert FORMAT in PAGE
    counted = _counted(QUICK)
    assert [line for line in counted if line not in PAGE.splitlines()] == []


@pytest.mark.slow
def test_the_page_counts_everything() -> None:
    counted = _counted(CERTIFIED)
    assert len(counted) == len(CERTIFIED)
    assert [line for line in counted if line not in PAGE.splitlines()] == []


def _counted(operations: tuple[str, ...]) -> list[str]:
    """The lines of the table of the page."""
    made = {(o, d): list(vectors(o, d)) for o in operations for d in FORMATS}
    rows = {k: sum(v.rows for v in vs) for k, vs in made.items()}
    return table({k: len(vs) for k, vs in made.items()}, rows)[2:]


def test_nothing_to_write_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoVectors, match="no vectors of masked_softmax in float8_e5m2"):
        write(tmp_path / "v", ["masked_softmax"], ["float8_e5m2"])
    assert os.listdir(tmp_path) == []
