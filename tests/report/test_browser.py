"""The report in a real browser: what its script does, and how its pages look.

Chromium is found on the path (``chromium`` of Debian, or Chrome); without one, or without
Playwright, these tests are skipped and counted.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import report_run

from harness.report import build_site
from harness.report.drawing.tables import Entry, number, words

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)


class Visit:
    """A page, what it said on the console, and what it asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda m: self.said.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda e: self.said.append(str(e)))
        page.on("request", lambda r: self.asked.append(r.url))


@pytest.fixture
def visit(browser: Any, site: Path) -> Iterator[Any]:
    contexts = []

    def opened(name: str, **options: Any) -> Visit:
        context = browser.new_context(**{"viewport": WIDE, **options})
        contexts.append(context)
        found = Visit(context.new_page())
        found.page.goto(
            f"{(site / name.partition('#')[0]).as_uri()}{name[len(name.partition('#')[0]) :]}"
        )
        return found

    yield opened
    for context in contexts:
        context.close()


PAGES = ("index", "accuracy", "overflow", "throughput", "limits", "machine", "method", "data",
         "implementations/max_shift")  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_error_asks_nobody_and_fits_a_telephone(visit: Any, name: str) -> None:
    found = visit(f"{name}.html", viewport=NARROW)
    assert found.said == []
    assert all(url.startswith("file:") for url in found.asked)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


def test_pages_across_runs_have_no_error_and_fit_a_telephone(browser: Any, tmp_path: Path) -> None:
    runs = [report_run.small_run(id=name) for name in ("one", "two")]
    site = build_site(runs, tmp_path / "site").parent
    page = browser.new_page(viewport=NARROW)
    found = Visit(page)
    paths = [*site.glob("*.html"), *(site / "implementations").glob("*.html")]
    assert len(paths) > 8
    for path in paths:
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path
    page.close()
    assert found.said == []
    assert all(url.startswith("file:") for url in found.asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "overflow", "throughput"])
def test_text_stands_out_from_its_ground(visit: Any, name: str, scheme: str) -> None:
    """WCAG 2 asks for a contrast of 4.5."""
    page = visit(f"{name}.html", color_scheme=scheme).page
    worst, text = page.evaluate(CONTRAST)
    assert worst >= 4.5, text


CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  let worst = [21, ""];
  const kinds = "p, li, td, th, dt, dd, a, summary, h1, h2, small, text";
  for (const element of document.querySelectorAll(kinds)) {
    const box = element.getBoundingClientRect();
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !box.width || getComputedStyle(element).visibility === "hidden") continue;
    const style = getComputedStyle(element);
    const fore = parse(element.tagName === "text" ? style.fill : style.color);
    const [a, b] = [light(fore), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, `${element.textContent.trim()} ${style.color}`];
  }
  return worst;
}"""


def column(page: Any, head: str) -> list[str]:
    """The texts of a column of the matrix, from top to bottom."""
    return list(page.evaluate("""head => {
        const table = document.querySelector("#matrix table");
        const k = [...table.tHead.rows[1].cells].findIndex(c => c.innerText.startsWith(head));
        return [...table.tBodies[0].rows].map(r => r.cells[k].firstChild.textContent.trim());
    }""", head))  # fmt: skip


def test_a_click_sorts_and_the_address_keeps_it(visit: Any) -> None:
    page = visit("index.html").page
    first = column(page, "float32")
    button = page.locator("#matrix thead button.sort", has_text="float32").first
    button.click()
    down = column(page, "float32")
    assert down != first
    assert down[0] == "∞"  # what is not finite is the largest
    assert "sort=matrix." in page.url
    button.click()
    up = column(page, "float32")
    numbers = [float(x) for x in up if x[0].isdigit()]
    assert numbers == sorted(numbers)
    assert not up[-1][0].isdigit()  # gaps are last, whichever way
    again = visit(page.url.rpartition("/")[2]).page
    assert column(again, "float32") == up
    button.click()
    assert column(page, "float32") == first
    assert "sort" not in page.url


def test_sorting_needs_no_mouse(visit: Any) -> None:
    page = visit("index.html").page
    page.locator("#matrix thead button.sort").first.focus()
    page.keyboard.press("Enter")
    names = column(page, "Implementation")
    assert names == sorted(names, key=str.casefold)


def test_ticked_implementations_are_shown_in_every_figure_and_on_the_next_page(visit: Any) -> None:
    page = visit("throughput.html").page
    page.locator("#choose summary").click()
    page.locator("#choose input[value=scipy]").check()
    on = "[...new Set([...document.querySelectorAll('.fig .s.on')].map(s => s.dataset.s))]"
    assert page.evaluate(on) == ["scipy"]
    page.locator("#choose input[name=only]").check()
    assert page.evaluate("document.querySelectorAll('.fig .s:not(.on):not(.off)').length") == 0
    page.locator("nav a", has_text="Accuracy").click()
    assert page.evaluate(on) == ["scipy"]


def test_sections_are_filtered_by_format(visit: Any) -> None:
    page = visit("accuracy.html").page
    page.locator("#choose select[data-kind=dtype]").select_option("bfloat16")
    shown = page.evaluate(
        "[...document.querySelectorAll('section[data-dtype]')]"
        ".filter(s => !s.hidden).map(s => s.dataset.dtype)"
    )
    assert set(shown) == {"bfloat16"}
    assert "dtype=bfloat16" in page.url


def test_tables_are_filtered_by_regime(visit: Any) -> None:
    page = visit("throughput.html").page
    page.locator("#choose select[data-kind=regime]").select_option("cached")
    assert page.locator(".tablewrap[data-regime=cached]").first.is_visible()
    assert not page.locator(".tablewrap[data-regime=streaming]").first.is_visible()
    page.locator("#choose select[data-kind=regime]").select_option("")
    assert page.locator(".tablewrap[data-regime=streaming]").first.is_visible()


def test_a_cell_says_its_address_and_how_it_is_measured_again(visit: Any) -> None:
    page = visit("index.html").page
    page.locator("#matrix--max_shift td").nth(3).click()
    panel = page.locator("aside.cell")
    assert panel.is_visible()
    assert "softmax-bench run --profile quick" in panel.inner_text()
    assert "-i max_shift" in panel.inner_text()
    again = visit(page.url.rpartition("/")[2]).page
    assert again.locator("td.marked").count() == 1
    page.keyboard.press("Escape")
    assert not panel.is_visible()


def test_the_plot_is_drawn_for_the_point_that_is_chosen(visit: Any) -> None:
    page = visit("index.html").page
    before = page.locator("#pareto .fig").get_attribute("aria-label")
    page.locator("#pareto select[aria-label=regime]").select_option("latency")
    after = page.locator("#pareto .fig").get_attribute("aria-label")
    assert after != before
    assert "µs" in after
    assert "pareto=float32%2Flatency" in page.url
    again = visit(page.url.rpartition("/")[2]).page
    assert again.locator("#pareto .fig").get_attribute("aria-label") == after


def test_the_plot_says_which_point_it_is_of_and_hides_the_numbers_of_another(visit: Any) -> None:
    page = visit("index.html").page
    page.locator("#pareto select[aria-label=regime]").select_option("latency")
    caption = page.locator("#pareto figcaption").inner_text()
    assert "latency" in caption
    assert "Left and down is better" in caption
    assert page.locator("#pareto + details").is_hidden()


def test_what_is_chosen_hides_nothing_that_cannot_be_shown_again(visit: Any) -> None:
    """A page without figures has the choice too; a value that it does not have filters nothing."""
    page = visit("index.html#?show=torch&only=1&dtype=float64").page
    rows = page.locator("#matrix tbody tr")
    assert rows.count() > rows.filter(visible=True).count() == 1
    page.locator("#choose summary").click()
    page.locator("#choose input[name=only]").uncheck()
    assert rows.filter(visible=True).count() == rows.count()
    page.goto(page.url.replace("index.html", "throughput.html"))
    assert page.locator("section[data-dtype]").first.is_visible()


def test_a_link_within_the_page_keeps_what_was_chosen(visit: Any) -> None:
    page = visit("accuracy.html#?show=scipy&sort=metrics-float32.2").page
    page.locator("ul.contents a").last.click()
    page.wait_for_function("location.hash.includes('?')")  # the script hears of it a moment later
    assert "show=scipy" in page.url
    assert "sort=metrics-float32.2" in page.url
    assert page.url.partition("#")[2].startswith("worst-section")


def test_a_cell_is_reached_and_opened_without_a_mouse(visit: Any) -> None:
    page = visit("index.html").page
    page.locator("#matrix tbody td[tabindex='0']").focus()
    for key in ("ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    name = page.locator("#matrix tbody tr").nth(1).get_attribute("data-i")
    assert page.locator("aside.cell").inner_text().startswith(f"{name}, ")
    page.locator("#matrix tbody th .anchor").first.focus()
    assert page.evaluate("document.activeElement.classList.contains('anchor')")


SORTED = """(texts) => {
  const table = document.querySelector("#matrix table"), body = table.tBodies[0];
  body.replaceChildren(...texts.map(([text, v]) => {
    const row = body.insertRow();
    row.insertCell().textContent = text;
    const cell = row.insertCell();
    cell.textContent = text;
    if (v) cell.dataset.v = v;
    return row;
  }));
  table.tHead.rows[table.tHead.rows.length - 1].cells[1].querySelector("button").click();
  return [...body.rows].map(r => r.cells[0].textContent);
}"""


def test_a_column_is_sorted_by_the_numbers_that_its_entries_stand_for(visit: Any) -> None:
    entries = [
        number(x) for x in (3.5, -2.0, -1e4, 1e10, float("inf"), 12345.0, 0.0002, float("nan"))
    ]
    entries += [words("never"), Entry("64 MiB; fits", 64 << 20), Entry("+5.2%", 0.052)]
    page = visit("index.html").page
    found = page.evaluate(SORTED, [[e.text, e.sorts_by] for e in entries])

    def value(e: Entry) -> float:
        raw = math.inf if e.text == "never" else float(e.raw)
        return math.inf if math.isnan(raw) else raw

    assert found == [e.text for e in sorted(entries, key=value, reverse=True)]


def test_without_a_script_everything_is_there(visit: Any) -> None:
    page = visit("index.html", java_script_enabled=False).page
    assert page.locator("#matrix tbody tr").count() > 5
    assert page.locator("#pareto .fig .s").count() > 5
    assert page.locator("#choose").is_hidden()


def test_hostile_names_run_nothing_when_they_are_pointed_at(visit: Any) -> None:
    found = visit("index.html")
    found.page.on("dialog", lambda d: found.said.append(d.message))
    row = found.page.locator("#matrix tbody tr", has_text="<script>").first
    row.locator("td").last.click()
    assert "<script>" in found.page.locator("aside.cell").inner_text()
    assert found.said == []
    assert found.page.evaluate("document.querySelectorAll('aside.cell script').length") == 0


def test_the_first_page_prints_on_two_sheets(visit: Any, tmp_path: Path) -> None:
    page = visit("index.html").page
    printed = page.pdf(path=str(tmp_path / "first.pdf"), format="A4")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 2
