"""Implementations of other packages, by their entry points: read, never imported, each on its own.

Whatever is wrong with one becomes an implementation that is unavailable, with its reason, so that a
bad package stops neither a listing nor a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Any

from harness.registry.contract import ImplementationError, Metadata, read_metadata
from harness.registry.module_path import find_module
from harness.text import one_line

ENTRY_POINT_GROUP = "softmax_bench.implementations"


def _entry_points() -> Iterator[EntryPoint]:
    """Those of our group; a package whose entry points cannot be read hides no other's."""
    try:
        yield from entry_points(group=ENTRY_POINT_GROUP)
        return
    except Exception:  # one damaged file fails them all
        pass
    for distribution in distributions():
        try:
            found = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        except Exception as e:
            yield from _unread(distribution, e)
        else:
            yield from found


def _unread(distribution: Distribution, error: Exception) -> Iterator[EntryPoint]:
    """In place of entry points that cannot be read, one that says so, if any may be ours."""
    try:
        text = distribution.read_text("entry_points.txt") or ""
    except (OSError, ValueError):
        return
    if ENTRY_POINT_GROUP in text:
        yield EntryPoint("?", f"entry points that cannot be read ({error})", ENTRY_POINT_GROUP)


def _package(entry: EntryPoint) -> str:
    """The name of the package that an entry point comes with, as far as it can be read."""
    with contextlib.suppress(Exception):  # its metadata may be missing or damaged
        if entry.dist is not None and entry.dist.name:
            return one_line(entry.dist.name, 80)
    return "a package without a name"


def _label(entry: EntryPoint) -> str:
    """An entry point in a line of printable characters."""
    return f"entry point {one_line(entry.name, 80)!r} = {one_line(entry.value, 160)!r}"


def _of_entry_point(entry: EntryPoint) -> Metadata:
    """What the module of an entry point says of itself, or why it cannot be used."""
    path = None
    try:
        with contextlib.suppress(AttributeError):  # its value has not the form of a module's name
            path = find_module(entry.module)
        if path is not None and path.is_absolute():  # those built into Python have no file
            return read_metadata(path)
        reason = "no source file of such a module; reinstall or remove its package"
    except ImplementationError as e:
        reason = str(e)
    except Exception as e:  # whatever we have not thought of: one row, not the end of the list
        reason = f"{type(e).__name__}: {e}"
    return _unusable(one_line(entry.name, 80), path, f"{_label(entry)}: {reason}")


def _unusable(name: str, path: Path | None, reason: str) -> Metadata:
    return Metadata(
        name=name or "(no name)",
        path=path or Path(),
        documentation="A third party's implementation that cannot be used.",
        operations=(),
        operations_with_out=(),
        fault=one_line(reason),
    )


def _found() -> list[tuple[str, Metadata]]:
    """What each entry point leads to, with the name of the package that it comes with."""
    found: dict[Any, tuple[str, Metadata]] = {}
    for entry in sorted(_entry_points(), key=lambda e: (e.name, e.value)):
        metadata = _of_entry_point(entry)
        key = metadata.path.resolve() if metadata.fault is None else (entry.name, entry.value)
        found.setdefault(key, (_package(entry), metadata))
    return list(found.values())


def third_parties(built_in: Sequence[Metadata]) -> list[Metadata]:
    """The implementations of entry points, each under a name that is no other's.

    Of several that have one name none can be used: which is meant would depend on what else is
    installed. One with the name of a built-in implementation is refused in the same way.
    """
    ours = {m.path.resolve() for m in built_in}
    found = [(p, m) for p, m in _found() if m.fault is not None or m.path.resolve() not in ours]
    usable = [m for m in (*built_in, *(m for _, m in found)) if m.fault is None]
    taken = {m.name for m in usable}
    result = []
    for package, metadata in found:
        named = metadata
        if metadata.fault is None:
            twins = [m for m in usable if m.name == metadata.name]
            if len(twins) > 1:
                paths = " and ".join(str(m.path) for m in twins)
                reason = (
                    f"two implementations are named {metadata.name!r}: {paths}; "
                    f"rename one of the files"
                )
                named = _unusable(metadata.name, metadata.path, reason)
        if named.fault is not None:
            names = [named.name, *(f"{named.name} of {package}{n}" for n in _numbers(len(found)))]
            named = replace(named, name=next(n for n in names if n not in taken))
            taken.add(named.name)
        result.append(named)
    return result


def _numbers(count: int) -> Iterator[str]:
    yield ""
    yield from (f" ({n})" for n in range(2, count + 2))
