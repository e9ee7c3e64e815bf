"""One row in interval arithmetic, which Ziv's loop evaluates for elements that the filter left.

Notation, here and in `long_rows`: m the row's maximum, d_j = x_j - m, c the count of entries equal
to m, r = sum of exp(d_j) over the others, so that the sum of all exp(d_j) is c + r. The tail r
is kept apart because 1/(c + r), log(1 + r), p - 1 are wanted to small *relative* error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

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
        row: float64 (classes,); at least two different ones that are finite. With a `logit`,
            differences to the largest, as far as a float holds them.
        logit: (engine, column) to the logit itself, where a float does not hold it.
    """

    def __init__(
        self, row: Float64Array, logit: Callable[[Engine, int], Any] | None = None
    ) -> None:
        self._row: list[float] = row.tolist()
        self._logit = logit
        self.maximum = max(self._row)
        tops = [c for c, v in enumerate(self._row) if v == self.maximum]
        self._top, self.count = tops[0], len(tops)
        self._others = [c for c, v in enumerate(self._row) if -math.inf < v < self.maximum]
        self.negligible = all(self._is_negligible(c) for c in self._others)
        self._tails: dict[tuple[str, int], Any] = {}

    def _is_top(self, column: int) -> bool:
        return bool(self._row[column] == self.maximum)

    def _is_negligible(self, column: int) -> bool:
        return bool(self._row[column] / 2 - self.maximum / 2 < NEGLIGIBLE_DIFFERENCE / 2)

    def _number(self, engine: Engine, column: int) -> Any:
        if self._logit is not None:
            return self._logit(engine, column)
        return engine.number(self._row[column])

    def _difference(self, engine: Engine, column: int) -> Any:
        return self._number(engine, column) - self._number(engine, self._top)

    def _exp(self, engine: Engine, column: int) -> Any:
        if self._is_negligible(column):
            return engine.positive_below(SMALLEST_EXPONENT)
        return engine.exp(self._difference(engine, column))

    def _tail(self, engine: Engine, bits: int) -> Any:
        key = (engine.name, bits)
        if key not in self._tails:
            terms = (self._exp(engine, c) for c in self._others)
            self._tails[key] = sum(terms, engine.number(0))
        return self._tails[key]

    def _power_of_two_count(self) -> bool:
        return self.count & (self.count - 1) == 0

    def _log_sum(self, engine: Engine, tail: Any) -> Any:
        """log(c + r)."""
        if self.count == 1:
            return engine.log1p(tail)
        return engine.log(engine.number(self.count) + tail)

    def _what(self, operation: str, column: int) -> str:
        return f"{operation} of {self._row[column].hex()} under {self.maximum.hex()}"

    def probability(self, engine: Engine, bits: int, column: int) -> Any:
        """softmax itself, in the engine's arithmetic."""
        total = engine.number(self.count) + self._tail(engine, bits)
        top = self._is_top(column)
        return (engine.number(1) if top else self._exp(engine, column)) / total

    def softmax(self, column: int) -> Settled:
        """exp(value - m) / (c + r); below 1/c for the maximum itself."""
        if self._is_negligible(column):
            return 1.0, 0.0, SMALLEST_EXPONENT

        def evaluate(engine: Engine, bits: int) -> Enclosure:
            total = engine.number(self.count) + self._tail(engine, bits)
            if self._is_top(column):
                limit = (1.0 / self.count, 0.0) if self._power_of_two_count() else None
                return Enclosure(engine.number(1) / total, below=limit)
            return Enclosure(self._exp(engine, column) / total)

        return settle(evaluate, self._what("softmax", column))

    def log_softmax(self, column: int) -> Settled:
        """(value - m) - log(c + r); below value - m."""
        top = self._is_top(column)
        if top and self.count == 1 and self.negligible:
            return -1.0, 0.0, SMALLEST_EXPONENT

        def evaluate(engine: Engine, bits: int) -> Enclosure:
            log_sum = self._log_sum(engine, self._tail(engine, bits))
            limit = (self._row[column], -self.maximum) if self.count == 1 else None
            limit = limit if self._logit is None or top else None
            if top:
                return Enclosure(-log_sum, below=limit)
            return Enclosure(self._difference(engine, column) - log_sum, below=limit)

        return settle(evaluate, self._what("log_softmax", column))

    def logsumexp(self) -> Settled:
        """m + log(c + r); above m."""
        if self.maximum == 0.0 and self.count == 1 and self.negligible:
            return 1.0, 0.0, SMALLEST_EXPONENT

        def evaluate(engine: Engine, bits: int) -> Enclosure:
            log_sum = self._log_sum(engine, self._tail(engine, bits))
            limit = (self.maximum, 0.0) if self.count == 1 else None
            return Enclosure(engine.number(self.maximum) + log_sum, above=limit)

        return settle(evaluate, f"logsumexp of a row with maximum {self.maximum.hex()}")

    def softmax_minus_one(self, column: int) -> Settled:
        """softmax(value) - 1; above -1, and below -(c - 1)/c for the maximum itself."""
        top = self._is_top(column)
        if top and self.count == 1 and self.negligible:
            return -1.0, 0.0, SMALLEST_EXPONENT

        def evaluate(engine: Engine, bits: int) -> Enclosure:
            tail = self._tail(engine, bits)
            total = engine.number(self.count) + tail
            if top:
                limit = (1.0 / self.count, -1.0) if self._power_of_two_count() else None
                return Enclosure(-(engine.number(self.count - 1) + tail) / total, below=limit)
            below_one = self._exp(engine, column) / total - engine.number(1)
            return Enclosure(below_one, above=(-1.0, 0.0))

        return settle(evaluate, self._what("softmax - 1", column))
