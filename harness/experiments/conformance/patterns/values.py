"""Results that are NaN, infinite, 0 or cut off where they should not be, and poor exponentials."""

from __future__ import annotations

import numpy as np

from harness.experiments.conformance.expected import step_rows
from harness.experiments.conformance.patterns.view import View
from harness.numerics.formats import to_float64


def special(view: View) -> str | None:
    """NaN, infinities, zeros and signs, where the exact result has none."""
    row = view.row
    x, got, exact = view.x[row], view.got[row], view.exact[row]
    finite_row = bool(np.isfinite(x).all())
    if np.isnan(x).any():
        lost = ~np.isnan(got) & np.isnan(exact)
        if lost.any():
            places = np.flatnonzero(np.isnan(x))
            where = f", at class {places[0]}" if len(places) == 1 and len(x) > 1 else ""
            return f"a NaN among the logits{where} is lost: the whole row must be NaN"
        return None
    others = np.delete(view.x, row, axis=0)
    if np.isnan(got).any() and not np.isnan(exact).any():
        if np.isnan(others).any() and finite_row:
            return "a NaN in one row spoils other rows"
        if np.isposinf(others).any() and finite_row:
            return "+inf in one row spoils other rows"
        if _reached(view):
            return "what is masked is computed with: a NaN or an infinity there reaches the result"
        if np.isneginf(x).any():
            masked = np.isneginf(view.x) & ~np.isnan(view.exact).any(axis=1, keepdims=True)
            inside = masked.any(axis=1) & ~masked[:, 0]
            led = inside.any() and not np.isnan(view.got[inside]).any()
            first = "at the start of a row " if led else ""
            return f"-inf (a masked logit) {first}gives NaN, as -inf - (-inf) does"
        if np.isposinf(x).any():
            return None
        return _range_lost(view, "NaN") or "the result is NaN though every logit is finite"
    if np.isinf(got).any() and np.isfinite(exact[np.isinf(got)]).all():
        return _range_lost(view, "infinite") or "a result is infinite though it has a number"
    if view.step.operation == "softmax" and (got < 0).any():
        return f"a probability is negative: {got.min():.3g}"
    if np.isposinf(x).any() and np.isnan(exact).any() and np.isfinite(got).all():
        return "+inf is taken for a finite number"
    return None


def _reached(view: View) -> bool:
    """Whether what the mask leaves out of the row is no ordinary number."""
    if view.step.operation != "masked_softmax":
        return False
    logits, mask = (a[view.row] for a in step_rows(view.step))
    return not np.isfinite(to_float64(logits)[~mask]).all()


def _range_lost(view: View, what: str) -> str | None:
    """Exponentials that leave the range of the format, for want of a shift."""
    if view.step.operation == "softmax_backward":
        return None
    x = view.x[view.row]
    x = x[np.isfinite(x)]
    if not x.size:
        return None
    shift = "the maximum of the row is not subtracted first"
    if x.max() > 0.98 * np.log(view.fmt.max) - np.log(x.size):
        where = f"exponentials overflow at logits of {x.max():.4g}"
    elif x.max() < 0.98 * np.log(view.fmt.smallest_normal):
        where = f"all exponentials underflow at logits of {x.max():.4g}"
    elif np.ptp(x) > 0.98 * np.log(view.fmt.max):
        where = f"exponentials overflow where logits are {np.ptp(x):.4g} apart"
        shift = "something else than the maximum of the row is subtracted first"
    else:
        return None
    return f"{where} (the result is {what}): {shift}"


def flushed(view: View) -> str | None:
    """Small results that are 0, and results that are not 0 where they must be."""
    row = view.row
    bad = view.bad[row]
    got, exact = view.got[row][bad], np.abs(view.exact[row][bad])
    if not bad.any() or view.logarithmic or view.step.operation == "softmax_backward":
        return None
    x = view.x[row]
    right = np.abs(view.exact[row][~bad])
    least = right[right > 0].min() if (right > 0).any() else np.inf
    if np.all(got == 0) and (exact < min(1e-4, least)).all() and (exact > 0).all():
        if (exact < view.fmt.smallest_normal).all():
            return "results below the normal range are flushed to 0"
        return f"small results become 0: here one of {exact.max():.2g}"
    if view.step.operation == "softmax" and np.isneginf(x[bad]).any() and (got > 0).all():
        return f"-inf (a masked logit) is taken for a finite number: its result is {got.max():.2g}"
    vanish = (exact < view.fmt.smallest_normal).all() and (got > 4 * exact).all()
    if view.step.operation == "softmax" and vanish and (got > 0).all():
        what = "exponentials far below the maximum are cut off at a least number"
        return f"what should vanish is {got.max():.2g}: {what}"
    return None


def cut_off(view: View) -> str | None:
    """Results that never get beyond some number."""
    bad = view.bad & np.isfinite(view.exact)
    if bad.sum() < 1 or not view.logarithmic:
        return None
    end = view.got[bad]
    beyond = np.abs(view.exact[bad])
    within = np.abs(view.exact[~view.bad & np.isfinite(view.exact)])
    if np.ptp(end) == 0 and (beyond > abs(end[0])).all() and (within <= abs(end[0]) * 1.01).all():
        return f"no result gets beyond {end[0]:.6g}: something is cut off there"
    return None


def of_exponentials(view: View) -> str | None:
    """Errors that belong to each element by itself: those of its exponential."""
    if view.step.operation not in ("softmax", "log_softmax"):
        return None
    gap = view.x.max(axis=1, keepdims=True) - view.x
    usable = np.isfinite(view.error) & np.isfinite(gap) & view.normal
    own = np.where(usable, view.error, np.nan)
    told = usable.sum(axis=1) > 2
    if not told.any():
        return None
    own, gap = own[told], gap[told]
    own = np.abs(own - np.nanmedian(own, axis=1, keepdims=True))
    middle, largest = float(np.nanmedian(own)), float(np.nanmax(own))
    u = view.fmt.unit_roundoff
    if largest > 0.5 or len(np.unique(gap[np.isfinite(gap)])) <= 16:  # logits of few kinds
        return None
    off = own > 0.25 * largest
    low, high = float(gap[off].min()), float(gap[off].max())
    between = (gap >= low) & (gap <= high)
    others = own[~between & np.isfinite(own)]
    if (
        off.sum() >= 3
        and off.sum() >= 0.6 * between.sum()
        and others.size > 0.5 * own.size
        and others.max() < 0.1 * largest
        and largest > 24.0 * u
    ):
        wrong = f"exponentials of {-high:.4g} to {-low:.4g} are wrong"
        return f"{wrong}, by up to {largest:.2g}; others are right"
    if largest > 12.0 * u and middle > 3.0 * u:
        how = f"the elements of a row are off unlike each other, by up to {largest:.2g} relative"
        return f"{how}: the exponential is inaccurate"
    return None
