"""``softmax-bench reproduce``: make the results of a paper again, with a page that says how."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import options, session
from harness.cli.exits import Exit, one_line_errors, say


def reproduce(
    paper: Annotated[
        str | None,
        typer.Argument(help="The paper, or the beginning of its name; without, all are listed."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.01, help="For each implementation at each point; default 0.5."),
    ] = None,
    logits: Annotated[
        str | None,
        typer.Option(help="The paper's own logits, or yours: FILE[::NAME], rows of classes."),
    ] = None,
    results: options.Results = options.RESULTS,
    reports: options.Reports = options.REPORTS,
    machine: options.Machine = None,
    report: options.Render = True,
    output: options.Json = None,
    debug: options.Debug = False,
) -> None:
    """Make the results of a paper again: its claims, our tables, verdicts, and why they differ."""
    from dataclasses import replace
    from functools import partial

    from rich.console import Console
    from rich.padding import Padding

    from harness.cli import progress as terminal
    from harness.cli.summary import summary
    from harness.errors import UserError
    from harness.experiments.profiles import Timing
    from harness.experiments.reproductions.papers import BLANCHARD, PAPERS, paper_named

    with one_line_errors(debug):
        if paper is None:
            console = Console()
            for name, one in PAPERS.items():
                print(name)
                console.print(Padding(one.about, (0, 0, 0, 4)), highlight=False)
            return
        from harness.experiments.reproductions.passes import SECONDS
        from harness.experiments.reproductions.plan import Asked, plan
        from harness.workloads.captured import checked_shape

        chosen = paper_named(paper)
        if chosen is BLANCHARD and seconds is not None:
            raise UserError(f"--seconds: {chosen.source.id} times nothing; leave it out")
        if logits is not None:
            if chosen is not BLANCHARD:
                raise UserError(f"--logits: only {BLANCHARD.source.id} takes logits; leave it out")
            checked_shape(logits)
        asked = Asked(
            paper=chosen.source.id, seconds=seconds, logits=(logits,) if logits else (),
            implementations=chosen.implementations,
        )  # fmt: skip
        request = session.request_for(
            "reproduce", session.select(chosen.implementations), asked, partial(plan, asked=asked),
            seed=0, results=results, machine=machine,
        )  # fmt: skip
        timing = {"streaming": Timing((), 0, seconds=SECONDS)}
        request = replace(
            request,
            profile=replace(request.profile, timing=timing, operations=("softmax",), again_s=0.0),
            baseline=chosen.implementations[0],
            ready=chosen is not BLANCHARD,
        )
        with terminal.progress() as progress:
            run = session.measure(request, progress)
        summary(run)
        session.say_where(run, reports if report else None)
        if output is not None:
            plain = [r.model_dump(mode="json", exclude_none=True) for r in run.records]
            options.write_json(plain, output)
    if run.nothing_measured is not None:
        say(run.nothing_measured)
        raise typer.Exit(Exit.NOTHING)
