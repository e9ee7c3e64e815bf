"""Options that mean the same in every command that has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Implementations = Annotated[
    list[str] | None,
    typer.Option(
        "--implementation", "-i", help="Name, or path of a Python file; repeat for several."
    ),
]
Dtypes = Annotated[
    list[str] | None, typer.Option("--dtype", help="Number format; repeat for several.")
]
Results = Annotated[Path, typer.Option(help="Where runs are kept.")]
Reports = Annotated[Path, typer.Option(help="Where the report goes.")]
Machine = Annotated[
    str | None, typer.Option(help="Name of the machine's folder; default: its processor.")
]
Resume = Annotated[
    Path | None, typer.Option("--resume", help="Folder of an interrupted run to go on with.")
]
Render = Annotated[bool, typer.Option(help="Render the report afterwards.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write everything as JSON to this file.")]
Markdown = Annotated[
    Path | None, typer.Option(help="Write a summary for a pull request to this file.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]

RESULTS = Path("results")
REPORTS = Path("reports")


def refuse_unknown(
    option: str, values: Sequence[str], known: Sequence[str] | Mapping[str, Any]
) -> None:
    """Values that an option does not have are a usage error that names those it has."""
    for value in values:
        if value not in known:
            raise typer.BadParameter(f"{option}: expected one of {', '.join(known)}; got {value!r}")


def write_text(text: str, path: Path) -> None:
    """A file that was asked for, as UTF-8."""
    from harness.errors import writing

    with writing(path):
        path.write_text(text, encoding="utf-8")


def write_json(what: Any, path: Path) -> None:
    """Strict JSON, as `text.strict_json` spells it."""
    from harness.text import strict_json

    write_text(strict_json(what), path)
