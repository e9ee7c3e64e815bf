"""The longer texts of the report: the macros of `templates/prose.txt`, filled in."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.report.drawing.formatting import figure, integer, listed, plural

TEMPLATES = Path(__file__).parent.parent / "templates"


@lru_cache(maxsize=1)
def _texts() -> Any:
    # Not escaped here: what becomes HTML is escaped where it is put into a page.
    env = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined)
    env.filters.update(figure=figure, integer=integer, listed=listed, plural=plural)
    return env.get_template("prose.txt").module


def prose(name: str, /, **values: object) -> str:
    """A text on one line, with its values.

    Raises:
        AttributeError: there is none of that name.
        TypeError: it has no place for one of the values.
        jinja2.UndefinedError: a value is missing.
    """
    return re.sub(r"[ \n]+", " ", getattr(_texts(), name)(**values)).strip(" ")
