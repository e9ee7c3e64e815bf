"""A pytest plugin: ``pytest --softmax-implementation NAME_OR_PATH`` judges it, a test a verdict.

Without the option it costs nothing: everything but pytest is imported when it is given. The tests
themselves are in `pytest_suite`.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from harness.cli.pytest_options import CHOSEN, FINDING, NODE, OPTION

if TYPE_CHECKING:
    from harness.registry.discovery import Implementation


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("softmax-bench", "judging softmax implementations")
    group.addoption(
        OPTION,
        action="append",
        default=[],
        metavar="NAME_OR_PATH",
        help="judge this implementation: special values, accuracy, invariants, throughput "
        "(a name that `softmax-bench list` shows, or a Python file; repeat for several)",
    )
    group.addoption(
        "--softmax-seed", type=int, default=0, metavar="N", help="seed of every random input"
    )
    group.addoption(
        "--softmax-strict", action="store_true", help="findings of softmax tests are failures"
    )


class Suite(pytest.Module):
    """The tests of `pytest_suite`, under a name that is the same everywhere."""

    def _getobj(self) -> ModuleType:
        from harness.cli import pytest_suite

        return pytest_suite


def has_benchmark(config: pytest.Config) -> bool:
    """Whether pytest-benchmark, whose fixture times, is at hand."""
    return config.pluginmanager.hasplugin("benchmark")


def _choose(given: list[str]) -> dict[str, Implementation]:
    """The implementations that were asked for, by name.

    Raises:
        pytest.UsageError: there is none of that name, its file breaks the contract, it cannot
            run here, or two have one name. What was asked for is never skipped in silence.
    """
    from harness.cli.session import select
    from harness.registry.contract import ImplementationError

    try:
        chosen = select(given)
    except ImplementationError as e:
        raise pytest.UsageError(f"{OPTION} {' '.join(given)}: {e}") from None
    for one in chosen:
        reason = one.unavailable_reason
        if reason is not None:
            raise pytest.UsageError(f"{OPTION} {one.metadata.path}: cannot run here: {reason}")
    return {one.name: one for one in chosen}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the tests; before -k and -m choose among them."""
    given: list[str] = config.getoption(OPTION)
    if not given:
        return
    config.stash[CHOSEN] = _choose(given)
    # A node of its own, not a file below this installation: identifiers stay the same everywhere.
    suite = Suite.from_parent(session, path=Path(config.rootpath) / NODE, nodeid=NODE, name=NODE)
    added = list(session.genitems(suite))
    if not has_benchmark(config):
        added = [i for i in added if getattr(i, "originalname", "") != "test_throughput"]
    items.extend(added)


def pytest_report_header(config: pytest.Config) -> list[str]:
    given: list[str] = config.getoption(OPTION)
    if not given:
        return []
    from harness.version import VERSION

    timing = (
        "throughput by pytest-benchmark"
        if has_benchmark(config)
        else "no throughput tests: pytest-benchmark is not installed or not enabled"
    )
    seed = config.getoption("--softmax-seed")
    return [f"softmax-bench {VERSION}: judging {', '.join(given)}; seed {seed}; {timing}"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the findings, which fail nothing."""
    found = [
        text
        for status in ("passed", "failed", "xfailed")
        for report in terminalreporter.stats.get(status, [])
        for name, text in getattr(report, "user_properties", ())
        if name == FINDING
    ]
    if found:
        terminalreporter.section("softmax-bench findings")
        for text in found:
            terminalreporter.write_line(str(text))
