"""Blanchard, Higham and Higham (2021): what is examined of each claim, on the rows of `Trial`s."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from flint import arb, ctx

from harness.experiments.claims.claim import Evidence, counted
from harness.experiments.claims.worked import compare_number
from harness.experiments.reproductions.half_precision import (
    DERIVED,
    DIGITS,
    GIVEN,
    HALVES,
    USUAL,
    Trial,
    formulas,
    witness,
)
from harness.experiments.reproductions.papers import THEOREMS
from harness.numerics.formats import FORMATS, to_float64, to_hex
from harness.records.claims import EvidenceTable, Finding, PrintedNumber
from harness.worker.local import load
from harness.workloads.workload import input_sha256

PAPERS_VECTORS = "d9ca821f9bdcbeab434f3ec741fe256dc23af0a31e5fc7c016215835fc544a21"
"""SHA-256 of the paper's 2500 vectors, rounded to float16, as float32 (2500, 10)."""


def examine(claim: str, found: Sequence[Trial]) -> Evidence:
    """The evidence on a claim of the paper, by its id."""
    number = claim.removeprefix("BHH-")
    if number in THEOREMS:
        return _theorem(number, found)
    return _EXAMINATIONS[claim](found)


def _usual(found: Sequence[Trial]) -> list[Trial]:
    return [t for t in found if t.what in (*USUAL, GIVEN) and t.fmt.name in HALVES]


_HOW = (
    "float64 rounded to the format after every operation; errors against certified results, in "
    "units of u, relative to the largest element"
)

_TABLE_2 = {
    "bfloat16": ("-92.2", "-87.3", "88.7"),
    "float16": ("-16.6", "-9.70", "11.0"),
    "float32": ("-103", "-87.3", "88.7"),
    "float64": ("-744", "-708", "710"),
}


def _range(_: Sequence[Trial]) -> Evidence:
    numbers = []
    for name, printed in _TABLE_2.items():
        fmt = FORMATS[name]
        with ctx.workprec(128):
            least = arb(2) ** (fmt.emin - fmt.precision + 1)
            values = least.log(), (arb(2) ** fmt.emin).log(), arb(fmt.max).log()
        for what, text, value in zip(("smallest subnormal", "smallest normal", "largest"),
                                     printed, values, strict=True):  # fmt: skip
            numbers.append(compare_number(f"{name}, log of the {what}", text, value))
    wrong = [n for n in numbers if not n.to_the_digits]
    differs = "; ".join(
        f"{n.label}: {n.certified} is {n.rounded} to as many digits, printed is {n.claimed}"
        for n in wrong
    )
    certified = f"{len(numbers) - len(wrong)} of {len(numbers)} as printed"
    how = "logarithms of the formats' limits, enclosed by Arb; exp(x) overflows where x is larger"
    return Evidence(certified, how, tuple(numbers), differs=differs)


def _exactly(label: str, claimed: int, found: int) -> PrintedNumber:
    same = claimed == found
    return PrintedNumber(label, str(claimed), str(found), str(found), same, same)


def _to_digits(label: str, claimed: str, found: float) -> PrintedNumber:
    places = len(claimed.partition(".")[2])
    rounded = f"{found:.{places}f}"
    return PrintedNumber(
        label, claimed, f"{found:.{places + 3}f}", rounded, False, rounded == claimed
    )


def _vectors(found: Sequence[Trial]) -> Evidence:
    """The numbers that the paper prints of its own data."""
    statement = "every number is as printed"
    own = {t.fmt.name: t for t in found if t.what == GIVEN}
    if not own:
        need = "needs the paper's vectors: give them by --logits (docs/reproductions.md)"
        return Evidence("–", need, findings=(Finding(statement, 0, 0, need),))
    half, brain = own["float16"], own["bfloat16"]
    if input_sha256(half.x.astype(np.float32)) != PAPERS_VECTORS:
        why = "the logits given are not the paper's vectors"
        return Evidence("–", why, findings=(Finding(statement, 0, 0, why),))
    here = half.finite
    plain, shifted = (half.computed[k][here, 0] for k in ("3.2", "4.2"))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = half.errors["3.2"][here] / half.errors["4.2"][here]
    ratios = ratios[np.isfinite(ratios)]
    deviation = float(ratios.std(ddof=1)) / math.sqrt(len(ratios))
    numbers = (
        _exactly("overflow in fp16, unshifted", 475, int((~here).sum())),
        _exactly("overflow in fp16, shifted", 0, _lost(half, "4.2")),
        _exactly("overflow in bfloat16, unshifted", 0, int((~brain.finite).sum())),
        _exactly("identical log-sum-exps", 1863, int((plain == shifted).sum())),
        _to_digits("ratio of errors, least", "0.19", float(ratios.min())),
        _to_digits("ratio of errors, largest", "59", float(ratios.max())),
        _to_digits("ratio of errors, mean", "1.07", float(ratios.mean())),
        _to_digits("ratio of errors, standard error of the mean", "0.03", deviation),
    )
    agree = counted(
        statement,
        [n.to_the_digits for n in numbers],
        f"{int((~here).sum())} of {len(here)} vectors overflow in fp16 without a shift; ratio of "
        f"errors {ratios.min():.3g} to {ratios.max():.3g}, mean {ratios.mean():.3g}",
    )
    return Evidence(agree.measured, _HOW, numbers, (agree,))


def _lost(one: Trial, number: str) -> int:
    return int((~np.isfinite(one.computed[number]).all(axis=1)).sum())


def _overflow(found: Sequence[Trial]) -> Evidence:
    logits = [t for t in found if t.what == DIGITS]
    rows = [
        (t.fmt.name, str(len(t.x)), f"{t.x.min():.3g} to {t.x.max():.3g}",
         str(_lost(t, "3.3")), str(_lost(t, "4.3")))
        for t in logits
    ]  # fmt: skip
    half, brain = (next(t for t in logits if t.fmt.name == name) for name in HALVES)
    share = (~half.finite).mean()
    unshifted = counted(
        "some row overflows in float16 without a shift", [bool((~half.finite).any())],
        f"{int((~half.finite).sum())} of {len(half.x)} rows, {100 * share:.0f}%",
        figures={"overflow_share": float(share)},
    )  # fmt: skip
    shifted = counted(
        "a row does not overflow with a shift",
        np.concatenate([np.isfinite(t.computed["4.3"]).all(axis=1) for t in found]),
        "all rows of all trials, far from zero, too",
    )
    wide = counted(
        "a row does not overflow in bfloat16, shifted or not", brain.finite,
        f"its largest number is {brain.fmt.max:.3g}, as float32's",
    )  # fmt: skip
    return Evidence(
        unshifted.measured + " overflow in float16 without a shift, none with one",
        _HOW,
        findings=(unshifted, shifted, wide),
        tables=(
            EvidenceTable(
                "Rows that overflow",
                ("format", "rows", "logits", "unshifted", "shifted"),
                tuple(rows),
            ),
        ),
        differs="other logits than the paper's: of 8 × 8 digits and a linear classifier; the share "
        "is that of rows whose largest logit is beyond log of the largest float16, 11.1",
    )


_PAIRS = (("3.2", "4.2", "log-sum-exp"), ("3.3", "4.3", "quotient"), ("3.4", "4.4", "exp(x − lse)"))


def _shift(found: Sequence[Trial]) -> Evidence:
    rows, similar = [], []
    for t in _usual(found):
        for plain, shifted, what in _PAIRS:
            a, b = (float(t.errors[k][t.finite].mean()) for k in (plain, shifted))
            similar.append(max(a, b) <= 2.0 * min(a, b))
            rows.append((t.what, t.fmt.name, what, f"{a:.2f}", f"{b:.2f}", f"{a / b:.2f}"))
    ratios = [float(r[-1]) for r in rows]
    finding = counted(
        "the mean errors with and without a shift are within a factor of two of each other",
        similar,
        f"unshifted over shifted {min(ratios):.2f} to {max(ratios):.2f}",
    )
    columns = ("rows", "format", "formula", "unshifted, u", "shifted, u", "unshifted / shifted")
    return Evidence(
        finding.measured, _HOW, findings=(finding,),
        tables=(EvidenceTable("Mean errors where nothing overflows", columns, tuple(rows)),),
    )  # fmt: skip


def _division(found: Sequence[Trial]) -> Evidence:
    rows, worse, sums = [], [], []
    for t in _usual(found):
        for quotient, without, kind in (("3.3", "3.4", "unshifted"), ("4.3", "4.4", "shifted")):
            here = t.finite if kind == "unshifted" else np.ones(len(t.x), bool)
            a, b = (t.errors[k][here] for k in (quotient, without))
            off = [float(np.abs(t.computed[k][here].sum(axis=1) - 1.0).max())
                   for k in (quotient, without)]  # fmt: skip
            worse.append((b > a).sum() > (b < a).sum())
            sums.append(off[1] > off[0])
            rows.append((
                t.what, t.fmt.name, kind, f"{a.max():.2f}", f"{b.max():.2f}",
                f"{100 * (b > a).mean():.0f}%", f"{100 * (b < a).mean():.0f}%",
                f"{off[0]:.2g}", f"{off[1]:.2g}",
            ))  # fmt: skip
    shares = [float(r[5].rstrip("%")) for r in rows]
    mostly = counted(
        "exp(x − lse) has the larger error in more rows than the smaller one", worse,
        f"in {min(shares):.0f} to {max(shares):.0f}% of the rows, with equal errors in most others",
    )  # fmt: skip
    farther = counted(
        "the sum that is farthest from 1 is one of exp(x − lse)", sums,
        f"{rows[0][-1]} against {rows[0][-2]} ({rows[0][0]}, {rows[0][1]}, unshifted)",
    )  # fmt: skip
    columns = (
        "rows", "format", "shift", "largest error of the quotient, u", "of exp(x − lse), u",
        "worse in", "better in", "farthest sum from 1, quotient", "exp(x − lse)",
    )  # fmt: skip
    return Evidence(
        mostly.measured, _HOW, findings=(mostly, farther),
        tables=(EvidenceTable("Quotient against exp(x − lse)", columns, tuple(rows)),),
    )  # fmt: skip


def _theorem(number: str, found: Sequence[Trial]) -> Evidence:
    rows, findings = [], []
    own = DERIVED.get(number)
    derived: list[bool] = []
    for t in found:
        error, bound = t.judged(number)
        if not len(error):
            continue
        beyond = t.beyond(number)
        ratio = error / bound
        rows.append((
            t.what, t.fmt.name, str(len(error)), f"{error.max():.3g}", f"{ratio.max():.3g}",
            str(int(beyond.sum())), _derived_text(t, number, derived),
        ))  # fmt: skip
        worst = int(ratio.argmax())
        findings.append(
            counted(
                f"the error of a row is within the bound: {t.what}, {t.fmt.name}",
                ~beyond,
                f"at most {ratio.max():.3g} of the bound ({error[worst]:.3g} u, allowed "
                f"{bound[worst]:.3g} u)",
                figures={"max_error_over_bound": float(ratio.max())},
            )
        )
    if number == "4.4":
        findings = [_at_witness(), *findings, _by_numpy()]
    if derived:
        findings.append(
            counted(
                f"an element is within our own bound, {own}", derived,
                "which every trial has to satisfy: docs/bounds.md", "remark",
            )
        )  # fmt: skip
    failing = sum(f.cases - f.held for f in findings if f.role == "claim")
    cases = sum(f.cases for f in findings if f.role == "claim")
    columns = ("rows", "format", "judged", "largest error, u", "error / printed bound",
               "rows beyond it", "error / our bound")  # fmt: skip
    return Evidence(
        f"{failing or 'none'} of {cases} rows beyond it",
        _HOW + "; rows beyond their bound by more than O(u²) count",
        findings=tuple(findings),
        tables=(EvidenceTable(f"Theorem {number}", columns, tuple(rows)),),
        differs=_WHY.get(number, "") if failing else "",
    )  # fmt: skip


def _derived_text(t: Trial, number: str, held: list[bool]) -> str:
    if number not in DERIVED:
        return "–"
    over = t.over_derived(number)
    held.extend((over <= 1.0).ravel().tolist())
    return f"{over.max():.3g}"


def _at_witness() -> Finding:
    t = witness()
    error, bound = (float(v[0]) for v in t.judged("4.4"))
    row = ", ".join(to_hex(v) for v in t.x[0])
    over = float(t.over_derived("4.4").max())
    return counted(
        "the error of a row is within the bound: one float32 row, stored in this package",
        ~t.beyond("4.4"),
        f"softmax of [{row}] is off by {error:.4g} u, {error / bound:.3g} times the printed bound "
        f"of {bound:.3g} u, and {over:.2g} of our own",
        figures={"error_u": error, "printed_bound_u": bound, "error_over_own_bound": over},
    )


def _by_numpy() -> Finding:
    """The stored row in real float32, with NumPy's exponential and logarithm."""
    t = witness()
    y = load("log_sum_exp").softmax(t.x.astype(np.float32))
    real = Trial(t.what, t.fmt, t.x, lambda x, fmt: {**formulas(x, fmt), "4.4": to_float64(y)})
    error, bound = (float(v[0]) for v in real.judged("4.4"))
    return counted(
        "the implementation log_sum_exp, NumPy in float32, is within the bound on the stored row",
        ~real.beyond("4.4"), f"{error:.4g} u, {error / bound:.3g} times the bound", "remark",
    )  # fmt: skip


_DROPPED = (
    "the proof of Theorem 4.2 leaves out δ₄, the rounding of xmax + log1p(s) to the format, which "
    "costs abs(y)u. Where xmin ≤ n and y ≥ 0, as of logits around zero, abs(y) ≤ y + n − xmin and "
    "the printed bound holds all the same; it fails where all logits are far from zero, since it "
    "does not change with an offset and the error does"
)
_WHY = {
    "4.2": f"{_DROPPED}. A corrected bound has 1 more: the relative error of that rounding",
    "4.4": f"{_DROPPED}. Our own bound, (n−1+2E+A+E_l·ln s+abs(y)+abs(x_j−y))u, has that term",
}

_EXAMINATIONS: Mapping[str, Callable[[Sequence[Trial]], Evidence]] = {
    "BHH-range": _range,
    "BHH-vectors": _vectors,
    "BHH-overflow": _overflow,
    "BHH-shift": _shift,
    "BHH-division": _division,
}
