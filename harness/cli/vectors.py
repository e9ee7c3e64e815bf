"""``softmax-bench vectors``: inputs and correctly rounded results for programs in any language."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.exits import one_line_errors


def vectors(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write; empty, or not there yet.")
    ],
    operation: Annotated[list[str] | None, typer.Option(help="Repeat for several.")] = None,
    dtype: options.Dtypes = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the inputs that are drawn.")] = 0,
    debug: options.Debug = False,
) -> None:
    """Write reference vectors: inputs and correctly rounded results that any language reads."""
    from rich.console import Console

    from harness.experiments.vectors.folder import write
    from harness.experiments.vectors.vector import CERTIFIED
    from harness.numerics.formats import FORMATS

    error = Console(stderr=True)
    options.refuse_unknown("--operation", operation or (), CERTIFIED)
    options.refuse_unknown("--dtype", dtype or (), FORMATS)
    with one_line_errors(debug):
        made = write(
            output, operation or (), dtype or (), seed,
            lambda done, total, what: error.print(
                f"{done + 1}/{total} {what:40}", end="\r" if error.is_terminal else "\n"
            ),
        )  # fmt: skip
    count, rows, size = sum(made.vectors.values()), sum(made.rows.values()), made.size / 1e6
    print(f"wrote {output}: {count:,} vectors, {rows:,} rows, {size:.3g} MB")
    if made.left_out:
        print(f"left out {len(made.left_out)} that could not be certified: see README.md there")
    print(f"check it: (cd {shlex.quote(str(output))} && sha256sum --quiet -c SHA256SUMS)")
    print("read it:  README.md there has the format, docs/vectors.md readers")
