"""TensorFlow's eager tensors on the CPU, where calls return when they are done."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.worker.backends import Backend, cores

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # else every worker tells of its build
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # this is the CPU's peer

import tensorflow as tf

tf.constant(0.0)  # the first one starts its threads and draws a seed


def _from_numpy(array: NDArray[Any]) -> Any:
    """A copy: TensorFlow may keep NumPy's memory, which may be written to.

    Strides are not kept; tensors have none.
    """
    return tf.constant(np.array(array, order="C", copy=True))


def backend() -> Backend:
    """The backend of TensorFlow on the CPU."""
    return Backend(
        name="tensorflow",
        from_numpy=_from_numpy,
        to_numpy=lambda tensor: np.asarray(tensor.numpy()),  # NumPy takes no 0-d bfloat16
        empty_like=tf.zeros_like,
        # Its pools have the size that they were made with.
        set_threads=cores.bind,
        threads=cores.bound,
        exp=tf.exp,
        version=lambda: str(tf.__version__),
    )
