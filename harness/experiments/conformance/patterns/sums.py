"""Rows that are off as a whole: what is missing in their sums, or added to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.experiments.conformance.patterns.view import TILES, View, noise_of
from harness.numerics.formats import Float64Array


@dataclass(frozen=True, eq=False)
class _Sums:
    """The sums of exp(x - max) of rows, and what the results say of them.

    Attributes:
        terms: (rows, classes). off: the sum that was used, less the true one.
        slack: what the estimate of `off` may be wrong by.
    """

    terms: Float64Array
    off: Float64Array
    slack: Float64Array

    def lack(self, missing: Float64Array) -> bool:
        """Whether just these terms are missing in the sums."""
        return bool(np.all(np.abs(self.off + missing) <= self.slack))


def _sums(view: View) -> _Sums | None:
    """None where the elements of a row are not off alike, or by too little to be told."""
    if view.step.operation not in ("softmax", "log_softmax", "logsumexp"):
        return None
    usable = np.isfinite(view.got).all(axis=1) & np.isfinite(view.x.max(axis=1))
    rows = np.flatnonzero(usable)
    if not len(rows):
        return None
    terms = np.exp(view.x[rows] - view.x[rows].max(axis=1, keepdims=True))
    total = terms.sum(axis=1)
    off, noise = np.zeros(len(rows)), np.zeros(len(rows))
    for k, i in enumerate(rows):
        r = view.error[i][np.isfinite(view.error[i]) & view.normal[i]]
        c = float(np.median(r)) if r.size else np.nan
        if view.step.operation == "logsumexp":
            factor = float(np.exp(-c))
            noise[k] = 8 * view.fmt.unit_roundoff * (1 + abs(view.exact[i, 0]))
        else:
            factor = float(np.exp(c)) if view.logarithmic else 1.0 + c
            noise[k] = noise_of(view, r - c)
            if not r.size or np.max(np.abs(r - c)) > 0.5 * abs(c) + noise[k]:
                return None
        if not factor > 0:
            return None
        off[k] = total[k] * (1.0 / factor - 1.0)
    found = _Sums(terms, off, noise * total + 0.02 * np.abs(off))
    return found if (np.abs(off) > 4 * found.slack).any() else None


def summed(view: View) -> str | None:
    """Which terms are missing in the sum of a row, or what is added to it."""
    sums = _sums(view)
    if sums is None:
        return None
    e, n = sums.terms, view.x.shape[1]
    total = e.sum(axis=1)
    for j, which in ((n - 1, "last"), (0, "first")) if n > 1 else ():
        if sums.lack(e[:, j]):
            return f"the sum leaves out the {which} entry of the row"
        if sums.lack(-e[:, j]):
            return f"the sum counts the {which} entry of the row twice"
    for lanes in (4, 8, 16, 32, 64, 128):
        rest = n % lanes
        if n > lanes and rest and sums.lack(e[:, n - rest :].sum(axis=1)):
            which = f"the last {rest} of {n} entries, the rest of a loop over {lanes}"
            return f"the sum leaves out {which}"
    if len(np.unique(total)) > 2:  # of a single row much can be explained by chance
        return _missing(sums) or _added(sums, total)
    return None


def _missing(sums: _Sums) -> str | None:
    """A class, or a tile of them, that is missing in the sums."""
    e, n = sums.terms, sums.terms.shape[1]
    for j in range(1, n - 1) if n <= 4096 else ():
        if sums.lack(e[:, j]):
            return f"the sum leaves out the entry of class {j} of {n}"
    for tile in (t for t in TILES if t < n):
        parts = np.add.reduceat(e, np.arange(0, n, tile), axis=1)
        for k in range(parts.shape[1]):
            if sums.lack(parts[:, k]):
                return f"the sum leaves out the entries {k * tile} to {min((k + 1) * tile, n) - 1}"
        if sums.lack(e[:, tile::tile].sum(axis=1)):
            return f"the sum leaves out the first entry of each tile of {tile} but the first"
    return None


def _added(sums: _Sums, total: Float64Array) -> str | None:
    off, slack = sums.off, float(sums.slack.max())
    same = np.ptp(off) <= 0.1 * abs(off.mean()) + slack
    if same and np.ptp(total) > 0.2 * total.mean() and abs(off.mean()) > 2 * slack:
        return f"{off.mean():.2g} is added to the sum of exp(x - max)"
    return None


def one_factor(view: View) -> str | None:
    """Every element of the row by the same factor, or by the same difference."""
    if view.step.operation in ("softmax_backward", "cross_entropy") and not view.logarithmic:
        return _multiple(view)
    r = view.error[view.row][view.normal[view.row]]
    if view.got.shape[1] == 1 and view.logarithmic:
        r = view.error[np.isfinite(view.error[:, 0]), 0]
        c = float(np.median(r)) if r.size else 0.0
        near = 16 * view.fmt.unit_roundoff * (1 + float(np.abs(view.exact[view.row, 0])))
        if abs(c) > 4 * near and np.all(np.abs(r - c) <= near):
            return f"every result is off by {c:.2g}"
        return None
    if r.size < 2 or not np.isfinite(r).all():
        return None
    c = float(np.median(r))
    u = view.fmt.unit_roundoff
    noise = noise_of(view, r - c)
    if c == -1.0 and np.all(view.got[view.row] == 0):
        return "every result of a row is 0: it is not computed"
    if abs(c) < 4 * noise or float(np.max(np.abs(r - c))) > max(noise, 0.05 * abs(c)) + 8 * u:
        return None
    if view.logarithmic:
        return f"every element of a row is off by {c:.2g}: the logarithm of the row's sum is wrong"
    name = "the row's sum is" if view.step.operation == "softmax" else "its factor is"
    return f"every element of a row is off by the factor {1 + c:.7g}: {name} wrong"


def _multiple(view: View) -> str | None:
    """All results by the same factor."""
    usable = view.normal & np.isfinite(view.got)
    if usable.sum() < 4:
        return None
    ratio = view.got[usable] / view.exact[usable]
    c = float(np.median(ratio))
    far = abs(c - 1.0) > 64 * view.fmt.unit_roundoff
    if far and np.quantile(np.abs(ratio - c), 0.95) <= 0.01 * abs(c - 1.0):
        return f"every result is {c:.6g} times what it should be"
    return None


def mixed(view: View) -> str | None:
    """Probabilities that a constant is added to, beside a factor."""
    if view.step.operation != "softmax":
        return None
    got, exact = view.got[view.row], view.exact[view.row]
    usable = np.isfinite(got) & np.isfinite(exact)
    if usable.sum() < 4 or len(np.unique(exact[usable])) < 4:
        return None
    a, b = (float(v) for v in np.polyfit(exact[usable], got[usable], 1))
    left = float(np.max(np.abs(got - a * exact - b)[usable]))
    off = float(np.max(np.abs(got - exact)[usable]))
    if off < 256 * view.fmt.unit_roundoff or left > 0.01 * off or abs(b) < 0.01 * off:
        return None
    return f"every result of a row is {a:.4g} times what it should be, plus {b:.2g}"


def cross_term(view: View) -> str | None:
    """softmax_backward whose sum over the row is off: the error of each element is its y times."""
    if view.step.operation != "softmax_backward" or view.second is None:
        return None
    y, terms = view.second[view.row], view.x[view.row] * view.second[view.row]
    usable = (y >= view.fmt.smallest_normal) & (np.abs(view.exact[view.row]) > 0)
    if usable.sum() < 3:
        return None
    off = (view.got[view.row] - view.exact[view.row])[usable] / y[usable]
    size = float(np.abs(terms).sum())
    c = float(np.median(off))
    noise = max(4.0 * float(np.median(np.abs(off - c))), 4.0 * view.fmt.unit_roundoff * size)
    spread = float(np.quantile(np.abs(off - c), 0.9))
    if not abs(c) > 4.0 * noise or spread > 0.3 * abs(c):
        return None
    return f"the sum of grad * y of a row is off by {abs(c) / size:.2g} of that of abs(grad * y)"
