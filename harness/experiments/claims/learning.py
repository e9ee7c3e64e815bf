"""Claims about training: networks of `experiments.training` with max_shift, asked in a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.experiments.claims.claim import Evidence, counted
from harness.experiments.training.plan import clipped
from harness.experiments.training.trainer import ask, refusal, trainer
from harness.records import TrainingRecord
from harness.records.claims import EvidenceTable
from harness.records.training import Question, Setting
from harness.registry.discovery import load
from harness.worker.client import WorkerFault

HIGH_NINETIES = 0.95
_SEEDS = range(5)
_TIMEOUT_S = 300.0

Trained = Callable[[Question, Setting, int], TrainingRecord]


@contextmanager
def _training() -> Iterator[Trained]:
    """What trains a network with max_shift in float32, from a seed."""
    subject = load("max_shift")
    worker = trainer(subject, "max_shift (training)")

    def trained(kind: Question, setting: Setting, seed: int) -> TrainingRecord:
        found = ask(worker, subject, kind, setting, "float32", seed, _TIMEOUT_S)
        blank: dict[str, Any] = {"implementation": "max_shift", "status": "ok"}
        return TrainingRecord.model_validate({**blank, "setting": setting, "seed": seed, **found})

    try:
        yield trained
    finally:
        worker.stop()


def _examined(examine: Callable[[Trained], Evidence]) -> Evidence:
    """The evidence; without any where nothing can be trained."""
    why = refusal()
    if why is None:
        try:
            with _training() as trained:
                return examine(trained)
        except WorkerFault as fault:
            why = fault.reason
    return Evidence("–", f"needs training: {why}")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}%"


def high_nineties() -> Evidence:
    """D7: three layers, ten epochs of Adam, five seeds."""
    setting = Setting(hidden=(256, 128))

    def examine(trained: Trained) -> Evidence:
        found = [trained("digits", setting, seed) for seed in _SEEDS]
        right = [c.accuracy or 0.0 for c in found]
        learned = [c.training_accuracy or 0.0 for c in found]
        rows = [
            (str(c.seed), _share(c.accuracy), _share(c.training_accuracy), f"{c.loss:.4f}")
            for c in found
        ]
        return Evidence(
            f"{_share(min(right))} to {_share(max(right))} of 450 held-out digits after 10 epochs",
            "64–256–128–10, ReLU, Adam at 0.001, batches of 32, on 1347 of scikit-learn's digits",
            findings=(
                counted(
                    f"at least {100 * HIGH_NINETIES:.0f}% of the held-out images are classified "
                    "rightly after 10 epochs",
                    [a >= HIGH_NINETIES for a in right],
                    f"{_share(min(right))} to {_share(max(right))} over {len(found)} seeds",
                    figures={"least_accuracy": min(right), "largest_accuracy": max(right)},
                ),
                counted(
                    "at least 99% of the images trained with are",
                    [a >= 0.99 for a in learned],
                    f"{_share(min(learned))} to {_share(max(learned))}",
                    "remark",
                ),
            ),
            tables=(
                EvidenceTable(
                    "Ten epochs", ("seed", "held out", "trained with", "loss"), tuple(rows)
                ),
            ),
        )

    return _examined(examine)


def clipping() -> Evidence:
    """D5: what ruins a network unclipped, tried again with clipped gradients."""

    def examine(trained: Trained) -> Evidence:
        rescued, through, same, rows = [], [], [], []
        measured: dict[str, str] = {}
        for seed in (0, 1):
            plain: dict[tuple[float, float], TrainingRecord] = {}
            for setting in clipped((10_000.0,)):
                if setting.clip == "norm":
                    continue
                c = trained("clipping", setting, seed)
                c = c if c.first_nonfinite is None else c.ended("failed", str(c.nonfinite))
                disturbance = setting.scale, setting.spike
                usual = plain.setdefault(disturbance, c)  # the first is not clipped
                if setting.clip == "elements":
                    through.append(c.came_through)
                    if not usual.came_through:
                        rescued.append(c.came_through)
                elif setting.clip == "after":
                    same.append(c.weights == usual.weights)
                what = "logits × 100" if setting.scale != 1.0 else "one step × 10⁴"
                way = {"none": "unclipped", "elements": "elements", "after": "after the step"}[
                    setting.clip
                ] + ("" if setting.clip == "none" else f" ±{setting.limit:g}")
                rows.append((what, str(seed), way, _share(c.accuracy)))
                if seed == 0:
                    measured[what] = f"{measured.get(what, '')}{way} {_share(c.accuracy)}, "
        return Evidence(
            "clipping bounds each step, not what a step does: a long step is as long, and a "
            "network that it has ruined then learns no faster than the bound allows",
            "64–128–10, ReLU, SGD at 0.1; logits 100 times as large from the first step on, or one "
            "step in the middle at 10⁴ times the rate; elements clipped to ±0.01 and ±1",
            findings=(
                counted(
                    "a network that is ruined unclipped comes through with clipped elements",
                    rescued,
                    "; ".join(f"{what}: {told[:-2]}" for what, told in measured.items()),
                ),
                counted(
                    "a disturbed network comes through with clipped elements",
                    through,
                    "a network came through if it lost at most 5 points",
                ),
                counted(
                    "clipping after the step, as the article's code does, changes no weight",
                    same,
                    f"the same bits in {sum(same)} of {len(same)}",
                    "remark",
                ),
            ),
            tables=(
                EvidenceTable(
                    "Disturbed trainings",
                    ("disturbance", "seed", "clipped", "held-out digits at the end"),
                    tuple(rows),
                ),
            ),
        )

    return _examined(examine)
