"""The figures of stored runs as PDF, for papers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.errors import writing
from harness.records.reader import read_runs
from harness.report.build import run_folders
from harness.report.drawing.figure import Plot, drawing
from harness.report.drawing.sanitize import slugs
from harness.report.drawing.style import Style, styles
from harness.report.drawing.svg import settle
from harness.report.pages import implementation, pareto
from harness.report.run_data import RunData, from_run
from harness.report.sections import SECTIONED


def export_figures(results: Sequence[Path], output: Path) -> list[Path]:
    """Write every figure of the pages of runs as PDF; as a report shows it without its script.

    Args:
        results: folders of runs, or folders that hold such folders.
        output: gets a folder for each run.

    Returns:
        The files.

    Raises:
        ResultsError: nothing there is a run, or none of them can be read.
        UserError: `output` cannot be written.
    """
    runs = read_runs(results)
    folders = run_folders([run.info.id for run in runs])
    written = []
    with writing(output), drawing():
        for run, name in zip(runs, folders, strict=True):
            folder = output / name
            folder.mkdir(parents=True, exist_ok=True)
            data = from_run(run, "")
            for plot in _plots(data, styles(data.implementations)):
                if plot.figure is not None:
                    settle(plot.figure)
                    path = folder / f"{plot.name}.pdf"
                    plot.figure.savefig(path, metadata={"CreationDate": None})
                    written.append(path)
    return written


def _plots(run: RunData, style: Mapping[str, Style]) -> Iterator[Plot]:
    yield pareto.pareto(run, style, "pareto")
    for _, sections in SECTIONED.values():
        for section in sections(run, style):
            yield from section.plots
    for name, stem in slugs(run.implementations).items():
        yield implementation.accuracy(run, name, style, f"{stem}-accuracy")
