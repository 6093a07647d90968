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
import threading
import time
from collections import deque
from typing import Final

from penstock import limits
from penstock._codec.lines import LineEncoder
from penstock._engine.coalescer import Coalescer
from penstock._engine.intake import Intake
from penstock._journal import drain
from penstock._journal import format as fmt
from penstock._journal.ring import Position
from penstock._sinks.local import LocalSink
from penstock._store import notices

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
        self._ring: Final = intake.ring
        self._cursor: Position = self._ring.window().tail
        self._encoder: Final = LineEncoder()
        self._coalescer: Final = Coalescer(
            chunk_bytes=chunk_bytes, pending_bytes=limits.PENDING_BYTES, interval_s=interval_s
        )
        self._sync_interval_s: Final = sync_interval_s
        self._retry_s = 0.0
        self._urgent = False  # log lines are read by people while the run goes on
        self._dirty_since: float | None = None

    # -- draining -------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Take one quantum out of the ring and write what is due. False when there is nothing to take (for now)."""
        now_s = time.monotonic()
        if self._coalescer.bytes >= limits.PENDING_BYTES and not self.write(now_s):
            return False
        took = self._take(now_s)
        if self._coalescer.due(now_s) or self._half_full() or (self._urgent and not took):
            self.write(now_s)
        return took

    def _half_full(self) -> bool:
        """Whether much of the ring is drained or waits to be, and some of it can be released."""
        return self._cursor != self._ring.window().tail and self._ring.used() * 2 >= self._ring.capacity

    def _take(self, now_s: float) -> bool:
        head = self._ring.window().head
        if self._cursor == head:
            return False
        position, data = self._ring.copy(self._cursor, head, self._quantum())
        used, blocks = drain.decode(data)
        if not used and data:  # one record larger than the quantum
            position, data = self._ring.copy(self._cursor, head, fmt.U32.unpack_from(data)[0])
            used, blocks = drain.decode(data)
            if not used:
                raise ValueError(f"no record where one should start, at {position} of {self._ring.window()}")
        for block in blocks:
            self._urgent = self._urgent or block.kind == fmt.KIND_LOG
            name = self.intake.tracks[block.track]
            if self._coalescer.add(name, self._encode(block), len(block.indices), now_s):
                self._write_chunk(name, now_s)
        self._cursor = (position[0], position[1] + used)
        return True

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
        if self.stall is not None and now_s < self._retry_s:
            return False
        for name, _chunk in self._coalescer.waiting():
            if not self._write_chunk(name, now_s):
                return False
        self._urgent = False
        if self._cursor != self._ring.window().tail:
            self._ring.release(self._cursor)
            self.intake.journal.set_tail(self._ring.total(self._cursor))
            self.intake.made_room()
        return True

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
            notices.recovered("disk", f"{self.sink.path(name)}: the disk takes writes again ({self.stall}); going on")
            self.stall = None
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
        if self.failed is not None:
            return False
        self._retry_s = 0.0
        while self.step():
            if self.stall is not None:
                return False
        return self.write(time.monotonic())
