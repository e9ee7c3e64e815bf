"""From runs to a folder of pages, and from the verdict of a check to one: the files of a report.

The site is built in a temporary folder beside the wanted one and then put in its place, so that
an interrupted build leaves the old report whole.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UserError, writing
from harness.records.reader import Run, read_runs
from harness.report.drawing.sanitize import readable, slugs
from harness.report.drawing.style import styles
from harness.report.render import render
from harness.report.run_data import RunData, from_run
from harness.report.site import Site, environment, style_sheet

MARKER = ".softmax-bench-report"


class ReportError(UserError):
    """A report that cannot be made; the message is one line that says what to do."""


def build(results: Sequence[Path], output: Path) -> Path:
    """Render the runs found under `results` as a static site.

    Args:
        results: folders of runs, or folders that hold such folders.
        output: folder of the site; replaced where it holds an earlier report.

    Returns:
        The path of its ``index.html``.

    Raises:
        ReportError: no run is found, or `output` holds something that is no report.
    """
    runs = read_runs(list(results))
    if not runs:
        places = ", ".join(str(p) for p in results)
        raise ReportError(
            f"results: expected folders with a run.json; found none under {places}; "
            f"`softmax-bench run` makes one"
        )
    return build_site(runs, output)


def build_site(runs: Iterable[Run], output: Path, processes: int | None = None) -> Path:
    """Render runs that were already read; otherwise like `build`. `processes`: see `render`."""
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise ReportError(f"{output}: expected a folder; got a file; give another output")
    if output.exists() and any(output.iterdir()) and not (output / MARKER).exists():
        raise ReportError(
            f"{output}: expected an empty folder or an earlier report; it holds other files; "
            f"give another output"
        )
    found = sorted(runs, key=lambda r: (r.info.created, r.info.id))
    folders = _folders([r.info.id for r in found])
    data = [from_run(r, folder) for r, folder in zip(found, folders, strict=True)]
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
        try:
            _write(data, work, processes)
            if output.exists():
                shutil.rmtree(output)
            work.rename(output)
            output.chmod(0o755)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    return output / "index.html"


def _folders(ids: Sequence[str]) -> list[str]:
    """A folder for each run: its id, behind a number where ids are equal; for one, the root."""
    if len(ids) == 1:
        return [""]
    if len(set(ids)) < len(ids):
        ids = [f"{i:04d} {one}" for i, one in enumerate(ids)]
    return [f"{folder}/" for folder in slugs(ids).values()]


def _write(runs: Sequence[RunData], folder: Path, processes: int | None) -> None:
    (folder / MARKER).write_text("softmax-bench report; may be replaced by a later one\n")
    _write_style(folder)
    everyone = {name for run in runs for name in run.implementations}
    render(Site(folder, runs, styles(everyone)), processes)


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
        folder.mkdir(parents=True, exist_ok=True)
        _write_style(folder)
        page.write_text(readable(html), encoding="utf-8", newline="")
    return page


def _write_style(folder: Path) -> None:
    (folder / "static").mkdir(exist_ok=True)
    sheet = folder / "static" / "style.css"
    sheet.write_text(style_sheet(), encoding="utf-8", newline="")
