"""A stranger's text made fit for a record, a warning and a terminal."""

from __future__ import annotations

LONGEST = 600


def one_line(text: str, longest: int = LONGEST) -> str:
    """One line of printable characters, cut to a length."""
    line = " ".join(text[: 4 * longest].split())
    line = "".join(c if c.isprintable() else "\ufffd" for c in line)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def plain(text: str) -> str:
    """`text` without control characters, so that it cannot steer a terminal."""
    return "".join(c if c.isprintable() else "�" for c in text.replace("\n", " "))
