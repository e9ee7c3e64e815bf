"""The steps of the computation are properties of a data class."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Logits:
    values: np.ndarray
    axis: int

    @cached_property
    def exponentials(self):
        return np.exp(self.values - self.values.max(axis=self.axis, keepdims=True))

    @property
    def probabilities(self):
        return self.exponentials / self.exponentials.sum(axis=self.axis, keepdims=True)


def softmax(x, axis=-1):
    return Logits(x, axis).probabilities
