"""The writer: takes records out of the ring, turns them into lines, writes these, and only then gives the space back.

Threads
    Driven by one thread at a time: the host's, or, when that cannot run (interpreter exit, a forked child), whoever
    closes. ``sync`` may run beside it on another thread.
Ordering
    decode -> encode -> wait per track -> write -> release. The ring's tail moves only when everything below it is
    written, so a process that dies anywhere here leaves its points in the journal; those that were written already
    are recognised.
Shutdown
    ``finish`` drains to the end. An unexpected error stops the writer (``failed``): the journal then stays as it is.

A quantum is short while the ring is empty and grows with it: the training thread waits for at most one. This module
must not know threads, sessions, or what a durability level is called."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from typing import Final

from penstock import limits
from penstock._codec.lines import LineEncoder
from penstock._engine.coalescer import Coalescer
from penstock._engine.fastdrain import FastDrain
from penstock._engine.intake import Intake
from penstock._journal import drain
from penstock._journal import format as fmt
from penstock._journal.native import native
from penstock._journal.ring import Position
from penstock._sinks.local import LocalSink
from penstock._store import notices

_TURN_S: Final = 10.0  # only a thread that the interpreter froze at its end keeps its turn longer
_SLACK_S: Final = 0.05  # the host looks at intervals: a little early is better than a whole interval late


class Ticket:
    """A wish to know when everything below ``position`` is written and, with ``sync``, fsynced.

    ``final`` also takes the writer out of service, and is answered at once when the disk refuses. Whoever drives the
    writer sets ``reached``, then ``answered``.
    """

    __slots__ = ("answered", "final", "position", "reached", "sync")

    def __init__(self, position: Position, *, sync: bool, final: bool = False) -> None:
        self.position = position
        self.sync = sync
        self.final = final
        self.reached = False
        self.answered = threading.Event()

    def answer(self, *, reached: bool) -> None:
        self.reached = reached
        self.answered.set()


class Turn:
    """Who drives a writer: the host's thread, or, when that does not run, whoever closes or makes room. One at a time.

    Code that runs in the middle of a turn, or of waiting for one (a signal handler, a ``__del__``), must not wait for
    it: ``mine`` tells. A thread is noted before it takes the lock, since a handler may run right after that."""

    __slots__ = ("_inside", "_lock", "retired")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: dict[int, None] = {}  # threads; each writes only its own entry
        self.retired = False  # set in a forked child: nobody there drives its parent's writer

    def mine(self) -> bool:
        """Whether the running code is inside a turn of this thread."""
        return threading.get_ident() in self._inside

    def take(self) -> bool:
        """Wait for the turn. False when this thread has it already, or somebody else does not give it."""
        if self.retired or self.mine():
            return False
        self._inside[threading.get_ident()] = None
        taken = False
        try:
            taken = self._lock.acquire(timeout=_TURN_S)
        finally:  # also when Ctrl-C ends the wait
            if not taken:
                del self._inside[threading.get_ident()]
        return taken

    def give(self) -> None:
        self._lock.release()
        del self._inside[threading.get_ident()]


class Writer:
    """Drains one session's ring into one sink."""

    def __init__(
        self, intake: Intake, sink: LocalSink, *, chunk_bytes: int, interval_s: float, sync_interval_s: float
    ) -> None:
        self.intake: Final = intake
        self.sink: Final = sink
        self.tickets: Final[deque[Ticket]] = deque()
        self.written = 0  # records whose lines the disk took
        self.synced = 0  # of those, fsynced
        self.stall: OSError | None = None
        self.failed: Exception | None = None
        self.turn: Final = Turn()
        self._ring: Final = intake.ring
        self._cursor: Position = self._ring.window().tail
        self._encoder: Final = LineEncoder()
        self._coalescer: Final = Coalescer(
            chunk_bytes=chunk_bytes, pending_bytes=limits.PENDING_BYTES, interval_s=interval_s
        )
        self._fast = None if native is None else FastDrain(native, self._ring, intake.names_by_id)
        if self._fast is not None:
            sink.closing = self._detach
        self._sync_interval_s: Final = sync_interval_s
        self._retry_s = 0.0
        self._urgent = False  # log lines are read by people while the run goes on
        self._dirty_since: float | None = None

    # -- draining -------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Take one quantum out of the ring and write what is due. False when there is nothing to take (for now)."""
        if not self.turn.take():
            return False
        try:
            return self._step()
        finally:
            self.turn.give()

    def _step(self) -> bool:
        now_s = time.monotonic()
        if self._coalescer.full() and not self._write(now_s):
            return False
        took = self._take(now_s)
        if not self._coalescer.points:
            self._release()
        elif not took and (self._urgent or self._coalescer.due(now_s) or self._ring.used() * 2 >= self._ring.capacity):
            self._write(now_s)  # not before the ring is drained: thousands of tracks share as few writes as can be
        return took

    def _take(self, now_s: float) -> bool:
        head = self._ring.window().head
        if self._cursor == head:
            return False
        if self._fast is not None:
            self._take_fast(self._fast, head, now_s)
            return True
        position, data = self._ring.copy(self._cursor, head, self._quantum())
        used, blocks = drain.runs(data)
        if not used and data:  # one record larger than the quantum
            position, data = self._ring.copy(self._cursor, head, fmt.U32.unpack_from(data)[0])
            used, blocks = drain.runs(data)
            if not used:
                raise ValueError(f"no record where one should start, at {position} of {self._ring.window()}")
        for block in blocks:
            self._urgent = self._urgent or block.kind == fmt.KIND_LOG
            self._collect(block, now_s)
        self._cursor = (position[0], position[1] + used)
        return True

    def _take_fast(self, fast: FastDrain, head: Position, now_s: float) -> None:
        refused: OSError | None = None
        full: dict[str, None] = {}
        self._cursor, rows = fast.take(self._cursor, head, limits.FAST_QUANTUM_BYTES)
        for row in rows:
            name = self.intake.tracks[row.track]
            self._urgent = self._urgent or row.track == 0
            if row.written_bytes:
                self.sink.wrote(name, row.written_bytes)
                self.written += row.written_points
                self._dirty_since = now_s if self._dirty_since is None else self._dirty_since
            if row.lines and self._coalescer.add(name, row.lines, row.points, now_s):
                full[name] = None
            if row.error:
                refused = OSError(row.error, os.strerror(row.error))
        # Only now: writing attaches a track and may close another's file, so no row may be left to look at.
        if refused is not None:
            self._refused(refused)
        for name in full:
            self._write_chunk(name, now_s)

    def _detach(self, name: str) -> None:
        lane = self.intake.lanes.get(name)
        if lane is not None and self._fast is not None:
            self._fast.detach(lane.track)

    def _attach(self, name: str) -> None:
        """The track's file is open and nothing of it waits: its next lines may go there directly."""
        fd, lane = self.sink.descriptor(name), self.intake.lanes.get(name)
        if fd is not None and lane is not None and self._fast is not None:
            self._fast.attach(lane.track, fd)

    def _collect(self, block: drain.Block, now_s: float) -> None:
        lines = self._encode(block)
        names = self.intake.tracks
        if block.tracks:
            self._coalescer.spread([names[track] for track in block.tracks], lines.splitlines(keepends=True), now_s)
        elif self._coalescer.add(names[block.track], lines, len(block.indices), now_s):
            self._write_chunk(names[block.track], now_s)

    def _quantum(self) -> int:
        """Bytes to take at once: about 200 us of the GIL while there is time, more as the ring fills."""
        used = self._ring.used()
        if used * 4 < self._ring.capacity:
            return limits.QUANTUM_BYTES
        return limits.QUANTUM_BYTES * (4 if used * 2 < self._ring.capacity else 16)

    def _encode(self, block: drain.Block) -> bytes:
        if block.kind == fmt.KIND_POINT:
            return self._encoder.points(self.intake.names_by_id[block.names], block.indices, block.times, block.columns)
        if block.kind == fmt.KIND_GENERAL:
            return self._encoder.general(block.indices, block.times, block.columns[0])
        return self._encoder.logs(block.indices, block.times, block.columns[0])

    # -- writing --------------------------------------------------------------------------------------------------

    def write(self, now_s: float) -> bool:
        """Write everything that waits and release the ring up to it. False while the disk refuses."""
        if not self.turn.take():
            return False
        try:
            return self._write(now_s)
        finally:
            self.turn.give()

    def _write(self, now_s: float) -> bool:
        if self.stall is not None and now_s < self._retry_s:
            return False
        for name, _chunk in self._coalescer.waiting():
            if not self._write_chunk(name, now_s):
                return False
        self._urgent = False
        self._release()
        return True

    def _release(self) -> None:
        """Give back the ring up to the cursor: nothing waits in memory."""
        if self._cursor != self._ring.window().tail:
            self._ring.release(self._cursor)
            self.intake.journal.set_tail(self._ring.total(self._cursor))
            self.intake.made_room()

    def _write_chunk(self, name: str, now_s: float) -> bool:
        if self.stall is not None and now_s < self._retry_s:
            return False
        piece = self._coalescer.chunks[name].take()
        try:
            count = self.sink.write(name, piece)
        except OSError as error:
            return self._refused(error)
        if self._dirty_since is None:
            self._dirty_since = now_s
        self.written += self._coalescer.written(name, count)
        if count < len(piece):
            return self._refused(OSError(errno.ENOSPC, "the disk took only a part of a write"))
        if self.stall is not None:
            notices.recovered(
                "disk again", f"{self.sink.path(name)}: the disk takes writes again ({self.stall}); going on"
            )
            self.stall = None
        self._attach(name)
        return True

    def _refused(self, error: OSError) -> bool:
        if self.stall is None:
            notices.warn(
                "disk", f"the disk refuses the run's lines ({error}). Points stay in the journal and are tried again; "
                "when the ring is full they are dropped and counted (session.stats())",
            )  # fmt: skip
        self.stall = error
        self._retry_s = time.monotonic() + limits.STALL_RETRY_S
        self.intake.let_go()  # waiting is in vain: the policy decides
        return False

    # -- durability -----------------------------------------------------------------------------------------------

    def sync_due(self, now_s: float) -> bool:
        return self._dirty_since is not None and now_s - self._dirty_since >= self._sync_interval_s - _SLACK_S

    def sync(self) -> bool:
        """Fsync what is written. True when the disk confirmed all of it."""
        written, self._dirty_since = self.written, None
        if self.sink.sync():
            self.synced = max(self.synced, written)
            return True
        self._dirty_since = time.monotonic()
        return False

    def settled(self, ticket: Ticket) -> bool:
        """Whether everything that the ticket asks about is written."""
        return self._cursor >= ticket.position and not self._coalescer.points

    def finish(self) -> bool:
        """Drain and write to the end, without giving way. False when the disk refused or the writer had failed."""
        if self.failed is not None or not self.turn.take():
            return False
        try:
            self._retry_s = 0.0
            if self.stall is not None and not self._write(time.monotonic()):
                return False
            while self._step():
                if self.stall is not None:
                    return False
            return self._write(time.monotonic())
        finally:
            self.turn.give()
