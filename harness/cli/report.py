"""``softmax-bench report``: a static site, or files for papers and other tools, of stored runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.exits import one_line_errors

if TYPE_CHECKING:
    from harness.comparison import Comparison
    from harness.records.reader import Run
    from harness.report.across.compared import Judge


class ExportName(StrEnum):
    pytest_benchmark = "pytest-benchmark"
    figures = "figures"


def report(
    results: Annotated[list[Path], typer.Argument(help="Runs, or folders above them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the site.")] = Path(
        "reports/site"
    ),
    export: Annotated[
        ExportName | None,
        typer.Option(help="Write files for another tool, or figures as PDF, instead of a site."),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Render a static site from any number of runs; of an earlier one what still holds is kept."""
    from harness.report import build

    with one_line_errors(debug):
        if export is ExportName.pytest_benchmark:
            from harness.report.pytest_benchmark import export_pytest_benchmark

            for written in export_pytest_benchmark(results, output):
                print(f"{export.value}: {written}")
        elif export is ExportName.figures:
            from harness.report.papers import export_figures

            for path in export_figures(results, output):
                print(f"figure: {path}")
        else:
            print(f"report: {build(results, output, judge())}")


def compared(base: Run, new: Run, names: tuple[str, str] | None) -> Comparison:
    """Two runs as `softmax-bench compare` has them, or two implementations; told by their ids."""
    from harness.comparison import compare
    from harness.comparison.operands import SEPARATOR, Side

    sides = [
        Side(f"{run.machine}/{run.info.id}" + (SEPARATOR + name if name else ""), run, name)
        for run, name in zip((base, new), names or (None, None), strict=True)
    ]
    return compare(*sides)


def judge() -> Judge:
    """The comparison, for the pages of a site that show it."""
    from harness.comparison.operands import where
    from harness.comparison.render import headline, method, to_markdown
    from harness.report.across.compared import Judge

    return Judge(compared, headline, method, to_markdown, where)
