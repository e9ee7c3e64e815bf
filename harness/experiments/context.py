"""The context that every experiment is given, and the unit of work that it plans."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from harness.bounds.exp_error import ExpError, measure_exp_error
from harness.bounds.tolerances import Arithmetic
from harness.experiments.profiles import Profile
from harness.numerics.formats import FloatFormat, float_format
from harness.records import Record, Status
from harness.records.reader import cell_key
from harness.records.timing import CONTROL_SUFFIX
from harness.registry.contract import OPERATIONS, OPTIONAL
from harness.registry.discovery import Implementation
from harness.text import one_line
from harness.worker.client import Pool, RemoteImplementation, WorkerFault
from harness.worker.compiling import may_compile
from harness.worker.timing.calm import Calm
from harness.workloads import WorkloadUnavailable

Form = TypeVar("Form", bound=Record)


@dataclass(frozen=True)
class Part:
    """What a unit asks of one implementation, and of none other."""

    implementation: str
    measure: Callable[[], Iterable[Record]]


class Divided(Protocol):
    """A unit that is measured in shares, wherever each of them is, and put together here."""

    def shares(self, most: int) -> list[tuple[int, ...]]:
        """What is left to do, in at most so many shares."""

    def begin(self) -> None:
        """Its first share is given to somebody: from now on it takes time."""

    def made(self, share: tuple[int, ...]) -> bytes:
        """Measure a share.

        Raises:
            WorkerFault: it could not be.
        """

    def add(self, made: bytes) -> None:
        """Take over what was made of a share, once."""

    def ended(self, fault: WorkerFault | None) -> Record:
        """The record of everything that was taken over, and of what ended it before its time."""


@dataclass(frozen=True)
class Unit:
    """The smallest piece of work that is journalled whole: cells that share an input.

    Attributes:
        experiment: name of the experiment.
        label: what the progress bar shows.
        coordinates: one record of each cell that it will measure, with status ``skipped``.
        measure: yields the finished records.
        weight: relative cost, for the ETA.
        start: called before anything is measured, where no timing comes first: what it begins runs
            beside the units before this one.
        abandon: called where it is left out and nothing of its experiment follows: ends what runs
            ahead for it.
        parts: what it consists of, in place of `measure` where others may be measured beside it
            (`side_by_side`); called when it begins.
        timed: it times something: nothing else may run beside it.
        concluding: it follows from the records before it (`Context.records`): nothing after it is
            begun ahead of it, and no other machine can measure it.
        divided: for what is too long to be measured whole: opens it, to be measured in shares;
            what it opens is None where there is nothing to share.
    """

    experiment: str
    label: str
    coordinates: tuple[Record, ...]
    measure: Callable[[], Iterator[Record]]
    weight: float = 1.0
    abandon: Callable[[], None] = lambda: None
    start: Callable[[], None] = lambda: None
    parts: Callable[[], Sequence[Part]] | None = None
    timed: bool = False
    concluding: bool = False
    divided: Callable[[], AbstractContextManager[Divided | None]] | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(cell_key(c) for c in self.coordinates)


@dataclass
class Context:
    """A run's implementations, workers and grid.

    Attributes:
        implementations: those selected, available or not.
        pool: a worker for each available one, by name.
        profile: the grid, filters applied.
        seed: of every workload.
        cores: threads meant by ``"all"``.
        last_level_cache, l2_cache: bytes, None where unknown.
        logits: the captured logits that were given, each ``FILE[::NAME][::bfloat16]``.
        seconds: where the time of the run went, by what was done (`spending`).
        calm: tells whether a core is disturbed by others.
        records: those of the run so far, by `cell_key`.
        alone: nothing may run beside what is measured: others do so on the same processors.
        open: measures once more, at the end of the run, what could not be decided; with the
            seconds that it took the first time.
    """

    implementations: Sequence[Implementation]
    pool: Pool
    profile: Profile
    seed: int
    cores: int
    last_level_cache: int | None = None
    l2_cache: int | None = None
    logits: Sequence[str] = ()
    baseline: str = "max_shift"
    on_note: Callable[[str], None] = print
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    calm: Calm = field(default_factory=Calm)
    records: dict[str, Record] = field(default_factory=dict)
    alone: bool = False
    open: list[tuple[float, Callable[[], Iterator[Record]]]] = field(default_factory=list)
    _exp_errors: dict[tuple[str, str], ExpError | None] = field(default_factory=dict)
    _exp_locks: dict[tuple[str, str], Lock] = field(default_factory=dict)
    _unavailable: dict[str, str | None] = field(default_factory=dict)

    @contextmanager
    def spending(self, on: str) -> Iterator[None]:
        """What is done inside is time spent on that, and not on what it is part of."""
        began, before = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            inner = sum(self.seconds.values()) - before
            self.seconds[on] += time.perf_counter() - began - inner

    def unavailable(self, implementation: Implementation) -> str | None:
        """Why an implementation cannot run, asked once a run."""
        name = implementation.name
        if name not in self._unavailable:
            self._unavailable[name] = implementation.unavailable_reason
        return self._unavailable[name]

    def refusal(
        self, implementation: Implementation, operation: str, dtype: str
    ) -> tuple[Status, str] | None:
        """The status and reason of a cell that cannot be measured at all; None where it can."""
        return refusal_of(implementation, self.unavailable(implementation), operation, dtype)

    def demand(self, implementation: Implementation, operation: str, dtype: str) -> None:
        """Nothing where a cell can be measured.

        Raises:
            WorkerFault: it cannot, with the status and the reason of its record.
        """
        refusal = self.refusal(implementation, operation, dtype)
        if refusal is not None:
            raise WorkerFault(*refusal)

    def worker(self, name: str, implementation: Implementation) -> RemoteImplementation:
        """The worker of that name, for an implementation; one a run, made where it is missing."""
        if name not in self.pool:
            self.pool.add(worker_for(implementation, name))
        return self.pool[name]

    def mover(self, name: str, load: Mapping[str, Any]) -> RemoteImplementation:
        """The worker of that name, for limits: kernels of the harness itself."""
        if name not in self.pool:
            self.pool.add(RemoteImplementation(name, load))
        return self.pool[name]

    def named(self, name: str) -> Implementation:
        """The implementation of a record, by its name, which a control has with a suffix."""
        original = name.removesuffix(CONTROL_SUFFIX)
        return next(i for i in self.implementations if i.name == original)

    def arithmetic(self, implementation: Implementation, dtype: str) -> FloatFormat:
        """The format that an implementation computes in, for inputs of `dtype`."""
        arithmetic = Arithmetic(accumulator=implementation.metadata.accumulator)
        return arithmetic.internal(float_format(dtype))

    def exp_error(self, implementation: Implementation, dtype: str) -> ExpError | None:
        """The measured error of the exponential that an implementation uses, once a run.

        Implementations without an ``exp`` of their own share that of their array library.
        None where it cannot be measured; a note says why.
        """
        meta = implementation.metadata
        fmt = self.arithmetic(implementation, dtype)
        home = meta.name if meta.offers_exp else meta.backend
        key = (home, fmt.name)
        with self._exp_locks.setdefault(key, Lock()):  # others who share it wait
            if key not in self._exp_errors:
                self._exp_errors[key] = self._measured_exp_error(implementation, home, fmt)
        return self._exp_errors[key]

    def _measured_exp_error(
        self, implementation: Implementation, home: str, fmt: FloatFormat
    ) -> ExpError | None:
        worker = self.pool[implementation.name]

        def exp(x: NDArray[Any]) -> NDArray[Any]:
            (result,) = worker.request("run", {"operation": "exp"}, (x,))[1]
            return result

        try:
            measured = measure_exp_error(exp, fmt)
            if not math.isfinite(measured.error_u):
                raise ValueError(f"exp({measured.worst_input}) is not finite; the truth is")
        except (WorkerFault, TypeError, ValueError) as e:
            self.on_note(f"exp of {home} in {fmt.name} could not be measured: {e}")
            return None
        return measured

    @property
    def exp_errors(self) -> Mapping[tuple[str, str], ExpError | None]:
        """What is known of exponentials, by implementation or library and format."""
        return dict(self._exp_errors)

    def learn(self, exp_errors: Mapping[tuple[str, str], ExpError | None]) -> None:
        """Take over what another process measured of exponentials, to the same numbers."""
        self._exp_errors.update(exp_errors)

    def exp_errors_of(self, implementation: Implementation) -> dict[str, ExpError]:
        """What has been measured so far, by format of the arithmetic."""
        meta = implementation.metadata
        home = meta.name if meta.offers_exp else meta.backend
        known = list(self._exp_errors.items())  # others may add to it
        return {f: e for (h, f), e in known if h == home and e is not None}

    def call(
        self, implementation: Implementation, operation: str, *arrays: NDArray[Any], **options: Any
    ) -> NDArray[Any]:
        """One call in the worker, checked against the contract; see `checked_call`."""
        worker = self.pool[implementation.name]
        timeout_s, reduced = self.profile.timeout_s, operation == "logsumexp"
        return checked_call(worker, operation, arrays, options, timeout_s, reduced=reduced)


class UnitEnded(Exception):
    """A unit that was measured elsewhere ended before its time.

    Attributes:
        status, reason: of the cells that it lacks.
    """

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status
        self.reason = reason


def ended_by(error: Exception) -> tuple[Status, str]:
    """The status and the reason of the cells of a unit that an exception ended before its time."""
    if isinstance(error, UnitEnded):
        return error.status, error.reason
    if isinstance(error, WorkloadUnavailable):
        return "unavailable", str(error)
    if isinstance(error, MemoryError):
        return "out_of_memory", "the harness ran out of memory"
    return "error", one_line(f"harness: {type(error).__name__}: {error}")


def refusal_of(
    implementation: Implementation, unavailable: str | None, operation: str | None, dtype: str
) -> tuple[Status, str] | None:
    """The status and reason of what an implementation cannot be asked; None where it can.

    Args:
        unavailable: why it cannot run, if it cannot.
        operation: that it must offer; None for one that every worker has.
        dtype: the format that is passed.
    """
    if unavailable is not None:
        return "unavailable", unavailable
    if operation is not None and operation not in implementation.operations:
        parameters = f"({', '.join(OPERATIONS[operation])})" if operation in OPTIONAL else ""
        return "unsupported", f"offers no {operation}{parameters}"
    declared = implementation.metadata.dtypes
    if declared is not None and dtype not in declared:
        return "unsupported", f"declares {', '.join(declared)}; not {dtype}"
    return None


def blank(
    form: type[Form], implementation: Implementation, dtype: str, /, **coordinates: Any
) -> Form:
    """The record of a cell that is still to be measured."""
    return form(
        implementation=implementation.name,
        dtype=dtype,
        device=implementation.metadata.device,
        status="skipped",
        **coordinates,
    )


def checked_call(
    worker: RemoteImplementation,
    operation: str,
    arrays: tuple[NDArray[Any], ...],
    options: Mapping[str, Any],
    timeout_s: float,
    *,
    reduced: bool = False,
) -> NDArray[Any]:
    """One call in a worker, checked against the contract: the result is like the first array.

    Args:
        reduced: but for the last axis, which the operation takes away.

    Raises:
        WorkerFault: it failed, or its result breaks the contract (shape, dtype, input).
    """
    request = {"operation": operation, "options": dict(options)}
    reply, results = worker.call(request, arrays, timeout_s)
    if len(results) != 1:
        raise WorkerFault("failed", f"{operation}: expected one array; got {len(results)}")
    (y,), x = results, arrays[0]
    shape = x.shape[:-1] if reduced else x.shape
    if y.shape != shape or y.dtype != x.dtype:
        raise WorkerFault(
            "failed",
            f"{operation}: expected shape {shape} and dtype {x.dtype}; got {y.shape} and {y.dtype}",
        )
    if reply["input_modified"]:
        raise WorkerFault("failed", f"{operation}: the input was modified")
    return y


def rows_for(elements: int, classes: int) -> int:
    """Rows of a cell of about `elements` elements, at least one."""
    return max(1, elements // classes)


def worker_for(implementation: Implementation, name: str | None = None) -> RemoteImplementation:
    """A worker, not yet started, for an implementation."""
    path = str(implementation.metadata.path.resolve())
    worker = RemoteImplementation(name or implementation.name, {"path": path})
    worker.compiles = may_compile(implementation.metadata)
    return worker
