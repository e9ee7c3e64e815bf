"""Networks of torch, trained step by step with a loss that is under test.

On one thread and the CPU, where the same seed gives the same bits.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.experiments.training.head import Head, onsets
from harness.records.training import Setting
from harness.workloads.digits import CLASSES

BINS = 15
LOOKS = 40
SQUARED_SLOPES = {"relu": 0.5, "sigmoid": 1 / 16, "tanh": 1.0}
"""Mean of the squared derivative of an activation around 0."""
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class Data:
    """Rows to train with and rows that are held out.

    Args:
        images: float32, shape ``(rows, features)``; the first `held_out` are held out.
        labels: int64, shape ``(rows,)``.
    """

    def __init__(self, images: NDArray[Any], labels: NDArray[Any], held_out: int) -> None:
        x, y = torch.from_numpy(images.copy()), torch.from_numpy(labels.copy())
        self.test, self.test_labels = x[:held_out], y[:held_out]
        self.train, self.labels = x[held_out:], y[held_out:]


def network(setting: Setting, features: int, seed: int, classes: int = CLASSES) -> nn.Sequential:
    """Linear layers with PyTorch's own initial weights, an activation behind each but the last."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    sizes = (features, *setting.hidden)
    for given, units in pairwise(sizes):
        layers += [nn.Linear(given, units), ACTIVATIONS[setting.activation]()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], classes))


class Optimiser:
    """SGD, or Adam with its usual momenta (Kingma and Ba 2015, algorithm 1), as torch's are.

    Those of ``torch.optim`` first import torch's compiler, which takes seconds in each process.
    """

    def __init__(self, net: nn.Sequential, setting: Setting) -> None:
        self.rate = setting.rate
        self.epsilon = setting.epsilon
        self.adam = setting.optimiser == "adam"
        self.steps = 0
        self.state = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in net.parameters()]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self) -> None:
        """Take a step along the gradients."""
        self.steps += 1
        first, second = 1 - 0.9**self.steps, 1 - 0.999**self.steps
        for p, mean, square in self.state:
            assert p.grad is not None
            if not self.adam:
                p.sub_(p.grad, alpha=self.rate)
                continue
            mean.lerp_(p.grad, 0.1)
            square.mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
            spread = square.sqrt().div_(math.sqrt(second)).add_(self.epsilon)
            p.addcdiv_(mean, spread, value=-self.rate / first)


def _batches(rows: int, setting: Setting, seed: int) -> Iterator[tuple[int, torch.Tensor]]:
    """(epoch, indices) of every step; what does not fill a batch is left out of the epoch."""
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(setting.epochs):
        if setting.batch == 0:
            yield epoch, torch.arange(rows)
            continue
        order = torch.randperm(rows, generator=generator)
        for batch in order.split(setting.batch):
            if len(batch) == setting.batch:
                yield epoch, batch


def train(
    data: Data, head: Head, setting: Setting, seed: int, *, threshold: bool = False
) -> dict[str, Any]:
    """Train one network; the numbers of its record.

    Args:
        threshold: find first from which logit and gap on loss or gradient are not finite:
            `predicted` and `predicted_gap`.
    """
    found: dict[str, Any] = {"route": head.route, "steps": 0}
    if threshold:
        found["predicted"], found["predicted_gap"] = onsets(head, CLASSES)
    net = network(setting, data.train.shape[1], seed)
    optimiser = Optimiser(net, setting)
    steps = list(_batches(len(data.train), setting, seed))
    watch = Watch(setting)
    largest = widest = 0.0
    for taken, (epoch, batch) in enumerate(steps):
        net.zero_grad()
        logits = net(data.train[batch]) * setting.scale
        logits.retain_grad()
        loss = head.loss(logits, data.labels[batch])
        loss.backward()
        top, gap = _reached(logits.detach(), data.labels[batch])
        bad = _nonfinite(loss, net)
        if bad:
            found |= {
                "first_nonfinite": taken + 1,
                "nonfinite": bad,
                "logit_at": top,
                "gap_at": gap,
            }
            break
        largest, widest = max(largest, top), max(widest, gap)
        if setting.batch == 0:
            watch.rows(head.losses, logits, data.labels)
        if setting.spike != 1.0 and taken == len(steps) // 2:
            found["accuracy_before"] = evaluate(net, data)["accuracy"]
            found["spike_ratio"] = _spiked(net, optimiser, setting, data, batch)
        else:
            _step(net, optimiser, setting)
        if taken + 1 == len(steps) or steps[taken + 1][0] != epoch:
            watch.epoch(epoch + 1, float(loss.detach()), net, data)
        found |= {"steps": taken + 1, "logit_before": largest, "gap_before": widest}
    found |= evaluate(net, data)
    found |= watch.numbers()
    found["training_accuracy"] = _right(net(data.train), data.labels)
    found["weights"] = _digest(net)
    return found


class Watch:
    """What is kept of a training as it goes on: series over epochs, and gaps of the rows."""

    def __init__(self, setting: Setting) -> None:
        self.curves: dict[str, list[float]] = defaultdict(list)
        self.whole = setting.batch == 0
        ends = np.geomspace(1, max(1, setting.epochs), LOOKS).round().astype(int)
        self.looks = {*ends.tolist(), setting.epochs}
        self.collapsed, self.alive = math.inf, -math.inf
        self.last: dict[str, float] = {}

    def rows(self, losses: NDArray[Any], logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Look at all training rows: their gaps, and whose loss and gradient are exactly 0."""
        assert logits.grad is not None
        gap = gaps(logits.detach(), labels)
        zero = torch.from_numpy(losses.astype(np.float64) == 0.0)
        if zero.any():
            self.collapsed = min(self.collapsed, float(gap[zero].min()))
        if not zero.all():
            self.alive = max(self.alive, float(gap[~zero].max()))
        self.last = {
            "zero_loss": float(zero.double().mean()),
            "zero_gradient": float((logits.grad == 0).all(dim=1).double().mean()),
            "gap": float(gap.median()),
        }

    def epoch(self, epoch: int, loss: float, net: nn.Sequential, data: Data) -> None:
        """Look at the network at the end of an epoch, if this is one of those to be looked at."""
        if epoch in self.looks:
            accuracy = evaluate(net, data)["accuracy"]
            at = {"epoch": epoch, "loss": loss, "accuracy": accuracy, **self.last}
            for name, value in at.items():
                self.curves[name].append(math.nan if value is None else float(value))

    def numbers(self) -> dict[str, Any]:
        found: dict[str, Any] = {"curves": dict(self.curves)}
        if self.whole and self.last:
            found |= {k: self.last[k] for k in ("zero_loss", "zero_gradient")}
            found["gap_collapsed"] = self.collapsed if math.isfinite(self.collapsed) else None
            found["gap_alive"] = self.alive if math.isfinite(self.alive) else None
        return found


def gaps(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The logit of the label over the log-sum-exp of all others: log p/(1 − p). Shape (rows,)."""
    z = logits.double()
    own = z.gather(1, labels[:, None])
    others = z.scatter(1, labels[:, None], -torch.inf)
    return own[:, 0] - others.logsumexp(1)


def _reached(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """The largest magnitude of the logits, and the largest gap of a label's to a row's largest."""
    gap = logits.amax(dim=1) - logits.gather(1, labels[:, None])[:, 0]
    return float(logits.abs().max()), float(gap.max())


def _nonfinite(loss: torch.Tensor, net: nn.Sequential) -> str:
    """What is not finite: ``loss``, ``gradient``, both; empty where all is."""
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    if math.isfinite(float(loss.detach()) + sum(float(g.sum()) for g in gradients)):
        return ""  # at once: nothing that is not finite leaves a sum finite
    found = [] if math.isfinite(float(loss.detach())) else ["loss"]
    found += [] if all(bool(g.isfinite().all()) for g in gradients) else ["gradient"]
    return " and ".join(found)


def _step(net: nn.Sequential, optimiser: Optimiser, setting: Setting) -> None:
    """One step, with the gradient clipped before it, or after it as if that were of use."""
    if setting.clip == "after":
        optimiser.step()
        nn.utils.clip_grad_value_(net.parameters(), setting.limit)
        return
    if setting.clip == "elements":
        nn.utils.clip_grad_value_(net.parameters(), setting.limit)
    elif setting.clip == "norm":
        nn.utils.clip_grad_norm_(net.parameters(), setting.limit)
    optimiser.step()


def _spiked(
    net: nn.Sequential, optimiser: Optimiser, setting: Setting, data: Data,
    batch: torch.Tensor,
) -> float:  # fmt: skip
    """Take a step at the spiked rate; its length in units of pi/Delta.

    Delta is the largest spread over the classes of the derivatives of a row's logits along the
    step, over the rows of the batch (Sao 2026, arXiv 2603.13552).
    """
    before = {k: p.detach().clone() for k, p in net.named_parameters()}
    optimiser.rate *= setting.spike
    _step(net, optimiser, setting)
    optimiser.rate = setting.rate
    step = {k: p.detach() - before[k] for k, p in net.named_parameters()}

    def logits(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        made: torch.Tensor = torch.func.functional_call(net, weights, (data.train[batch],))
        return made * setting.scale

    _, along = torch.func.jvp(logits, (before,), (step,))
    spread = along.amax(dim=1) - along.amin(dim=1)
    return float(spread.max() / math.pi)


@torch.no_grad()  # type: ignore[untyped-decorator]
def evaluate(net: nn.Sequential, data: Data) -> dict[str, Any]:
    """Loss, accuracy and calibration error on the held-out rows; None where not finite."""
    log_p = torch.log_softmax(net(data.test).double(), dim=1)
    if not log_p.isfinite().all():
        return {"loss": None, "accuracy": None, "calibration_error": None}
    confidence, chosen = log_p.exp().max(dim=1)
    right = (chosen == data.test_labels).double()
    bins = (confidence * BINS).long().clamp(max=BINS - 1)
    error = sum(float((right[bins == b] - confidence[bins == b]).sum().abs()) for b in range(BINS))
    loss = -log_p.gather(1, data.test_labels[:, None]).mean()
    return {
        "loss": float(loss),
        "accuracy": float(right.mean()),
        "calibration_error": error / len(right),
    }


@torch.no_grad()  # type: ignore[untyped-decorator]
def _right(logits: torch.Tensor, labels: torch.Tensor) -> float | None:
    return float((logits.argmax(1) == labels).double().mean()) if logits.isfinite().all() else None


def _digest(net: nn.Sequential) -> str:
    digest = hashlib.sha256()
    for p in net.parameters():
        digest.update(p.detach().numpy().tobytes())
    return digest.hexdigest()[:16]


def vanishing(head: Head, squared: Head, seed: int) -> dict[str, Any]:
    """Rows whose largest logit is of another class than the target, against its gap to the rest.

    The gap goes from 0 to beyond what the format's exponentials can tell from 0. Of each loss the
    share of gradient entries, and of whole rows, that are exactly 0; and the share of rows whose
    largest probability is exactly 1.
    """
    fmt = head.format
    end = -1.2 * math.log(fmt.smallest_subnormal)
    at = np.linspace(0.0, end, 97)
    rng = np.random.default_rng(seed)
    curves: dict[str, list[float]] = defaultdict(list)
    for gap in at:
        z = rng.uniform(-1.0, 0.0, (64, CLASSES))
        z[:, 0] = gap
        z, targets = z.astype(fmt.dtype), rng.integers(1, CLASSES, 64)
        curves["gap"].append(float(gap))
        saturated = head.probabilities(z).max(axis=1).astype(np.float64) == 1.0
        curves["saturated"].append(float(saturated.mean()))
        for name, one in (("squared", squared), ("cross_entropy", head)):
            gradient = one.rows(z, targets)[1].astype(np.float64)
            curves[f"{name}_entries"].append(float((gradient == 0).mean()))
            curves[f"{name}_rows"].append(float((gradient == 0).all(axis=1).mean()))
    return {
        "route": f"{head.route} | {squared.route}",
        "predicted": math.log(2.0) - math.log(fmt.smallest_subnormal),
        "curves": dict(curves),
    }


def depth(data: Data, head: Head, setting: Setting, seed: int) -> dict[str, Any]:
    """Norms of the gradient by layer before any step: of a row at its outputs, and of its weights.

    `layer_factor` is by how much the former grows, on average, from a hidden layer to the one
    before; predicted is sqrt(E[φ'²] / 3), where weights have the variance 1 / (3 · units).
    """
    net = network(setting, data.train.shape[1], seed)
    outputs, signal = [], data.train
    for module in net:
        signal = module(signal)
        if isinstance(module, nn.Linear):
            signal.retain_grad()
            outputs.append(signal)
    head.loss(signal, data.labels).backward()
    at_rows = [float(o.grad.norm(dim=1).sum()) for o in outputs if o.grad is not None]
    weights = [float(p.grad.norm()) for p in net.parameters() if p.ndim == 2 and p.grad is not None]
    first, last, between = at_rows[0], at_rows[-2], len(at_rows) - 2
    return {
        "route": head.route,
        "layer_factor": (first / last) ** (1 / between) if between and last else None,
        "predicted": math.sqrt(SQUARED_SLOPES[setting.activation] / 3.0),
        "curves": {"layer": [k + 1.0 for k in range(len(outputs))], "norm": at_rows,
                   "weights": weights},
    }  # fmt: skip


def cost(head: Head, classes: int, setting: Setting, seconds: float) -> dict[str, Any]:
    """Least times of forward and backward of the loss, and of a whole step, on `batch` rows."""
    net = network(setting, setting.hidden[0], 0, classes)
    optimiser = Optimiser(net, setting)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(setting.batch, setting.hidden[0], generator=generator)
    targets = torch.randint(classes, (setting.batch,), generator=generator)

    def whole() -> None:
        net.zero_grad()
        head.loss(net(x), targets).backward()
        optimiser.step()

    logits = net(x).detach().requires_grad_()

    def alone() -> None:
        logits.grad = None
        head.loss(logits, targets).backward()

    return {
        "route": head.route,
        "head_ns": _least(alone, seconds),
        "step_ns": _least(whole, seconds),
    }


def _least(call: Any, seconds: float) -> float:
    """The least time of a call, in ns: of at least five, after two that do not count."""
    call()
    call()
    times: list[int] = []
    ends = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < ends:
        began = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - began)
    return float(min(times))
