"""``softmax-bench worst-case``: search for the largest error ÷ bound, or replay what was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options, session
from harness.cli.exits import Exit, of_run, one_line_errors

if TYPE_CHECKING:
    from rich.console import Console

    from harness.records.reader import Run


def worst_case(
    implementation: Annotated[list[str], typer.Argument(help="Names, or paths of Python files.")],
    dtype: Annotated[
        list[str] | None, typer.Option("--dtype", help="Formats of the rows; float32 by default.")
    ] = None,
    classes: Annotated[
        list[int] | None,
        typer.Option("--classes", "-n", min=1, help="Classes a row; 2 by default."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0, help="Budget of a search in seconds; 10 by default."),
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
    scheduler: options.Scheduler = None,
    other_workers: options.OtherWorkers = options.Others.refuse,
    results: options.Results = options.RESULTS,
    reports: options.Reports = options.REPORTS,
    machine: options.Machine = None,
    keep: Annotated[
        bool | None,
        typer.Option("--keep/--no-keep", help="Keep the run; by default that of a search."),
    ] = None,
    report: options.Render = True,
    debug: options.Debug = False,
) -> None:
    """Search for the input of the largest error ÷ bound, or replay the corpus of such inputs."""
    from functools import partial

    from rich.console import Console

    from harness.cli import progress as terminal
    from harness.experiments.worst_case.corpus import add_to_corpus
    from harness.experiments.worst_case.plan import SECONDS, Search, plan
    from harness.numerics.formats import FORMATS
    from harness.text import say

    error = Console(stderr=True)
    options.refuse_unknown("--dtype", dtype or (), FORMATS)
    asked = Search(
        dtypes=tuple(dtype or () if replay else dtype or ("float32",)),
        classes=tuple(classes or (2,)),
        seconds=SECONDS if seconds is None and evaluations is None else seconds,
        evaluations=evaluations,
        search=not replay,
        replay=bool(replay),
        ids=() if not replay or "all" in replay else tuple(replay),
        corpus=None if corpus is None else str(corpus),
    )
    where = options.scheduling(scheduler, other_workers)
    kept = not replay if keep is None else keep
    with one_line_errors(debug):
        request = session.request_for(
            "worst-case", session.select(implementation), asked,
            partial(plan, asked=asked),
            seed=seed, results=results, machine=machine, scheduling=where,
        )  # fmt: skip
        with terminal.progress(error) as progress:
            run = session.measure(request, progress, keep=kept)
        if kept:
            session.say_where(run, reports if report else None)
        if save is not None:
            for entry in add_to_corpus(run.records, save):
                say(error, f"saved as {entry.id} in {save}")
    _show(Console(), run, whole=not replay)
    judged = any(getattr(r, "error_over_bound", None) is not None for r in run.records)
    code = of_run(run)
    raise typer.Exit(Exit.NOTHING if code == Exit.DONE and not judged else code)


def _show(console: Console, run: Run, whole: bool) -> None:
    """A table of the results, why some have none, and the whole rows of a search."""
    from harness.records import WorstCaseRecord
    from harness.text import say, table

    records = [r for r in run.records if isinstance(r, WorstCaseRecord)]
    header = ("implementation, dtype, classes, row", "error / bound", "error", "bound", "status")
    rows = []
    for r in records:
        row = r.entry if r.kind == "replay" else r.origin
        what = f"{r.implementation}, {r.dtype}, {r.classes}, {row or '–'}"
        numbers = (_number(v) for v in (r.error_over_bound, r.error_ulp, r.bound_ulp))
        rows.append((what, *numbers, r.status))
    bounds = ", ".join(dict.fromkeys(r.bound for r in records if r.bound)) or "none"
    caption = f"errors and bounds in ulps; bound: {bounds}"
    console.print(table(header, rows, caption=caption, right=1))
    for r, (what, *_) in zip(records, rows, strict=True):
        if r.reason:
            say(console, f"{what}: {r.status}: {r.reason}")
    for r in records:
        if whole and r.worst_logits:
            say(console, f"searched, {r.evaluations or 0:,} rows: a lower bound, seed {r.seed}")
            say(console, "logits " + " ".join(r.worst_logits))
            say(console, f"class {r.worst_class}: got {r.worst_got}, expected {r.worst_expected}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
