"""``softmax-bench claims``: what has been printed about softmax, recomputed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def claims(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Claims to audit, such as A1 D3; all by default.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--json", help="Write everything as JSON to this file.")
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Show the findings behind each verdict.")
    ] = False,
) -> None:
    """Audit published claims about softmax: claimed value, certified value, verdict."""
    import json

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.claims import as_json, audit_claims

    console = Console()
    error = Console(stderr=True)

    try:
        audits = audit_claims(
            ids,
            lambda done, total, claim: error.print(
                f"{done + 1}/{total} {claim.id} ", end="\r" if error.is_terminal else "\n"
            ),
        )
    except ValueError as e:
        error.print(Text(f"error: {e}"), soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    table = Table(box=None, pad_edge=False)
    for name in ("id", "claimed", "certified", "verdict"):
        table.add_column(name, no_wrap=name == "id")
    for audit in audits:
        row = audit.row()
        table.add_row(*(Text(row[k]) for k in ("id", "claimed", "certified", "verdict")))
    console.print(table)
    if details:
        for audit in audits:
            console.print(Text(f"\n{audit.claim.id} {audit.verdict}: {audit.reason}"))
            for f in audit.evidence.findings:
                console.print(
                    Text(f"  {f.role}: {f.statement}: {f.held} of {f.cases}; {f.measured}")
                )
            console.print(Text(f"  how: {audit.evidence.derivation}"))
    if output is not None:
        text = json.dumps(as_json(audits), ensure_ascii=False, indent=1, allow_nan=False)
        output.write_text(text + "\n", encoding="utf-8")
