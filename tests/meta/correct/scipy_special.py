"""scipy.special."""

from scipy import special


def softmax(x, axis=-1):
    return special.softmax(x, axis=axis)


def log_softmax(x, axis=-1):
    return special.log_softmax(x, axis=axis)


def logsumexp(x, axis=-1):
    return special.logsumexp(x, axis=axis)
