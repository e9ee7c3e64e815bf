"""The operations are instances of a class that can be called."""

import numpy as np


class Softmax:
    def __init__(self, logarithm):
        self.logarithm = logarithm

    def __call__(self, x, axis=-1):
        d = x - x.max(axis=axis, keepdims=True)
        e = np.exp(d)
        total = e.sum(axis=axis, keepdims=True)
        return d - np.log(total) if self.logarithm else e / total


softmax = Softmax(logarithm=False)
log_softmax = Softmax(logarithm=True)
