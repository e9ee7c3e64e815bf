"""``softmax-bench exhaustive``: whole domains, judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.exhaustive import ExhaustiveResult


def exhaustive(
    implementation: Annotated[
        str, typer.Option("--implementation", "-i", help="Name, or path of a Python file.")
    ],
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float16, bfloat16, ...; by default the table's.")
    ] = None,
    table: Annotated[
        str, typer.Option("--table", help="pairs, line, constant, float8 or exp_order.")
    ] = "pairs",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes; one a core, at most four.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", help="File to save progress to, and to go on from."),
    ] = None,
    every: Annotated[
        int, typer.Option("--every", min=1, help="Only every so manyth block: a sample.")
    ] = 1,
    output: Annotated[
        Path | None, typer.Option("--json", help="Write the result as JSON to this file.")
    ] = None,
) -> None:
    """Judge every row of a domain: true maxima, counts of misrounded results."""
    import json
    import threading
    import time

    from rich.console import Console
    from rich.text import Text

    from harness.exhaustive import CheckpointError, run_exhaustive
    from harness.implementation import ImplementationError

    console = Console()
    error = Console(stderr=True)
    started = time.monotonic()
    last = started
    lock = threading.Lock()

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        with lock:
            if now - last < (0.5 if error.is_terminal else 10.0):
                return
            last = now
        left = (now - started) * (total - done) / max(done, 1)
        end = "\r" if error.is_terminal else "\n"
        error.print(f"{done / total:6.1%} of {total:,} rows, {left:.0f} s left ", end=end)

    if table not in ("pairs", "line", "constant", "float8", "exp_order"):
        error.print(
            f"error: --table: expected pairs, line, constant, float8 or exp_order; got {table}"
        )
        raise typer.Exit(2)
    try:
        result = run_exhaustive(
            implementation,
            table,  # type: ignore[arg-type]
            dtype,
            workers=workers,
            checkpoint=resume,
            every=every,
            on_progress=progress,
        )
    except (ImplementationError, CheckpointError, ValueError) as e:
        error.print(Text(f"error: {e}"), soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        hint = f"; go on with --resume {resume}" if resume else ""
        error.print(Text(f"interrupted{hint}"), soft_wrap=True)
        raise typer.Exit(130) from None
    _show(console, result)
    if output is not None:
        text = json.dumps(result.as_json(), ensure_ascii=False, indent=1, allow_nan=False)
        output.write_text(text + "\n", encoding="utf-8")
    if result.status in ("unavailable", "unsupported"):
        raise typer.Exit(3)
    if result.status != "ok":
        raise typer.Exit(1)


def _show(console: object, result: ExhaustiveResult) -> None:
    """The result, a figure a line."""
    from rich.console import Console
    from rich.text import Text

    assert isinstance(console, Console)
    for name, value in result.row().items():
        if value:
            console.print(Text(f"{name:15} {value}"), soft_wrap=True)
    for key, count in result.histogram.items():
        console.print(Text(f"  {key:>6} ulp {count:>16,}"))
    if result.worst is not None:
        console.print(Text(f"  got {result.worst.computed}, expected {result.worst.expected}"))
    if result.rounding:
        console.print(Text(f"  {result.rounding}"), soft_wrap=True)
