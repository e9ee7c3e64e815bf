"""An axis that is passed by position is not looked at."""

import numpy as np


def softmax(x, *rest, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
