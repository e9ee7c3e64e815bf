"""Implementations of other packages, by their entry points: read, never imported, each on its own.

One that cannot be used is listed as unavailable, with its reason. One whose name is another's, or
whose package cannot be read, gives a warning. So a bad package stops neither a listing nor a run.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, distributions, entry_points
from pathlib import Path

from harness.registry.contract import ImplementationError, Metadata, read_metadata
from harness.registry.module_path import find_module
from harness.text import one_line

ENTRY_POINT_GROUP = "softmax_bench.implementations"


class EntryPointWarning(UserWarning):
    """An entry point that is not listed, and why."""


def _warn(reason: str) -> None:
    warnings.warn(one_line(reason), EntryPointWarning, stacklevel=3)


def _entry_points() -> Iterator[EntryPoint]:
    """The entry points of our group; a package whose own cannot be read gives a warning."""
    try:
        yield from entry_points(group=ENTRY_POINT_GROUP)
        return
    except Exception:  # one damaged file fails them all
        pass
    for distribution in distributions():
        try:
            yield from distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        except Exception as e:
            with contextlib.suppress(OSError, ValueError):
                if ENTRY_POINT_GROUP in (distribution.read_text("entry_points.txt") or ""):
                    place = distribution.locate_file("")
                    _warn(f"{place}: a package with entry points that cannot be read: {e}")


def _unusable(name: str, path: Path, reason: str) -> Metadata:
    return Metadata(
        name=name,
        path=path,
        documentation="A third party's implementation that cannot be used.",
        operations=(),
        operations_with_out=(),
        fault=one_line(reason),
    )


def _of_entry_point(entry: EntryPoint) -> Metadata:
    """What the module of an entry point says of itself, or why it cannot be used."""
    module = path = None
    with contextlib.suppress(AttributeError, ValueError):  # its value has not the form of a name;
        module = entry.module  # importlib_metadata, where it is loaded, raises another error
    try:
        if module is not None:
            path = find_module(module)
        if path is not None and path.is_absolute():  # those built into Python have no file
            return read_metadata(path)
        reason = "no source file of such a module; reinstall or remove its package"
    except ImplementationError as e:
        reason = str(e)
    except Exception as e:  # whatever we have not thought of: one row, not the end of the list
        reason = f"{type(e).__name__}: {e}"
    name = one_line(entry.name, 80) or "(no name)"
    value = one_line(entry.value, 160)
    return _unusable(name, path or Path(), f"entry point {name!r} = {value!r}: {reason}")


def third_parties(built_in: Sequence[Metadata]) -> list[Metadata]:
    """The implementations of entry points, each under a name that is no other's.

    Of several that have one name none can be used: which is meant would depend on what else is
    installed. A built-in implementation keeps its name.
    """
    usable = {m.path.resolve(): m for m in built_in}
    faulty = []
    for entry in sorted(set(_entry_points()), key=lambda e: (e.name, e.value)):
        metadata = _of_entry_point(entry)
        if metadata.fault is None:
            usable.setdefault(metadata.path.resolve(), metadata)
        else:
            faulty.append(metadata)
    by_name = defaultdict(list)
    for metadata in usable.values():
        by_name[metadata.name].append(metadata)
    rows = {m.name: m for m in built_in}
    for name, twins in by_name.items():
        paths = " and ".join(str(m.path) for m in twins)
        reason = f"two implementations are named {name!r}: {paths}; rename one of the files"
        if len(twins) == 1:
            rows[name] = twins[0]
        elif name in rows:
            _warn(reason)
        else:
            rows[name] = _unusable(name, twins[0].path, reason)
    for metadata in faulty:
        if metadata.name in rows:
            _warn(str(metadata.fault))
        else:
            rows[metadata.name] = metadata
    return list(rows.values())[len(built_in) :]
