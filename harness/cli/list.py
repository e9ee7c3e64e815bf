"""``softmax-bench list``: what there is to run, as tables, without importing any of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.exits import one_line_errors

Listing = tuple[str, Sequence[str], Sequence[Sequence[str]], Sequence[str]]
"""Title, header and rows of a table of plain text, and lines below it."""


def implementations() -> Listing:
    """The implementations that can run here, and what the others lack."""
    from harness.cli.unavailable import unavailable
    from harness.registry.discovery import implementations as found

    reasons = {name: one.unavailable_reason for name, one in found().items()}
    rows = [
        (name, one.metadata.device, one.metadata.description)
        for name, one in found().items()
        if reasons[name] is None
    ]
    absent = {name: reason for name, reason in reasons.items() if reason is not None}
    notes = [unavailable(absent)] if absent else []
    return "Implementations", ("name", "device", "description"), rows, notes


def families() -> Listing:
    """Workload families with their parameters."""
    from harness.workloads import FAMILIES

    rows = [
        (
            f.name,
            ", ".join(f"{name}={p.default:g}" for name, p in f.parameters.items()) or "none",
            f.description,
        )
        for f in FAMILIES.values()
    ]
    return "Workloads", ("family", "parameters and defaults", "description"), rows, ()


def class_counts() -> Listing:
    """Class counts that have a name."""
    from harness.workloads.class_counts import NAMED

    rows = [(c.name, f"{c.classes}", c.source) for c in NAMED]
    return "Class counts", ("name", "classes", "source"), rows, ()


def profiles() -> Listing:
    """Profiles, and what each measures."""
    from harness.experiments.profiles import PROFILES

    rows = [
        (
            p.name,
            ", ".join(p.dtypes),
            f"{min(p.sweep_classes)} to {max(p.sweep_classes)}",
            f"{len(p.families)}",
            ", ".join(f"{r} at {len(t.classes)}" for r, t in p.timing.items()),
        )
        for p in PROFILES.values()
    ]
    header = ("profile", "dtypes", "classes", "workload families", "timings at class counts")
    return "Profiles", header, rows, ()


def bounds() -> Listing:
    """Error bounds that an implementation can declare."""
    from harness.bounds import BOUNDS

    rows = [(b.name, f"{b.formula} ({b.source})") for b in BOUNDS.values()]
    return "Error bounds", ("name", "relative bound, and its source"), rows, ()


TABLES: Mapping[str, Callable[[], Listing]] = {
    "implementations": implementations,
    "workloads": families,
    "classes": class_counts,
    "profiles": profiles,
    "bounds": bounds,
}


def list_(
    what: Annotated[
        str,
        typer.Argument(help="implementations, workloads, classes, profiles or bounds."),
    ] = "implementations",
    debug: options.Debug = False,
) -> None:
    """List implementations (those of here first, then what others lack), workloads, and so on."""
    from rich.console import Console

    from harness.text import paragraph, table

    with one_line_errors(debug):
        options.refuse_unknown("WHAT", (what,), TABLES)
        title, header, rows, notes = TABLES[what]()
        console = Console()
        one_screen = console.is_terminal and what == "implementations"
        console.print(table(header, rows, title=title, cut=one_screen))
        for note in notes:
            paragraph(console, note)
