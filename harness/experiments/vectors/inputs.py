"""The inputs of reference vectors: those of the catalogue, workloads, and found worst cases.

The cases of the conformance catalogue are asked of a subject that answers from the reference and
keeps what it was asked, so that vectors and catalogue never come apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import reference
from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import AxisArgument, Result, Step
from harness.experiments.conformance.case import NATIVE, OF_LOGITS, Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.catalogue import BY_ID, CASES, MODULE_OF, area_of
from harness.experiments.conformance.expected import step_rows
from harness.experiments.conformance.observation import Broken, Skip
from harness.experiments.vectors.vector import LINEAR, MERGE, Array, Vector
from harness.experiments.worst_case.corpus import read_corpus
from harness.numerics.formats import float_format, from_ordinal, to_float64
from harness.registry.contract import OPERATIONS, RAGGED, Metadata
from harness.workloads import CLASS_COUNTS, FAMILIES, WorkloadUnavailable, generate, standard_ids

_MODULES = frozenset(
    {"special", "magnitude", "exponential", "lengths", "gradients", "attention", "in_parts"}
    | {"ragged"}
)
"""Of the catalogue: those whose cases are about values."""
_LEFT = frozenset(
    {"27-strided-sum", "28-every-count", "31-many-rows", "31-large", "31-long-rows"}
    | {"60-gradient-of-logits"}
)
"""Cases of these about layouts, many calls, rows longer than belong here, or more than a call."""
_ELEMENTS = 1 << 8
"""Of a vector of the catalogue; of more rows a selection from the first to the last is taken."""
_CALL = 1 << 14
"""Entries of a batch of ragged rows at most."""
_LONGEST = 600
"""Classes of a row of the catalogue at most; softmax and log-sum-exp have longer ones."""

_DRAWN = 256
"""Classes of the drawn workloads."""
_GPT2, _LLAMA3, _MILLION = CLASS_COUNTS["gpt-2"], CLASS_COUNTS["llama-3"], 1 << 20
_EVERY, _SOME = ("float64", "float32", "float16", "bfloat16"), ("float32", "bfloat16")
_WIDE: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "softmax": {_GPT2: _EVERY, _LLAMA3: _SOME, _MILLION: ("float32",)},
    "log_softmax": {_GPT2: ("float32",)},
    "logsumexp": {_GPT2: _EVERY, _LLAMA3: _SOME, _MILLION: ("float32",)},
    "cross_entropy": {_GPT2: ("float32",)},
}
"""Wide rows: classes, and the formats in which there is one."""
_LENGTHS = range(1, 71)
"""About the widths of vectors, of softmax in the formats in which 28-counts leaves them out."""
_DIGITS = 100
_NORMAL = "normal(scale=3)"


class _Reference:
    """A subject of the catalogue whose answers are certified; it keeps the steps that it answers.

    What is no call on values alone, such as one that converts them, it refuses.
    """

    metadata = Metadata(
        name="reference", path=Path(__file__), documentation="", operations=tuple(OPERATIONS),
        operations_with_out=(),
    )  # fmt: skip

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        return [self._answer(step) for step in steps]

    def _answer(self, step: Step) -> Result:
        if step.cast or step.tiled or step.scale is not None:
            return Result(error="not a call on values", not_made="not a call on values")
        given: dict[str, Any] = dict(step.numbers)
        if "axis" in OPERATIONS[step.operation] and step.axis != "default":
            given["axis"] = step.axis
        try:
            found = getattr(reference, step.operation)(*step.arrays, **given)
        except (ValueError, TypeError) as e:  # arguments that are wrong on purpose
            return Result(error=str(e))
        self.steps.append(step)
        arrays = found if isinstance(found, tuple) else (found,)
        return Result(arrays, tuple(a.dtype.name for a in arrays))

    @contextmanager
    def fresh(self) -> Iterator[_Reference]:
        yield self


class _Trial(Trial):
    """A trial whose y of softmax_backward is certified, and so the same on every processor."""

    def step(self, x: Array, axis: AxisArgument = -1, **more: Any) -> Step:
        made = super().step(x, axis, **more)
        if self.operation != "softmax_backward" or not x.size:
            return made
        y = reference.softmax(x, -1 if axis == "default" else axis, self.fmt)
        return replace(made, arrays=(made.arrays[0], y))


def about(group: str) -> str:
    """What the vectors of a group are, in a sentence."""
    if group in BY_ID:
        return BY_ID[group].title
    return _ABOUT.get(group) or FAMILIES[group.split("(")[0]].description


_ABOUT = {
    "worst-cases": "Rows on which searches found errors near the bound of an implementation.",
    "all-pairs": "Any two finite numbers of a format of 8 bits, the larger one first.",
}


def vectors(operation: str, dtype: str, seed: int = 0) -> Iterator[Vector]:
    """All inputs of an operation in a format.

    Args:
        operation: one of `CERTIFIED`. dtype: a format.
        seed: of what is drawn.
    """
    for name, inputs in (
        *_of_catalogue(operation, dtype, seed),
        *_of_logits(operation, dtype, seed),
        *_all_pairs(operation, dtype),
    ):
        if ":" not in name:
            name += f":{next(iter(inputs.values())).shape[1]}"
        yield Vector(operation, dtype, name, inputs)


_Named = tuple[str, dict[str, Array]]


def _of_catalogue(operation: str, dtype: str, seed: int) -> Iterator[_Named]:
    for case in CASES:
        if (
            case.applies(operation, dtype) and MODULE_OF[case.id] in _MODULES and not case.heavy
            and case.id not in _LEFT and area_of(case.id, operation) != "layouts"
        ):  # fmt: skip
            yield from _of_case(case, operation, dtype, seed)


def _of_case(case: Case, operation: str, dtype: str, seed: int) -> Iterator[_Named]:
    """The rows of all calls of a case, each once, those of one length together."""
    asked = _Reference()
    trial = _Trial(
        asked, case.id, case.number, operation, dtype, Arithmetic(), seed=seed, budget_s=np.inf,
        thorough=False,
    )  # fmt: skip
    with suppress(Skip, Broken):
        for _ in case.judge(trial):
            pass
    if operation in (RAGGED, LINEAR):
        for k, step in enumerate(asked.steps, 1):
            if 0 < step.arrays[0].size <= _CALL:
                named = dict(zip(step.names, step.arrays, strict=True))
                yield f"{case.id}:{k}", {n: _two(a) for n, a in named.items()}
        return
    alike: dict[int, dict[bytes, tuple[Array, ...]]] = defaultdict(dict)
    for step in asked.steps:
        arrays = _by_rows(step, dtype)
        for row in zip(*arrays.values(), strict=True):
            if row[0].size:
                alike[row[0].size].setdefault(b"".join(a.tobytes() for a in row), row)
    for columns, rows in sorted(alike.items()):
        if columns > _LONGEST and operation not in ("softmax", "logsumexp"):
            continue
        every, most = list(rows.values()), max(1, _ELEMENTS // columns)
        if len(every) > most:
            every = [every[i] for i in np.linspace(0, len(every) - 1, most).astype(int)]
        parts = zip(*every, strict=True)
        yield case.id, {n: np.stack(a) for n, a in zip(arrays, parts, strict=True)}


def _two(array: Array) -> Array:
    return array if array.ndim == 2 else array.reshape(-1, 1)


def _by_rows(step: Step, dtype: str) -> dict[str, Array]:
    """The arguments of a call by name, two-dimensional, a row of each for every row of logits."""
    if step.operation == MERGE:
        return {n: a.reshape(-1, 1) for n, a in zip(step.names, step.arrays, strict=True)}
    arrays = {n: _two(a) for n, a in zip(step.names, step_rows(step), strict=True)}
    rows, fmt = len(next(iter(arrays.values()))), float_format(dtype)
    for name, value in step.numbers.items():
        arrays[name] = np.full((rows, 1), value).astype(fmt.dtype)
    return arrays


def _of_logits(operation: str, dtype: str, seed: int) -> Iterator[_Named]:
    """Workloads, wide rows and worst cases, of the operations that take logits alone."""
    if operation not in (*OF_LOGITS, "cross_entropy"):
        return
    for workload in standard_ids():
        digits = workload == "digits"
        with suppress(WorkloadUnavailable):  # the format does not hold it
            x = generate(workload, 10 if digits else _DRAWN, _DIGITS if digits else 1, dtype, seed)
            yield workload, _arguments(operation, x)
    lengths = _LENGTHS if operation == "softmax" and dtype in NATIVE else ()
    wide = (n for n, dtypes in _WIDE[operation].items() if dtype in dtypes)
    for classes in (*lengths, *wide):
        yield _NORMAL, _arguments(operation, generate(_NORMAL, classes, 1, dtype, seed))
    found: dict[int, list[Array]] = defaultdict(list)
    for entry in read_corpus():
        if entry.dtype == dtype:
            found[len(entry.logits)].append(entry.row())
    for _, rows in sorted(found.items()):
        yield "worst-cases", _arguments(operation, np.stack(rows))


def _arguments(operation: str, x: Array) -> dict[str, Array]:
    """Logits as arguments; targets are the largest class of a row, or the first, in turn."""
    if operation != "cross_entropy":
        return {"x": x}
    largest = to_float64(x).argmax(axis=1)
    targets = np.where(np.arange(len(x)) % 2 == 0, largest, 0)
    return {"logits": x, "targets": targets[:, None]}


def _all_pairs(operation: str, dtype: str) -> Iterator[_Named]:
    """Of a format of 8 bits any two finite numbers, the larger one first."""
    fmt = float_format(dtype)
    if fmt.bits != 8 or operation != "softmax":
        return
    numbers = from_ordinal(np.arange(-127, 128), fmt)
    numbers = numbers[np.isfinite(to_float64(numbers))]
    low, high = np.triu_indices(len(numbers))
    yield "all-pairs", {"x": np.stack([numbers[high], numbers[low]], axis=1)}
