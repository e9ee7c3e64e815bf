"""A comparison as Markdown for a pull request, as strict JSON, and on the terminal.

Names and reasons come from result files, which anybody can write: they are shown, never
interpreted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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


def number(value: float | str | None, unit: str) -> str:
    """A figure for people, with its unit; times in the unit that suits them."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if unit == "ns":
        for scale, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
            if value >= scale:
                return f"{value / scale:.4g} {name}"
        return f"{value:.4g} ns"
    return f"{value:.4g} {unit}".strip()


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
        number(item.base, item.unit), number(item.new, item.unit), _ratio(item), item.reason,
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


def _gathered(cells: Sequence[Item | Missing]) -> str:
    """Cells of one experiment in a few words: one as it is, more as a count with an example."""
    first = cells[0]
    if len(cells) == 1:
        return f"{first.implementation}, {first.experiment}, {first.where}"
    names = ", ".join(dict.fromkeys(c.implementation for c in cells))
    return f"{len(cells)} cells of {first.experiment} ({names}), such as {first.where}"


def missing_lines(missing: Sequence[Missing]) -> list[str]:
    """Cells that one side lacks, a line for each experiment and reason."""
    groups: dict[tuple[str, str, str], list[Missing]] = {}
    for m in missing:
        groups.setdefault((m.side, m.experiment, m.reason), []).append(m)
    return [f"{side} lacks {_gathered(ms)}: {why}" for (side, _, why), ms in groups.items()]


def _unmeasured_lines(unmeasured: Mapping[str, int]) -> list[str]:
    """Cells that neither side measured, a line for each reason."""
    names: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for text, count in unmeasured.items():
        *name, why = text.split(": ", 1)
        names.setdefault(why, []).extend(name)
        counts[why] += count
    lines = []
    for why, of in names.items():
        whose = f" ({', '.join(of)})" if of else ""
        lines.append(f"{counts[why]} cells{whose}: {why}")
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
        lines += ["", f"{len(shown) - _MOST} more: `compare --json FILE` writes all."]
    if comparison.items:
        lines += ["", *_table(("implementation", "experiment", *VERDICTS), _overview(comparison))]
    if comparison.missing:
        lines += ["", "Only on one side:", ""]
        lines += [f"- {escape(line)}" for line in missing_lines(comparison.missing)]
    if comparison.unmeasured:
        lines += ["", "On neither side:", ""]
        lines += [f"- {escape(line)}" for line in _unmeasured_lines(comparison.unmeasured)]
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


_FIGURES = re.compile(r"[\d.]+(?:e[+-]?\d+)?")


def _item_lines(comparison: Comparison) -> list[str]:
    """What is worse, what is better, each cell by itself; what is inconclusive, by its reason.

    Reasons are one if they differ in their figures alone: those of the example are told.
    """
    lines = []
    unclear: dict[tuple[str, str], list[Item]] = {}
    for item in _shown(comparison):
        if item.verdict == "inconclusive":
            kind = _FIGURES.sub("", item.reason)
            unclear.setdefault((item.experiment, kind), []).append(item)
            continue
        figures = f"{number(item.base, item.unit)} -> {number(item.new, item.unit)}"
        ratio = "" if item.ratio is None else f", ratio {_ratio(item)}"
        cell = f"{_gathered([item])}: {item.figure} {figures}{ratio}"
        lines.append(f"{item.verdict}: {cell}: {item.reason}")
    return lines + [
        f"inconclusive: {_gathered(items)}: {items[0].reason}" for items in unclear.values()
    ]


def show(comparison: Comparison) -> None:
    """Print a comparison: the verdict, how many cells of what have it, then cell by cell."""
    from rich.console import Console
    from rich.text import Text

    console = Console()

    def say(text: str) -> None:
        console.print(Text(plain(text)), soft_wrap=True)

    say(f"verdict: {headline(comparison)}")
    say(f"base: {comparison.base}")
    say(f"new:  {comparison.new}")
    for note in comparison.notes:
        say(f"note: {note}")
    if comparison.items:
        header = ("implementation", "experiment", *VERDICTS)
        console.print(table(header, _overview(comparison), right=2))
    lines = _item_lines(comparison)
    for line in lines[:_MOST]:
        say(line)
    if len(lines) > _MOST:
        say(f"{len(lines) - _MOST} more are in the JSON (--json)")
    for line in missing_lines(comparison.missing):
        say(line)
    for line in _unmeasured_lines(comparison.unmeasured):
        say(f"on neither side: {line}")
    say(method(comparison))
