"""A reduction and a polynomial of our own: an exponential good to 2 ulp, float32 only."""

import numpy as np

IMPLEMENTATION = {"dtypes": ("float32",)}


def _exp(x):
    x = np.maximum(x, np.float32(-150))
    k = np.rint(x * np.float32(1.44269504))
    r = x - k * np.float32(0.693359375) + k * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = p * r + np.float32(c)
    p = p * r * r + r + np.float32(1)
    return np.ldexp(p, np.nan_to_num(k).astype(np.int32))


def softmax(x, axis=-1):
    m = x.max(axis=axis, keepdims=True)
    with np.errstate(all="ignore"):
        e = _exp(x - m)
    e = np.where(np.isnan(x - m), np.float32(np.nan), e)
    e = np.where(x == -np.inf, np.float32(0) * (m - m), e)
    return (e / e.sum(axis=axis, keepdims=True)).astype(np.float32)
