"""A case of the conformance catalogue, and to what it applies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.observation import Observation
from harness.records.conformance import Kind

OPERATIONS = ("softmax", "log_softmax", "logsumexp", "softmax_backward", "cross_entropy")
ALONG_AXIS = ("softmax", "log_softmax", "logsumexp", "softmax_backward")
OF_LOGITS = ("softmax", "log_softmax", "logsumexp")
ELEMENTWISE = ("softmax", "log_softmax")
FLOATS = ("float64", "float32", "float16", "bfloat16")
NATIVE = ("float64", "float32")

Judge = Callable[[Trial], Iterable[Observation]]

PYTORCH = "https://github.com/pytorch/pytorch/issues/"
JAX = "https://github.com/jax-ml/jax/issues/"
SCIPY = "https://github.com/scipy/scipy/issues/"


@dataclass(frozen=True)
class Case:
    """One entry of the catalogue.

    Attributes:
        id: stable name; number and slug (``"15-saturated-log"``).
        number: kept from the first catalogue; None for a case that came later.
        title: what goes in and what must come out, in a line.
        judge: yields what it observes on a subject, through a `Trial`.
        operations, dtypes: to which it applies.
        kind: what a deviation is: a contradiction of mathematics or the contract (a failure), a
            difference of convention between libraries (shown), or a weakness worth knowing (a
            finding).
        deviations: ids of declared deviations that explain a failure or finding here.
        upstream: issues in which it was reported.
        heavy: needs gigabytes or long; not in the default profile.
        whole: of the implementation as a whole: judged once, with the first operation and format
            of those that are judged.
    """

    id: str
    number: int | None
    title: str
    judge: Judge
    operations: tuple[str, ...] = OPERATIONS
    dtypes: tuple[str, ...] = FLOATS
    kind: Kind = "contradiction"
    deviations: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    heavy: bool = False
    whole: bool = False

    def applies(self, operation: str, dtype: str) -> bool:
        return operation in self.operations and dtype in self.dtypes
