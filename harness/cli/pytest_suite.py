"""The tests that the pytest plugin adds: one a catalogue case, an accuracy input, a timing.

Implementations are called in a worker process of their own, so that one that crashes or hangs
fails its test and no other; throughput alone is measured in this process, by pytest-benchmark.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness import workloads
from harness.cli.pytest_options import CHOSEN, FINDING, OPTION
from harness.experiments.accuracy_cell import judge as judge_accuracy
from harness.experiments.conformance.catalogue import CASES
from harness.experiments.conformance.judge import Options
from harness.experiments.conformance.judge import judge as judge_conformance
from harness.experiments.conformance.target import RemoteSubject
from harness.experiments.context import Context, worker_for
from harness.experiments.profiles import SMOKE
from harness.numerics.formats import float_format
from harness.records import AccuracyRecord
from harness.reference import softmax_exact
from harness.registry.discovery import Implementation
from harness.worker import backends
from harness.worker.client import Pool, WorkerFault
from harness.worker.local import LocalImplementation

CLASSES = (2, 10, 71, 1000)
WORKLOADS = (
    "normal(scale=1)", "normal(scale=10)", "offset(offset=10000)", "wide_range",
    "one_dominant", "near_ties", "masked(fraction=0.25)",
)  # fmt: skip
TIMED = ((4096, 10), (64, 1000), (1, 32_000))
"""Rows and classes of the throughput tests."""

_ELEMENTS = 4096
_MOST_ROWS = 64
_DEFAULT_DTYPES = ("float32", "float64")


def dtypes_of(implementation: Implementation) -> tuple[str, ...]:
    """Formats that it is judged on: those it declares, else float32 and float64."""
    return implementation.metadata.dtypes or _DEFAULT_DTYPES


@dataclass
class Bench:
    """The implementations under test, each with its workers, for the whole session."""

    chosen: dict[str, Implementation]
    seed: int
    strict: bool
    context: Context = field(init=False)
    subjects: dict[str, RemoteSubject] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pool = Pool()
        for one in self.chosen.values():
            pool.add(worker_for(one))
        self.context = Context(
            list(self.chosen.values()), pool, SMOKE, self.seed, cores=1, on_note=lambda note: None
        )

    def subject(self, name: str) -> RemoteSubject:
        if name not in self.subjects:
            self.subjects[name] = RemoteSubject(self.chosen[name])
        return self.subjects[name]

    def stop(self) -> None:
        self.context.pool.stop()
        for subject in self.subjects.values():
            subject.stop()


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    config = request.config
    made = Bench(
        config.stash[CHOSEN],
        config.getoption("--softmax-seed"),
        config.getoption("--softmax-strict"),
    )
    yield made
    made.stop()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = metafunc.config.stash[CHOSEN]
    name = metafunc.function.__name__
    cells: list[tuple[Any, ...]] = []
    for key, one in chosen.items():
        if name == "test_case":
            cells += [
                (key, operation, dtype, case.id)
                for operation in one.operations
                for dtype in dtypes_of(one)
                for case in CASES
                if case.applies(operation, dtype) and not case.heavy
                if not case.whole or (operation, dtype) == (one.operations[0], dtypes_of(one)[0])
            ]
        elif "softmax" not in one.operations:
            continue
        elif name == "test_accuracy":
            cells += [(key, d, w, c) for d in dtypes_of(one) for w in WORKLOADS for c in CLASSES]
        elif name == "test_throughput":
            cells += [(key, d, rows, c) for d in dtypes_of(one) for rows, c in TIMED]
    arguments = {
        "test_case": "implementation,operation,dtype,case",
        "test_accuracy": "implementation,dtype,workload,classes",
        "test_throughput": "implementation,dtype,rows,classes",
    }[name]
    metafunc.parametrize(arguments, cells, ids=[_id(c) for c in cells])


def _id(cell: tuple[Any, ...]) -> str:
    """An identifier that -k takes as it is: ``normal(scale=1)`` would be an expression there."""
    return "-".join(re.sub(r"[^\w.+]+", "_", str(part)).strip("_") for part in cell)


def _replay(request: pytest.FixtureRequest, *lines: str) -> str:
    bench: Bench = request.getfixturevalue("bench")
    name = request.node.callspec.params["implementation"]
    path = shlex.quote(str(bench.chosen[name].metadata.path))
    again = f"pytest {OPTION} {path} --softmax-seed {bench.seed} -k '{request.node.name}'"
    return "\n".join([*(f"  replay:   {line}" for line in lines), f"  again:    {again}"])


def test_case(
    request: pytest.FixtureRequest,
    bench: Bench,
    implementation: str,
    operation: str,
    dtype: str,
    case: str,
) -> None:
    """One case of the conformance catalogue."""
    options = Options(seed=bench.seed, cases=(case,))
    (result,) = judge_conformance(bench.subject(implementation), operation, dtype, options=options)
    if result.verdict in ("skipped", "unsupported"):
        pytest.skip(str(result.reason))
    if result.verdict == "pass":
        return
    if result.verdict == "expected":
        pytest.xfail(f"declared deviation {result.deviation!r}: {result.deviation_reason}")
    text = "\n".join(
        [
            f"{implementation}: {result.message}",
            f"  case:     {result.title}",
            f"  input:    {' '.join(result.case_input or ()) or 'as the case makes it'}",
            f"  expected: {result.expected}",
            f"  got:      {result.got}",
            *(f"  also:     {other}" for other in result.others or ()),
        ]
    )
    if result.verdict == "finding" and not bench.strict:
        request.node.user_properties.append((FINDING, f"{implementation}: {result.message}"))
        return
    pytest.fail(f"{text}\n{_replay(request)}", pytrace=False)


def test_accuracy(
    request: pytest.FixtureRequest,
    bench: Bench,
    implementation: str,
    dtype: str,
    workload: str,
    classes: int,
) -> None:
    """Every element within the bound that applies, against the certified reference."""
    rows = max(1, min(_MOST_ROWS, _ELEMENTS // classes))
    x = workloads.generate(workload, classes, rows, dtype, bench.seed)
    one = bench.chosen[implementation]
    try:
        y = bench.context.call(one, "softmax", x, axis=-1)
    except WorkerFault as fault:
        pytest.fail(f"{implementation}.softmax: {fault.status}: {fault.reason}", pytrace=False)
    blank = AccuracyRecord(implementation=implementation, dtype=dtype, status="skipped")
    record = judge_accuracy(bench.context, one, x, y, softmax_exact(x), blank)
    if record.status == "ok":
        return
    if record.deviation is not None:
        reasons = {d.id: d.reason for d in one.metadata.deviations}
        ids = record.deviation.split(", ")
        pytest.xfail("; ".join(f"declared deviation {i!r}: {reasons[i]}" for i in ids))
    row, column = record.worst_row, record.worst_class
    make = (
        f"x = harness.workloads.generate({workload!r}, {classes}, {rows}, {dtype!r}, {bench.seed})"
    )
    text = "\n".join(
        [
            f"{implementation}.softmax, {dtype}, {workload}, {rows} rows of {classes} classes: "
            f"{record.reason}",
            f"  where:    row {row}, class {column}, logit {record.worst_logit}",
            f"  expected: {_both(str(record.worst_expected))}",
            f"  got:      {_both(str(record.worst_got))}",
            f"  allowed:  {record.bound_ulp_at_worst:.4g} ulp there",
        ]
    )
    path = str(one.metadata.path)
    again = _replay(request, make, f"harness.load({path!r}).softmax(x)[{row}, {column}]")
    pytest.fail(f"{text}\n{again}", pytrace=False)


def _both(text: str) -> str:
    """A hexadecimal number, with its decimal value for people."""
    try:
        return f"{text} ({float.fromhex(text):.9g})"
    except ValueError:
        return text


def test_throughput(
    bench: Bench, benchmark: Any, implementation: str, dtype: str, rows: int, classes: int
) -> None:
    """The time of one call, input in place, its result allocated, by pytest-benchmark."""
    one = bench.chosen[implementation]
    backend = backends.get(one.metadata.backend)
    x = backend.from_numpy(workloads.generate("normal(scale=1)", classes, rows, dtype, bench.seed))
    function = LocalImplementation(one.metadata).module().softmax

    def call() -> Any:
        result = function(x, axis=-1)
        backend.synchronize()
        return result

    benchmark.group = f"softmax {dtype} {rows}x{classes}"
    benchmark.extra_info.update(
        implementation=implementation,
        sha256=one.metadata.sha256(),
        threads=backend.threads(),
        bytes=2 * rows * classes * float_format(dtype).dtype.itemsize,
    )
    result = backend.to_numpy(benchmark(call))
    assert result.shape == (rows, classes)
