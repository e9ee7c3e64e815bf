"""Norms of gradients by layer."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import TrainingRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Plot,
    grid,
    log_scale,
)
from harness.report.drawing.formatting import figure
from harness.report.drawing.tables import Column, Entry, Table, number, texts, words
from harness.report.pages.learning.common import COLOURS, setting_of
from harness.report.pages.strips import plot_of
from harness.report.run_data import RunData, known


def told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    deep = _deepest(records)
    parts = [
        f"{setting_of(c).activation} {figure(c.layer_factor, 2)} "
        f"(predicted {figure(c.predicted, 2)})"
        for c in deep
        if c.layer_factor is not None
    ]
    layers = max((len(setting_of(c).hidden) + 1 for c in deep), default=0)
    return (
        f"From each hidden layer to the one before, the gradient of {layers} layers is multiplied "
        f"by {', '.join(parts)}, before any training."
    )


def _deepest(records: Sequence[TrainingRecord]) -> list[TrainingRecord]:
    found: dict[str, TrainingRecord] = {}
    for c in sorted(records, key=lambda c: len(setting_of(c).hidden)):
        found[setting_of(c).activation] = c
    return list(found.values())


def plot(run: RunData, records: Sequence[TrainingRecord], told: str, table: Table) -> Plot:
    fig, (panel,) = grid(1, 1, 2.1, right=1.2)
    deep = _deepest(records)
    values = [v for c in deep for v in (c.curves or {}).get("norm", ()) if v > 0]
    log_scale(values).apply(panel.axes.yaxis)
    for c, colour in zip(deep, COLOURS, strict=False):
        layers, norms = known(c.curves)["layer"], known(c.curves)["norm"]
        panel.axes.plot(layers, norms, color=colour, marker="o", markersize=4)
        last = len(norms) - 2
        drawn = [norms[last] * known(c.predicted) ** (last - k) for k in range(last + 1)]
        panel.axes.plot(layers[: last + 1], drawn, color=palette.LIMIT, dashes=(5, 2), linewidth=1)
        panel.axes.annotate(
            setting_of(c).activation, (layers[0], norms[0]), xytext=(6, -9),
            textcoords="offset points", fontsize=7.5,
        )  # fmt: skip
    panel.name("", "layer, from the input", "norm of the gradient of a row")
    return plot_of("training-depth", told, "training_depth", table, fig)


def table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    rows = []
    for c in records:
        curves = known(c.curves)
        rows.append([
            words(setting_of(c).activation), Entry(str(len(curves["layer"])), len(curves["layer"])),
            number(c.layer_factor) if c.layer_factor is not None else words("–"),
            number(c.predicted), number(curves["norm"][0]), number(curves["norm"][-1]),
            number(curves["weights"][0]), number(curves["weights"][-1]),
        ])  # fmt: skip
    columns = [
        *texts("Activation"), Column("Layers"), Column("Factor a layer"), Column("Predicted"),
        Column("First layer", "", "Norm at its outputs"), Column("Last", "", "Norm at its outputs"),
        Column("First layer", "", "Norm of its weights"), Column("Last", "", "Norm of its weights"),
    ]  # fmt: skip
    return Table("training-depth", "Norms of the gradient before any step", columns, rows)
