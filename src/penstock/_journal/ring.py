"""The ring: where records are reserved, filled and committed in the journal's mapped bytes. Python reference.

Ordering
    A producer takes the next index of its track and the next bytes of the ring in one indivisible step, then stores
    the whole record by one ``pack_into`` whose last word is the commit mark. So positions and indices have the
    same order, and whoever runs Python code in this process finds every byte below the head committed.
Threads
    Any number of producers, one drainer (the writer thread, or whoever holds the writer's lock). No locks: CPython
    (with a GIL) switches threads and runs signal handlers only at calls and at backward jumps, and the indivisible
    steps contain none. tests/unit/journal/test_indivisible.py reads the bytecode and holds this on every Python that
    runs the tests.
Shutdown
    ``stop`` moves the limit below every offset: from then on each append ends in ``room``, which says what is the
    matter (closed, forked, full) and costs the hot path nothing.

A lap is one passage through the mapping; the pair (lap, offset) is a position. This module must not know what a record
means, who waits for room, or when the writer runs.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from penstock import limits
from penstock._journal.file import JournalFile
from penstock._journal.native import native

OFFSET: Final = 0
LIMIT: Final = 1
BYTES: Final = 2


Position: TypeAlias = tuple[int, int]  # (lap, offset in the mapping): a place that is never used again


class Window(NamedTuple):
    """What lies in the ring: where the oldest record that is not released starts, and where the next will."""

    tail: Position
    head: Position


class Ring:
    """The producer's and the drainer's view of one journal.

    ``state`` is shared with the compiled appends of all lanes: [next offset, soft limit, mapped bytes]; producers
    write the first, whoever releases or extends writes the second. ``room(size)`` is called by a producer that meets
    the limit: it returns True to try again, False to give the record up (already counted), or raises."""

    def __init__(self, journal: JournalFile, room: Callable[[int], bool]) -> None:
        self.start: Final = journal.start
        self.end: Final = journal.end
        self.capacity: Final = journal.end - journal.start
        self.record_max: Final = self.capacity // limits.RECORD_MAX_SHARE
        self.wake_step: Final = self.capacity // limits.WAKE_SHARE
        self.room = room
        # No room at first: the first append of a session, and of a forked child, passes through room().
        first = (journal.start, journal.start, journal.ring)
        self.state: Any = list(first) if native is None else native.State(*first)
        self.lap = 0
        self.wrapped_at = journal.end  # where the records of the lap before this one end
        self.tail_lap = 0
        self.tail_offset = journal.start
        self.stopped = False

    # -- producers ------------------------------------------------------------------------------------------------

    def extend(self, size: int) -> bool:
        """Move the soft limit on, wrapping round if need be; False when the ring is full. Indivisible: no calls."""
        if self.stopped:
            return False
        state = self.state
        offset = state[0]
        need = offset + size
        if self.lap == self.tail_lap:
            hard = self.end
            if need > hard:
                if self.start + size > self.tail_offset:
                    return False
                self.wrapped_at = offset
                self.lap = self.lap + 1
                offset = self.start
                state[0] = offset
                need = offset + size
                hard = self.tail_offset
        else:
            hard = self.tail_offset
            if need > hard:
                return False
        soft = offset + self.wake_step
        if soft < need:
            soft = need
        state[1] = hard if soft > hard else soft
        return True

    def detach(self) -> None:
        """Let go of the mapped bytes, of a stopped ring: a mapping that is in use cannot be closed."""
        self.state[BYTES] = None

    def populate(self) -> None:
        """Have the pages of the ring mapped before producers meet them, without the GIL. For the writer's thread."""
        if native is not None:
            native.populate(self.state[BYTES], self.start, self.end)

    def stop(self) -> None:
        """Send every later append to ``room``. Indivisible."""
        self.stopped = True
        self.state[1] = -1

    def resume(self) -> None:
        """Undo ``stop``: the next append extends the limit again."""
        self.stopped = False

    # -- the drainer ----------------------------------------------------------------------------------------------

    def window(self) -> Window:
        """Tail and head at one moment. Indivisible."""
        return Window((self.tail_lap, self.tail_offset), (self.lap, self.state[0]))

    def used(self) -> int:
        """Bytes between tail and head (the unused rest at a wrap included)."""
        (tail_lap, tail_offset), (lap, offset) = self.window()
        return (lap - tail_lap) * self.capacity + offset - tail_offset

    def total(self, position: Position) -> int:
        """A position as the number of bytes ever reserved below it: what the header's hints hold."""
        return position[0] * self.capacity + position[1] - self.start

    def copy(self, position: Position, head: Position, most: int) -> tuple[Position, bytes]:
        """At most ``most`` bytes of records from ``position`` on, and the position that they start at.

        The start differs from ``position`` at a wrap: the unused rest of a lap is passed over. Empty at the head.
        """
        start, stop = self.span(position, head, most)
        mapped: mmap.mmap = self.state[BYTES]
        return start, mapped[start[1] : stop]

    def span(self, position: Position, head: Position, most: int) -> tuple[Position, int]:
        """As ``copy``, without the bytes: where the records start, and the offset where they stop."""
        lap, offset = position
        if lap < head[0] and offset >= self.wrapped_at:
            lap, offset = lap + 1, self.start
        stop = head[1] if lap == head[0] else self.wrapped_at
        return (lap, offset), min(stop, offset + most)

    def release(self, position: Position) -> None:
        """Give the bytes below ``position`` back to the producers, zeroed. Their lines are written already."""
        lap, offset = position
        mapped: mmap.mmap = self.state[BYTES]
        if lap == self.tail_lap:
            _zero(mapped, self.tail_offset, offset)
        else:
            _zero(mapped, self.tail_offset, self.end)
            _zero(mapped, self.start, offset)
        self._move_tail(lap, offset)

    def _move_tail(self, lap: int, offset: int) -> None:
        """Publish the tail; a producer that met the old one finds it through ``extend``. Indivisible."""
        self.tail_lap = lap
        self.tail_offset = offset

    def rebase(self, journal: JournalFile) -> None:
        """Go on in another journal of the same size: its bytes become a copy of these. Indivisible: no calls."""
        new = journal.ring
        ring = slice(self.start, self.end)  # made first: making an object may collect garbage on CPython 3.11
        old = self.state[2]
        new[ring] = old[ring]
        self.state[2] = new

    def restart(self, journal: JournalFile) -> None:
        """Begin anew, empty, in another journal (a forked child's own)."""
        self.lap = self.tail_lap = 0
        self.tail_offset = self.start
        self.wrapped_at = self.end
        self.state[2] = journal.ring
        self.state[0] = self.start
        self.stopped = False
        self.state[1] = self.start


def _zero(mapped: mmap.mmap, start: int, stop: int) -> None:
    if native is None:
        mapped[start:stop] = bytes(stop - start)
    else:
        native.zero(mapped, start, stop)
