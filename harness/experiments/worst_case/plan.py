"""The search for worst cases, and the replay of the corpus, as cells."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.experiments.context import Context, Unit
from harness.experiments.profiles import Filters
from harness.experiments.worst_case import corpus, search
from harness.experiments.worst_case.corpus import Entry
from harness.records import Record
from harness.registry.discovery import Implementation

SECONDS = 10.0
CLASSES = (2, 3, 10, 100)
_ENTRIES = 24  # rows of a unit: a fault loses no more than one


@dataclass(frozen=True)
class Search(Filters):
    """What `softmax-bench worst-case` was asked for; a run keeps it among its filters.

    Attributes:
        seconds, evaluations: budget of each search; None for none.
        search, replay: whether to search; whether to replay the corpus.
        ids: entries of the corpus to replay; empty for all.
        corpus: its file; None for the packaged one.
    """

    seconds: float | None = SECONDS
    evaluations: int | None = None
    search: bool = True
    replay: bool = True
    ids: tuple[str, ...] = ()
    corpus: str | None = None


def _measure_search(
    implementation: Implementation, dtype: str, classes: int, seed: int, asked: Search
) -> Iterator[Record]:
    yield search.search_worst_case(
        implementation, dtype, classes,
        seconds=asked.seconds, evaluations=asked.evaluations, seed=seed,
    )  # fmt: skip


def _measure_replay(implementation: Implementation, entries: tuple[Entry, ...]) -> Iterator[Record]:
    started = time.perf_counter()
    records = corpus.replay(implementation, entries)
    each = (time.perf_counter() - started) / max(1, len(records))
    for record in records:
        yield record.model_copy(update={"elapsed_s": each})


def plan(context: Context, asked: Search | None = None) -> Iterator[Unit]:
    """A unit for each search, and for some rows of the corpus at a time.

    Args:
        context: of the run.
        asked: budget and selection; by default ten seconds for each of four class counts and
            every format of the profile, and the corpus.

    Raises:
        CorpusError: the corpus cannot be read, or has no entry of one of the ids asked for.
    """
    asked = asked or Search(dtypes=context.profile.dtypes)
    path = corpus.CORPUS if asked.corpus is None else Path(asked.corpus)
    entries = corpus.read_corpus(path, asked.ids) if asked.replay else []
    for implementation in context.implementations:
        if asked.search:
            for dtype in asked.dtypes or ("float32",):
                for classes in asked.classes or CLASSES:
                    cell = implementation, dtype, classes, context.seed
                    yield Unit(
                        "worst_case",
                        f"worst case {implementation.name} {dtype} {classes}",
                        (search.planned(*cell),),
                        partial(_measure_search, *cell, asked),
                        1.0,
                    )
        mine = [e for e in entries if asked.ids or not asked.dtypes or e.dtype in asked.dtypes]
        for first in range(0, len(mine), _ENTRIES):
            part = tuple(mine[first : first + _ENTRIES])
            yield Unit(
                "worst_case",
                f"corpus {implementation.name} {first + 1}-{first + len(part)}",
                tuple(corpus.planned(implementation, e) for e in part),
                partial(_measure_replay, implementation, part),
                0.2,
            )
