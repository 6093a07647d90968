"""The local sink: chunks of lines appended to the run's line files, and fsynced.

Ordering
    Per line file: bytes in the order of ``write`` calls. A write that the disk refuses half-way says how many bytes it
    took; the caller keeps the rest and goes on with it later, so no line is written twice and none is left out.
Threads
    ``write`` and ``close``: whoever holds the writer's turn. ``sync``: any thread, one at a time (its own lock); it
    opens files by itself, so that it never meets a descriptor that ``write`` is closing.
Shutdown
    ``sync`` then ``close``. A forked child makes its own sink.

A file or folder that was removed under us is made again. Plain ``os.write`` from the writer's thread, not aiofiles:
docs/decisions/0001-plain-writes.md has the measurement. This module must not know records, rings or sessions.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from penstock import limits
from penstock._store import notices
from penstock._store.layout import RunFolder

_MANY: Final = 64  # files: from here on one syncfs costs less than an fsync of each
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)


class _Extent:
    """How far one line file is written and fsynced by us. ``written`` belongs to ``write``, the rest to ``sync``."""

    __slots__ = ("fresh", "path", "synced", "written")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fresh = True  # its folder entry is not known to be fsynced
        self.written = -1  # size after our last write; -1 before the first
        self.synced = 0


class LocalSink:
    """Line files of one run, for one writer. ``suffix`` is "" for the owner of the run."""

    def __init__(self, folder: RunFolder, suffix: str, *, open_files: int, fsync: bool) -> None:
        self._folder = folder
        self._suffix = suffix
        self._most = open_files
        self._fsync = fsync
        self._open: OrderedDict[str, int] = OrderedDict()
        self._extents: dict[str, _Extent] = {}
        self._dirty: dict[str, None] = {}
        self._unsynced: dict[Path, None] = {}  # folders with new entries that are not fsynced; belongs to `sync`
        self._syncing = threading.Lock()
        self.closing: Callable[[str], None] = _nobody  # told the track's name before its descriptor is closed

    def descriptor(self, name: str) -> int | None:
        """The open descriptor of a track's line file, for whoever writes to it beside ``write`` and says so
        (``wrote``)."""
        return self._open.get(name)

    def wrote(self, name: str, count: int) -> None:
        """Somebody else wrote ``count`` bytes to the descriptor of this track."""
        self._open.move_to_end(name)
        self._extents[name].written += count
        self._dirty[name] = None

    @property
    def open_files(self) -> int:
        return len(self._open)

    @property
    def dirty(self) -> bool:
        return bool(self._dirty)

    def path(self, name: str) -> Path:
        """The line file of track ``name``; of the log for ""."""
        return self._folder.points(name, self._suffix) if name else self._folder.log_lines(self._suffix)

    def write(self, name: str, data: bytes) -> int:
        """Append ``data``; returns how many bytes the disk took, which is all of them unless it is full or failing.

        Raises OSError only when it took none.
        """
        fd = self._descriptor(name)
        extent = self._extents[name]
        if extent.written < 0:
            extent.synced = extent.written = os.fstat(fd).st_size
        done = 0
        while done < len(data):
            try:
                done += os.write(fd, memoryview(data)[done:])
            except OSError:
                if not done:
                    raise
                break
        extent.written += done
        self._dirty[name] = None  # last: a sync that runs beside this either sees the new size or finds the mark
        return done

    def _descriptor(self, name: str) -> int:
        fd = self._open.get(name)
        if fd is not None:
            if os.fstat(fd).st_nlink:
                self._open.move_to_end(name)
                return fd
            notices.warn("removed", f"{self.path(name)} was removed while it was being written; a new one is made")
            self._drop(name)
        while len(self._open) >= self._most:
            self._close(next(iter(self._open)))
        extent = self._extents.get(name)
        if extent is None:
            extent = self._extents[name] = _Extent(self.path(name))
        fd = self._open[name] = self._open_file(extent.path)
        return fd

    def _open_file(self, path: Path) -> int:
        try:
            return os.open(path, _APPEND, 0o644)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, _APPEND, 0o644)
        except OSError as error:
            if error.errno not in _TOO_MANY_FILES or not self._open:
                raise
            self.close()  # the process is at its limit: make do with one file at a time
            return self._open_file(path)

    def _drop(self, name: str) -> None:
        self._close(name)
        self._extents.pop(name, None)
        self._dirty.pop(name, None)

    def sync(self) -> bool:
        """Fsync what was written before the call; False when the disk did not confirm some of it.

        After an error the same bytes are written once more before the next attempt: the kernel marks pages clean when
        their writing failed, so a second fsync alone would confirm what never reached the disk.
        """
        with self._syncing:
            if self._fsync and len(self._dirty) > _MANY and self._sync_together():
                return True
            whole = True
            for name in list(self._dirty):
                extent = self._extents.get(name)
                self._dirty.pop(name, None)  # before looking at `written`: a later write marks it again
                if extent is not None and self._fsync and not self._sync_file(extent):
                    self._dirty[name] = None
                    whole = False
            for folder in list(self._unsynced):
                if _sync_folder(folder):
                    del self._unsynced[folder]
                else:
                    whole = False
            return whole

    def _sync_together(self) -> bool:
        """Thousands of files: one syncfs of the run's file system instead of an fsync each. False where there is
        none."""
        marked = [(name, extent, extent.written) for name in list(self._dirty) if (extent := self._extents.get(name))]
        for name, _extent, _written in marked:
            self._dirty.pop(name, None)
        if not _syncfs(self._folder.path):  # it takes the folders along
            self._dirty.update(dict.fromkeys(name for name, _extent, _written in marked))
            return False
        for _name, extent, written in marked:
            extent.synced = written
            extent.fresh = False
        return True

    def _sync_file(self, extent: _Extent) -> bool:
        till = extent.written
        try:
            fd = os.open(extent.path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            return True  # removed by somebody: nothing left to make durable
        except OSError as error:
            return _refused(extent.path, error)
        try:
            _fdatasync(fd)
        except OSError as error:
            _write_again(fd, extent.synced, till)
            return _refused(extent.path, error)
        finally:
            os.close(fd)
        extent.synced = till
        if extent.fresh:
            extent.fresh = False
            self._unsynced.update(dict.fromkeys(self._folders(extent.path)))
        return True

    def _folders(self, path: Path) -> list[Path]:
        """The folders from the file's own up to the run's: a nested track may have made all of them."""
        above = list(path.parents)
        return above[: above.index(self._folder.path) + 1]

    def close(self) -> None:
        """Close every descriptor; a later write opens its file again."""
        for name in list(self._open):
            self._close(name)

    def _close(self, name: str) -> None:
        self.closing(name)
        os.close(self._open.pop(name))

    def abandon(self) -> None:
        """In a forked child: close the copies of the parent's descriptors. The parent's are not touched by that."""
        self.closing = _nobody  # the parent's writer is not here, perhaps it was at work when the process forked
        self.close()


def _nobody(_name: str) -> None:
    """Who is told of closings when nobody has to know."""


def _fdatasync(fd: int) -> None:
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def _syncfs(folder: Path) -> bool:
    """Linux: make everything on the folder's file system durable. False when there is no such call, or it reports an
    error (since Linux 5.8 it does; fsync of each file then tells which)."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, AttributeError):
        return False
    try:
        return bool(syncfs(fd) == 0)
    finally:
        os.close(fd)


def _sync_folder(folder: Path) -> bool:
    if os.name == "nt":
        return True  # Windows has no fsync of folders
    try:
        fd = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return True
    except OSError as error:
        return _refused(folder, error)
    try:
        os.fsync(fd)
    except OSError as error:
        return error.errno in _NO_FOLDER_SYNC or _refused(folder, error)
    finally:
        os.close(fd)
    return True


def _write_again(fd: int, start: int, end: int) -> None:
    """Dirty the pages of a window again, in place, from what the page cache still holds."""
    at = max(start, 0)
    try:
        while at < end:
            block = os.pread(fd, min(limits.COPY_BYTES, end - at), at)
            if not block:
                return
            at += os.pwrite(fd, block, at)
    except OSError:
        return  # the window stays as it is and stays dirty: the next sync tries again


def _refused(path: Path, error: OSError) -> bool:
    notices.warn("fsync", f"{path}: fsync failed ({error}); its last lines are not yet safe from a power cut")
    return False


_TOO_MANY_FILES: Final = frozenset({errno.ENFILE, errno.EMFILE})
_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP})  # some file systems cannot fsync a folder
