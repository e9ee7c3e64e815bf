"""tf.nn.softmax on the CPU, eager.

The peer of models that were built on TensorFlow: Eigen's kernels on a pool of threads, oneDNN's
where that build of TensorFlow has them. Tensors in, tensors out; there is no way to give it an
output, so that every call allocates its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if __name__ == "tensorflow":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "tensorflow: found implementations/tensorflow.py in place of the package; "
        "start Python in another directory, or with -P"
    )

import tensorflow as tf

if TYPE_CHECKING:
    from tensorflow import Tensor

IMPLEMENTATION = {
    "backend": "tensorflow",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("tensorflow",),
    "source": "https://www.tensorflow.org/api_docs/python/tf/nn/softmax",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "deviations": (
        {"id": "flushes", "reason": "TensorFlow's threads take subnormal numbers for 0"},
        {"id": "saturation", "reason": "log_softmax is 0 where the probability is near 1"},
        {"id": "gradient", "reason": "the gradient at the target is p - 1, rounded"},
    ),
}


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """tf.nn.softmax(x, axis)."""
    return tf.nn.softmax(x, axis)


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """tf.nn.log_softmax(x, axis)."""
    return tf.nn.log_softmax(x, axis)


def logsumexp(x: Tensor, axis: int = -1) -> Tensor:
    """tf.reduce_logsumexp(x, axis)."""
    return tf.reduce_logsumexp(x, axis)


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The operation behind tf.nn.sparse_softmax_cross_entropy_with_logits: loss and gradient."""
    rows = tf.reshape(logits, (-1, logits.shape[-1]))
    loss, gradient = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
        features=rows, labels=tf.reshape(targets, (-1,))
    )
    return tf.reshape(loss, targets.shape), tf.reshape(gradient, logits.shape)
