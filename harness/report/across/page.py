"""A page across runs as data: what stands on it, in which order, and the files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.drawing.figure import Plot
from harness.report.drawing.tables import Table


@dataclass(frozen=True)
class Block:
    """Text to copy.

    Attributes:
        links: where the matter was reported: (label, address or None), checked.
    """

    id: str
    title: str
    text: str
    links: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True)
class Part:
    """A heading with what stands below it.

    Attributes:
        remarks: a list of sentences below the text.
        folded: tables that are shown when asked for.
    """

    title: str
    id: str
    text: str = ""
    remarks: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        path: within the site.
        lead: paragraphs; the answer first.
        files: folder of its figures and of its tables as CSV; empty for the root.
    """

    path: str
    title: str
    lead: Sequence[str]
    parts: Sequence[Part]
    files: str = ""

    @property
    def shown(self) -> list[Part]:
        """The parts that have anything below their heading."""
        return [
            p
            for p in self.parts
            if p.text or p.remarks or p.plots or p.tables or p.folded or p.blocks
        ]
