"""Entry points of other packages: used where they can be, a row with the reason where not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.experiments.profiles import SMOKE
from harness.experiments.runner import Request, run
from harness.records.reader import read_run
from harness.registry import discovery, entry_points
from harness.registry.contract import RESERVED, RESERVED_END, ImplementationError, read_metadata
from harness.registry.discovery import Implementation
from harness.registry.entry_points import ENTRY_POINT_GROUP, EntryPointWarning
from harness.registry.module_path import find_module

GOOD = '"""Of a third party."""\n\ndef softmax(x, axis=-1):\n    return x\n'

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package with entry points, and its files, on the path of this process and others."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))

    def install(name: str, entries: str | bytes, **files: str) -> None:
        info = site / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        if isinstance(entries, str):
            entries = f"[{ENTRY_POINT_GROUP}]\n{entries}\n".encode()
        (info / "entry_points.txt").write_bytes(entries)
        for file, text in files.items():
            path = site / f"{file.replace('__', '/').replace('DUNDER', '__')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")

    return install


def found() -> dict[str, Implementation]:
    return dict(discovery.implementations.__wrapped__())


def reason(name: str) -> str:
    return str(found()[name].unavailable_reason)


def test_an_entry_point_is_an_implementation(install: Install) -> None:
    install("good", "anything = deep.inside", deep__inside=GOOD)
    one = found()["inside"]
    assert one.available
    assert one.metadata.description == "Of a third party."


def test_the_packages_of_a_module_are_not_imported_to_find_it(install: Install) -> None:
    install(
        "loud", "loud = loud.deep", loud__DUNDERinitDUNDER="raise SystemExit(3)", loud__deep=GOOD
    )
    assert found()["deep"].available
    assert "loud" not in sys.modules


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("missing = no_such_module_at_all", "no source file"),
        ("missing = json.no_such_module", "no source file"),
        ("missing = json.decoder.inside", "no source file"),
        ("missing = 3.4:/etc", "no source file"),
        ("missing = ", "no source file"),
        ("missing = ..up", "no source file"),
        ("missing = sys", "no source file"),
        ("missing = __main__", "no source file"),
        ("missing = json", "offers no operation"),
        ("missing = broken", "cannot be read as a Python module"),
        ("missing = nested", "nested too deeply"),
        ("missing = folder", "expected a file of Python source"),
        ("missing = copy_regular", "under the name 'copy_regular'"),
    ],
)
def test_one_that_cannot_be_used_is_a_row_with_its_reason(
    install: Install, entries: str, expected: str
) -> None:
    install("bad", entries, broken="def softmax(", nested="-" * 200_000 + "1", folder__a="",
            copy_regular=GOOD)  # fmt: skip
    install("good", "good = fine", fine=GOOD)
    assert expected in reason("missing")
    assert "entry point 'missing'" in reason("missing")
    assert {"fine", "max_shift"} <= set(found())


@pytest.mark.parametrize("error", [AttributeError, ValueError])
def test_the_reason_is_the_same_whoever_reads_the_entry_points(error: type[Exception]) -> None:
    """Python raises the first; the package importlib_metadata, which others load, the second."""

    class Entry:
        name, value = "missing", "3.4:/etc"

        @property
        def module(self) -> str:
            raise error("no module")

    told = entry_points._of_entry_point(Entry())  # type: ignore[arg-type]
    assert "no source file of such a module" in str(told.fault)


@pytest.mark.parametrize("entries", [b"\xff\xfe", b"[a]\nb\n"])
def test_a_damaged_list_of_entry_points_hides_no_other(install: Install, entries: bytes) -> None:
    install("bad", entries)
    install("good", "good = fine", fine=GOOD)
    assert {"fine", "max_shift"} <= set(found())


def test_a_damaged_list_that_may_hold_one_of_ours_is_told(install: Install) -> None:
    install("bad", b"[softmax_bench.implementations]\nno equals sign\n")
    install("good", "good = fine", fine=GOOD)
    with pytest.warns(EntryPointWarning, match="a package with entry points that cannot be read"):
        assert {"fine", "max_shift"} <= set(found())


def test_hostile_names_are_one_printable_line(install: Install) -> None:
    name = "\x1b[2J<script>alert(1)</script>| \u202e" + "a" * 1000
    install("bad", f"{name} = no_such_module_at_all")
    (shown,) = (n for n in found() if "script" in n)
    assert shown.isprintable()
    assert len(shown) <= 80
    assert reason(shown).isprintable()


def test_duplicate_names_are_refused_naming_both(install: Install) -> None:
    install("one", "a = one.naive\nb = one.twin", one__naive=GOOD, one__twin=GOOD)
    install("two", "a = two.twin", two__twin=GOOD)
    with pytest.warns(EntryPointWarning, match="two implementations are named 'naive'") as told:
        everything = found()
    (warning,) = told
    assert everything["naive"].available  # ours
    for why, files in (
        (str(warning.message), ("implementations/naive.py", "one/naive.py")),
        (str(everything["twin"].unavailable_reason), ("one/twin.py", "two/twin.py")),
    ):
        assert "two implementations are named" in why
        assert all(file in why for file in files)


def test_a_bad_entry_takes_no_name_from_a_good_one(install: Install) -> None:
    install("bad", "fine = no_such_module_at_all\nnaive = no_such_module_at_all")
    install("good", "good = fine", fine=GOOD)
    with pytest.warns(EntryPointWarning, match="no source file of such a module") as told:
        everything = found()
    assert everything["fine"].available
    assert everything["naive"].available
    assert {str(w.message).split("'")[1] for w in told} == {"fine", "naive"}


def test_a_module_named_twice_is_one_implementation(install: Install) -> None:
    install("good", "a = fine\nb = fine\nc = implementations.naive", fine=GOOD)
    assert [n for n in found() if n.startswith(("fine", "naive"))] == ["naive", "fine"]


TERRIBLE = {
    "raises_terribly": "raise RuntimeError('\x1b[2J terrible')\n",
    "exits_terribly": "raise SystemExit(3)\n",
    "prints_terribly": "print('printed when it was imported')\n",
}
HANGS = "import time\ntime.sleep(600)\n"


def test_terrible_packages_stop_neither_listing_nor_a_run(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, top in TERRIBLE.items():
        install(name, f"{name} = {name}", **{name: top + GOOD})
        install(f"in_{name}", f"x = p_{name}.in_{name}",
                **{f"p_{name}__DUNDERinitDUNDER": top, f"p_{name}__in_{name}": GOOD})  # fmt: skip
    install("hangs", "h = hangs", hangs=HANGS + GOOD)
    install("bad", "missing = no_such_module_at_all")
    listed = subprocess.run(
        [sys.executable, "-m", "harness", "list"],
        capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "400"},
    )  # fmt: skip
    assert listed.returncode == 0, listed.stderr
    assert {*TERRIBLE, "hangs", "max_shift"} <= {
        line.split()[0] for line in listed.stdout.splitlines() if line
    }
    assert "missing: entry point 'missing'" in listed.stdout
    assert "printed when" not in listed.stdout
    everything = found()
    chosen = [everything[n] for n in (*TERRIBLE, "missing", "max_shift")]
    profile = replace(
        SMOKE, experiments=("accuracy",), dtypes=("float32",), sweep_classes=(3,),
        sweep_elements=9, families=(), timing={},
    )  # fmt: skip
    folder = run(
        Request(chosen, profile, results=tmp_path / "r", machine="box", command=["x"])
    ).path
    done = read_run(folder)
    assert done.info.finished is not None
    rows = {r.implementation: r for r in done.records}
    assert {n: r.status for n, r in rows.items()} == {
        "raises_terribly": "error", "exits_terribly": "crashed", "prints_terribly": "failed",
        "missing": "unavailable", "max_shift": "ok",
    }  # fmt: skip
    assert all(r.reason for n, r in rows.items() if n != "max_shift")


@pytest.mark.parametrize("name", [*sorted(RESERVED), f"max_shift{RESERVED_END}"])
def test_a_file_cannot_take_the_place_of_a_limit_or_a_control(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.py"
    path.write_text(GOOD, encoding="utf-8")
    with pytest.raises(ImplementationError, match="measures something of its own under the name"):
        read_metadata(path)


def test_the_names_of_limits_and_controls_are_all_reserved() -> None:
    from harness.experiments.throughput import timed_operations
    from harness.experiments.throughput.device import MOVER
    from harness.experiments.throughput.host import ARITHMETIC, LIMITS
    from harness.records.timing import CONTROL_SUFFIX

    assert {*LIMITS, ARITHMETIC, MOVER, *timed_operations.LIMITS} <= RESERVED
    assert CONTROL_SUFFIX == RESERVED_END


@pytest.mark.parametrize("name", ["", ".", "a..b", "no_such_module_at_all", "json.nothing", "a-b"])
def test_what_is_no_module_is_not_found(name: str) -> None:
    assert find_module(name) is None


def test_modules_are_found_where_python_finds_them() -> None:
    import email.mime.text
    import importlib.util
    import xml.dom

    for module in (email.mime.text, xml.dom, os, pytest):
        spec = importlib.util.find_spec(module.__name__)
        assert spec is not None
        assert str(find_module(module.__name__)) in (spec.origin, "frozen")
