"""What the parts of a session ask before they read or write: is it still open, may it be written.

The session implements it; parameters, files, logs and tracks only know this protocol, so none of them knows the
session. Both calls are made on the caller's thread at the start of every public call and must not block.
"""

from __future__ import annotations

from typing import Protocol


class Gate(Protocol):
    """Lets a call through, or raises the error that the user sees."""

    def check_open(self) -> None:
        """Raises :class:`penstock.errors.ClosedError` when the session is not open."""

    def check_writable(self) -> None:
        """Raises as :meth:`check_open`, and :class:`penstock.errors.WriteProtectedError` for a protected run."""
