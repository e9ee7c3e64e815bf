"""A site made from an earlier one: the same bytes as a new one, and only what changed is drawn."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from many_runs import BOX, cells, store
from report_pages import contents

from harness.cli.report import judge
from harness.records.reader import ResultsWarning
from harness.report import build, pieces
from harness.report.pieces import MANIFEST
from harness.report.site import Site, SitePart


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process draws: of a run the name of its folder, of several the part."""
    found: list[str] = []
    make = Site.make

    def told(site: Site, part: SitePart) -> object:
        name = site.runs[part.run].slug if part.run >= 0 else part.page
        if name not in found:
            found.append(name)
        return make(site, part)

    monkeypatch.setattr(Site, "make", told)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # no helper beside this process
    return found


ALWAYS = ["history", "libraries", "implementations"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    store(folder, "one", cells(2.0), 1)
    store(folder, "two", cells(3.0), 2)
    store(folder, "far", cells(3.0), 3, machine={**BOX, "slug": "other"})
    return folder


@pytest.fixture
def site(results: Path, tmp_path: Path, drawn: list[str]) -> Path:
    made = build([results], tmp_path / "site", judge()).parent
    assert {"one/", "two/", "far/", "compare/two/", "pairs/two/", "pairs/far/"} <= set(drawn)
    drawn.clear()
    return made


def is_as_new(site: Path, results: Path, tmp_path: Path) -> bool:
    return contents(site) == contents(build([results], tmp_path / "new", judge()).parent)


def test_nothing_is_drawn_again_where_nothing_changed(
    site: Path, results: Path, tmp_path: Path, drawn: list[str]
) -> None:
    before = {p: p.stat().st_mtime_ns for p in site.rglob("*") if p.is_file()}
    build([results], site, judge())
    assert sorted(drawn) == sorted(ALWAYS)
    kept = [p for p in before if p.relative_to(site).parts[0] in ("one", "two", "compare")]
    assert kept
    assert all(p.stat().st_mtime_ns == before[p] for p in kept)
    assert is_as_new(site, results, tmp_path)


def test_a_run_that_is_added_is_drawn_and_compared_alone(
    site: Path, results: Path, tmp_path: Path, drawn: list[str]
) -> None:
    store(results, "three", cells(4.0), 4)
    build([results], site, judge())
    assert sorted(drawn) == sorted([*ALWAYS, "three/", "compare/three/", "pairs/three/"])
    assert is_as_new(site, results, tmp_path)
    assert not (site / "pairs" / "two").exists()  # another run is the newest of its machine


def test_a_run_that_changed_is_drawn_with_its_comparisons(
    site: Path, results: Path, tmp_path: Path, drawn: list[str]
) -> None:
    lines = (results / "one" / "cells.jsonl").read_text(encoding="utf-8").splitlines(True)
    (results / "one" / "cells.jsonl").write_text("".join(lines[:-1]), encoding="utf-8")
    build([results], site, judge())
    assert sorted(drawn) == sorted([*ALWAYS, "one/", "compare/two/"])
    assert is_as_new(site, results, tmp_path)


def test_a_run_that_is_gone_leaves_nothing(
    site: Path, results: Path, tmp_path: Path, drawn: list[str]
) -> None:
    (results / "far").rename(tmp_path / "elsewhere")
    build([results], site, judge())
    assert sorted(drawn) == sorted(ALWAYS)
    assert not (site / "far").exists()
    assert is_as_new(site, results, tmp_path)


def test_a_page_that_somebody_edited_is_drawn_again(
    site: Path, results: Path, tmp_path: Path, drawn: list[str]
) -> None:
    (site / "one" / "index.html").write_text("edited", encoding="utf-8")
    (site / "two" / "machine.html").unlink()
    (site / "compare" / "two" / "link").symlink_to(tmp_path)
    build([results], site, judge())
    assert sorted(drawn) == sorted([*ALWAYS, "one/", "two/", "compare/two/"])
    assert is_as_new(site, results, tmp_path)


@pytest.mark.parametrize("damaged", ["{", '{"one/": 3}', '{"one/": ["a"]}', "\x00", None])
def test_a_damaged_manifest_costs_time_and_nothing_else(
    damaged: str | None, site: Path, results: Path, tmp_path: Path, drawn: list[str]
) -> None:
    if damaged is None:
        (site / MANIFEST).unlink()
    else:
        (site / MANIFEST).write_text(damaged, encoding="utf-8")
    build([results], site, judge())
    assert {"one/", "two/", "far/", "compare/two/"} <= set(drawn)
    assert is_as_new(site, results, tmp_path)


def test_a_manifest_leads_to_no_other_folder(site: Path, results: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "page.html").write_text("secret", encoding="utf-8")
    listed = json.loads((site / MANIFEST).read_text(encoding="utf-8"))
    listed["../secret"] = [listed["one/"][0], pieces.digest_of_folder(tmp_path / "secret")]
    (site / MANIFEST).write_text(json.dumps(listed), encoding="utf-8")
    build([results], site, judge())
    assert is_as_new(site, results, tmp_path)


def test_another_harness_draws_everything(
    site: Path, results: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_version", lambda name: "another")
    pieces.code.cache_clear()
    build([results], site, judge())
    pieces.code.cache_clear()
    assert {"one/", "two/", "far/", "compare/two/"} <= set(drawn)


def test_the_code_is_every_file_of_the_harness_and_the_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_HARNESS", tmp_path)
    found = []
    for name, text in (("a.py", "1"), ("a.py", "2"), ("b.html", "1")):
        (tmp_path / name).write_text(text)
        pieces.code.cache_clear()
        found.append(pieces.code())
    monkeypatch.setattr(pieces, "_version", lambda name: "0")
    pieces.code.cache_clear()
    found.append(pieces.code())
    pieces.code.cache_clear()
    assert len(set(found)) == len(found)


def test_what_could_not_be_read_is_told_every_time(
    site: Path, results: Path, drawn: list[str]
) -> None:
    with open(results / "one" / "cells.jsonl", "a", encoding="utf-8") as file:
        file.write("{}\n")
    for _ in range(2):
        with pytest.warns(ResultsWarning, match=r"cells\.jsonl:5"):
            build([results], site, judge())
    assert drawn.count("one/") == 1


def test_the_same_colours_whoever_else_is_there(tmp_path: Path, drawn: list[str]) -> None:
    """A stranger's implementation in one run changes no figure of another."""
    alone, beside = tmp_path / "a", tmp_path / "b"
    for folder in (alone, beside):
        store(folder, "one", cells(2.0), 1)
        store(folder, "two", cells(3.0), 2)
    changed = [{**c, "implementation": "aardvark"} for c in cells(3.0)]
    store(beside, "zoo", changed, 3)
    sites = [build([folder], tmp_path / f"site-{folder.name}").parent for folder in (alone, beside)]
    first, second = ({k: v for k, v in contents(s).items() if k.startswith("one/")} for s in sites)
    assert first == second
