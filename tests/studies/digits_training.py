"""Trains the classifier whose logits are the workload ``digits``, and writes its data file.

``python tests/studies/digits_training.py FILE`` needs scikit-learn, whose digits it takes. The
problem is strictly convex and solved until the gradient vanishes, so that differences between
platforms (BLAS, exp) shrink instead of growing; the weights are then rounded to multiples of
2**-20. Pixels are integers, so each logit is an exact multiple of 2**-20.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.workloads.digits import CLASSES, HELD_OUT, pixels_and_labels

Float64Array = NDArray[np.float64]

_QUANTUM = 2.0**-20
_PIXEL_MAX = 16.0
_RIDGE = 1e-4
_TOLERANCE = 1e-9
_MAX_STEPS = 20_000


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


def trained() -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """In units of 2**-20: logits ``(1797, 10)``, held-out rows first; labels ``(1797,)``."""
    pixels, labels = pixels_and_labels()
    weights = np.rint(train_weights(pixels[HELD_OUT:], labels[HELD_OUT:]) / _QUANTUM)
    # Exact: abs(sum) < 2**20 in units of 2**-20 needs 40 bits.
    return (pixels @ weights[:-1] + weights[-1]).astype(np.int32), labels.astype(np.uint8)


if __name__ == "__main__":
    logits, labels = trained()
    kept: dict[str, Any] = {"logits": logits, "labels": labels}
    np.savez_compressed(sys.argv[1], **kept)
