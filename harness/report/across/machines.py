"""Runs by machine, and how pages across runs call them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.records import AccuracyRecord, RunInfo
from harness.report.drawing.sanitize import slug
from harness.report.drawing.tables import Entry, words
from harness.report.run_data import MEASURED, RunData
from harness.report.run_header import headline_facts

_HARDWARE = ("slug", "cpu", "architecture", "logical_cores", "gpus")


def place_of(info: RunInfo) -> str:
    """The name of the machine's folder, as people call the machine."""
    return str(info.machine.get("slug") or info.machine.get("cpu") or "unnamed machine")


def by_machine(runs: Sequence[RunData]) -> list[list[RunData]]:
    """The runs of each machine, in their order; the machine of the newest run first.

    Machines of the same name with other hardware are different ones.
    """
    found: dict[tuple[str, ...], list[RunData]] = {}
    for run in reversed(runs):
        found.setdefault(_hardware(run), []).insert(0, run)
    return list(found.values())


def _hardware(run: RunData) -> tuple[str, ...]:
    return tuple(str(run.info.machine.get(name)) for name in _HARDWARE)


def key(run: RunData) -> str:
    """Of a machine, by one of its runs: for the names of what is told of it."""
    return slug(" ".join(_hardware(run)))


def title(run: RunData) -> str:
    """Of a machine, by one of its runs."""
    return f"{place_of(run.info)} ({headline_facts(run.info)[0][1]})"


def when(run: RunData) -> str:
    """The day and the minute in which a run began."""
    return run.info.created[:16].replace("T", " ")


def commit(info: RunInfo, dirty: bool = True) -> str:
    """The commit of the harness that measured, as people write it."""
    text = (info.git_commit or "unknown")[:8]
    return f"{text} (modified)" if dirty and info.git_dirty else text


def experiments(run: RunData) -> list[str]:
    """What a run measured anything of."""
    return sorted({c.experiment for c in run.records if c.status in MEASURED})


def able(run: RunData) -> set[str]:
    """The implementations with any figure or verdict."""
    return {c.implementation for c in run.records if c.status in MEASURED}


def head(run: RunData) -> Entry:
    """The run as an entry of a page in the root, with a link to its pages."""
    return words(run.info.id, href=f"{run.slug}index.html", detail=when(run))


def errors(
    run: RunData, dtype: str, operation: str
) -> Mapping[str, Mapping[object, AccuracyRecord]]:
    """The records with an error of each implementation, by the input that they were judged on."""
    found: dict[str, dict[object, AccuracyRecord]] = {}
    for c in run.select(AccuracyRecord, dtype=dtype, operation=operation):
        if c.max_ulp is not None and c.input_sha256 and c.status in MEASURED:
            key = (c.workload, c.classes, c.rows, c.seed, c.input_sha256)
            found.setdefault(c.implementation, {})[key] = c
    return found
