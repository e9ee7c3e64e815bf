"""The record of one training, or of one look at its gradients: what softmax and format did."""

from __future__ import annotations

from typing import Literal

from harness.records.base import Record, Strict, maybe

Question = Literal["digits", "nonfinite", "vanishing", "depth", "collapse", "clipping", "cost"]
Activation = Literal["relu", "sigmoid", "tanh"]
Loss = Literal["cross_entropy", "squared", "own"]
Optimiser = Literal["adam", "sgd"]
Clip = Literal["none", "elements", "norm", "after"]


class Setting(Strict):
    """A network and how it is trained.

    Attributes:
        hidden: units of each hidden layer.
        activation: behind each of them.
        loss: ``cross_entropy`` or ``squared`` (half the squared distance of the probabilities to
            the target) of the implementation under test; ``own``: PyTorch's ``F.cross_entropy``
            with its own gradient.
        optimiser: with PyTorch's defaults but for the rate, and for Adam's eps where `epsilon`
            is given.
        rate: learning rate.
        epochs: passes over the training rows.
        batch: rows a step; 0 for all.
        smoothing: of the labels (epsilon of Szegedy et al. 2016, spread over all classes).
        scale: the logits are multiplied by it.
        clip: of the gradient: each element to ``[-limit, limit]``, or its norm to `limit`, before
            the step; elements ``after`` the step, as one of the articles does; or none.
        limit: of the clipping.
        spike: the rate of one step in the middle is so many times as high.
    """

    hidden: tuple[int, ...] = (128,)
    activation: Activation = "relu"
    loss: Loss = "cross_entropy"
    optimiser: Optimiser = "adam"
    rate: float = 1e-3
    epochs: int = 10
    batch: int = 32
    epsilon: float = 1e-8
    smoothing: float = 0.0
    scale: float = 1.0
    clip: Clip = "none"
    limit: float = 1.0
    spike: float = 1.0

    @property
    def id(self) -> str:
        """What differs from the defaults, as a workload's id: ``digits(optimiser=sgd)``."""
        changed = self.model_dump(exclude_defaults=True)
        told = [f"{k}={_told(v)}" for k, v in changed.items()]
        return f"digits({','.join(told)})" if told else "digits"


def _told(value: object) -> str:
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


class TrainingRecord(Record):
    """One training of a network whose softmax and loss are the implementation's, in a format.

    `kind` is the question; `seed` is of the initial weights and of the order of the rows. Losses,
    accuracy and calibration are those of the trained network on the held-out rows, in float64 by
    the reference formula, whatever the training used. A loss or gradient that is not finite ends
    the training: ``failed`` where the question was another one.
    """

    experiment: Literal["training"] = "training"
    kind: Question | None = None
    setting: Setting | None = maybe("network, loss, optimiser; None where nothing was trained")
    route: str | None = maybe("operations of the implementation that gave loss and gradient")
    steps: int | None = maybe("steps taken")
    loss: float | None = maybe("mean over the held-out rows, nats")
    accuracy: float | None = maybe("share of the held-out rows")
    calibration_error: float | None = maybe("expected, of 15 bins of the confidence")
    training_accuracy: float | None = None
    first_nonfinite: int | None = maybe("step at which loss or gradient first was not finite")
    nonfinite: str | None = maybe("which of them")
    logit_before: float | None = maybe("largest logit of a step that was finite")
    logit_at: float | None = maybe("largest logit of the first step that was not")
    gap_before: float | None = maybe("largest gap of a label's logit to its row's largest, so too")
    gap_at: float | None = maybe("that of the first step that was not finite")
    predicted: float | None = maybe("what was predicted: a logit, a gap, a factor")
    predicted_gap: float | None = maybe("where logit and gap are each predicted: the gap")
    zero_loss: float | None = maybe("share of the training rows whose loss is exactly 0 at the end")
    zero_gradient: float | None = maybe("share of the rows whose gradient is exactly 0 at the end")
    gap_collapsed: float | None = maybe("smallest gap of a row whose loss was exactly 0")
    gap_alive: float | None = maybe("largest gap of a row whose loss was not 0")
    layer_factor: float | None = maybe("of the gradient's norm from a hidden layer to that before")
    spike_ratio: float | None = maybe("length of the spiked step, in units of pi/Delta")
    accuracy_before: float | None = maybe("on the held-out rows, before the spiked step")
    weights: str | None = maybe("SHA-256 of the trained weights, 16 digits")
    head_ns: float | None = maybe("least time of forward and backward of the loss")
    step_ns: float | None = maybe("least time of a whole step")
    curves: dict[str, list[float]] | None = maybe("series, each as long as the first, their axis")

    @property
    def as_predicted(self) -> bool | None:
        """Whether a loss that was not finite came where logit or gap passed what was predicted.

        None of records that do not know the gap.
        """
        died = self.first_nonfinite is not None
        logit, gap = (self.logit_at, self.gap_at) if died else (self.logit_before, self.gap_before)
        if self.predicted is None or self.predicted_gap is None or gap is None or logit is None:
            return None
        return died == (logit >= self.predicted or gap >= self.predicted_gap)

    @property
    def came_through(self) -> bool:
        """Whether a network ended at most 5 points below what it knew before its spike, or 90%."""
        if self.status != "ok" or self.accuracy is None:
            return False
        before = 0.9 if self.accuracy_before is None else self.accuracy_before
        return self.accuracy >= before - 0.05
