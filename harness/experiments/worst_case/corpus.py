"""The corpus: worst rows that searches found, in hex, for later runs to replay.

One JSON object a line. An entry is an input and where it came from; what an implementation makes
of it today is a replay's to say.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError, writing
from harness.experiments.context import blank
from harness.experiments.worst_case.evaluate import judge_row, open_context
from harness.numerics.formats import FORMATS, from_hex
from harness.records import Record, WorstCaseRecord
from harness.registry.discovery import Implementation, load
from harness.worker.client import WorkerFault

CORPUS = Path(__file__).parent / "corpus.jsonl"


class CorpusError(UserError):
    """A corpus that cannot be read; the message is one line that names file and line."""


@dataclass(frozen=True)
class Entry:
    """One input, and how it was found.

    Attributes:
        id: the first 12 hex digits of the SHA-256 of dtype and logits.
        dtype: format. logits: the row in hex.
        implementation, bound: whose worst row it was in the search, by which bound.
        error_over_bound, error_ulp: its error then; a lower bound on the implementation's largest.
        origin, seed, evaluations: kind of row it began from; seed and rows tried.
    """

    id: str
    dtype: str
    logits: tuple[str, ...]
    implementation: str
    bound: str
    error_over_bound: float
    error_ulp: float
    origin: str | None
    seed: int
    evaluations: int

    def row(self) -> NDArray[Any]:
        """The logits as an array of the format."""
        return np.array([from_hex(t, self.dtype) for t in self.logits])


def entry_id(dtype: str, logits: Sequence[str]) -> str:
    """The identity of an input."""
    return hashlib.sha256(" ".join([dtype, *logits]).encode()).hexdigest()[:12]


def entry_of(found: WorstCaseRecord) -> Entry:
    """The corpus entry of a finished search.

    Raises:
        ValueError: the search found nothing, or only an error that is not finite.
    """
    row, ratio, ulp = found.worst_logits, found.error_over_bound, found.error_ulp
    if not (
        found.dtype and found.bound and row and ratio is not None and ulp is not None
        and np.isfinite([ratio, ulp]).all()
    ):  # fmt: skip
        raise ValueError(
            f"{found.implementation} {found.dtype}: expected a finite worst case to keep; "
            f"got {found.status}: {found.reason}"
        )
    return Entry(
        id=entry_id(found.dtype, row),
        dtype=found.dtype,
        logits=tuple(row),
        implementation=found.implementation,
        bound=found.bound,
        error_over_bound=ratio,
        error_ulp=ulp,
        origin=found.origin,
        seed=found.seed or 0,
        evaluations=found.evaluations or 0,
    )


def read_corpus(path: Path = CORPUS, ids: Sequence[str] = ()) -> list[Entry]:
    """The entries, in the order of the file.

    Args:
        ids: of entries to return, each an id or the beginning of one; empty for all.

    Raises:
        CorpusError: a line is no entry, its hex is no number of its format, or its id is not
            that of its input; or there is no entry of one of `ids`.
    """
    entries = []
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise CorpusError(f"{path}: expected UTF-8 text; got {e}") from None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            data = json.loads(line)
            entry = Entry(**{**data, "logits": tuple(data["logits"])})
            if entry.dtype not in FORMATS:
                raise ValueError(f"dtype {entry.dtype!r}")
            if [float(v).hex() for v in entry.row()] != list(entry.logits):
                raise ValueError(f"logits that are no numbers of {entry.dtype}")
            if entry.id != entry_id(entry.dtype, entry.logits):
                raise ValueError(f"id {entry.id!r}, which is not that of its input")
        except (ValueError, TypeError, KeyError) as e:
            raise CorpusError(f"{path}:{number}: expected a corpus entry; got {e}") from None
        entries.append(entry)
    missing = [i for i in ids if not any(e.id.startswith(i) for e in entries)]
    if missing:
        raise CorpusError(f"expected ids of entries in the corpus; got {', '.join(missing)}")
    return [e for e in entries if not ids or e.id.startswith(tuple(ids))]


def add_to_corpus(found: Iterable[Record], path: Path = CORPUS) -> list[Entry]:
    """Append what searches found, where it is finite and new; returns the entries added."""
    known = {e.id for e in read_corpus(path)} if path.exists() else set()
    added = []
    for case in found:
        if not isinstance(case, WorstCaseRecord) or case.kind != "search":
            continue
        if case.error_over_bound is None or not np.isfinite(case.error_over_bound):
            continue
        entry = entry_of(case)
        if entry.id not in known:
            known.add(entry.id)
            added.append(entry)
    text = "".join(json.dumps(asdict(entry), allow_nan=False) + "\n" for entry in added)
    with writing(path), path.open("ab", buffering=0) as stream:
        end = os.fstat(stream.fileno()).st_size
        left = memoryview(text.encode())
        try:
            while left:
                left = left[stream.write(left) or 0 :]
        except OSError:
            stream.truncate(end)  # no half of an entry
            raise
    return added


def planned(implementation: Implementation, entry: Entry) -> WorstCaseRecord:
    """The record of an entry that is still to be replayed."""
    return blank(
        WorstCaseRecord, implementation, entry.dtype, classes=len(entry.logits),
        workload=f"corpus {entry.id}", kind="replay", entry=entry.id, origin=entry.origin,
    )  # fmt: skip


def replay(
    implementation: Implementation | str | Path, entries: Iterable[Entry]
) -> list[WorstCaseRecord]:
    """What an implementation makes of the entries today: each row on its own, against its bound.

    Args:
        implementation: an implementation, its name or the path of its file.
        entries: of a corpus (`read_corpus`).

    Returns:
        A record for each; formats that the implementation lacks are ``unsupported``.
    """
    if not isinstance(implementation, Implementation):
        implementation = load(implementation)
    records = []
    with open_context(implementation) as context:
        for entry in entries:
            record = planned(implementation, entry)
            record = record.model_copy(update={"worst_logits": list(entry.logits)})
            try:
                context.demand(implementation, "softmax", entry.dtype)
                records.append(judge_row(context, implementation, entry.row(), record))
            except WorkerFault as fault:
                records.append(record.ended(fault.status, fault.reason))
    return records
