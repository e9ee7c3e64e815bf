"""``softmax-bench new``: a file to start from, and its test."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.exits import one_line_errors


def new(
    name: Annotated[str, typer.Argument(help="Name of the implementation, such as my_softmax.")],
    folder: Annotated[Path, typer.Option(help="Where the files go.")] = Path(),
    debug: options.Debug = False,
) -> None:
    """Write NAME.py, a right softmax to change, and test_NAME.py; overwrite nothing."""
    from harness.cli.scaffold import scaffold

    with one_line_errors(debug):
        implementation, test = scaffold(name, folder)
    print(f"wrote {implementation} and {test}")
    path, its_test = shlex.quote(str(implementation)), shlex.quote(str(test))
    print(f"judge it:     softmax-bench check {path}")
    print(f"run its test: pytest {its_test} --softmax-implementation {path}")
