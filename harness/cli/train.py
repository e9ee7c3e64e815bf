"""``softmax-bench train``: what softmax and format do to networks that learn with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options, session
from harness.cli.exits import Exit, one_line_errors, say
from harness.cli.run import ProfileName

if TYPE_CHECKING:
    from rich.console import Console

    from harness.experiments.training.plan import Asked
    from harness.records.reader import Run
    from harness.registry.discovery import Implementation


def train(
    profile: Annotated[
        ProfileName, typer.Option(help="How much: smoke, quick (minutes) or full.")
    ] = ProfileName.quick,
    implementation: options.Implementations = None,
    dtype: options.Dtypes = None,
    question: Annotated[
        list[str] | None,
        typer.Option(
            "--question",
            "-q",
            help="digits, nonfinite, vanishing, depth, collapse, clipping or cost; repeat.",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings of each network; full 5, quick 3.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The first of the seeds.")] = 0,
    results: options.Results = options.RESULTS,
    reports: options.Reports = options.REPORTS,
    machine: options.Machine = None,
    resume: options.Resume = None,
    report: options.Render = True,
    output: options.Json = None,
    debug: options.Debug = False,
) -> None:
    """Train digit classifiers with the softmax and loss under test, in the format under test."""
    from dataclasses import replace
    from functools import partial

    from rich.console import Console

    from harness.cli import progress as terminal
    from harness.experiments.profiles import DTYPES
    from harness.experiments.training.plan import QUESTIONS, Asked, plan

    options.refuse_unknown("--question", question or (), QUESTIONS)
    options.refuse_unknown("--dtype", dtype or (), DTYPES)
    begun: list[Path] = []
    with one_line_errors(debug, command="train", begun=begun):
        if resume is not None:
            before, chosen, asked, machine = _resumed(resume)
        else:
            before, chosen = None, session.select(implementation or _usual(profile))
            asked = Asked(
                dtypes=tuple(dtype or ()), questions=tuple(question or ()), seeds=seeds,
                grid=profile.value,
            )  # fmt: skip
        request = session.request_for(
            "train", chosen, asked, partial(plan, asked=asked),
            seed=seed if before is None else before.info.seed,
            results=results, machine=machine, resume=before,
        )  # fmt: skip
        request = replace(request, ready=False)  # a training has processes of its own
        with terminal.progress() as progress:
            progress.folder = begun.append
            run = session.measure(request, progress)
        _show(Console(), run)
        session.say_where(run, reports if report else None)
        if output is not None:
            plain = [r.model_dump(mode="json", exclude_none=True) for r in run.records]
            options.write_json(plain, output)
    if run.nothing_measured is not None:
        say(run.nothing_measured)
        raise typer.Exit(Exit.NOTHING)


def _usual(profile: ProfileName) -> tuple[str, ...]:
    """Whose softmax is trained with if none is named: everybody's, in a smoke test a few."""
    return ("max_shift", "naive", "torch") if profile is ProfileName.smoke else ()


def _resumed(folder: Path) -> tuple[Run, list[Implementation], Asked, str | None]:
    """An interrupted run, its implementations, what was asked for, and the machine's name."""
    from harness.experiments.run_info import machine_name
    from harness.experiments.training.plan import Asked

    before, chosen = session.interrupted(folder, "train")
    asked = Asked(**session.asked(before.info))
    return before, chosen, asked, machine_name(before.info, folder)


def _show(console: Console, run: Run) -> None:
    """Print an answer to each question, and why something was not measured."""
    from collections import Counter

    from harness.report.pages import training
    from harness.report.run_data import from_run
    from harness.text import paragraph

    data = from_run(run, "")
    for kind, text in training.told(data).items():
        plain = text.replace("\u202f", " ")  # which few terminals have
        paragraph(console, f"{training.QUESTIONS[kind]}: {plain}")
    missing = Counter((r.status, r.reason) for r in run.records if r.status != "ok")
    for (status, reason), count in missing.most_common(8):
        paragraph(console, f"{count} cells {status}: {reason}")
