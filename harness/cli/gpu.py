"""Everything that needs a GPU, in one command: ``python -m harness.gpu``.

Tests, conformance, accuracy and throughput of the implementations on a device, each within its
share of a time budget; what does not fit is recorded as skipped. It leaves a run under
``results/``, and its report where that can be drawn.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.exits import Exit
from harness.experiments.budget import (
    BUDGET_S,
    BudgetPart,
    deadlines,
    planned,
    profile,
    within_budget,
)
from harness.text import strict_json

if TYPE_CHECKING:
    from harness.experiments.context import Context, Unit
    from harness.records.reader import Run

TESTS = ("worker/test_device.py", "implementations/test_device_kernels.py")
"""Those that say something only on a device; all others have been run without one."""
PARTS_FILE = "parts.json"
_SHOWN = 40  # lines of the tests' output

_SAME = (
    "numpy", "numba", "pandas", "mpmath", "ml_dtypes",
    "platformdirs", "psutil", "pydantic", "scipy", "threadpoolctl",
)  # fmt: skip
REQUIRED: Mapping[str, str] = {name: name for name in _SAME}
"""Module to the package that brings it."""
REPORT: Mapping[str, str] = {"jinja2": "jinja2", "matplotlib": "matplotlib"}
FASTER: Mapping[str, str] = {"flint": "python-flint"}
"""Without it the reference takes mpmath's intervals: slower, and the same results."""


def absent(packages: Mapping[str, str]) -> list[str]:
    """The packages whose module cannot be found here; `packages` has their names by module."""
    return [name for module, name in packages.items() if importlib.util.find_spec(module) is None]


def missing_line(packages: Sequence[str]) -> str:
    """What is missing and how to bring it to a machine without a network, in one line."""
    return (
        f"harness.gpu: missing: {', '.join(packages)}; install them; on a machine without a "
        "network from a folder of wheels (docs/gpu.md)"
    )


def run_tests(part: BudgetPart, folder: Path) -> None:
    """The tests that need a device, in a process of their own."""
    found = [str(folder / name) for name in TESTS if (folder / name).exists()]
    lacking = absent({"pytest": "pytest"})
    if not found or lacking:
        part.status = "skipped"
        part.reason = "pytest is not installed" if lacking else f"no tests under {folder}"
        return
    started = time.monotonic()
    # A warning of some package of the image fails no test here: it says nothing of the device.
    quiet = ("-q", "-ra", "-p", "no:cacheprovider", "-W", "default")
    command = [sys.executable, "-m", "pytest", *quiet, *found]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=part.until_s
        )
        part.output = done.stdout[-4000:]
        if done.returncode:
            part.status, part.reason = "failed", f"pytest left with exit status {done.returncode}"
    except subprocess.TimeoutExpired as e:
        part.status, part.reason = "skipped", f"time budget: not over in {part.until_s:.0f} s"
        so_far: bytes | str = e.stdout or b""  # bytes, though text was asked for
        text = so_far if isinstance(so_far, str) else so_far.decode("utf-8", "replace")
        part.output = text[-4000:]
    part.units, part.seconds = len(found), time.monotonic() - started


def _outcome(part: BudgetPart) -> str:
    """How the tests went, with the end of what they printed if not all is well."""
    if part.status == "ok" or not part.output:
        return part.line()
    return "\n".join([*part.output.strip().splitlines()[-_SHOWN:], part.line()])


def measure(options: argparse.Namespace, parts: dict[str, BudgetPart], start: float) -> Run:
    """Conformance, accuracy and throughput of what runs on a device; the finished run."""
    from harness.experiments.runner import Progress, Request, run
    from harness.registry.discovery import implementations

    def budgeted(context: Context) -> list[Unit]:
        return [
            unit
            for name, units in planned(context).items()
            for unit in within_budget(units, parts[name], lambda: time.monotonic() - start)
        ]

    def told(unit: Unit, _: Any) -> None:
        print(f"{time.monotonic() - start:6.1f} s  {unit.label}", flush=True)

    there = [i for i in implementations().values() if i.metadata.device != "cpu"]
    request = Request(
        there, profile(options.profile), results=options.results, machine=options.machine,
        baseline=options.baseline, command=["python", "-m", "harness.gpu", *sys.argv[1:]],
        plan=budgeted,
    )  # fmt: skip
    return run(request, Progress(finished=told, note=print))


def _report(run: Run, reports: Path) -> str:
    """Draw the report of a run; where it is, or why there is none: the run is what counts here."""
    try:
        from harness.report import build_site

        return f"report: {build_site([run], reports / run.machine / run.info.id)}"
    except Exception as e:
        return (
            f"report: not drawn here: {type(e).__name__}: {e}; elsewhere: "
            f"softmax-bench report {shlex.quote(str(run.path))}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.gpu", description=__doc__)
    parser.add_argument("--profile", choices=("smoke", "quick", "full"), default="quick")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds for everything")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    parser.add_argument("--machine", help="name of the machine's folder")
    parser.add_argument("--baseline", default="torch_cuda")
    parser.add_argument(
        "--tests", type=Path, default=_tests_folder(), help="folder of the device tests"
    )
    return parser


def _tests_folder() -> Path:
    """Beside the package, as in a checkout; for one that is installed, of the current folder."""
    beside = Path(__file__).resolve().parents[2] / "tests"
    return beside if (beside / TESTS[0]).exists() else Path("tests")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; 0 done, 1 the tests failed, 2 packages are missing, 3 nothing ran."""
    start = time.monotonic()
    options = _parser().parse_args(arguments)
    lacking = absent(REQUIRED)
    if lacking:
        print(missing_line(lacking), file=sys.stderr)
        return Exit.USAGE
    from harness.errors import UserError
    from harness.experiments.runner import NothingToRun

    try:
        return _everything(options, start)
    except (UserError, OSError) as e:
        print(f"harness.gpu: {e}", file=sys.stderr)
        return Exit.NOTHING if isinstance(e, NothingToRun) else Exit.USAGE
    except KeyboardInterrupt:
        print("harness.gpu: interrupted; what was measured is kept", file=sys.stderr)
        return Exit.INTERRUPTED


def _everything(options: argparse.Namespace, start: float) -> Exit:
    """The tests, the measurements and the report, where there is a device."""
    from harness.machine.cuda_driver import cuda_device_count
    from harness.machine.description import refuse_unsafe

    if options.machine is not None:
        refuse_unsafe(options.machine)
    count, reason = cuda_device_count()
    if not count:
        print(f"harness.gpu: not run on a GPU: {reason}", file=sys.stderr)
        return Exit.NOTHING
    for name in absent({**FASTER, **REPORT}):
        print(f"harness.gpu: without {name}: the reference is slower, or no report is drawn here")
    parts = deadlines(options.budget)
    run_tests(parts["tests"], options.tests)
    print(_outcome(parts["tests"]), flush=True)  # now: whoever watches may end it and mend first
    run = measure(options, parts, start)
    told = strict_json(list(parts.values()))
    (run.path / PARTS_FILE).write_text(told, encoding="utf-8")
    for part in parts.values():
        print(part.line())
    print(f"results: {run.path}")
    if not absent(REPORT):
        print(_report(run, options.reports))
    nothing = run.nothing_measured
    if nothing is not None:
        print(f"harness.gpu: {nothing}", file=sys.stderr)
    if parts["tests"].status == "failed":
        return Exit.FAILED
    return Exit.DONE if nothing is None else Exit.NOTHING
