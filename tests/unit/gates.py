"""What a session is to its parts, for tests of the parts alone: a gate that the test opens and shuts."""

from __future__ import annotations

from penstock.errors import ClosedError, WriteProtectedError


class SetGate:
    """Implements ``penstock._store.gate.Gate``; open and writable until a test sets one of the attributes."""

    def __init__(self) -> None:
        self.closed = False
        self.protected = False

    def check_open(self) -> None:
        if self.closed:
            raise ClosedError("closed")

    def check_writable(self) -> None:
        self.check_open()
        if self.protected:
            raise WriteProtectedError
