"""Colours, markers and dashes: one style an implementation, the same in every figure.

Series colours are those of Okabe and Ito ("Color Universal Design", 2008), darkened where they
fall below 3:1 against white; on dark pages `static/style.css` inverts the lightness of whole
figures. Colour is never the only difference: markers differ as well, and dashes from the ninth
series on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

INK = "#22262b"
MUTED = "#666d75"
GRID = "#e4e6ea"
CONTEXT = "#c6cbd1"
AXIS = "#9aa0a7"
LIMIT = "#50565d"
ALERT = "#c03a00"

# How points are marked, and the curves behind them: keywords of Matplotlib's `plot`.
BEHIND: Mapping[str, Any] = {"color": CONTEXT, "linewidth": 0.7}
BAR: Mapping[str, Any] = {"linewidth": 2.4, "alpha": 0.45, "solid_capstyle": "butt"}
_RING: Mapping[str, Any] = {"marker": "o", "linestyle": "none", "markerfacecolor": "none"}
FAILED = {**_RING, "markersize": 8.5, "markeredgecolor": ALERT}
NOISY = {**_RING, "markersize": 8.0, "markeredgecolor": MUTED, "markeredgewidth": 0.8}
STRUCK: Mapping[str, Any] = {
    "marker": "x", "linestyle": "none", "markersize": 8.0, "markeredgecolor": ALERT,
    "markeredgewidth": 1.4,
}  # fmt: skip

_SERIES = (
    "#d25b00",  # vermillion
    "#0071b1",  # blue
    "#b04f8b",  # reddish purple
    "#00855f",  # bluish green
    "#b27a01",  # orange
    "#3a3f46",  # black
    "#2d97d0",  # sky blue
    "#8a8600",  # yellow
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "d", "*", "8")
_DASHES: tuple[tuple[float, ...], ...] = ((), (4.0, 1.6), (1.2, 1.2), (6.0, 1.5, 1.2, 1.5))

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
)

OUTCOMES: Mapping[str, tuple[str, str, str]] = {
    # outcome: colour, letter, meaning
    "exact": ("#d3e6f4", "", "every result correctly rounded"),
    "accurate": ("#e6eff2", "", "within its bound, below 10 ulp"),
    "coarse": ("#f7efd3", "", "within its bound, yet 10 ulp off or more"),
    "lost": ("#efd88f", "", "within its bound, yet without a correct digit"),
    "inaccurate": ("#f0c878", "i", "finite, beyond the bound or with half of its digits wrong"),
    "limit": ("#b9ddce", "l", "the limit where the convention is NaN"),
    "nan": ("#e58a5b", "n", "NaN"),
    "zero": ("#d9b0ca", "z", "zero where the result is not"),
    "inf": ("#c9a13c", "∞", "infinite"),
    "raises": ("#b5b9a0", "r", "an exception"),
    "wrong": ("#7c828a", "w", "finite, no digit right"),
    "crashed": ("#565c64", "c", "the process died"),
    "missing": ("#fafafb", "·", "no result; the reason is in the table"),
}


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
    """A style for every name: fixed for those of this repository, in sorted order for others."""
    distinct = set(names)
    places = [*_PLACES, *sorted(distinct - set(_PLACES))]
    return {
        name: Style(
            _SERIES[i % len(_SERIES)],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[i // len(_SERIES) % len(_DASHES)],
        )
        for i, name in enumerate(places)
        if name in distinct
    }
