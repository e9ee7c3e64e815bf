"""logsumexp that is the maximum."""


def logsumexp(x, axis=-1):
    return x.max(axis=axis)
