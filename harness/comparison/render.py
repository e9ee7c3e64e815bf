"""A comparison as Markdown for a pull request, as strict JSON, and on the terminal.

Names and reasons come from result files, which anybody can write: they are shown, never
interpreted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from harness.comparison.verdict import VERDICTS, Comparison, Item, Missing
from harness.text import plain, strict_json, table

JSON_VERSION = 1
_MOST = 40
_MARKDOWN = re.compile(r"([\\`*_\[\]<#|~&])")


def escape(text: object) -> str:
    """Text that Markdown shows as it is, on one line."""
    # A word joiner keeps an @ from notifying whoever has that name.
    return _MARKDOWN.sub(r"\\\1", plain(str(text))).replace("@", "@\u2060")


def _number(value: float | str | None, unit: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if unit == "ns":
        for scale, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
            if value >= scale:
                return f"{value / scale:.4g} {name}"
        return f"{value:.4g} ns"
    return f"{value:.4g}"


def _ratio(item: Item) -> str:
    if item.ratio is None or item.low is None or item.high is None:
        return "–"
    return f"{item.ratio:.3f} [{item.low:.3f}, {item.high:.3f}]"


def headline(comparison: Comparison) -> str:
    """The verdict in a line."""
    if comparison.verdict == "nothing":
        return "nothing comparable"
    counts = ", ".join(f"{n} {v}" for v, n in comparison.counts.items() if n)
    return f"{comparison.verdict} ({counts})"


def method(comparison: Comparison) -> str:
    """How the verdicts were reached, in a sentence or two."""
    text = (
        f"Errors: worse if they grow by more than a factor of {comparison.accuracy_factor:g}, or "
        f"if a status or an outcome gets worse."
    )
    if comparison.tests:
        text += (
            f" Timings: better or worse if the whole 95% interval of new / base lies beyond "
            f"{comparison.threshold:.0%}, and Holm's procedure over {comparison.tests} tests at "
            f"5% agrees; equivalent if it lies within."
        )
    return text


_HEADER = ("verdict", "experiment", "implementation", "cell", "figure", "base", "new",
           "new / base, 95%", "why")  # fmt: skip


def _row(item: Item) -> tuple[str, ...]:
    return (
        item.verdict, item.experiment, item.implementation, item.where, item.figure,
        _number(item.base, item.unit), _number(item.new, item.unit), _ratio(item), item.reason,
    )  # fmt: skip


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    return lines + [f"| {' | '.join(escape(c) for c in row)} |" for row in rows]


def _shown(comparison: Comparison) -> list[Item]:
    return [i for i in comparison.items if i.verdict != "equivalent"]


def _overview(comparison: Comparison) -> list[tuple[str, ...]]:
    """Counts of verdicts by implementation and experiment."""
    counts = Counter((i.implementation, i.experiment, i.verdict) for i in comparison.items)
    groups = sorted({(name, experiment) for name, experiment, _ in counts})
    return [(*group, *(str(counts[*group, v]) for v in VERDICTS)) for group in groups]


def missing_lines(missing: Sequence[Missing]) -> list[str]:
    """Cells that one side lacks, a line for each implementation, experiment and reason."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for m in missing:
        key = (m.side, m.experiment, m.implementation, m.reason)
        groups.setdefault(key, []).append(m.where)
    lines = []
    for (side, experiment, name, reason), places in groups.items():
        example = places[0] if len(places) == 1 else f"{len(places)} cells, such as {places[0]}"
        lines.append(f"{side} lacks {name} {experiment}: {example} ({reason})")
    return lines


def to_markdown(comparison: Comparison) -> str:
    """A summary for a pull request: what is worse first; equivalent cells as counts."""
    lines = [
        f"## softmax-bench compare: {escape(headline(comparison))}",
        "",
        f"Base: {escape(comparison.base)} · new: {escape(comparison.new)}",
        "",
    ]
    lines += [f"- {escape(note)}" for note in comparison.notes]
    shown = _shown(comparison)
    if shown:
        lines += ["", *_table(_HEADER, (_row(i) for i in shown[:_MOST]))]
    if len(shown) > _MOST:
        lines += ["", f"{len(shown) - _MOST} more are in the JSON."]
    if comparison.items:
        lines += ["", *_table(("implementation", "experiment", *VERDICTS), _overview(comparison))]
    if comparison.missing:
        lines += ["", "Only on one side:", ""]
        lines += [f"- {escape(line)}" for line in missing_lines(comparison.missing)]
    if comparison.unmeasured:
        lines += ["", "On neither side:", ""]
        lines += [f"- {n} cells: {escape(why)}" for why, n in comparison.unmeasured.items()]
    return "\n".join([*lines, "", escape(method(comparison)), ""])


def to_json(comparison: Comparison) -> str:
    """Everything, as strict JSON; non-finite numbers are strings, as in run files."""
    data = {
        "format": "softmax-bench comparison",
        "version": JSON_VERSION,
        "verdict": comparison.verdict,
        "counts": comparison.counts,
        **asdict(comparison),
    }
    return strict_json(data)


def show(comparison: Comparison) -> None:
    """Print a comparison: what is worse first."""
    from rich.console import Console
    from rich.text import Text

    console = Console()

    def say(text: str) -> None:
        console.print(Text(plain(text)), soft_wrap=True)

    say(f"compare {comparison.base} with {comparison.new}")
    for note in comparison.notes:
        say(f"note: {note}")
    shown = _shown(comparison)
    for item in shown[:_MOST]:
        figures = f"{_number(item.base, item.unit)} -> {_number(item.new, item.unit)}"
        ratio = "" if item.ratio is None else f", ratio {_ratio(item)}"
        say(
            f"{item.verdict}: {item.implementation}, {item.experiment}, {item.where}: "
            f"{item.figure} {figures}{ratio}: {item.reason}"
        )
    if len(shown) > _MOST:
        say(f"{len(shown) - _MOST} more are in the JSON (--json)")
    if comparison.items:
        header = ("implementation", "experiment", *VERDICTS)
        console.print(table(header, _overview(comparison), right=2))
    for line in missing_lines(comparison.missing):
        say(line)
    for why, count in comparison.unmeasured.items():
        say(f"on neither side, {count} cells: {why}")
    say(method(comparison))
    say(f"verdict: {headline(comparison)}")
