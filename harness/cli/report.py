"""``softmax-bench report``: a static site, or files for another tool, from stored runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.exits import one_line_errors


class ExportName(StrEnum):
    pytest_benchmark = "pytest-benchmark"


def report(
    results: Annotated[list[Path], typer.Argument(help="Runs, or folders above them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the site.")] = Path(
        "reports/site"
    ),
    export: Annotated[
        ExportName | None,
        typer.Option(help="Write files for another tool into the folder instead of a site."),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Render a static site from any number of runs."""
    from harness.report import build

    with one_line_errors(debug):
        if export is ExportName.pytest_benchmark:
            from harness.report.pytest_benchmark import export_pytest_benchmark

            for written in export_pytest_benchmark(results, output):
                print(f"{export.value}: {written}")
        else:
            print(f"report: {build(results, output)}")
