"""Shows the verdict of a check: one screen, everything that was found, or Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from harness.text import plain, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from harness.experiments.verdict import Area, Instance, Report, Speed

_MARKS = {"ok": "✓", "FAIL": "✗"}


def show(found: Report, console: Console, *, verbose: bool = False) -> None:
    """The verdict, what it covers, the areas, the smallest failing inputs and the speed."""

    def say(text: str) -> None:
        console.print(plain(text), soft_wrap=True, markup=False, highlight=False)

    say(f"{found.verdict.upper()}  {found.name}: {found.reason}")
    for line in _coverage(found):
        say(line)
    say("")
    console.print(_areas(found))
    for title, lines in (
        ("Smallest input found that fails", _witnesses(found)),
        ("Speed, as many times as fast as", [_speed(s) for s in found.speeds]),
    ):
        if lines:
            say("")
            say(title)
        for line in lines:
            say(f"  {line}")
    for note in found.notes:
        say(f"note: {note}")
    if verbose:
        for line in _everything(found):
            say(line)
    elif told := _counts(found):
        say("")
        say(f"{told}: --verbose lists them, --report FOLDER makes a page")


def _counts(found: Report) -> str:
    from harness.experiments.verdict import counted

    kinds = (
        ("failure", found.failures),
        ("finding", found.findings),
        ("declared deviation", found.expected),
        ("skipped case", found.skipped),
    )
    return ", ".join(counted(len(items), kind) for kind, items in kinds if items)


def _coverage(found: Report) -> Iterator[str]:
    yield f"judged: {found.covered}"
    left = list(found.uncovered)
    if found.skipped:
        cases = dict.fromkeys(text.partition(":")[0] for text in found.skipped)
        left.append(f"cases {', '.join(cases)} (--verbose says why)")
    if left:
        yield f"not judged: {'; '.join(left)}"


def _areas(found: Report) -> Table:
    rows = [
        (a.name, f"{_MARKS.get(a.state, '')} {a.state}".strip(), str(a.judged or ""), a.told)
        for a in found.areas
        if a.name != "speed"  # which has lines of its own
    ]
    return table(("area", "verdict", "judged", ""), rows)


def _witnesses(found: Report) -> list[str]:
    """One line for each area that fails, where an input could be made small."""
    shown = {a.name: [p.witness for p in a.failures if p.witness] for a in found.areas}
    return [f"{name}: {witnesses[0]}" for name, witnesses in shown.items() if witnesses]


def _time(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def _speed(speed: Speed) -> str:
    """One line: regime, time, and how many times as fast as each rival, with the interval."""
    threads = f"{speed.threads} thread{'s' * (speed.threads != 1)}"
    ratios = ", ".join(
        f"{r.value:.3g} ({r.low:.3g} to {r.high:.3g}) x {r.rival}" for r in speed.ratios
    )
    told = [
        None if speed.time_ns is None else _time(speed.time_ns),
        None if speed.gbps is None else f"{speed.gbps:.3g} GB/s",
        ratios or None,
        speed.reason,
    ]
    shape = f"{speed.rows} x {speed.classes}, {threads}"
    return f"{speed.regime} ({shape}): {'; '.join(t for t in told if t)}"


def _lines(item: Instance) -> Iterator[str]:
    """An item as plain lines: where, what, and how to reproduce it."""
    yield f"  {item.where}: {item.message}"
    if item.input:
        row = ", ".join(item.input[:8]) + (", ..." if len(item.input) > 8 else "")
        yield f"      input    {row}"
    if item.expected is not None:
        yield f"      expected {item.expected}"
    if item.got is not None:
        yield f"      got      {item.got}"


def _everything(found: Report) -> Iterator[str]:
    """Every failure and finding, by problem, and the declared deviations."""
    for area in found.areas:
        for title, problems in (("fails", area.failures), ("finding", area.findings)):
            for problem in problems:
                yield ""
                yield f"{area.name}, {title}: {problem.text}"
                if problem.where:
                    yield f"  in {problem.where}; {problem.count} judgements"
                for item in problem.items:
                    yield from _lines(item)
    if found.skipped:
        yield ""
        yield "cases that were skipped"
        yield from (f"  {text}" for text in found.skipped)
    if found.expected:
        yield ""
        yield "declared deviations that showed"
    for item in found.expected:
        yield from _lines(item)


def to_markdown(found: Report) -> str:
    """A summary for a pull request; the implementation's own text cannot break out of it."""

    def code(text: str) -> str:
        return "`" + " ".join(text.replace("`", "'").split()) + "`"

    def problems(areas: Iterable[Area], kind: str) -> Iterator[str]:
        for area in areas:
            for problem in getattr(area, kind):
                yield f"- {area.name}: {code(problem.text)} ({problem.count})"
                if problem.witness:
                    yield f"  - {code(problem.witness)}"

    lines = [
        f"## softmax-bench check {code(found.name)}: {found.verdict.upper()}",
        "",
        code(found.reason),
        "",
        *(f"- {code(line)}" for line in _coverage(found)),
        "",
        "| area | verdict | judged |",
        "| --- | --- | ---: |",
        *(f"| {a.name} | {a.state} | {a.judged} |" for a in found.areas if a.name != "speed"),
    ]
    for title, kind in (("Failures", "failures"), ("Findings", "findings")):
        if listed := list(problems(found.areas, kind)):
            lines += ["", f"### {title}", "", *listed[:60]]
    if found.expected:
        lines += ["", f"{len(found.expected)} judgements show declared deviations."]
    if found.max_ulp:
        lines += ["", "| format | largest error, ulp |", "| --- | ---: |"]
        lines += [f"| {d} | {u:.4g} |" for d, u in sorted(found.max_ulp.items())]
    if found.speeds:
        lines += ["", "### Speed", ""]
    lines += [f"- {code(_speed(speed))}" for speed in found.speeds]
    lines += [f"\nNote: {code(n)}" for n in found.notes]
    return "\n".join(lines) + "\n"
