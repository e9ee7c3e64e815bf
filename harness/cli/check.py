"""``softmax-bench check``: the verdict on one implementation, fit for a CI gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.exits import OF_CHECK, one_line_errors

if TYPE_CHECKING:
    from harness.experiments.check import Item, Report

_SHOWN = 12


def check(
    target: Annotated[
        str, typer.Argument(help="Path of a Python file, package.module:function, or a name.")
    ],
    timing: Annotated[bool, typer.Option(help="Measure the speed beside the baselines.")] = True,
    dtype: options.Dtypes = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Beside whom to measure; repeat for several.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Findings fail, too.")] = False,
    results: Annotated[
        Path | None, typer.Option(help="Keep the runs in this folder (default: not kept).")
    ] = None,
    markdown: options.Markdown = None,
    json: options.Json = None,
    debug: options.Debug = False,
) -> None:
    """Judge an implementation; exit 0 if it passes, 1 if it fails, 3 if it cannot run here."""
    from harness.cli import progress as terminal
    from harness.experiments.check import BASELINES
    from harness.experiments.check import check as judge
    from harness.numerics.formats import FORMATS

    options.refuse_unknown("--dtype", dtype or (), FORMATS)
    with one_line_errors(debug):
        with terminal.progress() as progress:
            found = judge(
                target,
                timing=timing,
                dtypes=tuple(dtype or ()),
                baselines=tuple(baseline or BASELINES),
                strict=strict,
                results=results,
                progress=progress,
            )
        if markdown is not None:
            options.write_text(to_markdown(found), markdown)
        if json is not None:
            options.write_json(found, json)
    _show(found)
    raise typer.Exit(OF_CHECK[found.verdict])


def _lines(item: Item) -> list[str]:
    """An item as plain lines: where, what, and how to reproduce it."""
    lines = [f"{item.where}: {item.message}"]
    if item.input:
        row = ", ".join(item.input[:8]) + (", ..." if len(item.input) > 8 else "")
        lines.append(f"    input    {row}")
    if item.expected is not None:
        lines.append(f"    expected {item.expected}")
    if item.got is not None:
        lines.append(f"    got      {item.got}")
    return lines


def _show(found: Report) -> None:
    from harness.text import plain

    def section(title: str, items: tuple[Item, ...]) -> None:
        if not items:
            return
        print(f"\n{title} ({len(items)})")
        for item in items[:_SHOWN]:
            for line in _lines(item):
                print(f"  {plain(line)}")
        if len(items) > _SHOWN:
            print(f"  ... and {len(items) - _SHOWN} more; --json has all")

    section("FAILURES", found.failures)
    section("Findings", found.findings)
    section("Declared deviations that showed", found.expected)
    if found.max_ulp:
        worst = ", ".join(f"{d} {u:.4g}" for d, u in sorted(found.max_ulp.items()))
        print(f"\nLargest error, ulp: {worst}")
    if found.speeds:
        print("\nSpeed (how many times as fast as each baseline)")
        for line in found.speeds:
            print(f"  {plain(line)}")
    for note in found.notes:
        print(f"note: {plain(note)}")
    print(
        f"\n{plain(found.name)}: {found.verdict.upper()} "
        f"({len(found.failures)} failures, {len(found.findings)} findings, "
        f"{found.judged} cells judged)"
    )


def to_markdown(found: Report) -> str:
    """A summary for a pull request; the implementation's own text cannot break out of it."""

    def code(text: str) -> str:
        return "`" + " ".join(text.replace("`", "'").split()) + "`"

    lines = [
        f"## softmax-bench check {code(found.name)}: {found.verdict.upper()}",
        "",
        f"{len(found.failures)} failures, {len(found.findings)} findings, "
        f"{len(found.expected)} declared deviations; {found.judged} cells judged.",
    ]
    for title, items in (
        ("Failures", found.failures),
        ("Findings", found.findings),
        ("Declared deviations", found.expected),
    ):
        if items:
            lines += ["", f"### {title}", ""]
            lines += [f"- {code(i.where)}: {code(i.message)}" for i in items[:30]]
            if len(items) > 30:
                lines.append(f"- and {len(items) - 30} more")
    if found.max_ulp:
        lines += ["", "| format | largest error, ulp |", "| --- | ---: |"]
        lines += [f"| {d} | {u:.4g} |" for d, u in sorted(found.max_ulp.items())]
    if found.speeds:
        lines += ["", "### Speed", "", *(f"- {code(s)}" for s in found.speeds)]
    lines += [f"\nNote: {code(n)}" for n in found.notes]
    return "\n".join(lines) + "\n"
