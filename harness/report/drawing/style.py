"""Colours, markers and dashes: one style an implementation, the same in every figure.

Series colours are those of Okabe and Ito ("Color Universal Design", 2008), darkened where they
fall below 3:1 against white; each has a partner for dark pages. Colour is never the only
difference: markers differ as well, and dashes from the ninth series on. Figures name their colours
by the variables of `sheet`, which style sheets set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

INK = "#22262b"
MUTED = "#666d75"
GRID = "#e4e6ea"
CONTEXT = "#c6cbd1"
AXIS = "#9aa0a7"
LIMIT = "#50565d"
ALERT = "#c03a00"
RIGHT, COARSE, DEAD = "#4f8fc0", "#bf8400", "#c4512a"
"""Results that are right, that have lost digits, and that are not finite any more."""

# How points are marked, and the curves behind them: keywords of Matplotlib's `plot`.
BEHIND: Mapping[str, Any] = {"color": CONTEXT, "linewidth": 0.7}
BAR: Mapping[str, Any] = {"linewidth": 2.4, "alpha": 0.45, "solid_capstyle": "butt"}
_RING: Mapping[str, Any] = {"marker": "o", "linestyle": "none", "markerfacecolor": "none"}
FAILED = {**_RING, "markersize": 8.5, "markeredgecolor": ALERT}
ABOVE: Mapping[str, Any] = {
    "marker": "^", "markersize": 8.0, "linestyle": "none", "clip_on": False
}  # fmt: skip
NOISY = {**_RING, "markersize": 8.0, "markeredgecolor": MUTED, "markeredgewidth": 0.8}
STRUCK: Mapping[str, Any] = {
    "marker": "x", "linestyle": "none", "markersize": 8.0, "markeredgecolor": ALERT,
    "markeredgewidth": 1.4,
}  # fmt: skip

SERIES = (
    "#d25b00",  # vermillion
    "#0071b1",  # blue
    "#b04f8b",  # reddish purple
    "#00855f",  # bluish green
    "#b27a01",  # orange
    "#3a3f46",  # black
    "#2d97d0",  # sky blue
    "#8a8600",  # yellow
)
_DARK = {
    INK: "#e3e5e7", MUTED: "#a0a7af", GRID: "#2b3036", CONTEXT: "#4a5159", AXIS: "#6c747d",
    LIMIT: "#b3bac1", ALERT: "#ff8a5c", RIGHT: "#3f8fc4", COARSE: "#c9952b", DEAD: "#d9603a",
    "#d25b00": "#ff9447", "#0071b1": "#4aa3ff", "#b04f8b": "#e08cc0", "#00855f": "#3fcf9f",
    "#b27a01": "#e9b949", "#3a3f46": "#c9ced4", "#2d97d0": "#8fd6f0", "#8a8600": "#d3cf3a",
}  # fmt: skip
"""What a colour is on a dark page."""

VARIABLES: Mapping[str, str] = {
    INK: "f-ink", MUTED: "f-muted", GRID: "f-grid", CONTEXT: "f-context", AXIS: "f-axis",
    LIMIT: "f-limit", ALERT: "f-alert", RIGHT: "f-right", COARSE: "f-coarse", DEAD: "f-dead",
    **{colour: f"s{k}" for k, colour in enumerate(SERIES)},
}  # fmt: skip
"""The CSS variable of each colour of a figure."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "d", "*", "8")
_DASHES: tuple[tuple[float, ...], ...] = ((), (4.0, 1.6), (1.2, 1.2))
_OTHERS = (6.0, 1.5, 1.2, 1.5)
"""Dashes of those that are not of this repository."""

# Fixed places for the implementations of this repository: the same colour in every report.
_PLACES = (
    "naive",
    "max_shift",
    "log_sum_exp",
    "online",
    "two_pass",
    "numba_cpu",
    "torch",
    "scipy",
    "cupy_gpu",
    "cupy_native",
    "numba_exact",
    "onnxruntime",
    "jax",
    "torch_compile",
    "openvino",
    "tensorflow",
    "numexpr",
    "numba_loop",
    "cupy_gpu_fast",
    "triton_gpu",
    "torch_cuda",
    "torch_compile_cuda",
    "jax_cuda",
    "log_sum_exp_difference",
    "torch_fused",
    "online_lazy",
    "exp2_poly",
    "fp8_e4m3",
    "fp8_e5m2",
    "three_pass_numba",
    "two_pass_numba",
    "online_numba",
    "online_lazy_numba",
    "torch_vocab_parallel",
    "torch_loss_parallel",
    "three_pass_reload_numba",
    "onednn",
    "litert",
    "ggml",
    "mlx",
    "tinygrad",
    "paddle",
    "candle",
    "tract",
    "mnn",
    "ncnn",
)


class Outcome(NamedTuple):
    """How an outcome is shown: its colours on light and dark pages, a word, what it means.

    The word stands where there is no error to show.
    """

    light: str
    dark: str
    text: str
    meaning: str


OUTCOMES: Mapping[str, Outcome] = {
    # from the best to the worst
    "exact": Outcome("#d3e6f4", "#1d3a50", "", "every result correctly rounded"),
    "accurate": Outcome("#e6eff2", "#202e36", "", "within its bound, below 10 ulp"),
    "limit": Outcome("#b9ddce", "#1f4436", "limit", "the limit where the convention is NaN"),
    "coarse": Outcome("#f7efd3", "#3d3719", "", "within its bound, yet 10 ulp off or more"),
    "lost": Outcome("#efd88f", "#55471a", "", "within its bound, yet without a correct digit"),
    "inaccurate": Outcome("#f0c878", "#5c4517", "",
                          "finite, beyond the bound or with half of its digits wrong"),
    "wrong": Outcome("#e3b48f", "#5f3a1d", "wrong", "finite, no digit right"),
    "zero": Outcome("#d9b0ca", "#573449", "0", "zero where the result is not"),
    "inf": Outcome("#e0a08a", "#6a3524", "∞", "infinite"),
    "nan": Outcome("#e58a5b", "#7c3a17", "NaN", "NaN"),
    "raises": Outcome("#b5b9a0", "#43462f", "raises", "an exception"),
    "crashed": Outcome("#565c64", "#8d959e", "died", "the process died"),
    "missing": Outcome("#fafafb", "#1c2025", "", "no result; the reason is in the table"),
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How the curves of an implementation are drawn."""

    colour: str
    marker: str
    dashes: tuple[float, ...]

    @property
    def line(self) -> str | tuple[float, tuple[float, ...]]:
        return (0.0, self.dashes) if self.dashes else "-"


def styles(names: Iterable[str]) -> Mapping[str, Style]:
    """A style for every name, whoever else there is: fixed for those of this repository."""
    return {name: _style(name) for name in names}


def _style(name: str) -> Style:
    if name not in _PLACES:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
        return Style(SERIES[digest[0] % len(SERIES)], _MARKERS[digest[1] % len(_MARKERS)], _OTHERS)
    i = _PLACES.index(name)
    return Style(
        SERIES[i % len(SERIES)],
        _MARKERS[i % len(_MARKERS)],
        _DASHES[i // len(SERIES) % len(_DASHES)],
    )


def sheet(figure: str | None = None) -> str:
    """The style sheet of figures: their colours, light and dark, and what of a series is shown.

    Args:
        figure: the SVG whose colours are wanted; None for all.
    """
    rules = (Path(__file__).parent.parent / "static" / "figure.css").read_text(encoding="utf-8")
    used = {c: v for c, v in VARIABLES.items() if figure is None or f"--{v})" in figure + rules}
    light = "".join(f"--{v}:{c};" for c, v in used.items())
    dark = "".join(f"--{v}:{_DARK[c]};" for c, v in used.items())
    return (
        f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{rules}"
    )


def outcome_sheet() -> str:
    """The grounds of table cells that show an outcome, light and dark."""
    places = {name: f"td.o-{name}" for name in OUTCOMES}
    places["accurate"] = ".outcomes td:not([class])"  # most of them
    light = "".join(f"{places[name]}{{background:{o.light}}}" for name, o in OUTCOMES.items())
    dark = "".join(f"{places[name]}{{background:{o.dark}}}" for name, o in OUTCOMES.items())
    return f"{light}@media screen and (prefers-color-scheme:dark){{{dark}}}\n"
