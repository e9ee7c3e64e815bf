"""``softmax-bench new``: a file to start from, and its test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[str, typer.Argument(help="Name of the implementation, such as my_softmax.")],
    folder: Annotated[Path, typer.Option(help="Where the files go.")] = Path(),
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write NAME.py, a right softmax to change, and test_NAME.py; overwrite nothing."""
    from harness.implementation import ImplementationError
    from harness.scaffold import scaffold

    try:
        implementation, test = scaffold(name, folder)
    except (ImplementationError, OSError) as e:
        if debug:
            raise
        from harness.plain_text import one_line

        typer.echo(f"softmax-bench: {one_line(str(e), 4000)}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"wrote {implementation} and {test}")
    typer.echo(f"judge it:     softmax-bench check {implementation}")
    typer.echo(f"run its test: pytest {test} --softmax-implementation {implementation}")
