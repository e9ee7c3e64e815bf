"""What a user can mend: errors that a command shows as one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
"""What says nothing of the path that was opened."""


class UserError(ValueError):
    """Something outside the harness is wrong; the message says what, and what to do about it."""


class CannotWrite(UserError):
    """A place that was given for output does not take it."""


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the path in what the system says while it is written: of a full disk it says no more.

    Raises:
        CannotWrite: in place of an OSError.
    """
    try:
        yield
    except OSError as e:
        if e.errno in TOO_MANY_FILES:
            raise
        raise CannotWrite(
            f"{os.fspath(path)}: cannot be written ({e.strerror or e}); make that possible, or "
            f"give another place"
        ) from None
