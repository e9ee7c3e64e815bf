"""Untrusted names made safe: file names, labels in figures, cells of CSV files, links.

Everything in a result file may have been written by a stranger. HTML is escaped by the template
engine; the other three borders of the report are here.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache

SLUG_LENGTH = 60
_RESERVED = {"con", "prn", "aux", "nul", "index"} | {
    f"{port}{i}" for port in ("com", "lpt") for i in range(10)
}
_NUMBER = re.compile(
    r"[+-]?(\d+(\.\d*)?([eE][+-]?\d+)?|0[xX][0-9a-fA-F]*\.?[0-9a-fA-F]*[pP][+-]?\d+|inf|nan)"
)
_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}")
_STEERING = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)
_FORMULA = "=+-@|%\t\r\n＝＋－＠"
_URL = re.compile(r"https?://[^\s<>\"'`{}\\^]+")
_REPOSITORY = r"(?P<owner>[A-Za-z0-9][A-Za-z0-9-]{0,38})/(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]{0,99})"
_ISSUE = re.compile(
    rf"https?://github\.com/{_REPOSITORY}/(?P<kind>issues|pull|discussions)/(?P<number>[0-9]{{1,9}})"
)
_SHORT_ISSUE = re.compile(rf"{_REPOSITORY}#(?P<number>[0-9]{{1,9}})")
_DOI = re.compile(r"\b10\.\d{4,9}/[^\s<>\"'`{}\\^,;]+")


def slug(text: str) -> str:
    """A file name stem of ``[a-z0-9._-]`` for any text; never empty, hidden or a path.

    Where anything had to be changed or cut, eight hexadecimal digits of the text's digest are
    appended, so that different names keep different files.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    plain = re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]+", "-", plain)).strip(".-")[:SLUG_LENGTH]
    if plain and plain == text and plain.split(".", 1)[0] not in _RESERVED:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else f"x-{digest}"


def stem(name: str) -> str:
    """`name` where it is a safe stem of a file already, else its `slug`.

    For names that we make from parts of a result file: a format, an operation, a regime.
    """
    return name if _STEM.fullmatch(name) else slug(name)


def readable(text: str) -> str:
    """`text` without characters that steer a terminal or turn the reading direction.

    White space stays as it is.
    """
    return _STEERING.sub("\ufffd", text)


def slugs(names: Iterable[str]) -> Mapping[str, str]:
    """A slug for every name, without collisions (case-insensitive file systems included)."""
    given: dict[str, str] = {}
    for name in names:
        candidate, n = slug(name), 1
        while candidate in given.values():
            n += 1
            candidate = f"{slug(name)}-{n}"
        given[name] = candidate
    return given


@lru_cache(maxsize=1)
def _drawable() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def drawn(text: str) -> str:
    """Text, of one line or several, with a question mark for what the figures' font cannot draw.

    Thin spaces are written as wide ones.
    """
    glyphs = _drawable()
    text = text.replace("\u202f", " ")
    return "".join(c if c == "\n" or (ord(c) in glyphs and c.isprintable()) else "?" for c in text)


def label(text: str, limit: int = 28) -> str:
    """One line of text that the figures' font can draw, cut to `limit` characters.

    Control characters would make the SVG ill-formed; they, and characters without a glyph, are
    replaced by a question mark. Mathematical markup is switched off in `figure`.
    """
    line = drawn(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\textbraceleft{}", "}": r"\textbraceright{}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "\u202f": r"\,", "µ": r"\textmu{}", "×": r"\texttimes{}", "÷": r"\textdiv{}",
    "−": r"\textminus{}", "∞": r"$\infty$", "≤": r"$\le$", "→": r"$\to$",
    **{c: f"$^{{{d}}}$" for c, d in zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True)},
}  # fmt: skip
_LATEX_MARKS = str.maketrans(_LATEX)


def _line(text: str) -> str:
    return readable(re.sub(r"[ \t\r\n]+", " ", text)).strip()


def latex(text: str) -> str:
    """One line of text for LaTeX, in which braces balance."""
    return _line(text).translate(_LATEX_MARKS)


def markdown(text: str) -> str:
    """One line of text for a cell of a pipe table: no markup of Markdown or HTML."""
    text = re.sub(r"([\\`*|])", r"\\\1", _line(text)).replace("](", r"]\(")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def neutralise(value: object) -> str:
    """The text of one CSV cell; a spreadsheet will not take it for a formula.

    Text that begins like a formula gets an apostrophe in front (OWASP, "CSV Injection").
    Decimal and hexadecimal numbers are left alone, with their signs.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    return _neutral(str(value))


@lru_cache(maxsize=4096)
def _neutral(value: str) -> str:
    text = readable(value.replace("\x00", ""))
    if text.lstrip(" ")[:1] and text.lstrip(" ")[0] in _FORMULA and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def link(text: str | None) -> str | None:
    """The first http(s) address or DOI in a text as an address, or None: no other scheme."""
    if not text:
        return None
    found = _URL.search(text)
    if found:
        return found.group(0).rstrip(").,;")
    found = _DOI.search(text)
    return f"https://doi.org/{found.group(0).rstrip(').')}" if found else None


def upstream(text: str) -> tuple[str, str | None]:
    """A public issue as (label, address): only GitHub's, rebuilt from its checked parts.

    ``https://github.com/owner/name/issues/12`` and ``owner/name#12`` give ``owner/name#12`` and
    its address; any other text stands for itself, without an address.
    """
    found = _ISSUE.fullmatch(text) or _SHORT_ISSUE.fullmatch(text)
    if not found:
        return text, None
    owner, name, number = found["owner"], found["name"], found["number"]
    kind = found.groupdict().get("kind") or "issues"
    return f"{owner}/{name}#{number}", f"https://github.com/{owner}/{name}/{kind}/{number}"
