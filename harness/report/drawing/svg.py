"""A figure of Matplotlib as SVG that follows the page: its colours, its text, its series.

What Matplotlib draws is kept, and written so that a page can do something with it. Text is text.
Colours of `style` become CSS variables, which a page sets for light and dark. The marks of an
implementation are one group, ``<g class="s" data-s="name">``, which is grey unless it also has the
class ``on``; the page's script and style sheet switch these. Nothing in it depends on the time or
the place of drawing: the same figure gives the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

from matplotlib.figure import Figure
from matplotlib.text import Text

from harness.report.drawing import style as palette
from harness.report.drawing.sanitize import readable

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"
ElementTree.register_namespace("", _SVG)

_NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")
_LEVEL = re.compile(r"rotate\(-?0 ")
_GAPS = re.compile(r"\s*\n?\s*([MLCQZz])\s*")
_REFERENCE = re.compile(r"(#)([A-Za-z0-9_-]+)")
_GROUP, _TITLE, _METADATA, _STYLE, _PATH, _USE = (
    f"{{{_SVG}}}{tag}" for tag in ("g", "title", "metadata", "style", "path", "use")
)
_GEOMETRY = {"d", "x", "y", "width", "height", "transform", "points"}
_SILENT = {"font-family", "stroke-linejoin", "stroke-linecap", "stroke-miterlimit"}
_GRID = "stroke:var(--f-grid);stroke-width:0.6"
_LABEL = "font-size:7.5px;text-anchor:{};fill:var(--f-muted)"
_CLASSES = {_GRID: "g", _LABEL.format("end"): "y", _LABEL.format("middle"): "x"}
"""The styles that occur most, as classes of `static/figure.css`."""
_USUAL = {("opacity", "1"), ("stroke-width", "1"), ("fill", "none")}


@dataclass(frozen=True)
class Series:
    """The marks of one implementation in a figure.

    Attributes:
        name: of the implementation.
        colour: that it has when it is not grey.
        on: whether it is shown in its colour, and named, from the beginning.
        tips: what each of its markers says when it is pointed at, in the order of drawing.
    """

    name: str
    colour: str
    on: bool
    tips: Sequence[str] = ()


class Drawing(Figure):
    """A figure whose artists can be marked as those of an implementation."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.series: dict[str, Series] = {}

    def mark(self, artist: Any, series: Series) -> Any:
        """Note that `artist` belongs to `series`; it is returned."""
        key = f"series-{len(self.series)}"
        self.series[key] = series
        artist.set_gid(key)
        return artist


def settle(figure: Drawing) -> None:
    """Make grey what is not on, and take away its labels: for files in which nothing switches."""
    off = {key for key, one in figure.series.items() if not one.on}
    for artist in figure.findobj():
        if artist.get_gid() in off:
            if isinstance(artist, Text):
                artist.set_visible(False)
            else:
                artist.set(color=palette.CONTEXT)


def inline(figure: Figure, name: str, alt: str) -> str:
    """A figure as an ``<svg>`` element for a page.

    Args:
        name: no other figure of the page has it, nor the identifiers that are made from it.
        alt: what it shows, in words.
    """
    buffer = BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())  # its parser drops comments
    box = _shorter(root.attrib["viewBox"])
    _write(root, getattr(figure, "series", {}), {})
    _name_anew(root, name)
    root.attrib.clear()
    root.attrib |= {"viewBox": box, "class": "fig", "role": "img", "aria-label": _text(alt)}
    return ElementTree.tostring(root, encoding="unicode").replace(" />", "/>")


def standalone(svg: str) -> str:
    """An inline figure as a file of its own: with its colours, light and dark."""
    head = f'<svg xmlns="{_SVG}"'
    if not svg.startswith(head):
        raise ValueError(f"svg: expected an inline figure; got {svg[:40]!r}")
    start = svg.index(">") + 1
    return f"{svg[:start]}<style>{palette.sheet(svg)}</style>{svg[start:]}\n"


def _write(element: Any, series: Mapping[str, Series], colours: Mapping[str, str]) -> None:
    """Shorten an element and those in it; mark the groups of series."""
    own = ""
    if element.tag == _GROUP and (one := series.get(element.attrib.pop("id", ""))) is not None:
        element.attrib["class"] = "s on" if one.on else "s"
        element.attrib["data-s"] = _text(one.name)
        own = f"--c:var(--{palette.VARIABLES[one.colour]})"
        colours = {**colours, one.colour: "c"}
        _tell(element, one)
    for name in _GEOMETRY & element.attrib.keys():
        element.attrib[name] = _shorter(element.attrib[name])
    if _LEVEL.match(element.attrib.get("transform", "")):
        del element.attrib["transform"]
    if _XLINK in element.attrib:
        element.attrib["href"] = element.attrib.pop(_XLINK)
    style = ";".join(filter(None, (own, _styled(element.attrib.pop("style", ""), colours))))
    if style in _CLASSES:
        element.attrib["class"] = _CLASSES[style]
    elif style:
        element.attrib["style"] = style
    if style == _GRID:
        element.attrib.pop("clip-path", None)  # its lines end where the panel does
    for child in list(element):
        _write(child, series, colours)
        child.tail = None
        if _idle(child):
            element.remove(child)
    if len(element):
        element.text = None
    while len(element) == 1 and element[0].tag == _GROUP and not element[0].attrib:
        element[:] = element[0][:]  # a group for nothing
    _gather(element)


def _text(text: str) -> str:
    """One line of text that XML can hold."""
    return readable(" ".join(text.split()))


def _idle(element: Any) -> bool:
    """Whether an element shows nothing: it is empty, or neither filled nor stroked."""
    if element.tag == _PATH and "id" not in element.attrib:
        return not element.attrib.keys() & {"style", "class"}
    return element.tag in (_METADATA, _STYLE) or (len(element) == 0 and element.tag == _GROUP)


def _tell(element: Any, one: Series) -> None:
    """Say at each marker what it is; without that, of the whole series whose it is."""
    marks = list(element.iter(_USE))
    if one.tips and len(one.tips) == len(marks):
        for mark, tip in zip(marks, one.tips, strict=True):
            ElementTree.SubElement(mark, _TITLE).text = _text(tip)
    else:
        title = ElementTree.Element(_TITLE)
        title.text = _text(" ".join(one.tips) or one.name)
        element.insert(0, title)


def _gather(element: Any) -> None:
    """Put the style that all children of a group share on the group."""
    children = [child for child in element if child.tag != _TITLE]
    styles = {child.attrib.get("style", "") for child in children}
    if element.tag != _GROUP or len(children) < 2 or len(styles) > 1 or "" in styles:
        return
    own = element.attrib.get("style")
    element.attrib["style"] = ";".join(filter(None, (own, *styles)))
    for child in children:
        del child.attrib["style"]


def _shorter(text: str) -> str:
    """Numbers to a tenth of a point, and no more white space than a path needs."""
    text = _NUMBER.sub(lambda m: f"{round(float(m[0]), 1) + 0.0:g}", text)
    return _GAPS.sub(r"\1", text).strip()


def _styled(style: str, colours: Mapping[str, str]) -> str:
    """A style without what goes without saying, its colours as variables."""
    kept = []
    for part in style.split(";"):
        name, _, value = part.strip().partition(": ")
        if not name or name in _SILENT or (name, value) in _USUAL:
            continue
        if name == "font":  # size and family in one
            name, value = "font-size", value.split(" ")[0]
        variable = colours.get(value) or palette.VARIABLES.get(value)
        kept.append(f"{name}:{f'var(--{variable})' if variable else value}")
    return ";".join(kept)


def _name_anew(root: Any, name: str) -> None:
    """Identifiers that no other figure of a page has."""
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    short = f"i{hashlib.sha256(name.encode()).hexdigest()[:6]}"  # there are hundreds of references
    anew = {old: f"{short}-{k}" for k, old in enumerate(dict.fromkeys(ids))}

    def renamed(text: str) -> str:
        return _REFERENCE.sub(lambda m: m[1] + anew.get(m[2], m[2]), text)

    for element in root.iter():
        if "id" in element.attrib:
            element.attrib["id"] = anew[element.attrib["id"]]
        for key in ("href", "clip-path"):
            if key in element.attrib:
                element.attrib[key] = renamed(element.attrib[key])
