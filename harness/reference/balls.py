"""One row in interval arithmetic, which Ziv's loop evaluates for elements that the filter left.

Notation, here and in `long_rows`: m the row's maximum, d_j = x_j - m, c the count of entries equal
to m, r = sum of exp(d_j) over the others, so that the sum of all exp(d_j) is c + r. The tail r
is kept apart because 1/(c + r), log(1 + r), p - 1 are wanted to small *relative* error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.numerics.formats import Float64Array
from harness.reference.engines import Engine
from harness.reference.ziv import (
    NEGLIGIBLE_DIFFERENCE,
    SMALLEST_EXPONENT,
    Enclosure,
    Settled,
    settle,
)


class BallRow:
    """A row of logits, finite or masked, evaluated on demand.

    Args:
        row: float64 (classes,); at least two different ones that are finite.
    """

    def __init__(self, row: Float64Array) -> None:
        values: list[float] = row[row != -np.inf].tolist()
        self.maximum = max(values)
        self.count = sum(1 for v in values if v == self.maximum)
        self._others = [v for v in values if v != self.maximum]
        self.negligible = all(self._is_negligible(v) for v in self._others)
        self._tails: dict[tuple[str, int], Any] = {}

    def _is_negligible(self, value: float) -> bool:
        return value / 2 - self.maximum / 2 < NEGLIGIBLE_DIFFERENCE / 2

    def _difference(self, engine: Engine, value: float) -> Any:
        return engine.number(value) - engine.number(self.maximum)

    def _exp(self, engine: Engine, value: float) -> Any:
        if self._is_negligible(value):
            return engine.positive_below(SMALLEST_EXPONENT)
        return engine.exp(self._difference(engine, value))

    def _tail(self, engine: Engine, bits: int) -> Any:
        key = (engine.name, bits)
        if key not in self._tails:
            terms = (self._exp(engine, v) for v in self._others)
            self._tails = {key: sum(terms, engine.number(0))}
        return self._tails[key]

    def _power_of_two_count(self) -> bool:
        return self.count & (self.count - 1) == 0

    def _log_sum(self, engine: Engine, tail: Any) -> Any:
        """log(c + r)."""
        if self.count == 1:
            return engine.log1p(tail)
        return engine.log(engine.number(self.count) + tail)

    def softmax(self, value: float) -> Settled:
        """exp(value - m) / (c + r); below 1/c for the maximum itself."""
        if self._is_negligible(value):
            return 1.0, 0.0, SMALLEST_EXPONENT

        def evaluate(engine: Engine, bits: int) -> Enclosure:
            total = engine.number(self.count) + self._tail(engine, bits)
            if value == self.maximum:
                limit = (1.0 / self.count, 0.0) if self._power_of_two_count() else None
                return Enclosure(engine.number(1) / total, below=limit)
            return Enclosure(self._exp(engine, value) / total)

        return settle(evaluate, f"softmax of {value.hex()} under {self.maximum.hex()}")

    def log_softmax(self, value: float) -> Settled:
        """(value - m) - log(c + r); below value - m."""
        if value == self.maximum and self.count == 1 and self.negligible:
            return -1.0, 0.0, SMALLEST_EXPONENT

        def evaluate(engine: Engine, bits: int) -> Enclosure:
            log_sum = self._log_sum(engine, self._tail(engine, bits))
            limit = (value, -self.maximum) if self.count == 1 else None
            if value == self.maximum:
                return Enclosure(-log_sum, below=limit)
            return Enclosure(self._difference(engine, value) - log_sum, below=limit)

        return settle(evaluate, f"log_softmax of {value.hex()} under {self.maximum.hex()}")

    def logsumexp(self) -> Settled:
        """m + log(c + r); above m."""
        if self.maximum == 0.0 and self.count == 1 and self.negligible:
            return 1.0, 0.0, SMALLEST_EXPONENT

        def evaluate(engine: Engine, bits: int) -> Enclosure:
            log_sum = self._log_sum(engine, self._tail(engine, bits))
            limit = (self.maximum, 0.0) if self.count == 1 else None
            return Enclosure(engine.number(self.maximum) + log_sum, above=limit)

        return settle(evaluate, f"logsumexp of a row with maximum {self.maximum.hex()}")

    def softmax_minus_one(self, value: float) -> Settled:
        """softmax(value) - 1; above -1, and below -(c - 1)/c for the maximum itself."""
        if value == self.maximum and self.count == 1 and self.negligible:
            return -1.0, 0.0, SMALLEST_EXPONENT

        def evaluate(engine: Engine, bits: int) -> Enclosure:
            tail = self._tail(engine, bits)
            total = engine.number(self.count) + tail
            if value == self.maximum:
                limit = (1.0 / self.count, -1.0) if self._power_of_two_count() else None
                return Enclosure(-(engine.number(self.count - 1) + tail) / total, below=limit)
            return Enclosure(self._exp(engine, value) / total - engine.number(1), above=(-1.0, 0.0))

        return settle(evaluate, f"softmax - 1 of {value.hex()} under {self.maximum.hex()}")
