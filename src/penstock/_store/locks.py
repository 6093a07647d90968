"""One process at a time: an advisory lock on a small file that stays where it is.

``flock`` on POSIX, a locked first byte on Windows. The system lets go when the holder dies, however it dies, so a
lock file that exists means nothing. The file is never removed: a second process would lock its successor.

Threads: each acquisition opens the file anew, so two objects, and two threads with one object, exclude each other
like two processes. A lock is not re-entrant. Fork: a child inherits the descriptor but not the lock;
:meth:`FileLock.abandon` closes its copy and leaves the parent's lock alone, and ``release`` in a child does the same.
Must not know what is locked.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from penstock._store.notices import warn
from penstock.limits import LOCK_TIMEOUT_S

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FIRST_PAUSE_S: Final = 0.005  # a document is replaced in a few ms
_LONGEST_PAUSE_S: Final = 0.05  # 20 looks a second are invisible in CPU time, and 30 s of waiting stays responsive
_CANNOT_LOCK: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
_BUSY: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK})

# Stands in for the lock files of a file system that has no locks (Lustre is often mounted so): threads of this
# process still exclude each other. Taken with a time limit, since a fork may copy it while it is held.
_without_locks = threading.Lock()


class FileLock:
    """An exclusive lock on ``path``; the file and its folders are made when it is first acquired.

    As a context manager it waits ``timeout_s`` and raises TimeoutError. Where the file system cannot
    lock at all, ``try_acquire`` and ``acquire`` return False (and ``unsupported`` is True), while the context
    manager goes on with threads of this process excluded only, after one warning: a run must stay usable there.
    """

    __slots__ = ("_fd", "_pid", "_stand_in", "_timeout_s", "path", "unsupported")

    def __init__(self, path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self.unsupported = False
        self._fd: int | None = None
        self._pid = 0
        self._stand_in = False

    @property
    def held(self) -> bool:
        """Whether this process holds the lock through this object."""
        return self._fd is not None and self._pid == os.getpid()

    def try_acquire(self) -> bool:
        """True if the lock was free and is held now. Raises OSError if the lock file cannot be made."""
        if self._fd is not None and not self.held:
            self.abandon()  # copied by a fork: the parent's lock, not ours
        fd = self._open()
        try:
            if not self._lock(fd):
                return False
            self._fd, self._pid, fd = fd, os.getpid(), -1
            return True
        finally:
            if fd >= 0:
                os.close(fd)

    def acquire(self, timeout_s: float = LOCK_TIMEOUT_S) -> bool:
        """As :meth:`try_acquire`, again and again for ``timeout_s`` seconds; False if that was not enough."""
        deadline_s = time.monotonic() + timeout_s
        pause_s = _FIRST_PAUSE_S
        while not self.try_acquire():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or self.unsupported:
                return False
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        return True

    def release(self) -> None:
        """Let go; harmless when the lock is not held. In a forked child the parent's lock stays."""
        if not self.held:
            self.abandon()
            return
        fd, self._fd = self._fd, None
        assert fd is not None
        try:
            _unlock(fd)  # said aloud: a child forked meanwhile would keep the lock by its copy of the descriptor
        finally:
            os.close(fd)

    def abandon(self) -> None:
        """Close this process's descriptor without unlocking: for a child that was forked while the lock was held."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> Self:
        if self.acquire(self._timeout_s):
            return self
        if not self.unsupported or not _without_locks.acquire(timeout=self._timeout_s):
            raise TimeoutError(
                f"Could not acquire lock on {self.path} within {self._timeout_s:g} s: another process holds it"
            )
        self._stand_in = True
        warn(
            "locks",
            f"the file system of {self.path.parent} cannot lock files: two processes that change the same run "
            "at the same moment may overwrite each other's change",
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stand_in:
            self._stand_in = False
            _without_locks.release()
        else:
            self.release()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)  # writable, because NFS locks nothing else
        try:
            return os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds journals, too
            return os.open(self.path, flags, 0o600)

    def _lock(self, fd: int) -> bool:
        """Lock the descriptor, if it still is the file of that name: the folder may have been removed meanwhile."""
        try:
            _lock_now(fd)
        except OSError as error:
            if error.errno in _CANNOT_LOCK:
                self.unsupported = True
                return False
            if error.errno in _BUSY:
                return False
            raise
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        except FileNotFoundError:
            return False


if sys.platform == "win32":

    def _lock_now(fd: int) -> None:
        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def _unlock(fd: int) -> None:
        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:

    def _lock_now(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)
