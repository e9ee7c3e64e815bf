"""The state of a process that a stranger's code could leave changed, read and compared.

Seen are accidents and the usual shortcuts. Code that wants to hide a change from its own process
can (SECURITY.md).
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import gc
import locale
import os
import platform
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import numpy.random  # NumPy itself loads it late, and its state must be known before the first call

_FENV_BYTES = 64  # more than fenv_t of any machine
_X86_CONTROL = 0xFFC0  # MXCSR without the sticky flags, which any arithmetic sets
_FLUSH_TO_ZERO, _DENORMALS_ARE_ZERO, _X86_ROUNDING = 0x8000, 0x0040, 0x6000
_ARM_FLUSH_TO_ZERO, _ARM_ROUNDING = 1 << 24, 3 << 22
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WATCHED: tuple[ModuleType, ...] = (np, np.linalg, np.random, time, builtins)
"""Modules whose functions measuring rests on."""


def _fpu_reader() -> Callable[[], tuple[int, ...]]:
    try:
        fegetenv = ctypes.CDLL("libm.so.6").fegetenv
    except (OSError, AttributeError):
        return lambda: ()
    buffer = ctypes.create_string_buffer(_FENV_BYTES)
    machine = platform.machine()

    def read() -> tuple[int, ...]:
        fegetenv(buffer)
        raw = buffer.raw
        if machine == "x86_64":  # glibc: the x87 environment, its control word first, then MXCSR
            word = int.from_bytes(raw[28:32], "little") & _X86_CONTROL
            return (word, int.from_bytes(raw[:2], "little"))
        if machine == "aarch64":  # glibc: FPCR, FPSR
            return (int.from_bytes(raw[:4], "little"),)
        return ()

    return read


_fpu = _fpu_reader()


def _fpu_words(mode: tuple[int, ...]) -> str:
    """An FPU mode in words, the first register alone."""
    if not mode:
        return "unknown"
    if platform.machine() == "x86_64":
        flags = [(_FLUSH_TO_ZERO, "flush to zero"), (_DENORMALS_ARE_ZERO, "denormals are zero")]
        rounding = _X86_ROUNDING
    else:
        flags = [(_ARM_FLUSH_TO_ZERO, "flush to zero")]
        rounding = _ARM_ROUNDING
    words = [text for bit, text in flags if mode[0] & bit]
    if mode[0] & rounding:
        words.append("directed rounding")
    return " and ".join(words or ["IEEE 754's default"]) + f" ({mode[0]:#x})"


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError as e:
        return f"none ({e.strerror})"


def _random_states() -> tuple[Any, ...]:
    generator = np.random.mtrand.get_bit_generator()
    if type(generator) is not np.random.MT19937:  # it was set, that is enough
        return (random.getstate(), generator)
    state = generator.state["state"]
    return (random.getstate(), generator, state["key"].tobytes(), state["pos"])


def _torch_settings() -> tuple[Any, ...] | None:
    torch = sys.modules.get("torch")
    # None while it is being imported, or where it is not there: then nothing is compared
    if torch is None or not hasattr(torch, "get_rng_state") or not hasattr(torch, "compile"):
        return None
    return (
        torch.get_rng_state().numpy().tobytes(),
        str(torch.get_default_dtype()),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
    )


def _interpreter() -> tuple[Any, ...]:
    return (
        gc.isenabled(), gc.get_threshold(), sys.gettrace(), sys.getprofile(),
        sys.getswitchinterval(),
    )  # fmt: skip


def _scheduling() -> tuple[Any, ...]:
    return (
        frozenset(os.sched_getaffinity(0)),
        os.getpriority(os.PRIO_PROCESS, 0),
        resource.getrlimit(resource.RLIMIT_DATA),
    )


_READERS: Mapping[str, Callable[[], Any]] = {
    "FPU mode": _fpu,
    "locale": lambda: locale.setlocale(locale.LC_ALL),
    "working directory": _working_directory,
    "environment": lambda: dict(os.environ),
    "NumPy's error state": lambda: (np.geterr(), np.geterrcall(), np.getbufsize()),
    "global random state": _random_states,
    "PyTorch's global settings": _torch_settings,
    "interpreter's settings": _interpreter,
    "signal handlers": lambda: tuple(signal.getsignal(s) for s in _SIGNALS),
    "scheduling or limits of the process": _scheduling,
}

STEADY = ("FPU mode", "NumPy's error state", "interpreter's settings", "functions of")
"""What even importing an implementation may not change: it would falsify what is measured."""


class Reader:
    """Reads the state of this process again and again, at about 0.15 ms a time.

    A reading has a value for each aspect, such as ``"locale"``; for each module that measuring
    rests on, what its names stand for.

    Args:
        threads: says how many threads the array library uses, where there is one.
    """

    def __init__(self, threads: Callable[[], int | None] | None = None) -> None:
        self._readers = dict(_READERS)
        if threads is not None:
            self._readers["number of threads"] = threads
        # Names that appear later (modules that load late) are nobody's fault
        self._functions: dict[str, list[str]] = {}
        for module in _WATCHED:
            aspect = f"functions of {module.__name__}"
            self._functions[aspect] = [n for n, v in vars(module).items() if callable(v)]
            self._readers[aspect] = vars(module).copy

    def read(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for aspect, reader in self._readers.items():
            try:
                values[aspect] = reader()
            except Exception as e:  # a stranger's code may have broken what we read with
                values[aspect] = f"unreadable ({type(e).__name__}: {e})"
        return values

    def changes(
        self, before: Mapping[str, Any], now: Mapping[str, Any], imported: bool = False
    ) -> list[str]:
        """What differs, a phrase each: ``"the locale from 'C' to 'de_DE'"``.

        Args:
            imported: modules were imported meanwhile: variables that these added to the
                environment, and random numbers that they drew, do not count.
        """
        found: list[str] = []
        for aspect, value in now.items():
            old = before[aspect]
            if old is None or value is None or _same(old, value):
                continue
            if aspect in self._functions:
                names = self._functions[aspect]
                patched = [n for n in names if value.get(n) is not old.get(n)]
                if patched:
                    found.append(f"{aspect}: {', '.join(patched[:4])}")
            elif aspect == "environment":
                found += _environment_changes(old, value, imported)
            elif aspect == "FPU mode":
                found.append(f"the FPU mode from {_fpu_words(old)} to {_fpu_words(value)}")
            elif aspect in ("global random state", "PyTorch's global settings"):
                if not imported:  # TensorFlow draws a seed while it is imported
                    found.append(f"the {aspect}")
            else:
                found.append(f"the {aspect} from {_short(old)} to {_short(value)}")
        return found


def _same(old: Any, new: Any) -> bool:
    """Whether two values are equal; tuples and dictionaries compare identities first."""
    try:
        return bool(old == new)
    except Exception:  # an object with a comparison of its own, so not the one that was there
        return False


def _short(value: Any) -> str:
    text = "?"
    with contextlib.suppress(Exception):
        text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _environment_changes(
    old: Mapping[str, str], new: Mapping[str, str], imported: bool
) -> list[str]:
    names = [n for n in old if new.get(n) != old[n]]
    if not imported:
        names += [n for n in new if n not in old]
    return [f"the environment: {', '.join(sorted(names)[:4])}"] if names else []
