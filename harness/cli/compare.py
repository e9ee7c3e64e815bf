"""``softmax-bench compare``: two runs, two implementations, or the runs of a folder over time."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import options
from harness.cli.exits import of_comparison, one_line_errors


def compare(
    base: Annotated[
        str,
        typer.Argument(
            help="A run, RUN::IMPLEMENTATION, or (alone) a folder of runs to see over time.",
        ),
    ],
    new: Annotated[
        str | None, typer.Argument(help="The run, or RUN::IMPLEMENTATION, to judge against it.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.001, max=0.9, help="Timings within this fraction do not count.")
    ] = 0.05,
    accuracy_factor: Annotated[
        float, typer.Option(min=1.0, help="Growth of an error that counts as worse.")
    ] = 1.25,
    across_machines: Annotated[
        bool, typer.Option("--across-machines", help="Compare timings of different machines.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 4 if anything is inconclusive or missing.")
    ] = False,
    markdown: options.Markdown = None,
    json: options.Json = None,
    debug: options.Debug = False,
) -> None:
    """Is NEW better, worse or equivalent to BASE? Exit 1 if worse, 3 if nothing is comparable.

    With one folder of runs: numbers over time, their step changes, and the newest run against
    the one before it.
    """
    from harness import comparison
    from harness.comparison import history_render, render
    from harness.comparison.history import history
    from harness.comparison.operands import Side
    from harness.records.reader import ResultsError, read_runs

    with one_line_errors(debug):
        over_time = None
        sides: list[str | Side]
        if new is not None:
            sides = [base, new]
        else:
            runs = read_runs([base])
            if len(runs) < 2:
                raise ResultsError(
                    f"{base}: one run; give the run or implementation to compare with, or a "
                    f"folder of several runs"
                )
            over_time = history(runs, threshold=threshold)
            sides = [Side(str(run.path), run) for run in runs[-2:]]
        found = comparison.compare(
            *sides,
            threshold=threshold,
            across_machines=across_machines,
            accuracy_factor=accuracy_factor,
        )
        render.show(found)
        if over_time is not None:
            print()
            history_render.show(over_time)
        if markdown is not None:
            text = render.to_markdown(found)
            if over_time is not None:
                text += "\n" + history_render.to_markdown(over_time)
            options.write_text(text, markdown)
        if json is not None:
            options.write_text(render.to_json(found), json)
    raise typer.Exit(of_comparison(found, strict=strict))
