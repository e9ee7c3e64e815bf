"""``softmax-bench claims``: recompute published statements about softmax."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import options
from harness.cli.exits import one_line_errors


def claims(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Claims to audit, such as A1 D3; all by default.")
    ] = None,
    output: options.Json = None,
    details: Annotated[
        bool, typer.Option("--details", help="Show the findings behind each verdict.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Audit published claims about softmax: claimed value, certified value, verdict."""
    from rich.console import Console
    from rich.text import Text

    from harness.experiments.claims.audit import audit_claims
    from harness.text import table

    console = Console()
    error = Console(stderr=True)

    with one_line_errors(debug):
        audits = audit_claims(
            ids,
            lambda done, total, claim: error.print(
                f"{done + 1}/{total} {claim.id} ", end="\r" if error.is_terminal else "\n"
            ),
        )
        if output is not None:
            options.write_json(audits, output)
    rows = [(a.claim.id, a.claim.claimed, a.evidence.certified, a.verdict) for a in audits]
    console.print(table(("id", "claimed", "certified", "verdict"), rows))
    if details:
        for audit in audits:
            console.print(Text(f"\n{audit.claim.id} {audit.verdict}: {audit.reason}"))
            for f in audit.evidence.findings:
                console.print(
                    Text(f"  {f.role}: {f.statement}: {f.held} of {f.cases}; {f.measured}")
                )
            console.print(Text(f"  how: {audit.evidence.derivation}"))
