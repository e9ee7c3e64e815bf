"""The page of one check: its verdict with everything that was found."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from harness.errors import writing
from harness.report.drawing.sanitize import readable
from harness.report.site import STATIC, environment


def write_verdict(found: Any, folder: Path) -> Path:
    """Write ``index.html`` and its style sheet into `folder`, which is made where it is missing.

    Args:
        found: the verdict, as ``experiments.verdict.Report`` has it.

    Returns:
        The path of the page.

    Raises:
        UserError: `folder` cannot be written.
    """
    template = environment().get_template("verdict.html")
    title = f"{found.name}: {found.verdict}"
    html = template.render(title=title, active="", root="", run=None, runs=(), found=found)
    page = folder / "index.html"
    with writing(folder):
        (folder / "static").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(STATIC / "style.css", folder / "static" / "style.css")
        page.write_text(readable(html), encoding="utf-8", newline="")
    return page
