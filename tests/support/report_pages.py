"""What a reader finds in a report: the text of its pages, the rows of its tables."""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path


def text_of(page: str | Path) -> str:
    """The text that a reader of a page, or of its HTML, sees; white space collapsed."""
    html = page.read_text(encoding="utf-8") if isinstance(page, Path) else page
    pieces: list[str] = []
    parser = HTMLParser()
    parser.handle_data = pieces.append  # type: ignore[method-assign]
    parser.feed(re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL))
    return re.sub(r"\s+", " ", " ".join(pieces))


def rows_of(site: Path, table: str) -> list[dict[str, str]]:
    """The rows of a table of a site, by its name, as its archive has them."""
    return csv_rows(zipped(site / "data" / "tables.zip")[f"csv/{table}.csv"])


def csv_rows(text: str) -> list[dict[str, str]]:
    """The rows of a CSV."""
    return list(csv.DictReader(StringIO(text, newline="")))


def zipped(path: Path) -> dict[str, str]:
    """The texts of an archive by their names, in its order."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode("utf-8") for name in archive.namelist()}


def contents(site: Path) -> dict[str, bytes]:
    return {str(p.relative_to(site)): p.read_bytes() for p in site.rglob("*") if p.is_file()}


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
