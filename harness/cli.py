"""The command line: options in, exit codes out. Everything else is imported when it is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import commands

if TYPE_CHECKING:
    from harness.discovery import Implementation
    from harness.profiles import Filters
    from harness.runner import Request


class Exit(IntEnum):
    """Exit codes, the same for every command (README.md)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOTHING = 3
    INCONCLUSIVE = 4
    INTERRUPTED = 130


class ProfileName(StrEnum):
    smoke = "smoke"
    quick = "quick"
    full = "full"


class ThreadsName(StrEnum):
    one = "one"
    all = "all"


class ExportName(StrEnum):
    pytest_benchmark = "pytest-benchmark"


app = typer.Typer(
    name="softmax-bench",
    help="Accuracy, overflow and throughput of softmax implementations, against certified results.",
    epilog="Exit codes: 0 done, 1 a check failed, 2 usage, 3 nothing ran, 4 inconclusive, "
    "130 interrupted (what was measured is kept).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@contextmanager
def _one_line_errors(debug: bool) -> Iterator[None]:
    """Turn the errors that users can mend into one line and a documented exit code."""
    from harness.implementation import ImplementationError
    from harness.results import ResultsError

    try:
        yield
    except (ImplementationError, ResultsError) as e:
        _stop(Exit.USAGE, e, debug)
    except KeyboardInterrupt:
        _stop(Exit.INTERRUPTED, None, debug)
    except OSError as e:
        _stop(Exit.USAGE, e, debug)
    except ValueError as e:
        from harness.runner import NothingToRun
        from harness.workloads import LogitsError

        if isinstance(e, NothingToRun):
            _stop(Exit.NOTHING, e, debug)
        if isinstance(e, LogitsError):
            _stop(Exit.USAGE, e, debug)
        raise


def _stop(code: Exit, error: BaseException | None, debug: bool) -> None:
    if debug and error is not None:
        raise error
    if error is not None:
        from harness.plain_text import one_line

        typer.echo(f"softmax-bench: {one_line(str(error), 4000)}", err=True)
    raise typer.Exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        from harness import __version__

        typer.echo(f"softmax-bench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(help="implementations, workloads, classes, profiles or bounds."),
    ] = "implementations",
    debug: Debug = False,
) -> None:
    """List implementations (with the reason where one is unavailable), workloads, class counts."""
    from harness import listing

    with _one_line_errors(debug):
        tables = listing.TABLES
        if what not in tables:
            raise typer.BadParameter(f"expected one of {', '.join(tables)}; got {what!r}")
        listing.show(tables[what]())


def _select(names: Sequence[str]) -> list[Implementation]:
    from harness.discovery import implementations, load

    if not names:
        return list(implementations().values())
    chosen = [load(name) for name in dict.fromkeys(names)]
    for one in chosen:
        twins = [c for c in chosen if c.name == one.name]
        if len(twins) > 1:
            from harness.implementation import ImplementationError

            paths = " and ".join(str(t.metadata.path) for t in twins)
            raise ImplementationError(f"two implementations are named {one.name!r}: {paths}")
    return chosen


def _filters(
    operations: Sequence[str],
    dtypes: Sequence[str],
    classes: Sequence[str],
    workload_ids: Sequence[str],
    experiments: Sequence[str],
    threads: Sequence[ThreadsName],
    logits: str | None,
) -> Filters:
    from harness import workloads
    from harness.floats import FORMATS
    from harness.implementation import OPERATIONS
    from harness.profiles import Filters
    from harness.records import EXPERIMENTS

    for option, values, known in (
        ("--operation", operations, OPERATIONS),
        ("--dtype", dtypes, FORMATS),
        ("--experiment", experiments, EXPERIMENTS),
    ):
        for value in values:
            if value not in known:
                raise typer.BadParameter(
                    f"{option}: expected one of {', '.join(known)}; got {value!r}"
                )
    try:
        counts = tuple(workloads.parse_class_count(c) for c in classes)
        ids = tuple(workloads.parse(w).id for w in workload_ids)
        captured = None if logits is None else workloads.make("file", params={"path": logits})
    except workloads.LogitsError:
        raise
    except ValueError as e:
        raise typer.BadParameter(str(e)) from None
    return Filters(
        operations=tuple(operations),
        dtypes=tuple(dtypes),
        classes=counts,
        workloads=ids,
        experiments=tuple(experiments),
        threads=tuple(t.value for t in threads),
        logits=None if captured is None else logits,
    )


Implementations = Annotated[
    list[str] | None,
    typer.Option(
        "--implementation", "-i", help="Name, or path of a Python file; repeat for several."
    ),
]


@app.command()
def run(
    profile: Annotated[
        ProfileName, typer.Option(help="How much: smoke (< 30 s), quick (< 3 min) or full.")
    ] = ProfileName.quick,
    implementation: Implementations = None,
    operation: Annotated[list[str] | None, typer.Option(help="Repeat for several.")] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="Repeat for several.")] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(help="Class count, as a number or a name (see list classes)."),
    ] = None,
    workload: Annotated[
        list[str] | None, typer.Option(help="Such as 'normal(scale=10)' (see list workloads).")
    ] = None,
    experiment: Annotated[
        list[str] | None, typer.Option(help="accuracy, overflow or throughput.")
    ] = None,
    threads: Annotated[
        list[ThreadsName] | None, typer.Option(help="Thread counts of the timings.")
    ] = None,
    logits: Annotated[
        str | None,
        typer.Option(help="Logits of your model: FILE.npy or FILE.npz[::NAME], last axis classes."),
    ] = None,
    baseline: Annotated[str, typer.Option(help="Speeds are ratios to it.")] = "max_shift",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the workloads.")] = 0,
    results: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("results"),
    reports: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("reports"),
    machine: Annotated[
        str | None, typer.Option(help="Name of the machine's folder; default: its processor.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder of an interrupted run to go on with.")
    ] = None,
    report: Annotated[bool, typer.Option(help="Render the report afterwards.")] = True,
    debug: Debug = False,
) -> None:
    """Measure all available implementations; write a run and its report."""
    from harness import terminal
    from harness.profiles import PROFILES
    from harness.results import read_run
    from harness.runner import Request

    with _one_line_errors(debug):
        if resume is not None:
            request = _resumed(resume)
        else:
            request = Request(
                implementations=_select(implementation or ()),
                profile=PROFILES[profile.value],
                filters=_filters(
                    operation or (), dtype or (), classes or (), workload or (),
                    experiment or (), threads or (), logits,
                ),
                seed=seed,
                results=results,
                machine=machine,
                baseline=baseline,
                command=["softmax-bench", *sys.argv[1:]],
            )  # fmt: skip
        folder = _measured(request)
        finished = read_run(folder)
        terminal.summary(finished)
        typer.echo(f"results: {folder}")
        if report:
            from harness.report import build

            index = build([folder], reports / finished.machine / finished.info.id)
            typer.echo(f"report: {index}")


def _measured(request: Request) -> Path:
    """Run with progress; an interrupt says how to go on."""
    from harness import terminal
    from harness.runner import run as measure

    begun: list[Path] = []
    try:
        with terminal.progress() as progress:
            progress.folder = begun.append
            return measure(request, progress)
    except KeyboardInterrupt:
        for folder in begun:
            typer.echo(
                f"softmax-bench: interrupted; what was measured is kept, go on with: "
                f"softmax-bench run --resume {folder}",
                err=True,
            )
        raise


def _resumed(folder: Path) -> Request:
    """The request that a run was started with, from its own description."""
    from dataclasses import fields

    from harness.profiles import PROFILES, Filters
    from harness.results import ResultsError, read_run
    from harness.run_description import machine_name
    from harness.runner import Request

    info = read_run(folder).info
    if info.finished is not None:
        raise ResultsError(f"{folder}: the run is finished, and finished runs are never changed")
    if info.profile not in PROFILES:
        resumable = info.profile == "exhaustive"
        how = (
            f"exhaustive --resume {folder}" if resumable else f"{info.profile}, from its beginning"
        )
        raise ResultsError(f"{folder}: not a run of this command; use softmax-bench {how}")
    paths = {Path(a).stem: a for a in info.command if a.endswith(".py")}
    chosen = _select([paths.get(i.name, i.name) for i in info.implementations])
    for one, before in zip(chosen, info.implementations, strict=True):
        if one.metadata.sha256() != before.sha256:
            raise ResultsError(
                f"{folder}: {one.name} has changed since the run began; start a new run"
            )
    names = {f.name for f in fields(Filters)}
    given: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in info.filters.items() if k in names
    }
    return Request(
        implementations=chosen,
        profile=PROFILES[info.profile],
        filters=Filters(**given),
        seed=info.seed,
        machine=machine_name(info, folder),
        baseline=info.baseline or "max_shift",
        command=info.command,
        resume=folder,
    )


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="Runs, or folders above them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the site.")] = Path(
        "reports/site"
    ),
    export: Annotated[
        ExportName | None,
        typer.Option(help="Write files for another tool into the folder instead of a site."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Render a static site from any number of runs."""
    from harness.report import build

    with _one_line_errors(debug):
        if export is ExportName.pytest_benchmark:
            from harness.export import export_pytest_benchmark

            for written in export_pytest_benchmark(results, output):
                typer.echo(f"{export.value}: {written}")
        else:
            typer.echo(f"report: {build(results, output)}")


app.command()(commands.check)
app.command()(commands.compare)
app.command()(commands.new)
app.command()(commands.claims)
app.command()(commands.exhaustive)
app.command("worst-case")(commands.worst_case)


def main() -> None:
    """Run the command; the console script."""
    try:
        app()
    except SystemExit as end:
        if end.code != Exit.INTERRUPTED:
            raise
        # CPython dies by SIGINT, whatever the exit code, once a KeyboardInterrupt has come out of
        # an `eval` or `exec`, also where it was caught (`unhandled_keyboard_interrupt` in
        # Python/pythonrun.c); which libraries make such calls is not ours to know.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(Exit.INTERRUPTED)
