"""The exhaustive tables there are: their formats, and the record of one that is not judged yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from harness.experiments.context import blank
from harness.numerics.formats import FORMATS
from harness.records import ExhaustiveRecord
from harness.records.exhaustive import ExhaustiveTable
from harness.registry.discovery import Implementation

TABLES: tuple[ExhaustiveTable, ...] = get_args(ExhaustiveTable)
DTYPES: Mapping[str, tuple[str, ...]] = {
    "pairs": ("float16", "bfloat16"),
    "line": ("float32",),
    "constant": tuple(FORMATS),
    "float8": ("float8_e4m3fn", "float8_e5m2"),
    "exp_order": ("float32", "float16", "bfloat16"),
    "triples": ("float16", "bfloat16"),
    "bounds": ("float32", "float64", "float16", "bfloat16"),
}
"""The formats of each table; the first is the default."""

SAMPLED = ("triples", "bounds")
"""Tables of drawn rows; only who names them gets them."""

CLASSES: Mapping[str, int] = {"pairs": 2, "line": 2, "float8": 3, "triples": 3}
"""Classes of a row, where all rows of a table have as many."""


def formats(table: ExhaustiveTable, dtypes: tuple[str, ...]) -> tuple[str, ...]:
    """The formats of a table among those asked for; its first one if nothing was."""
    have = DTYPES[table]
    return tuple(d for d in have if d in dtypes) if dtypes else have[:1]


def planned(
    implementation: Implementation, table: ExhaustiveTable, dtype: str, **more: Any
) -> ExhaustiveRecord:
    """The record of a table that is still to be judged."""
    operation = "exp" if table == "exp_order" else "softmax"
    return blank(
        ExhaustiveRecord, implementation, dtype, operation=operation, workload=table,
        classes=CLASSES.get(table), table=table, **more,
    )  # fmt: skip
