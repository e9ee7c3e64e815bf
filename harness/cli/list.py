"""``softmax-bench list``: what there is to run, without importing any of it."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import options
from harness.cli.exits import one_line_errors


def list_(
    what: Annotated[
        str,
        typer.Argument(help="implementations, workloads, classes, profiles or bounds."),
    ] = "implementations",
    debug: options.Debug = False,
) -> None:
    """List implementations (with the reason where one is unavailable), workloads, class counts."""
    from harness.cli import listing

    with one_line_errors(debug):
        options.refuse_unknown("WHAT", (what,), listing.TABLES)
        listing.show(listing.TABLES[what]())
