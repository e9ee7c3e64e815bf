"""Real logits: a multinomial logistic regression on the digits that ship with scikit-learn.

The room of the classifier: training, quantisation and the cache. The problem is strictly convex
and solved until the gradient vanishes, so that differences between platforms (BLAS, exp) shrink
instead of growing; the weights are then rounded to multiples of 2**-20. Pixels are integers, so
each logit is an exact multiple of 2**-20 and the same in every order of summation.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

VERSION = 1  # of the recipe: a change of anything below gets a new number and a new cache file
CLASSES = 10
HELD_OUT = 450
ROWS = 1797
_SPLIT_SEED = 20210
_QUANTUM = 2.0**-20
_PIXEL_MAX = 16.0
_RIDGE = 1e-4
_TOLERANCE = 1e-9
_MAX_STEPS = 20_000


class WorkloadUnavailable(RuntimeError):
    """A workload that cannot be had here, or not in this format; the message is the reason."""


@dataclass(frozen=True)
class DigitsLogits:
    """The classifier's output.

    Attributes:
        logits: float64 ``(1797, 10)``, the 450 held-out rows first.
        labels: int64 ``(1797,)``.
        accuracy: share of the held-out rows whose largest logit is the label.
        training_accuracy: the same over the training rows.
    """

    logits: Float64Array
    labels: NDArray[np.int64]
    accuracy: float
    training_accuracy: float


def cache_directory() -> Path:
    """Where derived data is kept: ``SOFTMAX_BENCH_CACHE``, else the user's cache folder."""
    override = os.environ.get("SOFTMAX_BENCH_CACHE")
    if override:
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_cache_dir("softmax-bench"))


def _digits() -> tuple[NDArray[Any], NDArray[Any]]:
    """The pixels and labels in scikit-learn's own file; to import it for that takes seconds."""
    found = importlib.util.find_spec("sklearn")
    for place in (found and found.submodule_search_locations) or ():
        file = Path(place) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            data = np.loadtxt(file, delimiter=",")
            return data[:, :-1], data[:, -1].astype(int)
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise WorkloadUnavailable(
            "digits: needs scikit-learn, which is not installed; "
            "install the extra softmax-bench[training]"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    return pixels, labels


def _pixels() -> tuple[Float64Array, NDArray[np.int64]]:
    pixels, labels = _digits()
    # A permutation that no release of NumPy can change: multiplicative hashing (Knuth, 6.4).
    key = (np.arange(len(labels), dtype=np.uint64) + np.uint64(_SPLIT_SEED)) * np.uint64(
        0x9E3779B97F4A7C15
    )
    order = np.argsort(key, kind="stable")
    return np.asarray(pixels, np.float64)[order], np.asarray(labels, np.int64)[order]


def train_weights(pixels: Float64Array, labels: NDArray[np.int64]) -> Float64Array:
    """Weights ``(features + 1, classes)``, bias last, for integer pixels; not yet quantised.

    Accelerated gradient descent (Nesterov, with restarts) on cross-entropy plus a ridge, from
    zero, full batch, until the largest gradient component is below 1e-9.
    """
    x = np.hstack([pixels / _PIXEL_MAX, np.ones((len(pixels), 1))])
    target = np.eye(CLASSES)[labels]
    lipschitz = 0.5 * float(np.linalg.eigvalsh(x.T @ x / len(x))[-1]) + _RIDGE
    w = np.zeros((x.shape[1], CLASSES))
    look, t = w, 1.0
    for _ in range(_MAX_STEPS):
        scores = x @ look
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        gradient = x.T @ (p - target) / len(x) + _RIDGE * look
        if np.abs(gradient).max() < _TOLERANCE:
            break
        new = look - gradient / lipschitz
        if float(np.sum(gradient * (new - w))) > 0:  # O'Donoghue & Candes 2015: restart
            t = 1.0
        t_next = 0.5 + np.sqrt(0.25 + t * t)
        look = new + (t - 1) / t_next * (new - w)
        w, t = new, t_next
    else:
        raise RuntimeError(f"digits: training did not converge in {_MAX_STEPS} steps")
    w = look.copy()  # where the gradient vanished
    w[:-1] /= _PIXEL_MAX
    return w


def _compute() -> DigitsLogits:
    pixels, labels = _pixels()
    weights = train_weights(pixels[HELD_OUT:], labels[HELD_OUT:])
    weights = np.rint(weights / _QUANTUM) * _QUANTUM
    # Exact: abs(sum) < 2**20 in units of 2**-20 needs 40 bits.
    logits = pixels @ weights[:-1] + weights[-1]
    right = logits.argmax(axis=1) == labels
    return DigitsLogits(
        logits, labels, float(right[:HELD_OUT].mean()), float(right[HELD_OUT:].mean())
    )


def _read(path: Path) -> DigitsLogits | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            logits, labels = stored["logits"], stored["labels"]
            accuracy, training = float(stored["accuracy"]), float(stored["training_accuracy"])
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None  # absent, or damaged: computed again and written over
    if logits.shape != (ROWS, CLASSES) or logits.dtype != np.float64:
        return None
    return DigitsLogits(logits, labels, accuracy, training)


def _write(path: Path, digits: DigitsLogits) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except OSError:
        return  # a cache that cannot be written costs seconds, not the run
    with os.fdopen(handle, "wb") as file:
        np.savez(
            file,
            logits=digits.logits,
            labels=digits.labels,
            accuracy=digits.accuracy,
            training_accuracy=digits.training_accuracy,
        )
    os.replace(name, path)  # atomic: two processes may both train


def digits_logits(refresh: bool = False) -> DigitsLogits:
    """The logits, from the cache or trained now.

    Args:
        refresh: train even if the cache holds them.

    Raises:
        WorkloadUnavailable: without scikit-learn (and without a cache file).
    """
    path = cache_directory() / f"digits-v{VERSION}.npz"
    found = None if refresh else _read(path)
    if found is None:
        found = _compute()
        _write(path, found)
    return found
