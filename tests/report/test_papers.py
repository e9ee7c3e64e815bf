"""Figures as PDF: each is there, the same twice, and grey where a page shows it grey."""

from __future__ import annotations

from pathlib import Path

import report_run
from many_runs import store
from matplotlib.colors import to_hex
from typer.testing import CliRunner

from harness.cli.app import app
from harness.report.drawing import style as palette
from harness.report.drawing.figure import draw_line, drawing, grid, label_ends
from harness.report.drawing.style import styles
from harness.report.drawing.svg import settle
from harness.report.papers import export_figures

NAMES = ("max_shift", "torch")


def stored(results: Path) -> Path:
    made = report_run.small_run()
    return store(results, "run", [r.model_dump() for r in made.records], 1,
                 implementations=made.info.implementations)  # fmt: skip


def test_every_figure_is_a_pdf_and_the_same_twice(tmp_path: Path) -> None:
    folder = stored(tmp_path / "results")
    first, second = (export_figures([folder], tmp_path / name) for name in ("a", "b"))
    names = {path.stem for path in first}
    assert {"pareto", "ulp", "ulp-scale", "lifelines", "max_shift-accuracy"} <= names
    assert all(path.read_bytes().startswith(b"%PDF-") for path in first)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    folder, out = stored(tmp_path / "results"), tmp_path / "paper"
    done = CliRunner().invoke(app, ["report", str(folder), "--export", "figures", "-o", str(out)])
    assert done.exit_code == 0
    told = [Path(line.removeprefix("figure: ")) for line in done.stdout.splitlines()]
    assert sorted(told) == sorted(out.rglob("*.pdf"))


def test_what_is_not_on_is_grey_and_has_no_label() -> None:
    with drawing():
        fig, (panel,) = grid(1, 1, 2.0)
        for name in NAMES:
            draw_line(panel.axes, name, styles(NAMES)[name], ([1, 2], [1, 2]), on=name == "torch")
        label_ends(panel.axes, dict.fromkeys(NAMES, (2, 2)), styles(NAMES), {"torch"})
        settle(fig)
    grey, coloured = (to_hex(line.get_color()) for line in panel.axes.lines)
    assert (grey, coloured) == (palette.CONTEXT, styles(NAMES)["torch"].colour)
    assert {t.get_text(): t.get_visible() for t in panel.axes.texts} == {
        "max_shift": False, "torch": True,
    }  # fmt: skip
