"""The producer's side of the engine: from a user's fields to a record in the ring, and what happens when it is full.

Threads
    Everything here runs on whichever thread appends, also in a signal handler or ``__del__`` in the middle of another
    append. Nothing on the way of a known track waits for a lock; only a track's first use takes one.
Ordering
    Values are converted before anything is reserved, since a conversion may run Python code that appends again.
Shutdown
    After ``close`` every append raises ClosedError; a ring that was stopped by a fork asks ``revive`` for a new one.

Shared state: ``lanes`` and ``names`` are written by any producer (one atomic dict step each) and read by the writer;
``drops`` is counted by producers in single indivisible steps. Trouble with the disk never raises here.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from penstock import limits
from penstock._codec.lines import encode_fields, encode_log
from penstock._codec.times import now_ns
from penstock._codec.values import plain, text
from penstock._journal import format as fmt
from penstock._journal.file import JournalFile
from penstock._journal.lane import DROPPED, Lane
from penstock._journal.ring import Ring
from penstock.errors import ClosedError, FieldValueError, RingFullError

LOG: Final = ""  # the log's place among the lanes; no track has an empty name
FULL: Final = "ring full"
DISK: Final = "disk refuses writes"
CLOSED: Final = "Session not open. Use session.open() or context manager."
Shape: TypeAlias = tuple[tuple[str, ...], tuple[int, ...]]  # field names and their type codes


class Outlet(Protocol):
    """What the intake needs of the engine around it."""

    def wake(self) -> None:
        """Have the writer look at the ring soon. Safe in a signal handler."""

    def stalled(self) -> bool:
        """Whether the disk refuses writes, so that waiting for room is in vain."""

    def drain_here(self) -> bool:
        """Make room on this thread when no writer thread can; False when there is one, and waiting is right."""

    def in_writer(self) -> bool:
        """Whether this is the writer's thread, which must never wait for itself."""

    def revive(self) -> None:
        """In a forked child: begin a journal of its own."""

    def degrade(self, error: OSError) -> None:
        """The journal cannot grow: go on in memory."""


class Intake:
    """Lanes, field names and the policy for a full ring, for one session in one process."""

    def __init__(self, ring_of: Callable[[Callable[[int], bool]], Ring], journal: JournalFile, on_full: str,
                 outlet: Outlet) -> None:  # fmt: skip
        self.ring: Final = ring_of(self.room)
        self.journal = journal
        self.lanes: dict[str, Lane] = {}
        self.tracks: dict[int, str] = {0: LOG}
        self.names: dict[tuple[str, ...], int] = {}
        self.names_by_id: dict[int, tuple[str, ...]] = {}
        self.drops: dict[str, int] = {FULL: 0, DISK: 0}
        self.closed = False
        self.forked = False
        self._layouts: dict[Shape, fmt.Layout] = {}
        self._on_full: Final = on_full
        self._outlet: Final = outlet
        self._waiting: deque[threading.Lock] = deque()
        self._making: threading.RLock = threading.RLock()

    # -- lanes ----------------------------------------------------------------------------------------------------

    def lane(self, name: str, next_index: Callable[[], int]) -> Lane:
        """The lane of a track (or of the log), made at its first use. ``next_index`` looks into the line file.

        Raises OSError when the line file cannot be read.
        """
        lane = self.lanes.get(name)
        if lane is not None:
            return lane
        with self._making:
            lane = self.lanes.get(name)
            if lane is None:
                first = next_index()
                number = self._defined(lambda: self.journal.define_track(name)) if name else 0
                self.tracks[number] = name
                lane = self.lanes.setdefault(name, Lane(self.ring, number, name, first))
        return lane

    def _defined(self, define: Callable[[], int]) -> int:
        try:
            return define()
        except OSError as error:
            self._outlet.degrade(error)
            return define()
        except ValueError:
            if not self.closed:
                raise
            raise ClosedError(CLOSED) from None  # another thread closed the session, and the journal with it

    def names_id(self, names: tuple[str, ...]) -> int:
        known = self.names.get(names)
        if known is not None:
            return known
        if self.forked:
            self._outlet.revive()  # the parent's journal is not ours to define names in
        if self.closed:
            raise ClosedError(CLOSED)
        names = tuple([text("field names", name, name) for name in names])  # of exact type str
        for name in names:
            if len(name) > limits.FIELD_NAME_BYTES or len(name.encode()) > limits.FIELD_NAME_BYTES:
                raise FieldValueError("field names", name[:40], f"is longer than {limits.FIELD_NAME_BYTES} bytes")
        with self._making:
            number = self._defined(lambda: self.journal.define_names(names))
            self.names_by_id[number] = names
            return self.names.setdefault(names, number)

    def moving(self) -> threading.RLock:
        """Held while a journal takes over from another: nothing is defined meanwhile."""
        return self._making

    def layout(self, shape: Shape) -> fmt.Layout:
        layout = self._layouts.get(shape)
        if layout is None:
            layout = self._layouts[shape] = fmt.layout_of(self.names_id(shape[0]), shape[1])
        return layout

    # -- records --------------------------------------------------------------------------------------------------

    def convert(self, where: str, fields: dict[str, Any]) -> tuple[Shape | None, tuple[Any, ...] | bytes]:
        """A point's fields, ready to be put: (shape, values) for a point of numbers, (None, payload) for any other.

        Raises TypeError without fields, FieldTypeError and FieldValueError for what cannot be stored: after this,
        nothing about the point is wrong."""
        if not fields:
            raise TypeError(f"{where}: a point needs at least one field, for example append(value=0.5)")
        values = tuple([plain(where, name, value) for name, value in fields.items()])
        if len(values) <= limits.LANE_FIELDS:
            try:
                codes = tuple([fmt.TYPE_CODES[type(value)] for value in values])
            except KeyError:
                pass
            else:
                shape = (tuple(fields), codes)
                self.layout(shape)
                return shape, values
        names = tuple([text(where, name, name) for name in fields])
        payload = encode_fields(dict(zip(names, values, strict=True)))
        self._check_size(where, payload)
        return None, payload

    def put_point(self, lane: Lane, shape: Shape | None, values: Any, at_ns: int = 0) -> int:
        """Put a converted point. Returns its index, or DROPPED."""
        at_ns = at_ns or now_ns()
        if shape is not None:
            return lane.put_numbers(self.layout(shape), values, at_ns)
        return lane.put_payload(fmt.KIND_GENERAL, values, at_ns)

    def put_log(self, lane: Lane, level: str, message: str, metadata: dict[str, Any] | None) -> int:
        """Put a log line whose values are plain already. Returns its sequence number, or DROPPED."""
        payload = encode_log(level, message, metadata)
        self._check_size("log", payload)
        return lane.put_payload(fmt.KIND_LOG, payload, now_ns())

    def _check_size(self, where: str, payload: bytes) -> None:
        size = fmt.payload_record_bytes(payload)
        if size > self.ring.record_max:
            raise FieldValueError(
                where, "*", f"takes {size} bytes in one record; at most {self.ring.record_max} fit. "
                "Store large values with session.files().upload(), or open the session with a larger ring_bytes",
            )  # fmt: skip

    @property
    def accepted(self) -> int:
        """Records put into the ring so far, over all lanes."""
        return sum([lane.accepted for lane in list(self.lanes.values())])

    @property
    def dropped(self) -> int:
        return sum(self.drops.values())

    # -- the limit ------------------------------------------------------------------------------------------------

    def room(self, size: int) -> bool:
        """A producer met the limit: True to try again, False when the record is dropped (and counted).

        Raises ClosedError after close, and RingFullError when the ring is full and the policy is "raise".
        """
        ring = self.ring
        if self.forked:
            self._outlet.revive()
        if self.closed:
            raise ClosedError(CLOSED)
        if ring.extend(size):
            if ring.state[0] == ring.start or ring.used() >= ring.wake_step:
                self._outlet.wake()
            return True
        self._outlet.wake()
        if self._on_full == "block":
            return self._wait_for_room(size)
        self.drops[FULL] += 1
        if self._on_full == "raise":
            raise RingFullError(
                f"the ring of {ring.capacity} bytes is full: the writer is behind. This point was dropped and counted; "
                'slow down, use on_full="block", or open the session with a larger ring_bytes'
            )
        return False

    def _wait_for_room(self, size: int) -> bool:
        ring = self.ring
        while True:
            if self.forked:  # a signal handler forked while this thread waited: this is the child
                self._outlet.revive()
            if self._outlet.in_writer():  # a __del__ that logs on the writer's own thread
                self.drops[FULL] += 1
                return False
            if self._outlet.stalled():
                self.drops[DISK] += 1
                return False
            if not self._outlet.drain_here():
                self._pause()
            if self.closed:
                raise ClosedError(CLOSED)
            # One long pause costs less than many short ones: go on when half of the ring is free again.
            if ring.used() * 2 <= ring.capacity and ring.extend(size):
                return True

    def _pause(self) -> None:
        """Wait until the writer has made room, or a while.

        Each waiter has a lock of its own, so that a signal handler may wait in the middle of a wait. Not a poll: every
        look would make the writer give up the GIL.
        """
        gate = threading.Lock()
        gate.acquire()
        self._waiting.append(gate)
        gate.acquire(timeout=limits.FULL_LOOK_S)

    def made_room(self) -> None:
        """The writer has released a part of the ring: let waiting producers go on, once half of it is free."""
        waiting = self._waiting
        if waiting and self.ring.used() * 2 <= self.ring.capacity:
            self.let_go()

    def let_go(self) -> None:
        """Have every waiting producer look again."""
        with contextlib.suppress(IndexError):  # empty now
            while True:
                self._waiting.popleft().release()

    def has_room(self, size: int) -> bool:
        """Whether an append of ``size`` bytes would not have to wait. For async callers, who wait in their own way."""
        if self.closed or self.forked or self._on_full != "block":
            return True  # append at once: it raises, revives, drops or finds room
        end: int = self.ring.state[0] + size
        if end <= self.ring.state[1]:
            return True
        if self.ring.extend(size):
            self._outlet.wake()  # the append that follows finds room, so it will not do this
            return True
        return self._outlet.stalled()

    def close(self) -> None:
        """Refuse everything from now on. Appends that are under way are in the ring or raise."""
        self.closed = True
        self.ring.stop()
        self.let_go()

    # -- forks ----------------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """In a forked child, before any other code: nothing of the parent's ring may be touched any more."""
        self.forked = True
        self.ring.stop()
        self._making = threading.RLock()
        self._waiting.clear()

    def restart(self, journal: JournalFile) -> None:
        """Begin anew in a forked child's own journal, with the parent's numbers for tracks and names. The caller clears
        ``forked`` when the writer is there too."""
        for lane in self.lanes.values():
            lane.restart()
        self.drops = dict.fromkeys(self.drops, 0)
        self.journal = journal
        self.ring.restart(journal)


__all__ = ["DISK", "DROPPED", "FULL", "LOG", "Intake", "Outlet", "Shape"]
