"""What leaves a report as a file: tables for texts, archives, a citation, a picture."""

from __future__ import annotations

import os
import re
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import report_run
from PIL import Image
from report_pages import csv_rows, zipped

from harness.report import export
from harness.report.drawing.figure import drawing
from harness.report.drawing.tables import Column, Entry, Table, missing, number, words
from harness.report.pages import card
from harness.report.run_data import RunData, from_run
from harness.report.run_header import citation, measuring, sentence

HOSTILE = (
    report_run.HOSTILE,
    report_run.FORMULA,
    "a|b",
    "a\\|b",
    "two\nlines",
    "[a link](http://example.org)",
    "![a picture](http://example.org/x.png)",
    "`code` and *stress*",
    "\\input{/etc/passwd}",
    "}\\end{tabular}",
    "100% & more",
    "[5cm]",
    "*",
    "turned \u202e round, \x1b[31m red",
)
STEERING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Of a terminal, or of the direction of a line; and tabs, which no cell has."""


def table(*names: str, **changes: Any) -> Table:
    """A row for each name: a number with its interval, and a gap with a reason."""
    columns = [Column("Implementation", numeric=False), Column("speed", "GB/s", "at 100%")]
    rows = [
        [words(name), number(1.5 + k, detail="[1, 2]")]
        for k, name in enumerate(names or HOSTILE)
    ]  # fmt: skip
    return Table(**{
        "name": "speeds", "caption": "Speeds, 100% real", "columns": columns, "rows": rows,
        "notes": ["a note with 5% of \\doubt"], **changes,
    })  # fmt: skip


def test_markdown_has_a_caption_a_line_for_each_row_and_the_notes() -> None:
    columns = [Column("Implementation", numeric=False), Column("a", "ulp"), Column("b")]
    rows = [[words("scipy"), number(2.0, detail="[1, 3]"), missing("timeout", "60 s")]]
    assert export.to_markdown(table(columns=columns, rows=rows)).splitlines() == [
        "**Speeds, 100% real**", "",
        "| Implementation | a ulp | b |", "| --- | ---: | ---: |",
        "| scipy | 2.00 [1, 3] | timeout |", "",
        "a note with 5% of \\\\doubt", "", "timeout: 60 s",
    ]  # fmt: skip


@pytest.mark.parametrize("form", [export.to_markdown, export.to_latex])
def test_who_has_no_figure_at_all_is_named_with_the_reason(form: Callable[[Table], str]) -> None:
    text = form(table(rows=[[words("scipy"), number(2.0)], [words("torch"), missing("died", "x")]]))
    assert "torch" in text
    assert "died: x" in text


def markdown_cells(line: str) -> list[str]:
    """The cells of a line of a pipe table: a pipe behind a backslash is text."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_hostile_text_leaves_the_lines_and_columns_of_a_markdown_table_as_they_are() -> None:
    head, rule, *rows = export.to_markdown(table(notes=())).splitlines()[2:]
    assert len(markdown_cells(head)) == len(markdown_cells(rule)) == 2
    assert len(rows) == len(HOSTILE)
    assert [markdown_cells(row)[1] for row in rows] == [
        f"{k + 1.5:.2f} [1, 2]" if k < 9 else f"{k + 1.5:.1f} [1, 2]" for k in range(len(HOSTILE))
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_text_in_markdown(name: str) -> None:
    """Wherever a table shows it: no tag, no link, no picture, no steering of a terminal."""
    given = Table(
        "t", name, [Column(name, name, name)], [[Entry(name, note=name, detail=name)]], [name]
    )
    text = export.to_markdown(given)
    assert "<" not in text
    assert not re.search(r"(?<!\\)\[[^]]*\]\(", text)
    assert not STEERING.search(text)


SPECIAL = "\\&%$#_{}~^<>|"
_MACROS = {
    r"\textbackslash{}": "\\", r"\&": "&", r"\%": "%", r"\$": "$", r"\#": "#", r"\_": "_",
    r"\textbraceleft{}": "{", r"\textbraceright{}": "}", r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^", r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|",
    r"\texttimes{}": "×", r"\textdiv{}": "÷", r"\textminus{}": "−", r"\textmu{}": "µ",
    r"$\infty$": "∞", r"$\le$": "≤", r"$\to$": "→", r"\,": "\u202f", r"$^{-}$": "⁻",
    r"$^{5}$": "⁵", "{[}": "[", "{*}": "*", "{}": "",
}  # fmt: skip
"""What LaTeX sets for each of the commands that a table may hold."""
_TOKEN = re.compile("|".join(map(re.escape, sorted(_MACROS, key=len, reverse=True))))


def typeset(text: str) -> str:
    """What a reader of the typeset text sees."""
    left = _TOKEN.sub("", text)
    assert not set(SPECIAL) & set(left), text
    return _TOKEN.sub(lambda m: _MACROS[m[0]], text)


def latex_rows(text: str) -> list[list[str]]:
    """The cells of the lines of a table, its head first; no other line is in it."""
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    inside = [line for line in lines if not re.fullmatch(r"\\(top|mid|bottom)rule", line)]
    assert inside[0].startswith("\\begin{tabular}{")
    assert inside[-1] == "\\end{tabular}"
    assert all(line.endswith(" \\\\") for line in inside[1:-1])
    return [re.split(r" (?<!\\)& ", line.removesuffix(" \\\\")) for line in inside[1:-1]]


@pytest.mark.parametrize("char", [*SPECIAL, *"×÷∞−µ≤→", "10⁻⁵", "10\u202f000"])
def test_every_special_character_of_latex_is_one_of_text(char: str) -> None:
    ((_, _), (name, _)) = latex_rows(export.to_latex(table(f"a {char} b")))
    assert typeset(name) == f"a {char} b"


def test_latex_has_a_head_a_line_for_each_row_and_notes_as_comments() -> None:
    text = export.to_latex(table("scipy", "max_shift"))
    assert text.startswith("% a note with 5% of \\doubt\n\\begin{tabular}{lr}\n\\toprule\n")
    assert latex_rows(text) == [
        ["Implementation", r"at 100\% speed GB/s"], ["scipy", "1.50 [1, 2]"],
        [r"max\_shift", "2.50 [1, 2]"],
    ]  # fmt: skip


def test_hostile_text_is_text_in_latex() -> None:
    text = export.to_latex(table(*HOSTILE[:-1]))
    head, *rows = latex_rows(text)
    assert len(head) == 2
    assert [typeset(name) for name, _ in rows] == [" ".join(n.split()) for n in HOSTILE[:-1]]
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")


def test_the_end_of_a_line_takes_nothing_from_the_next_as_its_argument() -> None:
    r"""LaTeX reads ``\\`` and ``\midrule`` with a star or bracket behind them, across lines."""
    text = export.to_latex(table("[5cm]", "*", "[t, 0]"))
    assert not re.search(r"(\\\\|\\midrule)\s*[*[]", text)


def test_hostile_text_steers_no_terminal_in_latex() -> None:
    name = HOSTILE[-1]
    assert not STEERING.search(export.to_latex(table(name, caption=name, notes=[name])))


def test_a_note_of_several_lines_stays_a_comment() -> None:
    text = export.to_latex(table("scipy", notes=["one\n\\two\r\x0b\x85\u2028three"]))
    assert text.splitlines()[0] == "% one \\two three"
    assert text.splitlines()[1].startswith("\\begin{tabular}")


def tables_of(tmp_path: Path, *given: Table, others: tuple[Table, ...] = ()) -> dict[str, str]:
    export.write_tables(given, others, tmp_path / "tables.zip")
    return zipped(tmp_path / "tables.zip")


def test_tables_are_written_as_csv_and_the_shorter_ones_for_texts_too(tmp_path: Path) -> None:
    long = table(*(f"n{k}" for k in range(export.TYPESET + 1)), name="long")
    longest = table(*(f"n{k}" for k in range(export.TYPESET)), name="longest")
    found = tables_of(tmp_path, long, longest, others=(table("scipy", name="other"),))
    assert sorted(found) == [
        "csv/long.csv", "csv/longest.csv", "csv/other.csv", "latex/longest.tex",
        "markdown/longest.md",
    ]  # fmt: skip
    assert len(csv_rows(found["csv/long.csv"])) == export.TYPESET + 1
    assert found["markdown/longest.md"] == export.to_markdown(longest)
    assert found["latex/longest.tex"] == export.to_latex(longest)


def test_no_name_leads_out_of_the_archive(tmp_path: Path) -> None:
    names = ["../../x", "/etc/passwd", report_run.HOSTILE]
    found = tables_of(tmp_path, *(table("scipy", name=name) for name in names))
    assert len(found) == 3 * len(names)
    for name in found:
        assert re.fullmatch(r"(csv|markdown|latex)/[A-Za-z0-9][A-Za-z0-9._-]*", name)
        assert ".." not in name


def test_the_same_tables_give_the_same_bytes_whenever_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "first.zip", tmp_path / "second.zip"]
    export.write_tables([table()], [], paths[0])
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    export.write_tables([table()], [], paths[1])
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_who_unpacks_an_archive_may_read_what_is_in_it(tmp_path: Path) -> None:
    tables_of(tmp_path, table("scipy"))
    with zipfile.ZipFile(tmp_path / "tables.zip") as archive:
        for info in archive.infolist():
            assert (info.external_attr >> 16) & 0o400
            assert info.compress_type == zipfile.ZIP_DEFLATED


MACHINES = (
    "Synthetic CPU & Co.", "}, author={nobody", "{{", "}}", "a\\} \\input{x}", "50% #1 $x_1^2$ ~",
    "two\nlines, @misc{other,", 'say "no"',
)  # fmt: skip


def run_of(machine: Any = "Synthetic CPU & Co.", **changes: Any) -> RunData:
    """The smallest run on a machine."""
    about = {"slug": "synthetic-4c", "cpu": machine, "logical_cores": 4}
    return from_run(report_run.run([], machine=about, **changes), "")


def bibtex(text: str) -> dict[str, str]:
    """The fields of the one entry in a text, by BibTeX's rule: braces balance, escaped or not."""
    head, _, body = text.partition("\n")
    assert re.fullmatch(r"@misc\{[a-z0-9._-]+,", head)
    assert body.endswith("\n}")
    fields, depth, start = [], 0, 0
    for k, char in enumerate(inside := body[:-2]):
        depth += (char == "{") - (char == "}")
        assert depth >= 0, text
        if char == "," and depth == 0:
            fields.append(inside[start:k])
            start = k + 1
    assert depth == 0, text
    pairs = (field.split("=", 1) for field in [*fields, inside[start:]])
    found = {name.strip(): value.strip() for name, value in pairs}
    assert all(value[0] == "{" and value[-1] == "}" for value in found.values())
    return {name: value[1:-1] for name, value in found.items()}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("run -i a.py --results /home/me/r --no-report --machine=box", "run -i a.py"),
        ("run --reports x --experiment attention --timings", "run --experiment attention"),
        ("exhaustive -i 'a b.py' --table line", "exhaustive -i 'a b.py' --table line"),
        ("run --results", "run"),
    ],
)
def test_a_command_is_told_without_the_places_of_whoever_typed_it(given: str, told: str) -> None:
    assert measuring(["softmax-bench", *shlex.split(given)]) == f"softmax-bench {told}"


def test_a_citation_says_what_was_run_where_and_with_which_records() -> None:
    run = run_of()
    fields = bibtex(citation(RunData(run.info, (), "", digest="ab" * 32)))
    assert list(fields) == ["title", "author", "year", "month", "note"]
    assert (fields["year"], fields["month"]) == ("2026", "01")
    assert fields["title"] == "softmax-bench 0.1.0: softmax measured"
    assert fields["note"] == (
        r"Run 20260101T000000Z-abcdef on Synthetic CPU \& Co.; commit 0123456789ab; "
        f"SHA-256 of its records {'ab' * 32}"
    )


@pytest.mark.parametrize("machine", MACHINES)
def test_no_machine_ends_a_field_of_a_citation_or_commands_latex(machine: str) -> None:
    fields = bibtex(citation(run_of(machine)))
    assert list(fields) == ["title", "author", "year", "month", "note"]
    assert f"on {' '.join(machine.split())};" in typeset(fields["note"])


@pytest.mark.parametrize("text", [*MACHINES, "}" * 12, "{" * 12, "\\" * 12])
def test_nothing_else_of_a_run_does_either(text: str) -> None:
    run = run_of(id=text, git_commit=text, harness_version=text, created=text)
    fields = bibtex(citation(run))
    assert list(fields) == ["title", "author", "year", "month", "note"]
    assert typeset(fields["note"])
    assert typeset(fields["title"])


def test_a_citation_of_a_run_of_unknown_origin_says_so() -> None:
    fields = bibtex(citation(run_of(None, git_commit=None, id="../x")))
    assert "Run ../x on synthetic-4c; commit unknown;" in fields["note"]


def test_the_sentence_of_a_run_counts_who_was_measured_and_what_is_known() -> None:
    text = sentence(from_run(report_run.small_run(), ""))
    assert text == (
        "9 implementations on Synthetic CPU & Co. (4 logical cores), 2026-01-01, profile quick; "
        "252 of 270 timings known to the precision wanted."
    )


def test_the_sentence_of_a_run_without_timings_tells_of_none_and_whether_it_is_whole() -> None:
    one = [c for c in report_run.cells() if c["experiment"] == "accuracy"][:1]
    run = from_run(report_run.run(one, finished=None, machine={}), "")
    assert sentence(run) == (
        "1 implementation on an unknown machine, 2026-01-01, profile quick. "
        "The run had not finished."
    )


def picture(run: RunData, path: Path) -> Image.Image:
    with drawing():
        card.write(run, path)
    with Image.open(path) as image:
        image.load()
        return image


def ink(image: Image.Image, top: int, bottom: int) -> int:
    """Pixels between two heights that are not white."""
    part = image.convert("L").crop((0, top, image.width, bottom))
    return sum(part.histogram()[:250])


SPEEDS = 230, 600
"""Where the bars of the fastest stand."""


def test_the_card_is_a_png_of_the_size_that_services_show_with_bars_of_the_fastest(
    tmp_path: Path,
) -> None:
    image = picture(from_run(report_run.small_run(), ""), tmp_path / "card.png")
    assert (image.format, image.size) == ("PNG", (1200, 630))
    assert ink(image, *SPEEDS) > 10_000
    assert os.path.getsize(tmp_path / "card.png") < 100_000


def test_the_card_of_a_run_without_timings_says_what_it_is(tmp_path: Path) -> None:
    image = picture(run_of(), tmp_path / "card.png")
    assert image.size == (1200, 630)
    assert ink(image, 0, 200) > 1000
    assert ink(image, *SPEEDS) == 0


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_spoils_the_card(tmp_path: Path, name: str) -> None:
    cells = [
        {**c, "implementation": name}
        for c in report_run.throughput_cells()
        if c["implementation"] == "torch" and c["threads"] == 4
    ]
    run = from_run(report_run.run(cells, machine={"cpu": name}), "")
    image = picture(run, tmp_path / "card.png")
    assert image.size == (1200, 630)
    assert ink(image, *SPEEDS) > 10_000


def test_the_same_run_gives_the_same_card(tmp_path: Path) -> None:
    run = from_run(report_run.small_run(), "")
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        picture(run, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
