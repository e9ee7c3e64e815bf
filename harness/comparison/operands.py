"""The two sides of a comparison: reading them, pairing their cells, telling machines apart."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from harness.comparison.verdict import Item, Missing, Verdict
from harness.records import Record, RunInfo
from harness.records.reader import ResultsError, Run, cell_key, find_runs, read_run

SEPARATOR = "::"
ABSENT = ("unavailable", "unsupported", "skipped")
"""Statuses of cells that were never measured, which is neither good nor bad."""

_HARDWARE = ("slug", "cpu", "architecture", "logical_cores", "memory_bytes", "gpus")
_MEMORY_SLACK = 1 / 16  # kernels and hypervisors differ by a little from boot to boot


@dataclass(frozen=True)
class Side:
    """One side: a run, or one implementation of it."""

    label: str
    run: Run
    implementation: str | None = None

    def records(self) -> list[Record]:
        """Records of implementations: without the limits and controls that went with them."""
        return [
            r
            for r in self.run.records
            if getattr(r, "role", "implementation") == "implementation"
            and self.implementation in (None, r.implementation)
        ]

    def anchors(self) -> list[Record]:
        """The copies timed beside the others: the harness's own code, the same in every run."""
        return [r for r in self.run.records if r.operation == "copy"]


@dataclass(frozen=True)
class Pair:
    """The same cell on both sides."""

    base: Record
    new: Record
    implementation: str
    where: str

    def item(
        self, figure: str, base: Any, new: Any, verdict: Verdict, reason: str, unit: str = ""
    ) -> Item:
        """The verdict on a number of each side."""
        return Item(
            self.new.experiment, self.implementation, self.where, figure, base, new, verdict,
            reason, unit,
        )  # fmt: skip

    def by_status(self, verdict: Verdict, reason: str) -> Item:
        """The verdict where the statuses decide."""
        return self.item("status", self.base.status, self.new.status, verdict, reason)

    def by_time(self, verdict: Verdict, reason: str) -> Item:
        """The verdict on the least times."""
        base, new = (
            min(getattr(r, "samples_ns", None) or [0.0]) or None for r in (self.base, self.new)
        )
        return self.item("time", base, new, verdict, reason, "ns")


def load_side(given: str | os.PathLike[str] | Run | Side) -> Side:
    """The side that ``RUN`` or ``RUN::IMPLEMENTATION`` stands for.

    Raises:
        ResultsError: there is no run, more than one, or no such implementation in it.
    """
    if isinstance(given, Side):
        return given
    if isinstance(given, Run):
        return Side(given.info.id, given)
    text = os.fspath(given)
    path, _, name = text.partition(SEPARATOR)
    found = find_runs([path])
    if len(found) > 1:
        raise ResultsError(
            f"{path}: holds {len(found)} runs, expected one; give the folder of one run, or this "
            f"folder alone to see its runs over time"
        )
    run = read_run(found[0])
    names = dict.fromkeys(
        [i.name for i in run.info.implementations]
        + [
            r.implementation
            for r in run.records
            if getattr(r, "role", None) != "limit" and r.operation != "copy"
        ]
    )
    if name and name not in names:
        raise ResultsError(f"{text}: no implementation {name!r} in the run; it has "
                           f"{', '.join(n for n in names if ' ' not in n)}")  # fmt: skip
    return Side(text, run, name or None)


def machine_differences(base: RunInfo, new: RunInfo) -> list[str]:
    """In what the machines of two runs differ; empty if they are one machine, as far as is known.

    Memory may differ by a sixteenth: the same machine does not report the same to the byte.
    """
    found = []
    for name in _HARDWARE:
        a, b = base.machine.get(name), new.machine.get(name)
        if name == "memory_bytes" and a and b and abs(a - b) <= _MEMORY_SLACK * max(a, b):
            continue
        if a != b:
            found.append(f"{name} {a!r} and {b!r}")
    return found


def where(record: Record) -> str:
    """The coordinates of a cell without its implementation, as people write them."""
    plain = record.model_dump()
    case, probe, offset = (plain.get(f) for f in ("case", "probe", "offset"))
    parts = (
        record.operation if record.operation != "softmax" else None,
        plain.get("regime"),
        case,
        record.dtype,
        record.workload,
        f"{record.classes} classes" if record.classes is not None else None,
        f"{probe} sign {plain['sign']:+d} {plain['event']}" if probe else None,
        f"offset {offset:g}" if offset is not None else None,
        f"{record.threads} threads" if record.threads is not None else None,
        "allocating" if plain.get("allocating") else None,
        "cold cache" if plain.get("cache") == "cold" else None,
    )
    return ", ".join(str(p) for p in parts if p)


def _index(side: Side, across: bool, by_name: bool) -> dict[str, Record]:
    """Records by coordinates; `across` machines, timings on all cores match, however many."""
    cores = side.run.info.machine.get("logical_cores")
    table: dict[str, Record] = {}
    for record in side.records():
        changes: dict[str, Any] = {} if by_name else {"implementation": "", "device": None}
        if across and record.threads not in (None, 1) and record.threads == cores:
            changes["threads"] = "all"
        table[cell_key({**vars(record), **changes})] = record
    return table


def pair_cells(
    base: Side, new: Side, *, across: bool = False
) -> tuple[list[Pair], list[Missing], Counter[str]]:
    """Cells of both sides, cells that one side lacks, and counts of what neither measured.

    Where each side is one implementation, the two need not have the same name.
    """
    by_name = base.implementation is None
    left, right = _index(base, across, by_name), _index(new, across, by_name)
    pairs: list[Pair] = []
    missing: list[Missing] = []
    unmeasured: Counter[str] = Counter()
    sides: tuple[Literal["base", "new"], ...] = ("base", "new")
    for key in dict.fromkeys([*left, *right]):
        a, b = left.get(key), right.get(key)
        one = a or b
        assert one is not None
        name = one.implementation if by_name else _arrow(base, new)
        lacking: dict[Literal["base", "new"], str] = {}
        for side, record in zip(sides, (a, b), strict=True):
            if record is None:
                lacking[side] = "has no such cell"
            elif record.status in ABSENT:
                lacking[side] = f"{record.status}: {record.reason}"
        if not lacking and a is not None and b is not None:
            pairs.append(Pair(a, b, name, where(b)))
        elif len(lacking) == 2:
            reason = next(r for r in (b, a) if r is not None)
            unmeasured[f"{name}: {reason.status}: {reason.reason}"] += 1
        else:
            for side, why in lacking.items():
                missing.append(Missing(one.experiment, name, where(one), side, why))
    return pairs, missing, unmeasured


def _arrow(base: Side, new: Side) -> str:
    if base.implementation == new.implementation:
        return str(new.implementation)
    return f"{base.implementation} -> {new.implementation}"


def same_run(base: Side, new: Side) -> bool:
    """Whether both sides are of one run."""
    return base.run.info.id == new.run.info.id and base.run.machine == new.run.machine


def changed_versions(a: RunInfo, b: RunInfo) -> list[str]:
    """Packages of which two runs had different versions, with both."""
    return [
        f"{name} {a.versions.get(name)} -> {b.versions.get(name)}"
        for name in sorted({*a.versions, *b.versions})
        if a.versions.get(name) != b.versions.get(name)
    ]


def short(commit: str | None) -> str:
    """A commit as people write it."""
    return "none" if commit is None else commit[:8]


def changed_settings(a: RunInfo, b: RunInfo) -> dict[str, str]:
    """What an administrator changed of the machine between two runs: from what to what."""
    return {
        name: f"{a.machine.get(name)} -> {b.machine.get(name)}"
        for name in ("kernel", "governor", "turbo")
        if a.machine.get(name) != b.machine.get(name)
    }


def describe(base: Side, new: Side) -> list[str]:
    """What differs between the sides beside their numbers, one line each."""
    notes = []
    for label, side in (("base", base), ("new", new)):
        if side.run.info.finished is None:
            notes.append(f"{label}: the run was interrupted; cells may be missing")
        notes += [f"{label}: {p}" for p in side.run.problems]
    if same_run(base, new):
        return notes
    a, b = base.run.info, new.run.info
    versions = changed_versions(a, b)
    if versions:
        notes.append(f"versions differ: {', '.join(versions)}")
    notes += [f"{name} differs: {change}" for name, change in changed_settings(a, b).items()]
    if a.git_commit != b.git_commit:
        notes.append(f"harness commit differs: {short(a.git_commit)} -> {short(b.git_commit)}")
    before = {i.name: i.sha256 for i in a.implementations}
    changed = [i.name for i in b.implementations if i.name in before and before[i.name] != i.sha256]
    if before and base.implementation is None:
        text = ", ".join(changed) if changed else "of no implementation"
        notes.append(f"sources changed: {text}")
    return notes
