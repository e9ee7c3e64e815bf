"""The search for worst cases, and the replay of the corpus, as cells.

`worst_case` calls workers as the experiments do, and imports this package's context: it
is imported here when it is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.experiments.context import Context, Unit
from harness.experiments.profiles import Filters
from harness.records import Record, WorstCaseRecord
from harness.registry.discovery import Implementation

if TYPE_CHECKING:
    from harness.experiments.worst_case.corpus import Entry
    from harness.experiments.worst_case.evaluate import WorstCase

SECONDS = 10.0
CLASSES = (2, 3, 10, 100)
_ENTRIES = 24  # rows of a unit: a fault loses no more than one


@dataclass(frozen=True)
class Search(Filters):
    """What `softmax-bench worst-case` was asked for; a run keeps it among its filters.

    Attributes:
        seconds, evaluations: budget of each search; None for none.
        search, replay: search; replay the corpus.
        ids: entries of the corpus to replay; empty for all.
        corpus: its file; None for the packaged one.
    """

    seconds: float | None = SECONDS
    evaluations: int | None = None
    search: bool = True
    replay: bool = True
    ids: tuple[str, ...] = ()
    corpus: str | None = None


def _searched(
    implementation: Implementation, dtype: str, classes: int, seed: int
) -> WorstCaseRecord:
    return WorstCaseRecord(
        implementation=implementation.name,
        dtype=dtype,
        device=implementation.metadata.device,
        workload="search",
        classes=classes,
        seed=seed,
        kind="search",
        status="skipped",
    )


def _replayed(implementation: Implementation, entry: Entry) -> WorstCaseRecord:
    return WorstCaseRecord(
        implementation=implementation.name,
        dtype=entry.dtype,
        device=implementation.metadata.device,
        workload=f"corpus {entry.id}",
        classes=len(entry.logits),
        kind="replay",
        entry=entry.id,
        origin=entry.origin,
        status="skipped",
    )


def record_of(blank: WorstCaseRecord, found: WorstCase) -> WorstCaseRecord:
    """The record of a finished search or replay."""
    return blank.model_copy(
        update={
            "status": found.status,
            "reason": found.reason,
            "bound": found.bound,
            "error_over_bound": found.error_over_bound,
            "error_ulp": found.error_ulp,
            "bound_ulp": found.bound_ulp,
            "in_batch": found.in_batch,
            "evaluations": found.evaluations or None,
            "origin": found.origin if blank.kind == "search" else blank.origin,
            "worst_logits": list(found.logits) or None,
            "worst_class": found.output,
            "worst_got": found.computed,
            "worst_expected": found.expected,
            "nonfinite": found.nonfinite or None,
            "nonfinite_logits": list(found.nonfinite_logits) or None,
            "elapsed_s": found.elapsed_s or None,
        }
    )


def _measure_search(
    implementation: Implementation, dtype: str, classes: int, seed: int, asked: Search,
    on_found: Callable[[WorstCase], object],
) -> Iterator[Record]:  # fmt: skip
    from harness.experiments.worst_case.search import search_worst_case

    found = search_worst_case(
        implementation, dtype, classes,
        seconds=asked.seconds, evaluations=asked.evaluations, seed=seed,
    )  # fmt: skip
    on_found(found)
    yield record_of(_searched(implementation, dtype, classes, seed), found)


def _measure_replay(
    implementation: Implementation, entries: tuple[Entry, ...], corpus: Path
) -> Iterator[Record]:
    from harness.experiments.worst_case.corpus import replay

    started = time.perf_counter()
    found = replay(implementation, [e.id for e in entries], corpus)
    each = (time.perf_counter() - started) / max(1, len(found))
    for entry, result in found:
        record = record_of(_replayed(implementation, entry), result)
        yield record.model_copy(update={"elapsed_s": each})


def _entries(entries: list[Entry], ids: tuple[str, ...]) -> list[Entry]:
    from harness.experiments.worst_case.corpus import CorpusError

    missing = [i for i in ids if not any(e.id.startswith(i) for e in entries)]
    if missing:
        raise CorpusError(f"expected ids of entries in the corpus; got {', '.join(missing)}")
    return [e for e in entries if not ids or any(e.id.startswith(i) for i in ids)]


def plan(
    context: Context,
    asked: Search | None = None,
    on_found: Callable[[WorstCase], object] = lambda found: None,
) -> Iterator[Unit]:
    """A unit for each search, and for some rows of the corpus at a time.

    Args:
        context: of the run.
        asked: budget and selection; by default ten seconds for each of four class counts and
            every format of the profile, and the corpus.
        on_found: called with what each search found.

    Raises:
        CorpusError: the corpus cannot be read, or has no entry of one of the ids asked for.
    """
    from harness.experiments.worst_case.corpus import CORPUS, read_corpus

    asked = asked or Search(dtypes=context.profile.dtypes)
    corpus = CORPUS if asked.corpus is None else Path(asked.corpus)
    entries = _entries(read_corpus(corpus), asked.ids) if asked.replay else []
    for implementation in context.implementations:
        if asked.search:
            for dtype in asked.dtypes or ("float32",):
                for classes in asked.classes or CLASSES:
                    yield Unit(
                        "worst_case",
                        f"worst case {implementation.name} {dtype} {classes}",
                        (_searched(implementation, dtype, classes, context.seed),),
                        partial(
                            _measure_search, implementation, dtype, classes, context.seed,
                            asked, on_found,
                        ),
                        1.0,
                    )  # fmt: skip
        mine = [e for e in entries if asked.ids or not asked.dtypes or e.dtype in asked.dtypes]
        for first in range(0, len(mine), _ENTRIES):
            part = tuple(mine[first : first + _ENTRIES])
            yield Unit(
                "worst_case",
                f"corpus {implementation.name} {first + 1}-{first + len(part)}",
                tuple(_replayed(implementation, e) for e in part),
                partial(_measure_replay, implementation, part, corpus),
                0.2,
            )
