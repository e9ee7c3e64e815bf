"""What is known of a run and its machine, as pairs of words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from harness.records import RunInfo
from harness.records.timing import TimingRecord
from harness.report.drawing.formatting import byte_count, plural
from harness.report.drawing.sanitize import latex, slug
from harness.report.run_data import RunData


def headline_facts(info: RunInfo) -> list[tuple[str, str]]:
    """What a reader has to know of a run before any figure."""
    machine = info.machine
    brand = str(machine.get("cpu") or machine.get("slug") or "unknown machine")
    cores = machine.get("logical_cores")
    commit = (info.git_commit or "unknown")[:12] + (" (modified)" if info.git_dirty else "")
    return [
        ("Machine", brand + (f", {cores} logical cores" if cores else "")),
        ("Run", info.id),
        ("Taken", info.created + ("" if info.finished else " (not finished)")),
        ("Profile", info.profile),
        ("Harness", f"{info.harness_version}, commit {commit}"),
    ]


@lru_cache(maxsize=1)
def sentence(run: RunData) -> str:
    """What was measured where, in one line."""
    info = run.info
    machine = info.machine
    brand = str(machine.get("cpu") or machine.get("slug") or "an unknown machine")
    cores = machine.get("logical_cores")
    names = [
        n for n in run.implementations if run.statuses(n) and (a := run.about(n)) and a.available
    ]
    text = f"{plural(len(names), 'implementation')} on {brand}"
    text += f" ({plural(cores, 'logical core')})" if isinstance(cores, int) else ""
    text += f", {info.created[:10]}, profile {info.profile}"
    doubts = [c.noisy for c in run.records if isinstance(c, TimingRecord) and c.noisy is not None]
    if doubts:
        decided = len(doubts) - sum(doubts)
        text += f"; {decided} of {plural(len(doubts), 'timing')} known to the precision wanted"
    return text + ("." if info.finished else ". The run had not finished.")


_PLACES = ("--results", "--reports", "--machine")
_KEPT = ("--report", "--no-report", "--keep", "--no-keep", "--timings")


def measuring(command: Sequence[str]) -> str:
    """A command for a shell, without the options that say where results go and what is printed."""
    words = iter(command)
    told = []
    for word in words:
        if word in _PLACES:
            next(words, None)
        elif word.partition("=")[0] not in (*_PLACES, *_KEPT):
            told.append(word)
    return shlex.join(told)


_UNREPEATED = {"logits", "families", "workloads", "precision", "seconds"}
"""Filters of a run without which a command would measure something else."""


def repeat(info: RunInfo, options: str = "") -> str:
    """The command that measures again as `run` did, with options; nothing where it was another."""
    if "run" not in info.command[:4] or info.filters.keys() & _UNREPEATED:
        return ""
    command = f"softmax-bench run --profile {shlex.quote(info.profile)}"
    processes = int(info.filters.get("processes") or 1)
    more = (f"--seed {info.seed}" if info.seed else "",
            f"--processes {processes}" if processes > 1 else "")  # fmt: skip
    return " ".join(filter(None, (command, *more, options)))


def citation(run: RunData) -> str:
    """A BibTeX entry of a run: with the version, the commit, and the hash of its records."""
    info = run.info
    date = re.match(r"(\d{4})-(\d{2})-", info.created)
    year, month = date.groups() if date else ("unknown", "unknown")
    machine = str(info.machine.get("cpu") or info.machine.get("slug") or "unknown machine")
    note = f"Run {latex(info.id)} on {latex(machine)}"
    note += f"; commit {latex((info.git_commit or 'unknown')[:12])}"
    note += f"; SHA-256 of its records {run.digest or 'unknown'}"
    fields = {
        "title": f"softmax-bench {latex(info.harness_version)}: softmax measured",
        "author": "{The softmax-bench maintainers}", "year": year, "month": month, "note": note,
    }  # fmt: skip
    lines = ",\n".join(f"  {k} = {{{v}}}" for k, v in fields.items())
    return f"@misc{{softmax-bench-{slug(info.id)},\n{lines}\n}}"


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested plain data as (path, text) pairs; absent values say so."""
    if isinstance(value, dict):
        return [pair for k, v in value.items() for pair in
                flatten(v, f"{prefix}.{k}" if prefix else str(k))]  # fmt: skip
    if isinstance(value, list):
        if not value:
            return [(prefix, "none")]
        if all(not isinstance(v, dict | list) for v in value):
            return [(prefix, ", ".join(str(v) for v in value))]
        return [pair for i, v in enumerate(value) for pair in flatten(v, f"{prefix}[{i}]")]
    if value is None:
        return [(prefix, "not known")]
    if isinstance(value, int) and not isinstance(value, bool) and "bytes" in prefix:
        return [(prefix, byte_count(value))]
    return [(prefix, str(value))]
