"""``softmax-bench check``: the verdict on one implementation, fit for a CI gate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.exits import OF_CHECK, one_line_errors


def check(
    target: Annotated[
        str, typer.Argument(help="Path of a Python file, package.module:function, or a name.")
    ],
    timing: Annotated[bool, typer.Option(help="Measure the speed beside the baselines.")] = True,
    dtype: options.Dtypes = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Beside whom to measure; repeat for several.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Findings fail, too.")] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first failure.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell everything that was found.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write a page of this check into this folder.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Keep the runs in this folder (default: not kept).")
    ] = None,
    markdown: options.Markdown = None,
    json: options.Json = None,
    debug: options.Debug = False,
) -> None:
    """Judge an implementation; exit 0 if it passes, 1 if it fails, 3 if it cannot run here."""
    from rich.console import Console

    from harness.cli import progress as terminal
    from harness.cli.verdict import show, to_markdown
    from harness.experiments.check import BASELINES
    from harness.experiments.check import check as judge
    from harness.numerics.formats import FORMATS

    options.refuse_unknown("--dtype", dtype or (), FORMATS)
    with one_line_errors(debug):
        with terminal.progress() as progress:
            found = judge(
                target,
                timing=timing,
                dtypes=tuple(dtype or ()),
                baselines=tuple(baseline or BASELINES),
                strict=strict,
                fail_fast=fail_fast,
                results=results,
                progress=progress,
            )
        if markdown is not None:
            options.write_text(to_markdown(found), markdown)
        if json is not None:
            options.write_json(found, json)
        if report is not None:
            from harness.report.build import write_verdict

            print(f"report: {write_verdict(found, report)}")
    show(found, Console(), verbose=verbose)
    raise typer.Exit(OF_CHECK[found.verdict])
