"""Rows of unlike lengths, one after the other in one array: entries of a sparse matrix, or a batch.

Every row is held against the certified softmax of the row alone, by what is allowed to softmax.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from harness.experiments.conformance.call import Array, Layout, Out, Result, Step
from harness.experiments.conformance.case import Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.observation import Observation, Skip
from harness.experiments.conformance.target import SubjectFault
from harness.numerics.formats import to_float64
from harness.registry.contract import RAGGED

_SHORT = (*range(18), 31, 32, 33, 47, 48, 63, 64, 65)
"""Lengths about the widths of vectors, and of kernels that take a row a lane."""
_LONG = (127, 128, 129, 255, 257, 1023, 1024, 1025, 4095, 4097, 16384, 16385)
"""About the sizes of tiles and of blocks of threads."""


def _made(values: Array, offsets: Any) -> Step:
    return Step(RAGGED, (values, np.asarray(offsets, np.int64)), "default")


def _of(trial: Trial, *rows: Sequence[float] | Array) -> Step:
    """Rows as they are written."""
    values = trial.array(np.concatenate([np.empty(0), *rows]))
    return _made(values, np.cumsum([0, *map(len, rows)]))


def _normal(trial: Trial, lengths: Sequence[int], salt: int = 0) -> Step:
    """Rows of ordinary logits."""
    offsets = np.cumsum([0, *lengths])
    return _made(trial.normal((int(offsets[-1]),), salt), offsets)


def _values(trial: Trial, *steps: Step) -> list[Observation]:
    return trial.values(steps, every=True)


def ordinary(trial: Trial) -> Sequence[Observation]:
    """Few rows; all of one length, growing and shrinking; many by chance."""
    lengths = ((3, 1, 7), (5,), (4,) * 6, range(1, 9), range(8, 0, -1), (1,) * 20)
    by_chance = trial.rng(1).poisson(5, 200).tolist()
    return _values(trial, *(_normal(trial, row) for row in (*lengths, by_chance)))


def empty_rows(trial: Trial) -> Sequence[Observation]:
    """First, last, between others, several in a row."""
    lengths = ((0, 3), (3, 0), (3, 0, 4), (0, 0, 3, 0, 0, 0, 5, 0), (0, 1, 0), (0,) * 9 + (1,))
    return _values(trial, *(_normal(trial, row) for row in lengths))


def no_entries(trial: Trial) -> Sequence[Observation]:
    """All rows empty, and no rows."""
    return _values(trial, *(_normal(trial, row) for row in ((0, 0, 0), (0,), ())))


def own_maximum(trial: Trial) -> Sequence[Observation]:
    """Rows far apart in magnitude, each about an offset of its own."""
    top = trial.fmt.max / 2.0
    far = [offset + trial.rng(2).normal(size=5) for offset in (1000.0, -1000.0, 0.0, 1e4, -1e4)]
    ends = [[top, top, -top], [-top, -top], [0.0, 1.0], [-top, top]]
    return _values(trial, _of(trial, *far), _of(trial, *far[::-1]), _of(trial, *ends))


def kept_in_its_row(trial: Trial) -> Sequence[Observation]:
    """NaN and +inf at every place of a row between others, at the ends and alone."""
    rest = [1.0, 2.0, 0.0]
    steps = []
    for odd in (np.nan, np.inf):
        for place in range(3):
            row = [0.5, -1.0, 3.0]
            row[place] = odd
            steps += [_of(trial, rest, row, rest), _of(trial, row, rest), _of(trial, rest, row)]
        steps.append(_of(trial, [odd], rest, [odd], [], rest))
    return _values(trial, *steps)


def minus_infinity(trial: Trial) -> Sequence[Observation]:
    """-inf that is stored, at every place of a row: 0 there, as in a dense row."""
    steps = []
    for place in range(4):
        row = [0.5, -1.0, 3.0, 1.0]
        row[place] = -np.inf
        steps.append(_of(trial, [1.0, 2.0], row, [-np.inf, 4.0], row[::-1]))
    return _values(trial, *steps)


def no_class(trial: Trial) -> Sequence[Observation]:
    """Nothing but -inf in a row between others."""
    none = [-np.inf, -np.inf]
    return _values(
        trial, _of(trial, [1.0, 2.0], none, [0.0, 3.0]), _of(trial, none, [1.0]),
        _of(trial, [1.0], [-np.inf]),
    )  # fmt: skip


def lengths(trial: Trial) -> Sequence[Observation]:
    """Every one of `_SHORT` and `_LONG`, in order and shuffled."""
    shuffled = trial.rng(3).permutation((*_SHORT, *_LONG)).tolist()
    return _values(trial, *(_normal(trial, row) for row in (_SHORT, _LONG, shuffled)))


def unevenly(trial: Trial) -> Sequence[Observation]:
    """Enough entries for several threads: many short rows, and one long row among short ones."""
    many = trial.rng(4).poisson(20, 6000).tolist()
    return _values(trial, _normal(trial, many), _normal(trial, [3] * 150 + [40_000] + [0, 5] * 75))


def narrow_offsets(trial: Trial) -> Sequence[Observation]:
    """Offsets of int32, as SciPy has them."""
    steps = [_normal(trial, row) for row in ((3, 0, 7), (40,) * 30, (20_000, 1, 20_000))]
    return _values(trial, *(
        replace(s, arrays=(s.arrays[0], s.arrays[1].astype(np.int32))) for s in steps
    ))  # fmt: skip


def layouts(trial: Trial) -> Sequence[Observation]:
    """Values and offsets that are not contiguous, or may not be written to."""
    orders: tuple[Layout, ...] = ("reversed", "strided", "offset", "readonly")
    step = _normal(trial, (3, 0, 50, 1, 7))
    steps = [replace(step, layout=a, second=b) for a, b in product(("C", *orders), orders)]
    return _values(trial, *steps)


def output(trial: Trial) -> Sequence[Observation]:
    """out=, with gaps, and the values themselves."""
    trial.need_out()
    outs: tuple[Out, ...] = ("fresh", "strided", "alias")
    steps = [_normal(trial, row) for row in ((3, 0, 7), (40,) * 30, (20_000, 1, 20_000))]
    return _values(trial, *(replace(step, out=out) for step, out in product(steps, outs)))


_NO_ROWS = {
    "offsets that descend": (0, 4, 2, 6),
    "a row that ends before 0": (0, -2, 6),
    "offsets beyond the end": (0, 3, 7),
    "a row far beyond the end": (0, 1 << 40, 6),
    "offsets that end before the values do": (0, 3, 5),
    "offsets that do not begin with 0": (1, 3, 6),
}


def no_rows(trial: Trial) -> Iterator[Observation]:
    """Offsets that say no rows: an exception; nothing beside the values is written to."""
    if trial.subject.metadata.device != "cpu":
        raise Skip("an index out of range ends the process of a device")
    x = trial.normal((6,), 5)
    calls = {what: _made(x, offsets) for what, offsets in _NO_ROWS.items()}
    calls["offsets that are no integers"] = Step(
        RAGGED, (x, np.array([0.0, 3.0, 6.0], np.float64)), "default"
    )
    for what, step in calls.items():
        try:
            (result,) = trial.perform([step])
        except SubjectFault as fault:
            yield trial.broken(step, f"{what}: {fault}", "crashed")
            return
        yield _refused(trial, what, step, result)


def _refused(trial: Trial, what: str, step: Step, result: Result) -> Observation:
    if result.error is not None:
        return Observation("pass", "raises")
    if result.overrun or result.modified:
        return trial.broken(step, f"{what}: memory that is not the result's was written to")
    given = [*step.arrays[1].tolist()]
    got = [f"{v:.9g}" for a in result.arrays for v in to_float64(a).reshape(-1)[:8]]
    text = f"{what}, {given}, give {', '.join(got) or 'nothing'}"
    return trial.shown(
        step, text, "wrong", map(str, given), ", ".join(got), "an exception"
    )  # fmt: skip


_THIS = (RAGGED,)
_NO_SHIFT = ("overflow", "underflow", "flushes")

CASES = (
    Case("ragged", None, "rows of unlike lengths, one after the other", ordinary, _THIS),
    Case("ragged-empty", None, "empty rows first, last and between others", empty_rows, _THIS),
    Case("ragged-no-entries", None, "all rows empty, and no rows: an empty result", no_entries,
         _THIS, deviations=("no-entries",)),
    Case("ragged-own-maximum", None, "rows at 10000, -10000 and the ends of the format",
         own_maximum, _THIS, deviations=_NO_SHIFT),
    Case("ragged-nan", None, "NaN and +inf stay in their row", kept_in_its_row, _THIS,
         deviations=("nan",)),
    Case("ragged-minus-infinity", None, "-inf that is stored is exactly 0", minus_infinity, _THIS),
    Case("ragged-no-class", None, "nothing but -inf in a row: NaN there alone", no_class, _THIS,
         kind="convention"),
    Case("ragged-lengths", None, "lengths about those of vectors, tiles and blocks", lengths,
         _THIS),
    Case("ragged-uneven", None, "many short rows, and a long one among them", unevenly, _THIS),
    Case("ragged-int32", None, "offsets of int32, as SciPy has them", narrow_offsets, _THIS),
    Case("ragged-layouts", None, "values and offsets with strides, or read-only", layouts, _THIS),
    Case("ragged-out", None, "out=, contiguous or not, or the values", output, _THIS),
    Case("ragged-no-rows", None, "offsets that say no rows: an exception", no_rows, _THIS,
         kind="finding", deviations=("offsets",)),
)  # fmt: skip
