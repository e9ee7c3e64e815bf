"""Worst cases: a search for the input of the largest error ÷ bound, and the corpus of them.

What is found is a lower bound on the worst there is, and says so.
"""

from harness.experiments.worst_case.corpus import (
    CORPUS,
    CorpusError,
    Entry,
    add_to_corpus,
    entry_of,
    read_corpus,
    replay,
)
from harness.experiments.worst_case.evaluate import WorstCase
from harness.experiments.worst_case.search import search_worst_case
from harness.experiments.worst_case.seeds import SEEDS

__all__ = [
    "CORPUS",
    "SEEDS",
    "CorpusError",
    "Entry",
    "WorstCase",
    "add_to_corpus",
    "entry_of",
    "read_corpus",
    "replay",
    "search_worst_case",
]
