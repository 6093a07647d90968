"""System calls on line files and journals that fail as a disk fails: at the n-th call, for a while, half-way. In
process, by replacing the call in ``os``; other files and other callers are let through.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest


def _is_line_file(fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)").endswith(".jsonl")


class FailingWrites:
    """``os.write`` to line files: calls number ``first`` to ``first + times - 1`` fail with ``number``; before the
    failing ones a call writes only a third of its bytes when ``torn``.
    """

    def __init__(
        self, patch: pytest.MonkeyPatch, number: int, first: int, times: int = 1, *, torn: bool = False
    ) -> None:
        self.calls = 0
        self.failed = 0
        self.armed = True
        self._number, self._first, self._times, self._torn = number, first, times, torn
        self._write: Callable[[int, Any], int] = os.write
        patch.setattr("os.write", self)

    def __call__(self, fd: int, data: Any) -> int:
        if not self.armed or not _is_line_file(fd):
            return self._write(fd, data)
        self.calls += 1
        if self._first <= self.calls < self._first + self._times:
            self.failed += 1
            raise OSError(self._number, os.strerror(self._number))
        if self._torn and self.calls == self._first - 1:
            return self._write(fd, data[: max(1, len(data) // 3)])
        return self._write(fd, data)


class FailingSyncs:
    """``os.fdatasync``: call number ``first`` fails with ``number``. ``confirmed`` has the sizes that were really
    synced.
    """

    def __init__(self, patch: pytest.MonkeyPatch, number: int, first: int) -> None:
        self.calls = 0
        self._number, self._first = number, first
        self._sync: Callable[[int], None] = os.fdatasync
        patch.setattr("os.fdatasync", self)

    def __call__(self, fd: int) -> None:
        self.calls += 1
        if self.calls == self._first:
            raise OSError(self._number, os.strerror(self._number))
        self._sync(fd)
