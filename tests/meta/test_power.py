"""The power of the judge as the docs state it: how many wrong implementations, of which kinds, and
how many of them an ordinary test lets pass."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.reference import cross_entropy_exact, softmax_backward_exact, softmax_exact
from harness.worker.local import LocalImplementation, load

HERE = Path(__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "checking.md"
MUTANTS = sorted((HERE / "mutants").glob("*.py"))
CORRECT = sorted((HERE / "correct").glob("*.py"))
KINDS = {
    "wide": "wide rows",
    "size": "many elements",
    "state": "state between calls",
    "caller": "callers",
}
OTHERS = "everything else"
SHAPES = ((64, 1000), (1000, 128), (32, 10), (8, 5))
"""What a test that somebody writes in a minute would try."""


def kind_of(path: Path) -> str:
    return KINDS.get(path.stem.partition("_")[0], OTHERS)


Call = tuple[tuple[NDArray[Any], ...], tuple[Any, ...]]


@cache
def calls(operation: str) -> tuple[Call, ...]:
    return tuple(_calls(operation))


def _calls(operation: str) -> Iterator[Call]:
    """Random normal arguments in float32, and the right results."""
    for seed, (rows, classes) in enumerate(SHAPES):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(rows, classes)).astype(np.float32)
        p = softmax_exact(x).to_float64()
        lse = np.log(np.exp(x.astype(np.float64)).sum(axis=-1))
        if operation == "softmax_backward":
            y = p.astype(np.float32)
            yield (x, y), (softmax_backward_exact(x, y).to_float64(),)
        elif operation == "cross_entropy":
            targets = rng.integers(0, classes, rows)
            parts = cross_entropy_exact(x, targets)
            yield (x, targets), tuple(part.to_float64() for part in parts)
        else:
            right = {"softmax": p, "logsumexp": lse, "log_softmax": x - lse[:, None]}
            yield (x,), (right[operation],)


def passes_an_ordinary_test(path: Path) -> bool:
    """`np.allclose` with its own tolerances, for every operation that it offers."""
    one = load(path)
    module = LocalImplementation(one.metadata).module()
    for operation in one.operations:
        for arguments, right in calls(operation):
            with np.errstate(all="ignore"):
                try:
                    got = getattr(module, operation)(*(a.copy() for a in arguments))
                except Exception:
                    return False
            parts = got if isinstance(got, tuple) else (got,)
            if not all(np.allclose(a, b) for a, b in zip(parts, right, strict=True)):
                return False
    return True


def table() -> list[str]:
    """The lines of the table in the docs."""
    rows = []
    for kind in (*KINDS.values(), OTHERS):
        mutants = [path for path in MUTANTS if kind_of(path) == kind]
        quiet = sum(map(passes_an_ordinary_test, mutants))
        rows.append(f"| {kind} | {len(mutants)} | {quiet} | 0 |")
    return rows


def test_the_page_states_the_power_that_there_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for row in table():
        assert row in page, "\n".join(table())
    assert f"{len(CORRECT)} right implementations" in page


def test_half_of_the_new_kinds_are_right_on_every_ordinary_test() -> None:
    new = [path for path in MUTANTS if kind_of(path) != OTHERS]
    assert len(new) >= 40
    assert 2 * sum(map(passes_an_ordinary_test, new)) >= len(new)


@pytest.mark.parametrize("name", ["zeros", "uniform"])
def test_an_ordinary_test_finds_something(name: str) -> None:
    assert not passes_an_ordinary_test(HERE / "mutants" / f"{name}.py")


@pytest.mark.parametrize("name", ["wide_sum_off", "state_counts_calls"])
def test_an_ordinary_test_lets_much_pass(name: str) -> None:
    assert passes_an_ordinary_test(HERE / "mutants" / f"{name}.py")
