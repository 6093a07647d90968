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

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from penstock import limits
from penstock._store import notices
from penstock._store.layout import RunFolder

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
        self._syncing = threading.Lock()

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
            os.close(self._open.popitem(last=False)[1])
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
            return os.open(path, _APPEND, 0o644)

    def _drop(self, name: str) -> None:
        os.close(self._open.pop(name))
        self._extents.pop(name, None)
        self._dirty.pop(name, None)

    def sync(self) -> bool:
        """Fsync what was written before the call; False when the disk did not confirm some of it.

        After an error the same bytes are written once more before the next attempt: the kernel marks pages clean when
        their writing failed, so a second fsync alone would confirm what never reached the disk.
        """
        with self._syncing:
            folders: set[Path] = set()
            whole = True
            for name in list(self._dirty):
                extent = self._extents.get(name)
                self._dirty.pop(name, None)  # before looking at `written`: a later write marks it again
                if extent is not None and self._fsync and not self._sync_file(extent, folders):
                    self._dirty[name] = None
                    whole = False
            for folder in folders:
                whole = _sync_folder(folder) and whole
            return whole

    def _sync_file(self, extent: _Extent, folders: set[Path]) -> bool:
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
            folders.update((extent.path.parent, extent.path.parent.parent))
        return True

    def close(self) -> None:
        """Close every descriptor; a later write opens its file again."""
        while self._open:
            os.close(self._open.popitem()[1])

    def abandon(self) -> None:
        """In a forked child: close the copies of the parent's descriptors. The parent's are not touched by that."""
        self.close()


def _fdatasync(fd: int) -> None:
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


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
        return _refused(folder, error)
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


_TOO_MANY_FILES: Final = frozenset({23, 24})  # ENFILE, EMFILE
