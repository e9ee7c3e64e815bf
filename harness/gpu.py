"""Everything that needs a GPU, in one command: ``python -m harness.gpu``.

Tests, conformance, accuracy and throughput of the implementations on a device, each within its
share of a time budget; what does not fit is recorded as skipped. It leaves a run under
``results/``, and its report where that can be drawn. It asks for less than the whole project: what
an image for CUDA work commonly has, and the few packages of `REQUIRED` that it then lacks.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.experiments.context import Context, Unit
    from harness.profiles import Profile
    from harness.records import Record

REQUIRED: Mapping[str, str] = {
    "numpy": "numpy",
    "numba": "numba",
    "pandas": "pandas",
    "mpmath": "mpmath",
    "ml_dtypes": "ml_dtypes",
    "platformdirs": "platformdirs",
    "psutil": "psutil",
    "pydantic": "pydantic",
    "scipy": "scipy",
    "threadpoolctl": "threadpoolctl",
}
"""Module to the package that brings it."""
REPORT: Mapping[str, str] = {"jinja2": "jinja2", "matplotlib": "matplotlib"}
FASTER: Mapping[str, str] = {"flint": "python-flint"}
"""Without it the reference takes mpmath's intervals: slower, and the same results."""

BUDGET_S = 570.0
SHARES: Mapping[str, float] = {
    "tests": 0.15,
    "conformance": 0.35,
    "accuracy": 0.1,
    "device_throughput": 0.35,
}
"""Of the budget; the rest is for the start and the report. A part leaves what it saves to later."""
TESTS = ("test_device.py", "test_device_kernels.py")
"""Those that say something only on a device; all others have been run without one."""
COMPILED_BY_SHAPE = ("torch_compile_cuda", "jax_cuda")
"""They compile for every shape, a second or more each time: judged last, with what time is left."""
PARTS_FILE = "parts.json"
NOTHING, USAGE, FAILED = 3, 2, 1


@dataclass
class Part:
    """One part of the run, for `PARTS_FILE`.

    Attributes:
        name: key of `SHARES`.
        until_s: when it had to be over, in seconds from the start.
        seconds: what it took.
        units, skipped: how many units of work it had, and how many did not fit.
        status: ``"ok"``, ``"failed"`` or ``"skipped"``, with the reason where it is not ok.
        output: the end of what the tests printed.
    """

    name: str
    until_s: float
    seconds: float = 0.0
    units: int = 0
    skipped: int = 0
    status: str = "ok"
    reason: str | None = None
    output: str | None = None


def absent(packages: Mapping[str, str]) -> list[str]:
    """Those of some packages whose module cannot be found here."""
    return [name for module, name in packages.items() if importlib.util.find_spec(module) is None]


def missing_line(packages: Sequence[str]) -> str:
    """What is missing and how to bring it along to a machine without a network, in one line."""
    names = " ".join(packages)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"harness.gpu: missing: {', '.join(packages)}; where there is a network: "
        f"pip download --only-binary=:all: --python-version {version} -d wheels {names}; here: "
        f"pip install --no-index --find-links wheels {names}"
    )


def deadlines(budget: float) -> dict[str, Part]:
    """The parts of a budget, each with the time by which it has to be over."""
    found, until = {}, 0.0
    for name, share in SHARES.items():
        until += share * budget
        found[name] = Part(name, until)
    return found


def within_budget(
    units: Iterable[Unit], parts: Mapping[str, Part], clock: Callable[[], float]
) -> list[Unit]:
    """The same units, which give skipped records once the time of their part is over.

    A unit also does not begin where less time is left than the longest of its part took so far;
    then none of its part does, and what runs ahead for them is ended.

    Args:
        clock: seconds since the start of everything.
    """
    longest: dict[str, float] = {}

    def measure(unit: Unit) -> Iterator[Record]:
        part = parts[unit.experiment]
        started = clock()
        part.units += 1
        if started + longest.get(part.name, 0.0) > part.until_s:
            part.skipped += 1
            part.status = "skipped"
            part.reason = (
                f"time budget: {part.name} had to be over {part.until_s:.0f} s after the start"
            )
            unit.abandon()
            for record in unit.coordinates:
                yield record.ended("skipped", part.reason)
            return
        yield from unit.measure()
        took = clock() - started
        part.seconds += took
        longest[part.name] = max(took, longest.get(part.name, 0.0))

    return [replace(unit, measure=partial(measure, unit)) for unit in units]


def run_tests(part: Part, folder: Path) -> None:
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


def profile(name: str) -> Profile:
    """The grid: that of the profile of this name, without what needs no device."""
    from harness.profiles import PROFILES

    return replace(
        PROFILES[name],
        name=f"gpu-{name}",
        experiments=tuple(n for n in SHARES if n != "tests"),
        dtypes=("float32", "bfloat16", "float16", "float64"),
        operations=("softmax", "log_softmax", "softmax_backward", "cross_entropy"),
    )


def measure(options: argparse.Namespace, parts: dict[str, Part], start: float) -> Path:
    """Conformance, accuracy and throughput of what runs on a device; the run's folder."""
    from harness.discovery import implementations
    from harness.runner import Progress, Request, plan, run

    def budgeted(context: Context) -> list[Unit]:
        return within_budget(plan(context), parts, lambda: time.monotonic() - start)

    def told(unit: Unit, _: Any) -> None:
        print(f"{time.monotonic() - start:6.1f} s  {unit.label}", flush=True)

    there = [i for i in implementations().values() if i.metadata.device != "cpu"]
    chosen = sorted(there, key=lambda i: i.name in COMPILED_BY_SHAPE)
    request = Request(
        chosen, profile(options.profile), results=options.results, machine=options.machine,
        baseline=options.baseline, command=["python", "-m", "harness.gpu", *sys.argv[1:]],
        plan=budgeted,
    )  # fmt: skip
    return run(request, Progress(finished=told, note=print))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.gpu", description=__doc__)
    parser.add_argument("--profile", choices=("smoke", "quick", "full"), default="quick")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds for everything")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    parser.add_argument("--machine", help="name of the machine's folder")
    parser.add_argument("--baseline", default="torch_cuda")
    parser.add_argument("--tests", type=Path, default=Path("tests"), help="folder of the tests")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; 0 done, 1 the tests failed, 2 packages are missing, 3 there is no device."""
    start = time.monotonic()
    options = _parser().parse_args(arguments)
    lacking = absent(REQUIRED)
    if lacking:
        print(missing_line(lacking), file=sys.stderr)
        return USAGE
    from harness.devices import cuda_device_count

    count, reason = cuda_device_count()
    if not count:
        print(f"harness.gpu: not run on a GPU: {reason}", file=sys.stderr)
        return NOTHING
    for name in absent({**FASTER, **REPORT}):
        print(f"harness.gpu: without {name}: the reference is slower, or no report is drawn here")
    parts = deadlines(options.budget)
    run_tests(parts["tests"], options.tests)
    from harness.runner import NothingToRun

    try:
        folder = measure(options, parts, start)
    except NothingToRun as e:
        print(f"harness.gpu: {e}", file=sys.stderr)
        return NOTHING
    told = json.dumps([asdict(p) for p in parts.values()], indent=1, ensure_ascii=False)
    (folder / PARTS_FILE).write_text(told + "\n", encoding="utf-8")
    for part in parts.values():
        tail = f": {part.reason}" if part.reason else ""
        print(f"{part.name}: {part.status}, {part.seconds:.0f} s, {part.units} units, "
              f"{part.skipped} skipped{tail}")  # fmt: skip
    print(f"results: {folder}")
    if not absent(REPORT):
        from harness.report import build

        print(f"report: {build([folder], options.reports / folder.parent.name / folder.name)}")
    return FAILED if parts["tests"].status == "failed" else 0


if __name__ == "__main__":
    sys.exit(main())
