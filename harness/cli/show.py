"""``softmax-bench show``: the table of a stored run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.exits import one_line_errors


def show(
    run: Annotated[
        Path, typer.Argument(help="A run's folder, or a folder above several: then the newest.")
    ] = options.RESULTS,
    debug: options.Debug = False,
) -> None:
    """Print the table with which a run ended: what is best, and why something is not."""
    from rich.console import Console

    from harness.cli.summary import summary
    from harness.records.reader import read_newest
    from harness.text import say

    with one_line_errors(debug):
        newest, count = read_newest(run)
        console = Console()
        if count > 1:
            say(console, f"the newest of {count} runs: {newest.path}")
        summary(newest, console)
        say(console, f"pages: softmax-bench report {shlex.quote(str(newest.path))}")
