"""The page of what softmax and format do to learning: a figure, a sentence, a table a question."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any, NamedTuple

from harness.numerics.formats import FORMATS
from harness.records import TrainingRecord
from harness.records.training import Setting
from harness.report.chosen import chosen
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Panel,
    Plot,
    class_axis,
    draw_line,
    grid,
    label_ends,
    log_scale,
    power,
)
from harness.report.drawing.formatting import duration, figure, integer, percent, plural
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import label
from harness.report.drawing.style import Style
from harness.report.drawing.svg import Series
from harness.report.drawing.tables import Column, Entry, Table, count, missing, number, texts, words
from harness.report.run_data import DTYPES, RunData, known, ordered

QUESTIONS: Mapping[str, str] = {
    "digits": "What is learned",
    "nonfinite": "The first loss that is not finite",
    "vanishing": "Gradients that are exactly 0",
    "depth": "Gradients by layer",
    "collapse": "Losses that are exactly 0",
    "clipping": "Clipping, and steps that are too long",
    "cost": "The cost of classes",
}
CLIPS: Mapping[str, str] = {
    "none": "not clipped", "elements": "elements before the step", "norm": "norm before the step",
    "after": "elements after the step",
}  # fmt: skip
_T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Student's t for 95% by the number of values."""
SMOOTHED = "labels smoothed"
_COLOURS = ("#0071b1", "#d25b00", "#00855f", "#b04f8b", "#3a3f46")


class Mean(NamedTuple):
    """The mean of some values and half of its 95% interval, by Student's t; None of one value."""

    value: float
    half: float | None

    @property
    def text(self) -> str:
        half = "" if self.half is None else f" ± {figure(100 * self.half, 2)}"
        return f"{figure(100 * self.value)}{half}"


def mean_of(values: Sequence[float]) -> Mean:
    n = len(values)
    half = _T.get(n, 2.0) * stdev(values) / math.sqrt(n) if n > 1 else None
    return Mean(fmean(values), half)


def records_of(run: RunData, kind: str) -> list[TrainingRecord]:
    """The records of a question that were measured or whose training broke off."""
    return [c for c in run.select(TrainingRecord) if c.kind == kind and _answers(c)]


def _answers(c: TrainingRecord) -> bool:
    broke_off = c.status == "failed" and c.kind in ("digits", "collapse", "clipping")
    return c.status == "ok" or broke_off


def untrained(run: RunData) -> Table | None:
    """Why other cells have no numbers, by implementation; None where all have."""
    counts = Counter(
        (c.implementation, c.status, c.reason or "no reason recorded")
        for c in run.select(TrainingRecord)
        if not _answers(c)
    )
    rows = [[words(name), count(n), words(status.replace("_", " ")), words(reason)]
            for (name, status, reason), n in counts.items()]  # fmt: skip
    columns = [*texts("Implementation"), Column("Cells"), *texts("Status", "Reason")]
    return Table("training-not-done", "Cells without numbers", columns, rows).or_none()


def questions_of(run: RunData) -> list[str]:
    """Those that the run answers, in the order of the page."""
    return [kind for kind in QUESTIONS if records_of(run, kind)]


def _dtypes(records: Iterable[TrainingRecord]) -> list[str]:
    return ordered((c.dtype for c in records), DTYPES)


def _names(run: RunData, records: Iterable[TrainingRecord]) -> list[str]:
    present = {c.implementation for c in records}
    return [n for n in run.implementations if n in present]


def _setting(c: TrainingRecord) -> Setting:
    return c.setting or Setting()


def network(s: Setting) -> str:
    """A setting in words."""
    layers = "–".join(map(str, s.hidden))
    loss = {"own": "F.cross_entropy", "squared": "squared error"}.get(s.loss, "")
    smooth = f"labels smoothed by {figure(s.smoothing)}" if s.smoothing else ""
    optimiser = "Adam" if s.optimiser == "adam" else "SGD"
    parts = (f"{layers} hidden", f"{optimiser} {s.rate:g}", loss, smooth)
    return ", ".join(p for p in parts if p)


# What is learned


def _first(records: Sequence[TrainingRecord]) -> list[TrainingRecord]:
    """The records of the network that most are of."""
    groups: dict[str, list[TrainingRecord]] = defaultdict(list)
    for c in records:
        groups[c.workload or ""].append(c)
    return max(groups.values(), key=len)


def _by_cell(
    records: Iterable[TrainingRecord], value: Callable[[TrainingRecord], float | None]
) -> dict[tuple[str, str], dict[int, float]]:
    """Values by seed, of each implementation and format."""
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for c in records:
        if c.status == "ok" and (v := value(c)) is not None:
            found[c.implementation, str(c.dtype)][c.seed or 0] = v
    return found


def _reference(cells: Mapping[tuple[str, str], Any], run: RunData) -> tuple[str, str]:
    """The widest format of the baseline: what the others are held against."""
    baseline = run.info.baseline or "max_shift"
    return min(cells, key=lambda k: (k[0] != baseline, DTYPES.index(k[1])))


def _digits_told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    same = _first(records)
    cells = _by_cell(same, lambda c: c.accuracy)
    if not cells:
        return "No training came to its end."
    name, dtype = at = _reference(cells, run)
    mean = mean_of(list(cells[at].values()))
    moved = {
        k: fmean(found[s] - cells[at][s] for s in found if s in cells[at])
        for k, found in cells.items()
        if k != at and any(s in cells[at] for s in found)
    }
    bits: dict[tuple[int | None, str | None], str | None] = {
        (c.seed, c.dtype): c.weights for c in same if (c.implementation, c.dtype) == at
    }
    alike = sum(c.weights == bits.get((c.seed, dtype)) for c in same) - len(cells[at])
    lost = [f"{c.implementation} in {c.dtype}" for c in records if c.status == "failed"]
    text = (
        f"{name} in {dtype} classifies {mean.text}% of the held-out digits after "
        f"{_setting(same[0]).epochs} epochs ({network(_setting(same[0]))}; "
        f"{plural(len(cells[at]), 'seed')})."
    )
    if moved:
        worst = max(moved, key=lambda k: abs(moved[k]))
        text += (
            f" Of {plural(len(moved), 'other implementation and format', 'others')}, from the "
            f"same seeds, none differs by more than {figure(100 * abs(moved[worst]), 2)} points "
            f"({worst[0]}, {worst[1]}); {plural(alike, 'training')} gave the same weights to the "
            "last bit."
        )
    broken = ", ".join(dict.fromkeys(lost))
    return text + (f" Broke off, with a loss that was not finite: {broken}." if lost else "")


def _digits_plot(run: RunData, records: Sequence[TrainingRecord], told: str, table: Table) -> Plot:
    cells = _by_cell(_first(records), lambda c: c.accuracy)
    at = _reference(cells, run) if cells else ("", "")
    broken = {(c.implementation, c.dtype) for c in _first(records) if c.status == "failed"}

    def draw(panel: Panel, dtype: str, names: Sequence[str], style: Mapping[str, Style]) -> None:
        truth = 100 * fmean(cells[at].values()) if cells else math.nan
        panel.axes.axvline(truth, color=palette.LIMIT, linewidth=1.0, dashes=(5, 2))
        for k, name in enumerate(names):
            if (name, dtype) in broken:
                panel.axes.text(0.02, k, "broke off", transform=panel.axes.get_yaxis_transform(),
                                va="center", fontsize=7.5, color=palette.ALERT)  # fmt: skip
            elif (name, dtype) in cells:
                m = mean_of(list(cells[name, dtype].values()))
                half = m.half or 0.0
                ends = [100 * (m.value - half), 100 * (m.value + half)]
                tip = f"{name}, {dtype}: {m.text}%"
                _mark(panel.axes, name, style[name], k, ends, [100 * m.value], tip)

    return _strips(run, records, "training-digits", told, "training_digits", table, draw,
                   "% of held-out digits")  # fmt: skip


def _digits_table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    rows = []
    groups: dict[tuple[str, str, str], list[TrainingRecord]] = defaultdict(list)
    for c in records:
        groups[network(_setting(c)), c.implementation, str(c.dtype)].append(c)
    for (net, name, dtype), found in groups.items():
        good = [c for c in found if c.status == "ok"]
        row = [words(name), words(dtype), words(net)]
        if not good:
            row += [missing(found[0].status, found[0].reason)] * 4
        else:
            row += [
                _mean_entry([known(c.accuracy) for c in good if c.accuracy is not None], 100),
                _mean_entry([known(c.loss) for c in good if c.loss is not None]),
                _mean_entry([c.calibration_error for c in good if c.calibration_error is not None]),
                Entry(integer(len(good)), len(good)),
            ]
        rows.append([*row, words(found[0].route)])
    columns = [
        *texts("Implementation", "Format", "Network"), Column("Accuracy", "%"),
        Column("Loss", "nats"), Column("Calibration error"), Column("Seeds"),
        *texts("Operations used"),
    ]  # fmt: skip
    return Table("training-digits", "Held-out rows after training, mean over seeds with its 95% "
                 "interval", columns, rows)  # fmt: skip


def _mean_entry(values: Sequence[float], times: float = 1.0) -> Entry:
    if not values:
        return Entry("–", "")
    m = mean_of(values)
    detail = None if m.half is None else f"± {figure(times * m.half, 2)}"
    return Entry(figure(times * m.value), times * m.value, detail=detail)


# The first loss that is not finite


class Range(NamedTuple):
    """Of an implementation and a format: logits that it survived, and those that it did not."""

    alive: float
    dead: float | None
    predicted: float | None
    broken: int
    trained: int


def _ranges(records: Iterable[TrainingRecord]) -> dict[tuple[str, str], Range]:
    groups: dict[tuple[str, str], list[TrainingRecord]] = defaultdict(list)
    for c in records:
        groups[c.implementation, str(c.dtype)].append(c)
    return {
        key: Range(
            max((c.logit_before or 0.0 for c in found), default=0.0),
            min((c.logit_at for c in found if c.logit_at is not None), default=None),
            found[0].predicted,
            sum(c.first_nonfinite is not None for c in found),
            len(found),
        )
        for key, found in groups.items()
    }


def _nonfinite_told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    died = [c for c in records if c.first_nonfinite is not None]
    lived = [c for c in records if c.first_nonfinite is None]
    late = [c for c in died if known(c.logit_at) >= (c.predicted or math.inf)]
    early = [c for c in lived if (c.logit_before or 0.0) < (c.predicted or math.inf)]
    right, agree = len(late) + len(early), len(records)
    who = ordered(f"{c.implementation} in {c.dtype}" for c in died if known(c.logit_at) < 1e4)
    text = (
        f"{len(died)} of {plural(len(records), 'training')} met a loss or gradient that was not "
        f"finite. The logit from which on the implementation gives none, found beforehand, "
        f"predicted {integer(right)} of {integer(agree)} outcomes."
    )
    return text + (f" Below logits of 10 000: {', '.join(who)}." if who else "")


def _nonfinite_plot(
    run: RunData, records: Sequence[TrainingRecord], told: str, table: Table
) -> Plot:
    found = _ranges(records)

    def draw(panel: Panel, dtype: str, names: Sequence[str], style: Mapping[str, Style]) -> None:
        axes = panel.axes
        for k, name in enumerate(names):
            r = found.get((name, dtype))
            if r is None:
                continue
            tip = f"{name}, {dtype}: finite up to {figure(r.alive)}"
            tip += "" if r.dead is None else f", not at {figure(r.dead)}"
            _mark(axes, name, style[name], k, [0.1, max(r.alive, 0.1)], [], tip)
            if r.dead is not None and r.dead < 1e6:
                axes.plot([r.dead], [k], **palette.STRUCK)
            if r.predicted is not None and r.predicted < 1e6:
                axes.plot([r.predicted] * 2, [k - 0.4, k + 0.4], color=palette.LIMIT, linewidth=1.4)
        axes.set_xscale("log")
        axes.set(xlim=(0.1, 1e6), xticks=[1, 100, 1e4], xticklabels=["1", "100", "10⁴"])
        axes.minorticks_off()

    return _strips(run, records, "training-nonfinite", told, "training_nonfinite", table, draw,
                   "largest logit")  # fmt: skip


def _nonfinite_table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    rows = []
    for (name, dtype), r in _ranges(records).items():
        first = next((c for c in records if (c.implementation, c.dtype) == (name, dtype)
                      and c.first_nonfinite is not None), None)  # fmt: skip
        rows.append([
            words(name), words(dtype), number(r.predicted, 6), number(r.alive),
            number(r.dead) if r.dead is not None else words("never"),
            Entry(f"{r.broken} of {r.trained}", r.broken),
            words(first.nonfinite if first else "–"),
            words(f"step {first.first_nonfinite}: {_change(_setting(first))}" if first else "–"),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Format"), Column("Predicted from", "logit"),
        Column("Finite up to", "logit"), Column("Not finite at", "logit"),
        Column("Broke off", "trainings"), *texts("What was not finite", "First"),
    ]  # fmt: skip
    return Table("training-nonfinite", "Logits that a training survived, and the first that it "
                 "did not", columns, rows)  # fmt: skip


def _change(s: Setting) -> str:
    return f"logits × {figure(s.scale)}" if s.scale != 1.0 else f"rate {figure(s.rate)}"


# Gradients that are exactly 0


def _reaches(c: TrainingRecord, name: str, share: float = 0.5) -> float | None:
    """The gap from which on at least such a share of a curve is 0."""
    curves = c.curves or {}
    pairs = zip(curves.get("gap", ()), curves.get(name, ()), strict=True)
    return next((gap for gap, value in pairs if value >= share), None)


def _vanishing_told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    parts = []
    for dtype in _dtypes(records):
        here = [c for c in records if c.dtype == dtype]
        gaps = [g for c in here if (g := _reaches(c, "squared_rows")) is not None]
        if gaps:
            span = figure(min(gaps)) if min(gaps) == max(gaps) else (
                f"{figure(min(gaps))} to {figure(max(gaps))}"
            )  # fmt: skip
            parts.append(f"{dtype} {span} (predicted {figure(here[0].predicted)})")
    never = not any(_reaches(c, "cross_entropy_rows", 1e-9) is not None for c in records)
    text = (
        "A confident wrong answer trained by squared error through softmax has no gradient at "
        f"all, in half of the rows, from a gap of {'; '.join(parts)}." if parts else
        "No gradient vanished."
    )  # fmt: skip
    if never:
        text += " Cross-entropy's gradient, p − y, is never 0 in such a row."
    return text


def _vanishing_plot(
    run: RunData, records: Sequence[TrainingRecord], told: str, table: Table
) -> Plot:
    dtypes = _dtypes(records)
    style = palette.styles(run.implementations)
    on = _shown(run)
    fig, panels = grid(len(dtypes), 2, 1.7, right=0.3)
    for panel, dtype in zip(panels, dtypes, strict=True):
        for c in records:
            curves = c.curves or {}
            if c.dtype == dtype and "gap" in curves:
                look, shown = style[c.implementation], c.implementation in on
                draw_line(panel.axes, c.implementation, replace(look, marker=""),
                          _turns(curves, "squared_rows"), on=shown)  # fmt: skip
                if any(curves["cross_entropy_rows"]) or c.implementation in on:
                    panel.axes.plot(*_turns(curves, "cross_entropy_rows"), color=palette.INK,
                                    linewidth=0.8, dashes=(1.2, 1.2))  # fmt: skip
        predicted = next((c.predicted for c in records if c.dtype == dtype), None)
        if predicted:
            panel.axes.axvline(predicted, color=palette.LIMIT, linewidth=1.0, dashes=(5, 2))
            panel.axes.annotate(
                f"predicted {figure(predicted)}", (predicted, 50), xytext=(-4, 0), ha="right",
                textcoords="offset points", fontsize=7.5, color=palette.LIMIT,
            )  # fmt: skip
        panel.axes.set_ylim(-4, 104)
        panel.name(dtype, "gap", "% of rows without gradient")
    return _plot("training-vanishing", told, "training_vanishing", table, fig)


def _turns(curves: Mapping[str, Sequence[float]], name: str) -> tuple[list[float], list[float]]:
    """A curve in per cent, without the points between two others of the same height."""
    points = list(zip(curves["gap"], curves[name], strict=True))
    kept = [
        p
        for k, p in enumerate(points)
        if k in (0, len(points) - 1) or not points[k - 1][1] == p[1] == points[k + 1][1]
    ]
    return [gap for gap, _ in kept], [100 * share for _, share in kept]


def _vanishing_table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    rows = [
        [
            words(c.implementation), words(c.dtype), number(c.predicted),
            *(_gap(_reaches(c, name)) for name in
              ("saturated", "squared_entries", "squared_rows", "cross_entropy_entries",
               "cross_entropy_rows")),
            words(c.route),
        ]
        for c in records
    ]  # fmt: skip
    columns = [
        *texts("Implementation", "Format"), Column("Predicted", "gap"),
        Column("Saturated", "gap"), Column("Entries", "gap", "Squared error"),
        Column("Rows", "gap", "Squared error"),
        Column("Entries", "gap", "Cross-entropy"), Column("Rows", "gap", "Cross-entropy"),
        *texts("Operations used"),
    ]  # fmt: skip
    caption = (
        "The gap from which on half of the gradient entries, or of the rows, are exactly 0, or "
        "half of the rows have a probability of exactly 1"
    )
    return Table("training-vanishing", caption, columns, rows)


def _gap(value: float | None) -> Entry:
    return words("never") if value is None else number(value)


# Gradients by layer


def _depth_told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    deep = _deepest(records)
    parts = [
        f"{_setting(c).activation} {figure(c.layer_factor, 2)} (predicted {figure(c.predicted, 2)})"
        for c in deep
        if c.layer_factor is not None
    ]
    layers = max((len(_setting(c).hidden) + 1 for c in deep), default=0)
    return (
        f"From each hidden layer to the one before, the gradient of {layers} layers is multiplied "
        f"by {', '.join(parts)}, before any training."
    )


def _deepest(records: Sequence[TrainingRecord]) -> list[TrainingRecord]:
    found: dict[str, TrainingRecord] = {}
    for c in sorted(records, key=lambda c: len(_setting(c).hidden)):
        found[_setting(c).activation] = c
    return list(found.values())


def _depth_plot(run: RunData, records: Sequence[TrainingRecord], told: str, table: Table) -> Plot:
    fig, (panel,) = grid(1, 1, 2.1, right=1.2)
    deep = _deepest(records)
    values = [v for c in deep for v in (c.curves or {}).get("norm", ()) if v > 0]
    log_scale(values).apply(panel.axes.yaxis)
    for c, colour in zip(deep, _COLOURS, strict=False):
        layers, norms = known(c.curves)["layer"], known(c.curves)["norm"]
        panel.axes.plot(layers, norms, color=colour, marker="o", markersize=4)
        last = len(norms) - 2
        drawn = [norms[last] * known(c.predicted) ** (last - k) for k in range(last + 1)]
        panel.axes.plot(layers[: last + 1], drawn, color=palette.LIMIT, dashes=(5, 2), linewidth=1)
        panel.axes.annotate(
            _setting(c).activation, (layers[0], norms[0]), xytext=(6, -9),
            textcoords="offset points", fontsize=7.5,
        )  # fmt: skip
    panel.name("", "layer, from the input", "norm of the gradient of a row")
    return _plot("training-depth", told, "training_depth", table, fig)


def _depth_table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    rows = []
    for c in records:
        curves = known(c.curves)
        rows.append([
            words(_setting(c).activation), Entry(str(len(curves["layer"])), len(curves["layer"])),
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


# Losses that are exactly 0


def _limit_gap(dtype: str) -> float:
    return -math.log(FORMATS[dtype].unit_roundoff)


def _plain(records: Iterable[TrainingRecord]) -> list[TrainingRecord]:
    return [c for c in records if not _setting(c).smoothing and _setting(c).loss != "own"]


def _collapse_told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    plain = _plain(records)
    zero = [c for c in plain if c.zero_loss]
    # a row whose loss is the usual difference collapses within some ulps of −ln u
    as_told = [c for c in zero if abs(known(c.gap_collapsed) - _limit_gap(str(c.dtype))) < 1.5]
    wider = [c for c in zero if c not in as_told
             and abs(known(c.gap_collapsed) - _limit_gap("float32")) < 1.5]  # fmt: skip
    never = ordered(c.implementation for c in plain if not c.zero_loss and (c.gap_alive or 0)
                    > _limit_gap(str(c.dtype)))  # fmt: skip
    text = (
        f"{len(zero)} of {plural(len(plain), 'training')} ended with rows whose loss is exactly 0, "
        f"{len(as_told)} of them from a gap within 1.5 of −ln u of their format on"
    )
    text += f", {len(wider)} from that of float32." if wider else "."
    if never:
        text += f" With larger gaps and no loss of 0: {', '.join(never)}."
    for c in records:
        if _setting(c).smoothing and c.curves and c.dtype == "float32":
            epsilon = _setting(c).smoothing
            text += (f" With labels smoothed by {epsilon:g} half of the rows end below a gap of "
                     f"{figure(c.curves['gap'][-1])} (predicted "
                     f"{figure(_smoothed_gap(epsilon))}).")  # fmt: skip
    best = [c.accuracy for c in plain if c.accuracy is not None]
    if best:
        text += (f" Held-out accuracy stayed within {percent(min(best))} to "
                 f"{percent(max(best))}%.")  # fmt: skip
    return text


def _collapse_plot(
    run: RunData, records: Sequence[TrainingRecord], told: str, table: Table
) -> Plot:
    plain = {(c.implementation, str(c.dtype)): c for c in _plain(records)}
    smooth = {str(c.dtype): c for c in records if _setting(c).smoothing and c.curves}
    end = 1.15 * max((v for c in records for v in (c.gap_alive, c.gap_collapsed) if v), default=20)

    def draw(panel: Panel, dtype: str, names: Sequence[str], style: Mapping[str, Style]) -> None:
        axes = panel.axes
        for k, name in enumerate(names):
            if name == SMOOTHED and dtype in smooth:
                c = smooth[dtype]
                axes.plot([0.0, known(c.curves)["gap"][-1]], [k, k], color=palette.INK,
                          **palette.BAR)  # fmt: skip
                at = _smoothed_gap(_setting(c).smoothing)
                axes.plot([at] * 2, [k - 0.4, k + 0.4], color=palette.LIMIT, linewidth=1.4)
            of_one = plain.get((name, dtype))
            if of_one is None or of_one.zero_loss is None:
                continue
            alive, collapsed = of_one.gap_alive, of_one.gap_collapsed
            tip = f"{name}, {dtype}: loss not 0 up to a gap of {figure(alive)}"
            tip += f"; 0 from {figure(collapsed)}" if collapsed is not None else ""
            _mark(axes, name, style[name], k, [0.0, alive or 0.0], [], tip)
            if collapsed is not None:
                axes.plot([collapsed], [k], **palette.STRUCK)
        x = _limit_gap(dtype)
        if x < end:
            axes.axvline(x, color=palette.LIMIT, linewidth=1.0, dashes=(5, 2))
            axes.annotate(
                f"−ln u = {figure(x)}", (x, len(names) - 0.2), xytext=(3 if x < end / 2 else -3, 0),
                ha="left" if x < end / 2 else "right", textcoords="offset points", fontsize=7.0,
                color=palette.LIMIT, va="center",
            )  # fmt: skip
        axes.set_xlim(0, end)

    return _strips(run, _plain(records), "training-collapse", told, "training_collapse", table,
                   draw, "gap: log p/(1 − p) of the label", 0.6,
                   [SMOOTHED] if smooth else [])  # fmt: skip


def _smoothed_gap(smoothing: float, classes: int = 10) -> float:
    """The gap at the optimum of cross-entropy with smoothed labels."""
    rest = smoothing * (classes - 1) / classes
    return math.log((1 - rest) / rest)


def _collapse_table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    rows = []
    for c in records:
        s = _setting(c)
        row = [words(c.implementation), words(c.dtype), words(network(s))]
        if c.zero_loss is None:
            rows.append([*row, *[missing(c.status, c.reason)] * 8])
            continue
        at = _smoothed_gap(s.smoothing) if s.smoothing else _limit_gap(str(c.dtype))
        gap = (c.curves or {}).get("gap") or [math.nan]
        rows.append([
            *row, number(at), number(c.gap_alive), _gap(c.gap_collapsed), number(gap[-1]),
            Entry(percent(c.zero_loss), c.zero_loss),
            Entry(percent(c.zero_gradient), c.zero_gradient),
            Entry(percent(c.training_accuracy), c.training_accuracy),
            Entry(percent(c.accuracy), c.accuracy),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Format", "Network"), Column("Predicted", "gap"),
        Column("Loss not 0 up to", "gap"), Column("Loss 0 from", "gap"),
        Column("Median", "gap at the end"), Column("Loss 0", "% of rows"),
        Column("Gradient 0", "% of rows"), Column("Accuracy", "% trained with"),
        Column("Accuracy", "% held out"),
    ]  # fmt: skip
    return Table("training-collapse", "Training on beyond perfect accuracy, all rows a step",
                 columns, rows)  # fmt: skip


# Clipping


def _way(c: TrainingRecord) -> str:
    s = _setting(c)
    return CLIPS[s.clip] + ("" if s.clip == "none" else f", {s.limit:g}")


def _disturbance(c: TrainingRecord) -> str:
    s = _setting(c)
    return f"logits × {figure(s.scale)}" if s.scale != 1 else f"one step × {integer(int(s.spike))}"


def _clipping_told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    pairs: dict[tuple[str, int | None], list[str | None]] = defaultdict(list)
    shares: dict[str, list[bool]] = defaultdict(list)
    for c in records:
        shares[_way(c)].append(c.came_through)
        if _setting(c).clip in ("none", "after"):
            pairs[_disturbance(c), c.seed].append(c.weights)
    both = [found for found in pairs.values() if len(found) == 2]
    same = sum(one == other for one, other in both)
    parts = [f"{way} {sum(s)} of {len(s)}" for way, s in shares.items()]
    return (
        f"Networks that came through: {'; '.join(parts)}. Clipping after the step gave the same "
        f"weights as none, to the last bit, in {same} of {plural(len(both), 'pair')}."
    )


def _clipping_plot(
    run: RunData, records: Sequence[TrainingRecord], told: str, table: Table
) -> Plot:
    fig, (panel,) = grid(1, 1, 2.3, right=1.9)
    ways = list(dict.fromkeys(_way(c) for c in records))
    markers = ("o", "s", "^", "D", "x")
    values = [c.spike_ratio for c in records if c.spike_ratio]
    if values:
        log_scale([*values, 1.0]).apply(panel.axes.xaxis)
    for k, (way, colour) in enumerate(zip(ways, _COLOURS, strict=False)):
        here = [c for c in records if _way(c) == way and c.spike_ratio and c.accuracy is not None]
        means: dict[float, list[TrainingRecord]] = defaultdict(list)
        for c in here:
            means[_setting(c).spike].append(c)
        at = [
            (
                fmean(known(c.spike_ratio) for c in found),
                100 * fmean(known(c.accuracy) for c in found),
            )
            for found in means.values()
        ]
        if at:
            panel.axes.plot(*zip(*at, strict=True), color=colour, marker=markers[k], markersize=5,
                            linewidth=1.0 if k else 1.8)  # fmt: skip
            panel.axes.annotate(way, (1.01, 0.92 - 0.12 * k), xycoords="axes fraction",
                                fontsize=7.5, color=palette.INK)  # fmt: skip
            panel.axes.plot(
                [1.0], [0.94 - 0.12 * k], marker=markers[k], color=colour, markersize=5,
                transform=panel.axes.transAxes, clip_on=False,
            )  # fmt: skip
    panel.axes.axvline(1.0, color=palette.LIMIT, linewidth=1.0, dashes=(5, 2))
    panel.axes.set_ylim(0, 100)
    panel.name("", "length of the step, in units of π/Δ", "% of held-out digits at the end")
    return _plot("training-clipping", told, "training_clipping", table, fig)


def _clipping_table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    groups: dict[tuple[str, str], list[TrainingRecord]] = defaultdict(list)
    for c in records:
        groups[_disturbance(c), _way(c)].append(c)
    rows = []
    for (what, way), found in groups.items():
        ratios = [c.spike_ratio for c in found if c.spike_ratio is not None]
        through = sum(c.came_through for c in found)
        before = [c.accuracy_before for c in found if c.accuracy_before is not None]
        rows.append([
            words(what), words(way), number(fmean(ratios)) if ratios else words("–"),
            _mean_entry(before, 100), _mean_entry([c.accuracy or 0.0 for c in found], 100),
            Entry(f"{through} of {len(found)}", through),
        ])  # fmt: skip
    columns = [
        *texts("Disturbance", "Gradient"), Column("Step", "π/Δ"),
        Column("Accuracy before", "%"), Column("Accuracy at the end", "%"),
        Column("Came through", "networks"),
    ]  # fmt: skip
    return Table("training-clipping", "Disturbed trainings, and what clipping does for them",
                 columns, rows)  # fmt: skip


# The cost of classes


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """The exponent of the power law through the points of the two largest class counts."""
    if len(points) < 2:
        return None
    (x, y), (u, v) = sorted(points)[-2:]
    return math.log(v / y) / math.log(u / x)


def _cost_lines(records: Iterable[TrainingRecord]) -> dict[str, list[TrainingRecord]]:
    found: dict[str, list[TrainingRecord]] = defaultdict(list)
    for c in records:
        if c.head_ns is not None:
            own = " (F.cross_entropy)" if _setting(c).loss == "own" else ""
            found[f"{c.implementation}{own}"].append(c)
    return {n: sorted(cells, key=lambda c: c.classes or 0) for n, cells in found.items()}


def _points(cells: Iterable[TrainingRecord], name: str) -> list[tuple[float, float]]:
    return [(float(c.classes or 0), known(getattr(c, name))) for c in cells]


def _cost_told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    lines = _cost_lines(records)
    slopes = [s for cells in lines.values() if (s := slope(_points(cells, "head_ns")))]
    if not slopes:
        return "Too few class counts for a slope."
    before, last = sorted({c.classes or 0 for c in records})[-2:]
    at = {n: cells[-1] for n, cells in lines.items() if cells[-1].classes == last}
    best = min(at, key=lambda n: known(at[n].head_ns))
    c = at[best]
    share = known(c.head_ns) / known(c.step_ns)
    return (
        f"From {integer(before)} to {integer(last)} classes the time of forward and backward grows "
        f"as the classes to the power of {figure(min(slopes), 2)} to {figure(max(slopes), 2)} "
        f"(predicted 1; what grows exponentially has no such power). At {integer(last)} classes "
        f"the least is {duration(c.head_ns)} ({best}), "
        f"{percent(share, 2)}% of a whole step."
    )


def _cost_plot(run: RunData, records: Sequence[TrainingRecord], told: str, table: Table) -> Plot:
    lines = _cost_lines(records)
    style = {n: palette.styles([n.split(" ")[0]])[n.split(" ")[0]] for n in lines}
    on = {n for n in lines if n in _shown(run) or "(" in n}
    fig, panels = grid(2, 2, 2.1, left=0.8, right=1.5, between=1.7)
    classes = sorted({c.classes or 0 for c in records})
    for panel, name, title in zip(
        panels, ("head_ns", "step_ns"), ("Loss, forward and backward", "Whole step"), strict=True
    ):
        values = [v / 1e3 for cells in lines.values() for _, v in _points(cells, name)]
        log_scale(values).apply(panel.axes.yaxis)
        class_axis(panel.axes, classes)
        ends = {}
        for n, cells in lines.items():
            at = _points(cells, name)
            xs, ys = [int(x) for x, _ in at], [y / 1e3 for _, y in at]
            tips = [
                f"{n}, {integer(x)} classes: {duration(1e3 * y)}"
                for x, y in zip(xs, ys, strict=True)
            ]
            draw_line(panel.axes, n, style[n], (xs, ys), on=n in on, tips=tips)
            ends[n] = (float(xs[-1]), ys[-1])
        label_ends(panel.axes, ends, style, on)
        panel.name(title, "classes", "µs")
    return _plot("training-cost", told, "training_cost", table, fig)


def _cost_table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    lines = _cost_lines(records)
    classes = sorted({c.classes or 0 for c in records})
    rows = []
    for n, cells in lines.items():
        at = {c.classes: c for c in cells}
        row = [words(n)]
        for name in ("head_ns", "step_ns"):
            row += [
                Entry(duration(ns), ns) if k in at and (ns := getattr(at[k], name)) else words("–")
                for k in classes
            ]
            row.append(number(slope(_points(cells, name)), 2))
        rows.append(row)
    columns = texts("Implementation")
    for group in ("Loss, forward and backward", "Whole step"):
        columns += [Column(f"{power(k) if k >= 10_000 else k}", "classes", group) for k in classes]
        columns.append(Column("Exponent", "of the last two", group))
    rows_of = next((c.rows for c in records), None)
    caption = f"Least times by class count, float32, {rows_of} rows, one thread"
    return Table("training-cost", caption, columns, rows)


# What all have in common


def _shown(run: RunData) -> frozenset[str]:
    """Whose curves have their colours from the beginning."""
    return chosen(run) | {run.info.baseline or "max_shift", "naive"}


def _mark(
    axes: Any, name: str, style: Style, at: int, bar: Sequence[float], marks: Sequence[float],
    tip: str,
) -> None:  # fmt: skip
    """A bar, and marks, in the line of an implementation."""
    series = Series(name, style.colour, True, [tip])
    (line,) = axes.plot(bar, [at, at], color=style.colour, **palette.BAR)
    axes.figure.mark(line, series)
    if marks:
        (line,) = axes.plot(marks, [at] * len(marks), color=style.colour, marker=style.marker,
                            linestyle="none", markersize=5)  # fmt: skip
        axes.figure.mark(line, series)


def _strips(
    run: RunData, records: Sequence[TrainingRecord], name: str, told: str, caption: str,
    table: Table, draw: Callable[[Panel, str, Sequence[str], Mapping[str, Style]], None],
    unit: str, above: float = 0.0, below: Sequence[str] = (),
) -> Plot:  # fmt: skip
    """A panel a format with a line for each implementation, and lines `below` them."""
    dtypes, names = _dtypes(records), [*below, *_names(run, records)[::-1]]
    if not names:
        return Plot.nothing(name, told.removesuffix("."), ".", table)
    style = palette.styles(names)
    fig, panels = grid(len(dtypes), 4, 0.17 * len(names) + 0.25, left=1.45)
    for panel, dtype in zip(panels, dtypes, strict=True):
        draw(panel, dtype, names, style)
        panel.axes.set_ylim(-0.7, len(names) - 0.3 + above)
        panel.axes.set_yticks(range(len(names)), [label(n, 24) for n in names] if panel.left else
                              [""] * len(names))  # fmt: skip
        panel.axes.grid(visible=False, axis="y")
        panel.name(dtype, unit)
    return _plot(name, told, caption, table, fig)


def _plot(name: str, told: str, caption: str, table: Table, fig: Any) -> Plot:
    return Plot(name, told.removesuffix("."), prose(caption), told, table, fig)


class Question(NamedTuple):
    """How a question is answered: in a sentence, a table and a figure."""

    told: Callable[[RunData, Sequence[TrainingRecord]], str]
    table: Callable[[RunData, Sequence[TrainingRecord]], Table]
    plot: Callable[[RunData, Sequence[TrainingRecord], str, Table], Plot]


ANSWERS: Mapping[str, Question] = {
    "digits": Question(_digits_told, _digits_table, _digits_plot),
    "nonfinite": Question(_nonfinite_told, _nonfinite_table, _nonfinite_plot),
    "vanishing": Question(_vanishing_told, _vanishing_table, _vanishing_plot),
    "depth": Question(_depth_told, _depth_table, _depth_plot),
    "collapse": Question(_collapse_told, _collapse_table, _collapse_plot),
    "clipping": Question(_clipping_told, _clipping_table, _clipping_plot),
    "cost": Question(_cost_told, _cost_table, _cost_plot),
}


def told(run: RunData) -> dict[str, str]:
    """The answer to each question that the run asked, in a sentence or two."""
    return {kind: ANSWERS[kind].told(run, records_of(run, kind)) for kind in questions_of(run)}


def answered(run: RunData, kind: str) -> Plot:
    """The figure of a question, with its answer and the table behind it."""
    records = records_of(run, kind)
    answer = ANSWERS[kind]
    table = answer.table(run, records)
    return answer.plot(run, records, answer.told(run, records), table)
