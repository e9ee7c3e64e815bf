"""Figures as SVG: series that a page can switch, colours that it sets, labels that keep apart."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.drawing import style as palette
from harness.report.drawing import svg
from harness.report.drawing.figure import apart, draw_line, drawing, grid, label_ends
from harness.report.drawing.style import styles

STYLES = styles(["max_shift", "torch"])


def figure(name: str = "max_shift", tips: tuple[str, ...] = ("one", "two <b>", "three")) -> Any:
    """A panel with two curves of three points, one of them on."""
    with drawing():
        fig, (panel,) = grid(1, 1, 2.0)
        style = styles([name, "torch"])
        for one, values in ((name, [1, 2, 3]), ("torch", [3, 2, 1])):
            given = tips if one == name else ()
            draw_line(panel.axes, one, style[one], ([1, 2, 3], values), on=one == name, tips=given)
        label_ends(panel.axes, {name: (3, 3), "torch": (3, 1)}, style, {name}, {"copy": (3, 2)})
        return fig


def parsed(fig: Any) -> ElementTree.Element:
    with drawing():
        return ElementTree.fromstring(svg.inline(fig, "here", "what it shows"))


SVG = "{http://www.w3.org/2000/svg}"


def test_the_marks_of_an_implementation_are_groups_with_its_name() -> None:
    groups = [g for g in parsed(figure()).iter(f"{SVG}g") if "data-s" in g.attrib]
    told = {(g.attrib["data-s"], g.attrib["class"]) for g in groups}
    assert told == {("max_shift", "s on"), ("torch", "s")}
    for g in groups:
        variable = palette.VARIABLES[STYLES[g.attrib["data-s"]].colour]
        assert f"--c:var(--{variable})" in g.attrib["style"]
        assert (
            f"var(--{variable})" not in ElementTree.tostring(g, encoding="unicode").split(">", 1)[1]
        )


def test_every_marker_says_what_it_is() -> None:
    groups = [g for g in parsed(figure()).iter(f"{SVG}g") if g.attrib.get("data-s") == "max_shift"]
    marks = [use for g in groups for use in g.iter(f"{SVG}use")]
    assert [use.findtext(f"{SVG}title") for use in marks] == ["one", "two <b>", "three"]


def test_what_has_no_tips_says_its_name() -> None:
    groups = [g for g in parsed(figure()).iter(f"{SVG}g") if g.attrib.get("data-s") == "torch"]
    assert {g.findtext(f"{SVG}title") for g in groups} == {"torch"}


def test_no_colour_is_fixed() -> None:
    with drawing():
        text = svg.inline(figure(), "here", "")
    assert not re.search(r"#[0-9a-f]{6}", text)
    named = set(re.findall(r"var\(--([a-z0-9-]+)\)", text)) - {"c"}
    assert named <= set(palette.VARIABLES.values())
    assert {"f-axis", "f-limit"} <= named
    sheet = palette.sheet()
    assert {"f-grid", "f-muted"} <= set(re.findall(r"var\(--([a-z0-9-]+)\)", sheet))
    for name in re.findall(r'class="([gxy])"', text):
        assert f".{name} {{" in sheet or f".{name}, " in sheet


def test_a_file_brings_its_colours() -> None:
    with drawing():
        text = svg.standalone(svg.inline(figure(), "here", ""))
    ElementTree.fromstring(text)
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", text)) - {"c"}
    assert used >= {"s1", "s6", "f-ink", "f-context", "f-limit"}
    for variable in palette.VARIABLES.values():
        assert text.count(f"--{variable}:#") == 2 * (variable in used)  # light and dark


def test_a_file_is_made_of_a_figure_alone() -> None:
    with pytest.raises(ValueError, match="expected an inline figure"):
        svg.standalone("<p>")


def test_identifiers_are_those_of_no_other_figure() -> None:
    root = parsed(figure())
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert ids
    assert len(ids) == len(set(ids))
    with drawing():
        other = ElementTree.fromstring(svg.inline(figure(), "there", ""))
    assert not set(ids) & {e.attrib.get("id") for e in other.iter()}
    text = ElementTree.tostring(root, encoding="unicode")
    referred = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
    assert {a or b for a, b in referred} <= set(ids)


def test_text_is_text_and_hostile_names_are_escaped() -> None:
    name = '</g><script>alert("x")</script>'
    root = parsed(figure(name))
    assert any(g.attrib.get("data-s") == name for g in root.iter(f"{SVG}g"))
    assert not list(root.iter(f"{SVG}script"))
    assert "classes" not in "".join(root.itertext())
    assert "copy" in "".join(root.itertext())


def test_the_same_figure_gives_the_same_bytes() -> None:
    with drawing():
        assert svg.inline(figure(), "here", "x") == svg.inline(figure(), "here", "x")


HEIGHTS = st.lists(st.floats(0, 300), min_size=1, max_size=14)


@given(HEIGHTS)
def test_labels_are_apart_in_order_and_moved_about_their_middle(heights: list[float]) -> None:
    found = apart(dict(enumerate(heights)), 9.0)
    order = sorted(range(len(heights)), key=lambda k: (heights[k], k))
    placed = [found[k] for k in order]
    assert all(b - a >= 9.0 - 1e-9 for a, b in pairwise(placed))
    assert np.mean(placed) == pytest.approx(np.mean(heights))


@given(st.integers(1, 12), st.floats(9.0, 40.0))
def test_labels_that_are_apart_stay_where_they_are(count: int, step: float) -> None:
    heights = {k: k * step for k in range(count)}
    assert apart(heights, 9.0) == pytest.approx(heights)


@pytest.mark.parametrize("names", [("a",), ("b", "a"), ("zz", "a", "torch")])
def test_the_look_of_a_name_does_not_depend_on_the_others(names: tuple[str, ...]) -> None:
    assert styles(names)["a" if "a" in names else names[0]] == styles(["a"])["a"]
