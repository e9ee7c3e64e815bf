"""What a user can mend: errors that a command shows as one line."""

from __future__ import annotations


class UserError(ValueError):
    """Something outside the harness is wrong; the message says what, and what to do about it."""
