"""``softmax-bench worst-case``: search for the largest error ÷ bound, or replay what was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.worst_case import WorstCase


def worst_case(
    implementation: Annotated[str, typer.Argument(help="Name, or path of a Python file.")],
    dtype: Annotated[str, typer.Option("--dtype", help="Format of the rows.")] = "float32",
    classes: Annotated[int, typer.Option("--classes", "-n", min=1, help="Classes a row.")] = 2,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0, help="Budget in seconds; 10 by default.")
    ] = None,
    evaluations: Annotated[
        int | None,
        typer.Option("--evaluations", min=1, help="Budget in rows: the same row every time."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    save: Annotated[
        Path | None, typer.Option("--save", help="Append what is found to this corpus.")
    ] = None,
    replay: Annotated[
        list[str] | None,
        typer.Option("--replay", help="Replay an entry of the corpus by its id; or 'all'."),
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="The corpus to replay; the packaged one.")
    ] = None,
) -> None:
    """Search for the input of the largest error ÷ bound, or replay the corpus of such inputs."""
    from rich.console import Console
    from rich.text import Text

    from harness import worst_case as package
    from harness.implementation import ImplementationError

    console = Console()
    error = Console(stderr=True)
    try:
        if replay:
            ids = None if "all" in replay else replay
            pairs = package.replay(implementation, ids, corpus or package.CORPUS)
            found = [result for _, result in pairs]
        else:
            budget = 10.0 if seconds is None and evaluations is None else seconds
            found = [
                package.search_worst_case(
                    implementation,
                    dtype,
                    classes,
                    seconds=budget,
                    evaluations=evaluations,
                    seed=seed,
                    on_progress=lambda rows, spent, best: (
                        error.print(
                            f"{rows:,} rows, {spent:.0f} s, error / bound {best:.4g} ", end="\r"
                        )
                        if error.is_terminal
                        else None
                    ),
                )
            ]
            if save is not None:
                for entry in package.add_to_corpus(found, save):
                    error.print(Text(f"saved as {entry.id} in {save}"), soft_wrap=True)
    except (ImplementationError, package.CorpusError, ValueError, TypeError) as e:
        error.print(Text(f"error: {e}"), soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    _show(console, found, whole=not replay)
    judged = [f for f in found if f.error_over_bound is not None]
    if any(f.status not in ("ok", "unsupported", "unavailable") for f in found):
        raise typer.Exit(1)
    if not judged:
        raise typer.Exit(3)


def _show(console: object, found: list[WorstCase], whole: bool) -> None:
    """A table of the results, and the whole row of a search."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    assert isinstance(console, Console)
    table = Table(box=None, pad_edge=False)
    columns = ("dtype", "classes", "status", "error / bound", "error (ulp)", "bound", "reason")
    table.add_column("what", no_wrap=True)
    for name in columns:
        table.add_column(name)
    for result in found:
        row = result.row()
        table.add_row(Text(result.origin or "–"), *(Text(row[c]) for c in columns))
    console.print(table)
    if whole and found and found[0].logits:
        result = found[0]
        console.print(Text(f"{result.label}, seed {result.seed}"))
        console.print(Text("logits " + " ".join(result.logits)), soft_wrap=True)
        console.print(
            Text(f"class {result.output}: got {result.computed}, expected {result.expected}")
        )
