"""An expression, and a name for it."""

import numpy as np

softmax = lambda x, axis=-1: (  # noqa: E731
    lambda e: np.divide(e, e.sum(axis=axis, keepdims=True))
)(np.exp(np.subtract(x, x.max(axis=axis, keepdims=True))))
