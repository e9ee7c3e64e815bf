"""Options that mean the same in every command that has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harness.experiments.scheduled.campaign import Scheduling


class Others(StrEnum):
    """What becomes of a scheduler's workers that are not like this machine."""

    refuse = "refuse"
    record = "record"


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

Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="Have this Dask scheduler's workers measure, such as tcp://host:8786; or local:4.",
    ),
]
OtherWorkers = Annotated[
    Others,
    typer.Option(
        "--other-workers", help="Of other versions or processors: refuse them, or take and record."
    ),
]

RESULTS = Path("results")
REPORTS = Path("reports")


def refuse_unknown(
    option: str, values: Sequence[str], known: Sequence[str] | Mapping[str, Any]
) -> None:
    """Values that an option does not have are a usage error that names those it has."""
    for value in values:
        if value not in known:
            raise typer.BadParameter(f"{option}: expected one of {', '.join(known)}; got {value!r}")


def scheduling(address: str | None, others: Others) -> Scheduling | None:
    """What was asked of a scheduler; None where none was named.

    Raises:
        BadParameter: it is no address.
    """
    from harness.experiments.scheduled.campaign import LOCAL, Scheduling

    if address is None:
        return None
    count = address.removeprefix(LOCAL)
    local = count != address and count.isdecimal() and 1 <= int(count) <= 1024
    if not local and "://" not in address:
        raise typer.BadParameter(
            f"--scheduler: expected the address of a Dask scheduler, such as tcp://host:8786, or "
            f"local:N for N workers on this machine; got {address!r}"
        )
    return Scheduling(address, others=others is Others.record)


def write_text(text: str, path: Path) -> None:
    """A file that was asked for, as UTF-8."""
    from harness.errors import writing

    with writing(path):
        path.write_text(text, encoding="utf-8")


def write_json(what: Any, path: Path) -> None:
    """Strict JSON, as `text.strict_json` spells it."""
    from harness.text import strict_json

    write_text(strict_json(what), path)
