"""The history of runs as Markdown and on the terminal: every series, and where it changes."""

from __future__ import annotations

import math

from harness.comparison.history import FALSE_ALARM, LEAST_RUNS, History
from harness.comparison.render import escape, number
from harness.text import plain, table

_NAMES, _COLUMN = 56, 12
"""Characters for the names of a series, and for each run, on a terminal."""


def step_lines(found: History) -> list[str]:
    """Every step in a line, by run."""
    marked = sorted(
        ((step, one) for one in found.series for step in one.steps), key=lambda pair: pair[0].index
    )
    lines = []
    for step, one in marked:
        run = found.runs[step.index]
        # Zero ulp is a value: there is no percentage from it.
        size = f"{step.ratio - 1.0:+.1%}" if math.isfinite(step.ratio) else "from 0"
        lines.append(
            f"{run.info.id}: {one.implementation}, {one.figure}: "
            f"{number(step.before, one.unit)} -> {number(step.after, one.unit)} ({size}); "
            f"{step.cause}"
        )
    return lines


def caveats(found: History) -> list[str]:
    """What a reader of the steps must know."""
    timed = [s for s in found.series if s.unit == "ns"]
    searched = sum(not s.note for s in timed)
    lines = []
    if searched < len(timed):
        lines.append(f"{len(timed) - searched} series of times have fewer than {LEAST_RUNS} runs "
                     f"or no common cell: no steps were looked for")  # fmt: skip
    if searched:
        lines.append(
            f"{searched} series of times were searched; scatter alone gives at most "
            f"{FALSE_ALARM * searched:.2g} false steps. A step that the copies share is the "
            f"machine's"
        )
    return lines


def to_markdown(found: History) -> str:
    """Steps, and every series as a table with a column a run."""
    ids = [r.info.id for r in found.runs]
    lines = [f"## Over time: {len(ids)} runs on {escape(found.machine)}", ""]
    lines += [f"- {escape(line)}" for line in step_lines(found)] or ["No step changes."]
    lines += ["", *(escape(c) for c in caveats(found)), ""]
    lines += [f"| implementation | figure | {' | '.join(escape(i) for i in ids)} |"]
    lines += [f"|{' --- |' * (len(ids) + 2)}"]
    for one in found.series:
        at = {s.index for s in one.steps}
        shown = (number(value, one.unit) for value in one.values)
        cells = [f"**{text}**" if i in at else text for i, text in enumerate(shown)]
        name, figure = escape(one.implementation), escape(one.figure)
        lines.append(f"| {name} | {figure} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def show(found: History) -> None:
    """Print the steps, and as many of the last runs as are readable beside each other."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for line in [f"step: {line}" for line in step_lines(found)] or ["no step changes"]:
        console.print(Text(plain(line)), soft_wrap=True)
    for line in caveats(found):
        console.print(Text(line), soft_wrap=True)
    last = min(len(found.runs), max(2, (console.width - _NAMES) // _COLUMN))
    header = ("implementation", "figure", *(r.info.created[5:16] for r in found.runs[-last:]))
    rows = [
        (s.implementation, s.figure, *(number(value, s.unit) for value in s.values[-last:]))
        for s in found.series
        if any(value is not None for value in s.values[-last:])
    ]
    title = f"{len(found.runs)} runs on {found.machine}, the last {last} shown"
    console.print(table(header, rows, title=title, right=2))
