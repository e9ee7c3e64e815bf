"""What a reader finds in a report: the text of its pages, the rows of its tables."""

from __future__ import annotations

import csv
import re
import zipfile
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path


def text_of(html: str) -> str:
    """The text that a reader of a page sees, white space collapsed."""
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
