"""What a site holds, as a reader sees it, and what is true of every page of it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path


def contents(site: Path) -> dict[str, bytes]:
    return {str(p.relative_to(site)): p.read_bytes() for p in site.rglob("*") if p.is_file()}


def text_of(path: Path) -> str:
    """The text that a reader sees, white space collapsed."""
    pieces: list[str] = []
    parser = HTMLParser()
    parser.handle_data = pieces.append  # type: ignore[method-assign]
    parser.feed(path.read_text(encoding="utf-8"))
    return re.sub(r"\s+", " ", " ".join(pieces))


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pages(site: Path) -> Iterator[Path]:
    return iter(sorted(site.rglob("*.html")))


def check_links(site: Path) -> None:
    """Every link stays inside the site and leads to something; others are public issues."""
    for page in pages(site):
        html = page.read_text(encoding="utf-8")
        for target in re.findall(r'(?:href|src|srcset)="([^"]+)"', html):
            if target.startswith(("https://doi.org/", "https://github.com/")):
                continue
            path, _, fragment = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            assert there.is_relative_to(site.resolve()), (page, target)
            assert there.exists(), (page, target)
            if fragment:
                assert f'id="{fragment}"' in there.read_text(encoding="utf-8"), (page, target)


def check_ids(site: Path) -> None:
    """No page has two things of one id."""
    for page in pages(site):
        ids = re.findall(r'\sid="([^"]+)"', page.read_text(encoding="utf-8"))
        assert len(ids) == len(set(ids)), page
