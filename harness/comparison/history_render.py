"""The history of runs as Markdown and on the terminal: every series, and where it changes."""

from __future__ import annotations

import math

from harness.comparison.history import FALSE_ALARM, LEAST_RUNS, History
from harness.comparison.render import escape
from harness.text import plain, table


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
            f"{run.info.id}: {one.implementation}, {one.figure}: {step.before:.4g} -> "
            f"{step.after:.4g} {one.unit} ({size}); {step.cause}"
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


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


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
        shown = map(_number, one.values)
        cells = [f"**{text}**" if i in at else text for i, text in enumerate(shown)]
        name, figure = escape(one.implementation), escape(f"{one.figure} ({one.unit})")
        lines.append(f"| {name} | {figure} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def show(found: History) -> None:
    """Print the series (the last runs of them) and the steps."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    last = min(5, len(found.runs))
    header = ("implementation", "figure", *(r.info.created[:16] for r in found.runs[-last:]))
    rows = [
        (s.implementation, f"{s.figure} ({s.unit})", *map(_number, s.values[-last:]))
        for s in found.series
    ]
    title = f"{len(found.runs)} runs on {found.machine}, the last {last} shown"
    console.print(table(header, rows, title=title, right=2))
    for line in step_lines(found) or ["no step changes"]:
        console.print(Text(plain(f"step: {line}")), soft_wrap=True)
    for line in caveats(found):
        console.print(Text(line), soft_wrap=True)
