"""Tables as data: shown as HTML by the templates, written as CSV here.

An entry keeps the raw value beside the text that is shown; its note becomes a footnote, so that
a missing number stands there with its reason.
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from itertools import count as count_from
from typing import Any, Literal, TypeVar

from harness.report.drawing.formatting import figure, integer
from harness.report.drawing.sanitize import neutralise, stem

AT_THE_FOOT = "unavailable here: the overview says why"
Key = TypeVar("Key")
Kind = Literal[
    "", "missing", "bad", "struck", "best", "quiet",
    "pass", "failure", "finding", "expected", "unjudged",
]  # fmt: skip


_SHORT = 20  # characters of a table's name in the ids of its rows, of which there are hundreds
_PLAIN = re.compile(r"[~−]?\d[\d\u202f]*(\.\d+)?")
_EXTREMES = {"never": "Infinity", "always": "-Infinity"}
"""Words that stand for a place beyond all numbers of a column."""


@dataclass(frozen=True)
class Entry:
    """One cell of a table.

    Attributes:
        text: what is shown.
        raw: what the CSV holds; the text where it is None.
        kind: how it is shown; ``struck`` is a figure that the accuracy gate struck out. The last
            five are verdicts, whose text holds the word and a symbol: colour only repeats it.
        note: footnote.
        href: address within the site.
        detail: second, quieter line (an interval).
        links: in place of the text, (label, address outside the site or None), checked.
        told: what the CSV holds in place of the note: what is true of this entry alone.
        outcome: a key of `style.OUTCOMES`, whose colour the entry has as its ground.
        common: the note explains a mark that entries have in common, and stands below the table
            once, without a number.
    """

    text: str
    raw: Any = None
    kind: Kind = ""
    note: str | None = None
    href: str | None = None
    detail: str | None = None
    links: tuple[tuple[str, str | None], ...] = ()
    told: str | None = None
    outcome: str | None = None
    common: bool = False

    @property
    def sorts_by(self) -> str:
        """The number to sort by, where the text is not plainly that number; else nothing."""
        if self.text in _EXTREMES:
            return _EXTREMES[self.text]
        if isinstance(self.raw, bool) or not isinstance(self.raw, int | float):
            return ""
        if _PLAIN.fullmatch(self.text):
            return ""
        return "Infinity" if math.isnan(self.raw) or self.raw == math.inf else f"{self.raw:.6g}"


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        header, unit, group: what stands in its head, below it and above it.
        repeat: options of `run` that measure its figures again.
        numeric: whether it is aligned as numbers are.
    """

    header: str
    unit: str = ""
    group: str = ""
    repeat: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A captioned table; the first entry of a row is its header.

    Attributes:
        name: id within the page, and stem of its CSV.
        notes: remarks below the table, before the footnotes of its entries.
        unshown: further columns of the CSV, a value for each row under each header: numbers that
            the page shows as details of other entries.
        repeat: the command that measures again, before what is chosen of it.
        about: the machine, the regime or the like that all of it is of: a page is filtered by it.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Entry]]
    notes: Sequence[str] = field(default=())
    unshown: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    repeat: str = ""
    about: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", stem(self.name))  # it may hold words of a result file
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.name}: expected {len(self.columns)} entries a row; got {len(row)}"
                )
        for header, values in self.unshown.items():
            if len(values) != len(self.rows):
                raise ValueError(
                    f"table {self.name}, {header}: expected {len(self.rows)} values; "
                    f"got {len(values)}"
                )

    @property
    def footnotes(self) -> list[str]:
        """The distinct notes of the entries that are shown, in reading order."""
        return self._notes_of(common=False)

    @property
    def marks(self) -> list[str]:
        """What the marks mean that entries which are shown have in common."""
        return self._notes_of(common=True)

    def _notes_of(self, *, common: bool) -> list[str]:
        given = (e for row in self.shown for e in row if e.note and e.common == common)
        return list(dict.fromkeys(str(e.note) for e in given))

    @property
    def shown(self) -> list[Sequence[Entry]]:
        """The rows on the page: those that are one gap are a remark, `empty`, below the others."""
        full = [row for row in self.rows if not _one_gap(row)]
        return full or list(self.rows)

    def empty(self, explained: Container[str] = ()) -> str:
        """Whose rows are one gap, gathered by reason, without those that the overview names."""
        by_reason: dict[str, list[str]] = {}
        for row in self.rows if len(self.shown) < len(self.rows) else ():
            if _one_gap(row):
                reason = row[1].note or row[1].text
                if reason not in explained:
                    by_reason.setdefault(reason, []).append(row[0].text)
        return "; ".join(f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())

    def or_none(self) -> Table | None:
        """The table; None where it has no rows."""
        return self if self.rows else None

    def under(self, tail: str) -> Table:
        """The same table under another name, for a page or site that shows several like it."""
        return replace(self, name=f"{self.name}-{tail}") if tail else self

    @property
    def of_outcomes(self) -> bool:
        """Whether its entries have the colours of outcomes."""
        return any(e.outcome for row in self.rows for e in row)

    @property
    def repeats(self) -> dict[str, list[str]]:
        """The options of the columns that have any, and the heads of the columns of each."""
        found: dict[str, list[str]] = {}
        for c in self.columns:
            if c.repeat:
                found.setdefault(c.repeat, []).append(c.header)
        return found

    @property
    def anchors(self) -> list[str]:
        """The id of each row that is shown: the table's name, if long abridged, and its head."""
        name = self.name
        if len(name) > _SHORT:
            digest = hashlib.sha256(name.encode()).hexdigest()
            name = f"{name[: _SHORT - 7]}-{digest[:6]}"
        wanted = [f"{name}--{stem(row[0].text or 'row')}" for row in self.shown]
        taken = set(wanted)
        found: list[str] = []
        for anchor in wanted:
            if anchor in found:
                free = (f"{anchor}-{k}" for k in count_from(2))
                anchor = next(a for a in free if a not in taken)
            taken.add(anchor)
            found.append(anchor)
        return found

    @property
    def footnotes_index(self) -> dict[str, int]:
        """The number of each footnote, from 1."""
        return {note: i for i, note in enumerate(self.footnotes, start=1)}

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Runs of columns under one group header; empty when no column has one."""
        if not any(c.group for c in self.columns):
            return []
        runs: list[tuple[str, int]] = []
        for column in self.columns:
            if runs and column.group and runs[-1][0] == column.group:
                runs[-1] = (column.group, runs[-1][1] + 1)
            else:
                runs.append((column.group, 1))
        return runs

    def spans(self, row: Sequence[Entry]) -> list[tuple[Entry, Column, int]]:
        """(entry, its column, columns spanned): equal gaps side by side are shown as one."""
        found: list[tuple[Entry, Column, int]] = []
        for entry, column in zip(row, self.columns, strict=True):
            if found and entry.kind == "missing" and found[-1][0] == entry:
                found[-1] = (*found[-1][:2], found[-1][2] + 1)
            else:
                found.append((entry, column, 1))
        return found

    def to_csv(self) -> str:
        """The raw values as CSV (RFC 4180), formulas neutralised; footnotes in a last column."""
        header = [" ".join(p for p in (c.group, c.header, c.unit) if p) for c in self.columns]
        rows: list[list[Any]] = []
        for k, row in enumerate(self.rows):
            values: list[Any] = [e.text if e.raw is None else e.raw for e in row]
            notes = [f"{header[i]}: {e.told or e.note}" for i, e in enumerate(row) if e.note]
            more = [column[k] for column in self.unshown.values()]
            rows.append([*values, *more, "; ".join(notes)])
        return csv_text([*header, *self.unshown, "notes"], rows)


def _one_gap(row: Sequence[Entry]) -> bool:
    """Whether a row, which leads nowhere else, lacks every figure for the same reason."""
    head, *others = row
    alike = bool(others) and all(e == others[0] for e in others)
    return alike and others[0].kind == "missing" and head.href is None


def texts(*headers: str) -> list[Column]:
    """Columns of text, by their headers."""
    return [Column(h, numeric=False) for h in headers]


def pivot(
    name: str,
    caption: str,
    implementations: Iterable[str],
    columns: Mapping[Key, Column],
    entry: Callable[[str, Key], Entry],
    notes: Sequence[str] = (),
    best: bool = False,
) -> Table:
    """Implementation × something else: `entry` of each implementation and key of a column.

    With `best`, the largest numbers of each column are marked, of those that are decided and not
    struck out.
    """
    rows = [[words(i), *(entry(i, key) for key in columns)] for i in implementations]
    for k in range(1, len(columns) + 1) if best else ():
        plain = [row for row in rows if not row[k].kind and not row[k].text.startswith("~")]
        top = max((row[k].raw for row in plain), default=None)
        for row in plain:
            if row[k].raw == top:
                row[k] = replace(row[k], kind="best")
    return Table(name, caption, [*texts("Implementation"), *columns.values()], rows, notes)


def csv_text(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV text, every cell neutralised."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([neutralise(h) for h in header])
    for row in rows:
        writer.writerow([neutralise(v) for v in row])
    return out.getvalue()


def words(text: object, **options: Any) -> Entry:
    """An entry of text."""
    return Entry("" if text is None else str(text), raw="" if text is None else text, **options)


def count(n: int | None, **options: Any) -> Entry:
    """An entry of an integer; empty where there is none."""
    return Entry("", "", **options) if n is None else Entry(integer(n), n, **options)


def number(x: float | None, digits: int = 3, **options: Any) -> Entry:
    """An entry of a number, shown to `digits` significant digits; empty where there is none."""
    return Entry(figure(x, digits), "" if x is None else x, **options)


def missing(status: str, reason: str | None) -> Entry:
    """An entry in place of a number: the status, and the reason as its footnote."""
    text = status.replace("_", " ")
    return Entry(text, raw=text, kind="missing", note=f"{text}: {reason}" if reason else None)
