"""Softmax and loss of the implementation under test, in one format, as torch differentiates them.

Logits come in as torch's float32, are rounded to the format, and go to the implementation; what it
returns as the gradient of a row goes back. Everything between is done in the format, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from harness.numerics.bisection import first_true
from harness.numerics.formats import FloatFormat, float_format, from_ordinal, to_ordinal
from harness.worker import backends
from harness.worker.local import LocalImplementation

Array = NDArray[Any]
_POINTS = 256


class Head:
    """The loss of a batch, and its gradient, by the operations that an implementation has.

    Args:
        subject: the implementation.
        dtype: the format under test.
        loss: as in `harness.records.training.Setting`.
        smoothing: of the labels.

    Attributes:
        route: which operations are used.
        losses: of the rows of the last batch, in the format.
    """

    def __init__(
        self, subject: LocalImplementation, dtype: str, loss: str = "cross_entropy",
        smoothing: float = 0.0,
    ) -> None:  # fmt: skip
        self.subject = subject
        self.format = float_format(dtype)
        self.smoothing = smoothing
        self.losses: Array = np.empty(0)
        self.torch_dtype = getattr(torch, dtype)
        self._torch = backends.get("torch")
        self.route, self._rows = _route(subject.operations, loss, smoothing)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch, float64, with the implementation's gradient.

        Args:
            logits: float32, shape ``(rows, classes)``.
            targets: int64, shape ``(rows,)``.
        """
        if self._rows is None:
            losses = functional.cross_entropy(
                logits.to(self.torch_dtype), targets, reduction="none",
                label_smoothing=self.smoothing,
            )  # fmt: skip
            self.losses = self._torch.to_numpy(losses)
            return losses.to(torch.float64).mean()
        mean: torch.Tensor = _Loss.apply(logits, targets, self)
        return mean

    def probabilities(self, z: Array) -> Array:
        """The softmax of logits in the format; from log p where there is no other."""
        with np.errstate(all="ignore"):
            if "softmax" in self.subject.operations:
                return np.asarray(self.subject.softmax(z, axis=-1))
            return np.asarray(np.exp(self.subject.log_softmax(z, axis=-1)))

    def rows(self, z: Array, targets: Array) -> tuple[Array, Array]:
        """Loss ``(rows,)`` and gradient ``(rows, classes)`` of logits in the format.

        Raises:
            TypeError: the implementation gave another shape or format.
        """
        assert self._rows is not None
        with np.errstate(all="ignore"):
            losses, gradient = self._rows(self.subject, z, targets, self.smoothing)
        got = [(a.shape, a.dtype.name) for a in (losses, gradient)]
        expected = [(s, z.dtype.name) for s in (targets.shape, z.shape)]
        if got != expected:
            raise TypeError(f"loss, gradient: expected shapes and formats {expected}; got {got}")
        return losses, gradient


class _Loss(torch.autograd.Function):  # type: ignore[misc]
    """The mean loss of a head; backward gives what the implementation gave, over the rows."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, head: Head) -> torch.Tensor:
        z = head._torch.to_numpy(logits.to(head.torch_dtype))
        with torch.enable_grad():  # implementations of torch may differentiate
            head.losses, gradient = head.rows(z, targets.numpy())
        with np.errstate(all="ignore"):
            ctx.save_for_backward(torch.from_numpy(gradient.astype(np.float32)))
            mean = head.losses.astype(np.float64).mean()
        return torch.tensor(mean, dtype=torch.float64)

    @staticmethod
    def backward(ctx: Any, *given: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * (given[0] / len(gradient)).to(torch.float32), None, None


def _route(operations: Sequence[str], loss: str, smoothing: float) -> tuple[str, Any]:
    """The operations of an implementation that give a loss, and the function that calls them."""
    if loss == "own":
        return "F.cross_entropy, differentiated by torch", None
    if loss == "squared":
        if "softmax_backward" in operations:
            return "softmax, softmax_backward", _squared
        return "softmax; p(g − Σgp) by NumPy in the format", _squared
    if "cross_entropy" in operations and not smoothing:
        return "cross_entropy", _cross_entropy
    if "log_softmax" in operations:
        return "log_softmax; gradient softmax − target", _log_softmax
    return "softmax; loss −log p by NumPy in the format", _softmax


def _wanted(z: Array, targets: Array, smoothing: float) -> Array:
    """The target distributions, in the format: one-hot, or smoothed."""
    rows, classes = z.shape
    q = np.full(z.shape, smoothing / classes)
    q[np.arange(rows), targets] += 1.0 - smoothing
    return q.astype(z.dtype)


def _cross_entropy(
    subject: LocalImplementation, z: Array, targets: Array, smoothing: float
) -> tuple[Array, Array]:
    losses, gradient = subject.cross_entropy(z, targets)
    return losses, gradient


def _log_softmax(
    subject: LocalImplementation, z: Array, targets: Array, smoothing: float
) -> tuple[Array, Array]:
    wanted = _wanted(z, targets, smoothing)
    log_p = subject.log_softmax(z, axis=-1)
    p = subject.softmax(z, axis=-1) if "softmax" in subject.operations else np.exp(log_p)
    return _mixed(-log_p, wanted), p - wanted


def _softmax(
    subject: LocalImplementation, z: Array, targets: Array, smoothing: float
) -> tuple[Array, Array]:
    wanted = _wanted(z, targets, smoothing)
    p = subject.softmax(z, axis=-1)
    return _mixed(-np.log(p), wanted), p - wanted


def _mixed(costs: Array, wanted: Array) -> Array:
    """The cost of each row: of classes that have no weight, whatever it is, nothing."""
    return np.asarray(np.where(wanted > 0, wanted * costs, costs.dtype.type(0)).sum(axis=-1))


def _squared(
    subject: LocalImplementation, z: Array, targets: Array, smoothing: float
) -> tuple[Array, Array]:
    p = subject.softmax(z, axis=-1)
    difference = p - _wanted(z, targets, smoothing)
    losses = z.dtype.type(0.5) * (difference * difference).sum(axis=-1)
    if "softmax_backward" in subject.operations:
        return losses, subject.softmax_backward(difference, p, axis=-1)
    inner = (difference * p).sum(axis=-1, keepdims=True)
    return losses, p * (difference - inner)


def onsets(head: Head, classes: int) -> tuple[float, float]:
    """From which logit on, and from which gap on, loss or gradient are not finite.

    The least t of the row [t, 0, …, 0] whose target is the first class, and the least 2t of the
    row [t, 0, …, 0, -t] whose target is the last. Where all are finite: the largest number of the
    format, and twice that, beyond which logits are infinite.
    """
    logit = _onset(head, classes, 0.0, 0)
    return logit, 2.0 * _onset(head, classes, -1.0, classes - 1)


def _onset(head: Head, classes: int, last: float, target: int) -> float:
    """The least t of the row [t, 0, …, 0, last · t]; the largest number if there is none."""

    def bad(ordinals: NDArray[np.int64]) -> NDArray[np.bool_]:
        z = np.zeros((len(ordinals), classes), head.format.dtype)
        z[:, 0] = from_ordinal(ordinals, head.format)
        z[:, -1] = (last * z[:, 0].astype(np.float64)).astype(z.dtype)
        losses, gradient = head.rows(z, np.full(len(z), target))
        finite = np.isfinite(losses.astype(np.float64))
        return np.asarray(~(finite & np.isfinite(gradient.astype(np.float64)).all(axis=-1)))

    good, end = _ordinal(1.0, head.format), _ordinal(head.format.max, head.format)
    if not bad(np.array([end]))[0]:
        return head.format.max
    _, end = first_true(bad, good, end, _POINTS)
    return float(from_ordinal(np.array([end]), head.format)[0])


def _ordinal(value: float, fmt: FloatFormat) -> int:
    return int(to_ordinal(np.array(value, dtype=fmt.dtype)))
