"""Softmax as attention kernels compute it, by parameters; cross-entropy of a linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.records import AttentionRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import Plot, grid, log_scale
from harness.report.drawing.formatting import figure, integer, percent, plural
from harness.report.drawing.svg import Series
from harness.report.drawing.tables import Column, Table, number, texts, words
from harness.report.pages.strips import plot_of
from harness.report.run_data import DTYPES, RunData, known, ordered

_SHOWN: Mapping[str, str] = {
    "float32": "float32", "float16": "float16", "bfloat16": "bfloat16",
    "float8_e4m3fn": "FP8 E4M3", "float8_e5m2": "FP8 E5M2",
}  # fmt: skip
"""Formats to which results are rounded."""
_MARKERS = "osD^vPX*"
_NEGLIGIBLE = 1e-3
"""A share of results beside which it does not matter how they were computed."""


def _of(run: RunData, kind: str) -> list[AttentionRecord]:
    return [
        c for c in run.select(AttentionRecord) if c.kind == kind and c.status in ("ok", "failed")
    ]


def _numbers(setting: str | None) -> dict[str, float]:
    """Of ``tau=8, power=4``."""
    pairs = (part.split("=") for part in (setting or "").split(", ") if "=" in part)
    return {name: float(value) for name, value in pairs}


def _worst(records: Sequence[AttentionRecord], of: str) -> dict[tuple[float, ...], float]:
    """By setting the largest over the inputs."""
    found: dict[tuple[float, ...], float] = {}
    for c in records:
        value = getattr(c, of)
        if value is not None:
            key = tuple(_numbers(c.setting).values())
            found[key] = max(value, found.get(key, 0.0))
    return found


def _swept(run: RunData) -> dict[str, list[AttentionRecord]]:
    """Implementations with parameters, and their records."""
    found: dict[str, list[AttentionRecord]] = {}
    for c in _of(run, "weights"):
        if c.setting:
            found.setdefault(c.implementation, []).append(c)
    return {n: found[n] for n in run.implementations if n in found}


def weights_told(run: RunData) -> str:
    """From which setting on nothing is lost, and where weights saturate, in a few sentences."""
    said = []
    for name, records in _swept(run).items():
        parameters = list(_numbers(records[0].setting))
        if len(parameters) > 1:
            said.append(f"{name}: {_saturation(parameters, records)}")
            continue
        free = []
        for fmt in ("float16", "bfloat16", "float8_e4m3fn"):
            missed = _worst(records, f"misrounded_{fmt}")
            settled = [k[0] for k, v in sorted(missed.items()) if v > _NEGLIGIBLE]
            above = [k[0] for k in sorted(missed) if not settled or k[0] > settled[-1]]
            at = "at every setting" if not settled else (
                f"from {parameters[0]} = {above[0]:g} on" if above else "at none"
            )  # fmt: skip
            free.append((at, _SHOWN[fmt]))
        found = "; ".join(
            f"{', '.join(f for a, f in free if a == at)} {at}" for at in ordered(a for a, _ in free)
        )
        said.append(f"{name}: less than 0.1% misrounded to {found}")
    return ". ".join(said) + "." if said else ""


def _saturation(parameters: Sequence[str], records: Sequence[AttentionRecord]) -> str:
    """The best total variation, and from where on it is more than doubled, by the second one."""
    lost = _worst(records, "total_variation")
    least = min(lost.values())
    ends: dict[float, list[str]] = {}
    for second in sorted({k[1] for k in lost}):
        rising = sorted((k[0], v) for k, v in lost.items() if k[1] == second)
        low = [at for at, v in rising if v <= 2.0 * least]
        high = [at for at, v in rising if low and at > low[-1]]
        if high:
            ends.setdefault(high[0], []).append(f"{second:g}")
    text = f"total variation {figure(least, 2)} at best"
    if ends:
        first, other = parameters
        where = (f"{at:g} ({other} {', '.join(those)})" for at, those in ends.items())
        text += f", doubled from {first} {', '.join(where)} on, where weights saturate"
    return text


def weights(run: RunData) -> Plot | None:
    """A panel for each implementation with parameters; None where there is none."""
    swept = _swept(run)
    if not swept:
        return None
    fig, panels = grid(len(swept), 2, 1.9, below=0.75)
    for panel, (name, records) in zip(panels, swept.items(), strict=True):
        parameters = list(_numbers(records[0].setting))
        lines: dict[str, dict[float, float]] = {}
        if len(parameters) == 1:
            for fmt, shown in _SHOWN.items():
                worst = _worst(records, f"misrounded_{fmt}")
                lines[shown] = {k[0]: v for k, v in worst.items()}
            unit = "share misrounded"
        else:
            for key, v in _worst(records, "total_variation").items():
                lines.setdefault(f"{parameters[1]} = {key[1]:g}", {})[key[0]] = v
            unit = "total variation"
        _draw(panel.axes, lines)
        panel.axes.set_title(f"{name}: {unit}")
        panel.axes.set_xlabel(parameters[0])
    told = weights_told(run)
    return plot_of("attention-weights", told, "attention_weights", _weights_table(run), fig)


def _draw(axes: Any, lines: Mapping[str, Mapping[float, float]]) -> None:
    """Lines over places of one distance, whatever the numbers, on a logarithmic axis."""
    places = sorted({x for points in lines.values() for x in points})
    least = min([v for p in lines.values() for v in p.values() if v > 0], default=1e-5) / 2.0
    for k, (label, points) in enumerate(lines.items()):
        x = [places.index(at) for at in sorted(points)]
        y = [max(points[at], least) for at in sorted(points)]
        tips = [f"{label}, {at:g}: {figure(points[at])}" for at in sorted(points)]
        (line,) = axes.plot(x, y, color=palette.SERIES[k % 8], marker=_MARKERS[k % 8], markersize=4,
                            linewidth=1.2, label=label)  # fmt: skip
        axes.figure.mark(line, Series(label, palette.SERIES[k % 8], True, tips))
    log_scale([max(v, least) for p in lines.values() for v in p.values()]).apply(axes.yaxis)
    axes.set_xticks(range(len(places)), [f"{at:g}" for at in places])
    axes.legend(fontsize=7, loc="best", frameon=False, labelcolor=palette.INK)


def _weights_table(run: RunData) -> Table:
    rows = [
        [
            words(c.implementation), words(c.setting or "none"), words(c.workload),
            number(c.max_ulp),
            number(c.error_over_bound, kind="bad" if c.status == "failed" else "",
                   note=c.reason if c.status == "failed" else None),
            number(c.total_variation),
            *(words(percent(getattr(c, f"misrounded_{fmt}"))) for fmt in _SHOWN),
        ]
        for c in _of(run, "weights")
    ]  # fmt: skip
    columns = [
        *texts("Implementation", "Setting", "Input"), Column("Largest error", "ulp, float32"),
        Column("Error ÷ allowed", "largest"), Column("Total variation", "largest"),
        *(Column("Misrounded", shown) for shown in _SHOWN.values()),
    ]  # fmt: skip
    caption = "Weights of attention kernels, of 1024 float32 logits in blocks of 128"
    return Table("attention-weights", caption, columns, rows)


_RESULTS = {"loss": "loss", "hidden": "gradient in inputs", "weight": "gradient in weights"}


def layers_told(run: RunData) -> str:
    """Who is beyond what is allowed, and who loses most, in a sentence; empty where none is."""
    records = _of(run, "layer")
    if not records:
        return ""
    failed = ordered(
        f"{c.implementation} ({_RESULTS[str(c.result)]}, {c.dtype}, {c.workload})"
        for c in records if c.status == "failed"
    )  # fmt: skip
    text = f"Of {plural(len(records), 'result')} of a linear layer's cross-entropy "
    text += f"{integer(len(failed))} went wrong: {', '.join(failed)}." if failed else (
        "none went wrong."
    )  # fmt: skip
    for dtype in ("float16", "bfloat16"):
        errors: dict[str, float] = {}
        for c in records:
            if c.dtype == dtype and "offset" in str(c.workload) and c.norm_u is not None:
                errors[c.implementation] = max(c.norm_u, errors.get(c.implementation, 0.0))
        if len(errors) > 1:
            best, last = min(errors, key=errors.__getitem__), max(errors, key=errors.__getitem__)
            text += (
                f" Where all logits have 1000 in common errors in {dtype} are "
                f"{figure(errors[best], 2)} u of the largest entry ({best}) to "
                f"{figure(errors[last], 2)} u ({last})."
            )
    return text


def layers(run: RunData) -> Table | None:
    """Each implementation's loss and gradients, the worst of the three; None where none are."""
    found: dict[tuple[str, str], dict[str, list[AttentionRecord]]] = {}
    for c in _of(run, "layer"):
        by_format = found.setdefault((c.implementation, str(c.workload)), {})
        by_format.setdefault(str(c.dtype), []).append(c)
    dtypes = ordered((d for by_format in found.values() for d in by_format), DTYPES)
    rows = []
    for (name, layer), by_format in sorted(
        found.items(), key=lambda item: (run.implementations.index(item[0][0]), item[0][1])
    ):
        every = [c for those in by_format.values() for c in those]
        failed = [c for c in every if c.status == "failed"]
        rows.append([
            words(name), words(layer),
            *(number(max((c.norm_u or 0.0 for c in by_format[d]), default=None))
              if d in by_format else words("–") for d in dtypes),
            number(max(known(c.error_over_bound) for c in every), kind="bad" if failed else "",
                   note=failed[0].reason if failed else None),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Layer"),
        *(Column(d, "u of the largest entry") for d in dtypes),
        Column("Error ÷ allowed", "largest"),
    ]  # fmt: skip
    caption = (
        "Cross-entropy of a linear layer of 8 rows, 16 features and 64 classes: the largest error "
        "of the loss and of both gradients"
    )
    return Table("attention-layers", caption, columns, rows, [layers_told(run)]).or_none()
