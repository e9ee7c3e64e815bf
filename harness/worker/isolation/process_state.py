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
from dataclasses import dataclass
from operator import itemgetter
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


class _GlobalRandom:
    """NumPy's global generator, read from its memory: `get_state` takes 100 times as long."""

    _BYTES = 625 * 4  # of mt19937_state: 624 words and a position

    def __init__(self) -> None:
        self._generator: Any = None
        self._address = 0

    def read(self) -> tuple[Any, ...]:
        generator = np.random.mtrand.get_bit_generator()
        if generator is not self._generator:
            self._generator = generator
            self._address = int(generator.ctypes.state_address)
        if type(generator) is not np.random.MT19937:  # of another size; it was set, that is enough
            return (generator,)
        return (generator, ctypes.string_at(self._address, self._BYTES))


_numpy_random = _GlobalRandom()


def _random_states() -> tuple[Any, ...]:
    return (random.getstate(), *_numpy_random.read())


def _environment() -> dict[Any, Any]:
    # The encoded names and values, where this Python keeps them: decoding takes 10 times as long
    return dict(getattr(os.environ, "_data", os.environ))


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


def _signals() -> tuple[Any, ...]:
    return tuple(signal.getsignal(s) for s in _SIGNALS)


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
    "environment": _environment,
    "NumPy's error state": lambda: (np.geterr(), np.geterrcall(), np.getbufsize()),
    "global random state": _random_states,
    "PyTorch's global settings": _torch_settings,
    "interpreter's settings": _interpreter,
    "signal handlers": _signals,
    "scheduling or limits of the process": _scheduling,
}

STEADY = ("FPU mode", "NumPy's error state", "interpreter's settings", "functions of")
"""What even importing an implementation may not change: it would falsify what is measured."""


@dataclass(frozen=True)
class State:
    """One reading.

    Attributes:
        values: by aspect, such as ``"locale"``.
        functions: of the modules that measuring rests on, what each name stood for.
    """

    values: Mapping[str, Any]
    functions: tuple[tuple[Any, ...], ...]


class Reader:
    """Reads the state of this process again and again, at about 50 microseconds a time.

    Args:
        threads: says how many threads the array library uses, where there is one.
    """

    def __init__(self, threads: Callable[[], int | None] | None = None) -> None:
        readers = dict(_READERS)
        if threads is not None:
            readers["number of threads"] = threads
        self._readers = tuple(readers.items())
        # Names that appear later (modules that load late) are nobody's fault
        self._names = tuple(tuple(n for n, v in vars(m).items() if callable(v)) for m in _WATCHED)
        self._all_of = tuple(itemgetter(*names) for names in self._names)

    def read(self) -> State:
        values: dict[str, Any] = {}
        for aspect, reader in self._readers:
            try:
                values[aspect] = reader()
            except Exception as e:  # a stranger's code may have broken what we read with
                values[aspect] = f"unreadable ({type(e).__name__}: {e})"
        return State(values, tuple(self._functions(i) for i in range(len(_WATCHED))))

    def _functions(self, i: int) -> tuple[Any, ...]:
        try:
            found: tuple[Any, ...] = self._all_of[i](vars(_WATCHED[i]))
        except KeyError:  # one was deleted
            return tuple(vars(_WATCHED[i]).get(n) for n in self._names[i])
        return found

    def changes(self, before: State, now: State, imported: bool = False) -> list[str]:
        """What differs, a phrase each: ``"the locale from 'C' to 'de_DE'"``.

        Args:
            imported: modules were imported meanwhile: variables that these added to the
                environment, and random numbers that they drew, do not count.
        """
        found: list[str] = []
        for aspect, value in now.values.items():
            old = before.values.get(aspect)
            if old is None or value is None or old == value:
                continue
            if aspect == "environment":
                found += _environment_changes(old, value, imported)
            elif aspect == "FPU mode":
                found.append(f"the FPU mode from {_fpu_words(old)} to {_fpu_words(value)}")
            elif aspect in ("global random state", "PyTorch's global settings"):
                if not imported:  # TensorFlow draws a seed while it is imported
                    found.append(f"the {aspect}")
            else:
                found.append(f"the {aspect} from {_short(old)} to {_short(value)}")
        for module, names, old, new in zip(
            _WATCHED, self._names, before.functions, now.functions, strict=True
        ):
            if not _same(old, new):
                patched = [n for n, a, b in zip(names, old, new, strict=True) if a is not b]
                if patched:
                    found.append(f"functions of {module.__name__}: {', '.join(patched[:4])}")
        return found


def _same(old: tuple[Any, ...], new: tuple[Any, ...]) -> bool:
    """Whether two tuples are surely of the same objects: a tuple compares identities first."""
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
    old: Mapping[Any, Any], new: Mapping[Any, Any], imported: bool
) -> list[str]:
    changed = [n for n in old if new.get(n) != old[n]]
    if not imported:
        changed += [n for n in new if n not in old]
    names = [os.fsdecode(n) for n in changed]
    return [f"the environment: {', '.join(sorted(names)[:4])}"] if names else []
