"""The command line: registers the commands. What one needs is imported when it is called."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from harness.cli.check import check
from harness.cli.claims import claims
from harness.cli.compare import compare
from harness.cli.exhaustive import exhaustive
from harness.cli.exits import Exit, exit_code, forgiving_streams
from harness.cli.list import list_
from harness.cli.new import new
from harness.cli.report import report
from harness.cli.reproduce import reproduce
from harness.cli.run import run
from harness.cli.show import show
from harness.cli.train import train
from harness.cli.vectors import vectors
from harness.cli.worst_case import worst_case

app = typer.Typer(
    name="softmax-bench",
    help="Accuracy, overflow and throughput of softmax implementations, against certified results.",
    epilog="Exit codes: 0 done, 1 a check failed, 2 usage, 3 nothing ran, 4 inconclusive, "
    "130 interrupted (what was measured is kept).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from harness.version import VERSION

        print(f"softmax-bench {VERSION}")
        raise typer.Exit


def _about(wanted: bool) -> None:
    if wanted:
        from harness.cli.about import show

        show()
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    about: Annotated[
        bool,
        typer.Option(
            "--about", callback=_about, is_eager=True, help="Versions and machine, to report a bug."
        ),
    ] = False,
) -> None:
    pass


app.command("list")(list_)
app.command()(run)
app.command()(check)
app.command()(show)
app.command()(compare)
app.command()(report)
app.command()(new)
app.command()(claims)
app.command()(reproduce)
app.command()(train)
app.command()(exhaustive)
app.command()(vectors)
app.command("worst-case")(worst_case)


def main() -> None:
    """Run the command; the console script."""
    forgiving_streams()
    try:
        app()
    except SystemExit as end:
        code = exit_code(end.code if isinstance(end.code, int) else 0, "softmax-bench")
        if code != Exit.INTERRUPTED:
            sys.exit(code)
        # CPython dies by SIGINT, whatever the exit code, once a KeyboardInterrupt has come out of
        # an `eval` or `exec`, also where it was caught (`unhandled_keyboard_interrupt` in
        # Python/pythonrun.c); which libraries make such calls is not ours to know.
        os._exit(Exit.INTERRUPTED)
