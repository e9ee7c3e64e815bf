"""What cannot run here, in one paragraph: by what would install it, or by what else is missing."""

from __future__ import annotations

from collections.abc import Mapping

from harness.text import one_line


def unavailable(reasons: Mapping[str, str | None]) -> str:
    """How many cannot run, and what to do: what is installed the same way is told once.

    Args:
        reasons: by name of the implementation, as `Implementation.unavailable_reason` says them.
    """
    by_remedy: dict[str, list[str]] = {}
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        reason = one_line(reason or "no reason given", 300)
        remedy = reason.rpartition("; ")[2]
        if remedy.startswith(("pip install ", "install ")):
            by_remedy.setdefault(remedy, []).append(name)
        else:
            by_reason.setdefault(reason, []).append(name)
    parts = [f"{remedy} for {', '.join(names)}" for remedy, names in by_remedy.items()]
    parts += [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    return f"{len(reasons)} not available: {'; '.join(parts)}"
