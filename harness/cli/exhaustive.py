"""``softmax-bench exhaustive``: judge every input of a whole domain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options, session
from harness.cli.exits import of_run, one_line_errors

if TYPE_CHECKING:
    from rich.console import Console

    from harness.experiments.exhaustive.plan import Tables
    from harness.records import Record
    from harness.records.reader import Run
    from harness.registry.discovery import Implementation


def exhaustive(
    implementation: options.Implementations = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option("--dtype", help="float16, bfloat16, ...; by default the table's first."),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table", help="pairs (default), line, constant, float8, exp_order, triples or bounds."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes; one a core, at most four.")
    ] = None,
    every: Annotated[
        int, typer.Option("--every", min=1, help="Judge only every N-th block: a sample.")
    ] = 1,
    scheduler: options.Scheduler = None,
    other_workers: options.OtherWorkers = options.Others.refuse,
    results: options.Results = options.RESULTS,
    reports: options.Reports = options.REPORTS,
    machine: options.Machine = None,
    resume: options.Resume = None,
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="Keep the run among the results.")
    ] = True,
    report: options.Render = True,
    output: options.Json = None,
    debug: options.Debug = False,
) -> None:
    """Judge every row of a domain: true maxima, counts of misrounded results."""
    from functools import partial

    from rich.console import Console

    from harness.experiments.exhaustive.plan import Tables, plan
    from harness.experiments.runner import Progress
    from harness.text import say

    error = Console(stderr=True)
    folders: list[Path] = []
    where = options.scheduling(scheduler, other_workers)

    with one_line_errors(debug, command="exhaustive", begun=folders if keep else ()):
        if resume is not None:
            before, chosen, asked, machine = _resumed(resume)
        else:
            before = None
            asked = Tables(
                dtypes=tuple(dtype or ()), tables=tuple(table or ("pairs",)),
                every=every, workers=workers,
            )  # fmt: skip
            _refuse_unknown(asked)
            if not implementation:
                raise typer.BadParameter("--implementation: expected at least one; got none")
            chosen = session.select(implementation)
        progress = Progress(folder=folders.append, note=partial(say, error))
        request = session.request_for(
            "exhaustive", chosen, asked,
            partial(plan, asked=asked, folder=lambda: folders[-1], on_rows=_Lines(error).say),
            seed=0 if before is None else before.info.seed,
            results=results, machine=machine, resume=before, scheduling=where,
        )  # fmt: skip
        run = session.measure(request, progress, keep=keep)
        if keep:
            session.say_where(run, reports if report else None)
        if output is not None:
            plain = [r.model_dump(mode="json", exclude_none=True) for r in run.records]
            options.write_json(plain, output)
    _show(Console(), run)
    raise typer.Exit(of_run(run))


def _refuse_unknown(asked: Tables) -> None:
    from harness.experiments.exhaustive.tables import DTYPES, formats

    options.refuse_unknown("--table", asked.tables, DTYPES)
    for name in asked.tables:
        if not formats(name, asked.dtypes):  # type: ignore[arg-type]
            wanted, have = ", ".join(asked.dtypes), ", ".join(DTYPES[name])
            raise typer.BadParameter(f"--dtype: {name} has {have}; got {wanted}")


def _resumed(folder: Path) -> tuple[Run, list[Implementation], Tables, str | None]:
    """An interrupted run, its implementations, what was asked for, and the machine's name."""
    from harness.experiments.exhaustive.plan import Tables
    from harness.experiments.run_info import machine_name

    before, chosen = session.interrupted(folder, "exhaustive")
    asked = Tables(**session.asked(before.info))
    return before, chosen, asked, machine_name(before.info, folder)


class _Lines:
    """Rows judged and time left: one line that is written over, or one every ten seconds."""

    def __init__(self, console: Console) -> None:
        import threading

        self.console = console
        self.lock = threading.Lock()
        self.last = 0.0
        self.begun: dict[str, tuple[float, int]] = {}  # when, and with how many rows, by label

    def say(self, label: str, done: int, total: int) -> None:
        """Called by several threads, after every block; several tables may be under way."""
        import time

        from rich.text import Text

        now = time.monotonic()
        with self.lock:
            started, before = self.begun.setdefault(label, (now, done))
            if now - self.last < (0.5 if self.console.is_terminal else 10.0):
                return
            self.last = now
        fresh = done - before
        left = f"{(now - started) * (total - done) / fresh:.0f} s left" if fresh else "begun"
        end = "\r" if self.console.is_terminal else "\n"
        text = f"{label}: {done / total:6.1%} of {total:,} rows, {left}  "
        self.console.print(Text(text), end=end, soft_wrap=True)


def _show(console: Console, run: Run) -> None:
    """Print the result, one number a line."""
    from harness.text import say

    for record in run.records:
        console.print()
        for name, value in _lines(record):
            if value:
                say(console, f"{name:15} {value}")
        for key, count in (getattr(record, "ulp_histogram", None) or {}).items():
            say(console, f"  {key:>6} ulp {count:>16,}")


def _lines(record: Record) -> list[tuple[str, str]]:
    from harness.records import ExhaustiveRecord

    assert isinstance(record, ExhaustiveRecord)
    whole = bool(record.exhaustive)
    judged, total = record.judged or 0, record.total or 0
    rows = f"{judged:,}" if whole or judged == total else f"{judged:,} of {total:,}"
    worst = ""
    if record.worst_logits:
        worst = f"[{', '.join(record.worst_logits)}]"
        worst += f" × {record.worst_repeat}" if record.worst_repeat else ""
        worst += f", class {record.worst_class}: got {record.worst_got}, "
        worst += f"expected {record.worst_expected}"
    ulp = "" if record.max_ulp is None else f"{record.max_ulp:.10g}"
    return [
        ("table", f"{record.table} {record.dtype}, {record.implementation}"),
        ("status", record.status + (f": {record.reason}" if record.reason else "")),
        ("rows", rows if total else ""),
        ("max ulp", ulp + (" (a true maximum)" if whole else " (lower bound)") if ulp else ""),
        ("misrounded", " + ".join(f"{m:,}" for m in record.misrounded or ())),
        ("worst", worst),
        ("figures", ", ".join(f"{k}: {v}" for k, v in (record.figures or {}).items())),
        ("rounding", record.rounding or ""),
        ("time", f"{record.elapsed_s:.1f} s" if record.elapsed_s else ""),
    ]
