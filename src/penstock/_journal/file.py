"""One journal file: created, locked, mapped, grown, and given up again.

Threads: created and closed by the thread that opens or closes the session; ``define`` and ``grow`` may be called by any
producer thread, also from a signal handler in the middle of another ``define``: they contain no lock. What has to
be indivisible is written without a call between its first and last step, because CPython switches threads and runs
signal handlers only at calls and at backward jumps (tests/unit/journal/test_indivisible.py holds this).
Invariants: blocks are allocated before they are mapped; a definition is in the file before its number is handed out.
This module must not know what a record in the ring means.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path
from typing import Final, NamedTuple

from penstock import limits
from penstock._journal import format as fmt
from penstock._journal.native import native

try:
    import fcntl
except ImportError:  # Windows: no advisory locks; a live journal is told by its process id only
    fcntl = None  # type: ignore[assignment]

_MADV_POPULATE_WRITE: Final = 23
_ZEROS: Final = bytes(1 << 20)


class Exported(NamedTuple):
    """The definitions of a journal as bytes, and the last numbers that it gave out."""

    records: bytes
    tracks: int
    names: int


class JournalFile:
    """The mapped bytes of one writer's journal, on disk or (``path is None``) in memory only.

    ``ring`` maps header and ring, ``start`` and ``end`` bound the ring inside it. ``durable`` says whether the bytes
    outlive the process.
    """

    def __init__(
        self,
        header: fmt.Header,
        definitions_bytes: int,
        path: Path | None = None,
        fd: int | None = None,
        lock: int | None = None,
    ) -> None:
        self.header: Final = header
        self.path = path
        self.fd = fd
        # A descriptor of its own, opened apart: mmap keeps copies of `fd`, and a forked child that cannot close one of
        # these would hold the lock, and with it the journal, beyond the death of its parent.
        self._lock = lock
        self.start: Final = fmt.HEADER_BYTES
        self.end: Final = fmt.HEADER_BYTES + header.ring_bytes
        self._defined = 0  # bytes of definitions written or being written
        self._tracks = 0
        self._names = 0
        if fd is None:
            self.ring = mmap.mmap(-1, self.end)
            self._definitions = mmap.mmap(-1, definitions_bytes)
        else:
            self.ring = mmap.mmap(fd, self.end)
            _populate(self.ring, self.end if native is None else min(self.end, limits.POPULATE_BYTES))
            self._definitions = mmap.mmap(fd, definitions_bytes, offset=self.end)
        packed = fmt.pack_header(header)
        self.ring[: len(packed)] = packed
        self._define(fmt.pack_definition(fmt.KIND_IDENTITY, 1, packed))
        self._own = self._defined  # where the definitions of tracks and names begin

    @property
    def durable(self) -> bool:
        return self.path is not None

    @classmethod
    def create(cls, folder: Path, header: fmt.Header, definitions_bytes: int) -> JournalFile:
        """Make, lock, allocate and name a journal in ``folder``. Raises OSError; nothing is left behind then."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = header.writer.hex()
        fresh = folder / f".{name}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        opened = [os.open(fresh, flags, 0o600)]
        try:
            opened.append(os.open(fresh, flags & ~(os.O_CREAT | os.O_EXCL)))
            if fcntl is not None:
                fcntl.flock(opened[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            allocate(opened[0], 0, fmt.HEADER_BYTES + header.ring_bytes + definitions_bytes)
            path = folder / f"{name}.ring"
            journal = cls(header, definitions_bytes, path, *opened)
            os.rename(fresh, path)
        except BaseException:
            for fd in opened:
                os.close(fd)
            fresh.unlink(missing_ok=True)
            raise
        return journal

    @classmethod
    def in_memory(cls, header: fmt.Header, definitions_bytes: int) -> JournalFile:
        """The same bytes in anonymous memory: for when no file can be made (durability "memory")."""
        return cls(header, definitions_bytes)

    # -- definitions: any producer thread -------------------------------------------------------------------------

    def define_track(self, name: str) -> int:
        """Give ``name`` a number. The caller sees to it that a name is defined once."""
        number = self._tracks = self._tracks + 1
        self._define(fmt.pack_definition(fmt.KIND_TRACK, number, fmt.track_payload(name)))
        return number

    def define_names(self, names: tuple[str, ...]) -> int:
        number = self._names = self._names + 1
        self._define(fmt.pack_definition(fmt.KIND_NAMES, number, fmt.names_payload(names)))
        return number

    def _define(self, record: bytes) -> None:
        size = len(record)
        store = fmt.store_of(size)
        while True:
            region = self._definitions
            room = len(region)
            at = self._defined  # from here to the store: no call, so indivisible
            after = at + size
            if after <= room and region is self._definitions:
                self._defined = after
                store(region, at, record)
                return
            self._grow(region, size)

    def _grow(self, full: mmap.mmap, need: int) -> None:
        """Double the definitions region until ``need`` more bytes fit. Raises OSError when the disk has no room."""
        room = len(full)
        while room < len(full) + need:
            room *= 2
        if self.fd is None:
            bigger = mmap.mmap(-1, room)
            if self._definitions is full:
                bigger[: len(full)] = full[:]
                self._definitions = bigger
            return
        allocate(self.fd, self.end, room)
        bigger = mmap.mmap(self.fd, room, offset=self.end)
        if self._definitions is full:  # else a signal handler or another thread has grown it meanwhile
            self._definitions = bigger

    def export(self) -> Exported:
        """The definitions made so far: what another journal needs to carry this one's records."""
        return Exported(self._definitions[self._own : self._defined], self._tracks, self._names)

    def adopt(self, exported: Exported) -> None:
        """Begin with the definitions and numbers of another journal. Raises OSError when the disk has no room."""
        if exported.records:
            self._define(exported.records)
        self._tracks, self._names = exported.tracks, exported.names

    # -- hints for people and readers: the writer thread ----------------------------------------------------------

    def beat(self, now_ns: int, head: int, tail: int, dropped: int) -> None:
        """Stamp the header's hints."""
        ring = self.ring
        fmt.U64.pack_into(ring, fmt.OFFSET_HEAD, head)
        fmt.U64.pack_into(ring, fmt.OFFSET_TAIL, tail)
        fmt.I64.pack_into(ring, fmt.OFFSET_HEARTBEAT, now_ns)
        fmt.U64.pack_into(ring, fmt.OFFSET_DROPPED, dropped)

    def set_tail(self, tail: int) -> None:
        fmt.U64.pack_into(self.ring, fmt.OFFSET_TAIL, tail)

    def vanished(self) -> bool:
        """Whether somebody deleted or replaced the file, so that its bytes no longer outlive the process."""
        if self.fd is None or self.path is None:
            return False
        try:
            mine, there = os.fstat(self.fd), os.stat(self.path)
        except OSError:
            return True
        return (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino)

    # -- the end --------------------------------------------------------------------------------------------------

    def close(self, *, remove: bool) -> None:
        """Unmap and unlock; ``remove`` when every record is in a line file. Removed before it is unlocked, so
        that nobody can lock a journal that is about to go."""
        if remove and self.path is not None and not self.vanished():
            self.path.unlink(missing_ok=True)
        self._unmap()

    def abandon(self) -> None:
        """In a forked child: drop the parent's mapping and descriptors without unlocking anything of the parent's."""
        self._unmap()

    def _unmap(self) -> None:
        for region in (self.ring, self._definitions):
            try:
                region.close()
            except BufferError:  # a reader of this process still holds a view: it goes with the last view
                pass
        opened, self.fd, self._lock = (self.fd, self._lock), None, None
        for fd in opened:
            if fd is not None:
                os.close(fd)


def _populate(mapped: mmap.mmap, size: int) -> None:
    """Map the first pages for writing in one step: one by one, at the first appends, each would cost 3 us (ext4)."""
    with contextlib.suppress(
        OSError, ValueError, AttributeError
    ):  # before Linux 5.14, and elsewhere: they fault one by one
        mapped.madvise(_MADV_POPULATE_WRITE, 0, size)


def allocate(fd: int, offset: int, size: int) -> None:
    """Give the range real blocks. Raises OSError (ENOSPC, EDQUOT, EFBIG) instead of a SIGBUS at a later store."""
    have = os.fstat(fd).st_size
    if offset + size <= have:
        return
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, offset, size)
        return
    at = max(have, offset)  # macOS and Windows: write the zeros
    while at < offset + size:
        at += os.pwrite(fd, _ZEROS[: min(len(_ZEROS), offset + size - at)], at)


def new_writer_id() -> bytes:
    """128 random bits from the operating system: unique over machines, forks and clones."""
    return os.urandom(16)


def try_lock(fd: int) -> bool:
    """Whether the journal's writer is gone; the lock is then held by this descriptor. Never waits."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
