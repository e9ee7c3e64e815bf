"""Draws the places of code, heap and stack at random, once for all processes that are compared.

The system draws them anew for each process, and the same code is a percent or two faster or slower
for it: lines and pages collide in caches and branch predictors, and sets and dictionaries iterate
in another order (Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!",
2009). Processes that are to be compared get the same draw, so that it cancels in their ratio; the
next ones get another, so that no single draw decides.
"""

from __future__ import annotations

import contextlib
import ctypes
import random
from collections.abc import Iterator
from dataclasses import dataclass

_ADDR_NO_RANDOMIZE = 0x0040000  # personality(2)
_ASK = 0xFFFFFFFF
_PAGE = 4096
_MOST_PAGES = 4096
_MOST_ON_STACK = 4096
_MAX_HASH_SEED = 2**32 - 1
_VARIABLE = "SOFTMAX_BENCH_STACK"

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class AddressSpace:
    """One draw, for as many processes as start with it.

    Attributes:
        pages: by how many pages what is mapped after Python itself is moved: libraries and arrays.
        stack: bytes by which the stack is moved.
        hash_seed: of Python's hashes of text, which order sets and the tables of dictionaries.
    """

    pages: int
    stack: int
    hash_seed: int

    @classmethod
    def draw(cls, seed: str) -> AddressSpace:
        """The draw of a seed."""
        number = random.Random(seed).randrange
        return cls(number(1, _MOST_PAGES), number(_MOST_ON_STACK), number(1, _MAX_HASH_SEED))

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a process of this draw; where the environment lies, the stack begins."""
        return {"PYTHONHASHSEED": str(self.hash_seed), _VARIABLE: "x" * self.stack}

    def program(self, module: str) -> list[str]:
        """Arguments for Python that run `main` of a module, in place of ``-m``."""
        gap = f"import mmap; gap = mmap.mmap(-1, {self.pages * _PAGE})"
        return ["-c", f"{gap}; from {module} import main; main()"]


@contextlib.contextmanager
def fixed_addresses() -> Iterator[bool]:
    """Processes that this thread starts meanwhile have their parts at the usual addresses.

    Yields whether that is so: not where a container forbids it.
    """
    before = _libc.personality(_ASK)
    fixed = before != -1 and _libc.personality(before | _ADDR_NO_RANDOMIZE) != -1
    try:
        yield fixed
    finally:
        if fixed:
            _libc.personality(before)
