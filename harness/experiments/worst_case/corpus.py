"""The corpus: worst rows that searches found, in hex, for later runs to replay.

One JSON object a line. An entry is an input and where it came from; what an implementation makes
of it today is a replay's to say.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError, writing
from harness.experiments.worst_case.evaluate import WorstCase, judge_row, open_context
from harness.numerics.formats import FORMATS, from_hex
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
        implementation, bound, error_over_bound, error_ulp: for which it was the worst that was
            found, by which bound, and how far off; a lower bound on its worst.
        origin, seed, evaluations: of the search.
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


def entry_of(found: WorstCase) -> Entry:
    """The corpus entry of a finished search.

    Raises:
        ValueError: the search found nothing, or only an error that is not finite.
    """
    ratio, ulp = found.error_over_bound, found.error_ulp
    if found.bound is None or ratio is None or ulp is None or not np.isfinite([ratio, ulp]).all():
        raise ValueError(
            f"{found.implementation} {found.dtype}: expected a finite worst case to keep; "
            f"got {found.status}: {found.reason}"
        )
    return Entry(
        id=entry_id(found.dtype, found.logits),
        dtype=found.dtype,
        logits=found.logits,
        implementation=found.implementation,
        bound=found.bound,
        error_over_bound=ratio,
        error_ulp=ulp,
        origin=found.origin,
        seed=found.seed,
        evaluations=found.evaluations,
    )


def read_corpus(path: Path = CORPUS) -> list[Entry]:
    """All entries, in the order of the file.

    Raises:
        CorpusError: a line is no entry, its hex is no number of its format, or its id is not
            that of its input.
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
    return entries


def add_to_corpus(found: Iterable[WorstCase], path: Path = CORPUS) -> list[Entry]:
    """Append finite worst cases that the corpus does not hold yet; returns those added."""
    known = {e.id for e in read_corpus(path)} if path.exists() else set()
    added = []
    for case in found:
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


def replay(
    implementation: Implementation | str | Path,
    ids: Iterable[str] | None = None,
    path: Path = CORPUS,
) -> list[tuple[Entry, WorstCase]]:
    """What an implementation makes of the corpus today: each row on its own, against its bound.

    Args:
        implementation: an implementation, its name or the path of its file.
        ids: entries to replay, each by its id or the beginning of it; None for all.
        path: the corpus.

    Returns:
        Each entry with its result; formats that the implementation lacks are ``unsupported``.

    Raises:
        ValueError: an id that is in no entry. CorpusError: as `read_corpus`.
    """
    entries = read_corpus(path)
    if ids is not None:
        wanted = list(ids)
        missing = [i for i in wanted if not any(e.id.startswith(i) for e in entries)]
        if missing:
            raise ValueError(f"ids: expected entries of {path.name}; got {', '.join(missing)}")
        entries = [e for e in entries if any(e.id.startswith(i) for i in wanted)]
    if not isinstance(implementation, Implementation):
        implementation = load(implementation)
    results = []
    with open_context(implementation) as context:
        for entry in entries:
            blank = WorstCase(
                implementation.name, entry.dtype, len(entry.logits), "skipped", None,
                logits=entry.logits,
            )  # fmt: skip
            refusal = context.refusal(implementation, "softmax", entry.dtype)
            if refusal is not None:
                result = replace(blank, status=refusal[0], reason=refusal[1])
            else:
                try:
                    result = judge_row(context, implementation, entry.row())
                except WorkerFault as fault:
                    result = replace(blank, status=fault.status, reason=fault.reason)
            results.append((entry, replace(result, origin=f"corpus {entry.id}")))
    return results
