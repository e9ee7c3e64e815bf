"""The picture of a run that services show beside a link to its page."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image  # of Matplotlib's own dependencies

from harness.report.chosen import ranked
from harness.report.drawing import style as palette
from harness.report.drawing.formatting import figure
from harness.report.drawing.sanitize import drawn, label
from harness.report.run_data import RunData, known
from harness.report.run_header import sentence
from harness.report.timing_selection import headline

_MOST = 7
_COLOURS = 64


def write(run: RunData, path: Path) -> None:
    """Write a PNG of 1200 by 630 pixels: what was measured where, and the fastest."""
    fig = Figure(figsize=(12, 6.3), dpi=100, facecolor="#ffffff")
    canvas = FigureCanvasAgg(fig)
    fig.text(0.05, 0.88, "softmax-bench", fontsize=30, fontweight="bold", va="center")
    told = "\n".join(textwrap.wrap(drawn(sentence(run)), 92, max_lines=2, placeholder=" …"))
    fig.text(0.05, 0.79, told, fontsize=14, va="top", color=palette.MUTED)
    fast, point = list(ranked(run).items())[:_MOST], headline(run)
    if fast and point is not None:
        axes = fig.add_axes((0.24, 0.08, 0.70, 0.53))
        places = range(len(fast) - 1, -1, -1)
        axes.barh(places, [known(c.gbps) for _, c in fast], height=0.66, color="#0071b1")
        for y, (name, c) in zip(places, fast, strict=True):
            axes.text(0.0, y, f"{label(name, 20)} ", ha="right", va="center", fontsize=15)
            axes.text(known(c.gbps), y, f" {figure(c.gbps)} GB/s", va="center", fontsize=14)
        axes.set_axis_off()
        axes.set_xlim(0.0, 1.22 * known(fast[0][1].gbps))
        fig.text(0.05, 0.655, drawn(f"Fastest at {point.text}"), fontsize=14, fontweight="bold")
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    picture.quantize(_COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, "PNG")
