"""Decorators around decorators; what they remember are axes and not arrays."""

from functools import lru_cache, wraps

import numpy as np


@lru_cache(maxsize=8)
def _options(axis):
    return {"axis": axis, "keepdims": True}


def along(function):
    @wraps(function)
    def call(x, axis=-1):
        return function(x, _options(axis))

    return call


def quietly(function):
    @wraps(function)
    def call(*arguments, **options):
        with np.errstate(all="ignore"):
            return function(*arguments, **options)

    return call


@quietly
@along
def softmax(x, options):
    e = np.exp(x - x.max(**options))
    return e / e.sum(**options)
