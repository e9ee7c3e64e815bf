"""Real logits: those of a multinomial logistic regression on scikit-learn's 1797 digits.

The classifier was trained once (``tests/studies/digits_training.py``), and its logits are data of
this package: exact multiples of 2**-20; the 450 rows held out of the training come first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES = 10
HELD_OUT = 450
ROWS = 1797
_SPLIT_SEED = 20210
_FILE = Path(__file__).with_suffix(".npz")


class WorkloadUnavailable(RuntimeError):
    """A workload that cannot be had here, or not in this format; the message is the reason."""


def pixels_and_labels() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pixels from 0 to 16, shape ``(1797, 64)``, and labels; the rows held out come first.

    Needs scikit-learn, which has them in its package.
    """
    from sklearn.datasets import load_digits

    found, labels = load_digits(return_X_y=True)
    # A permutation that no release of NumPy can change: multiplicative hashing (Knuth, 6.4).
    key = (np.arange(len(labels), dtype=np.uint64) + np.uint64(_SPLIT_SEED)) * np.uint64(
        0x9E3779B97F4A7C15
    )
    order = np.argsort(key, kind="stable")
    return np.asarray(found, np.float64)[order], np.asarray(labels, np.int64)[order]


@dataclass(frozen=True)
class DigitsLogits:
    """The classifier's output.

    Attributes:
        logits: float64 ``(1797, 10)``, the 450 held-out rows first.
        labels: int64 ``(1797,)``.
        accuracy: share of the held-out rows whose largest logit is the label.
        training_accuracy: the same over the training rows.
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    accuracy: float
    training_accuracy: float


@cache
def digits_logits() -> DigitsLogits:
    """The logits and labels; not to be written to."""
    with np.load(_FILE, allow_pickle=False) as stored:
        logits, labels = stored["logits"] * 2.0**-20, stored["labels"].astype(np.int64)
    right = logits.argmax(axis=1) == labels
    return DigitsLogits(
        logits, labels, float(right[:HELD_OUT].mean()), float(right[HELD_OUT:].mean())
    )
