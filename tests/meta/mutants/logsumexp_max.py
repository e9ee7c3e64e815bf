"""logsumexp that is the maximum."""

import numpy as np


def logsumexp(x, axis=-1):
    return x.max(axis=axis)
