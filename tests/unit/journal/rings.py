"""A small ring in memory with nobody draining it, for tests that drain by hand, and a decoder that is slow and
obvious.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from penstock._journal import format as fmt
from penstock._journal.file import JournalFile
from penstock._journal.ring import Ring

HEADER = fmt.Header(bytes(16), 8192, 1, 0, 0, bytes(16), True, "test")


class Record(NamedTuple):
    kind: int
    track: int
    names: int
    index: int
    time: int
    values: tuple[Any, ...]


def small_ring(ring_bytes: int = 8192, room: Callable[[int], bool] | None = None) -> Ring:
    """``room`` extends the limit by default, and reports a full ring by False."""
    journal = JournalFile.in_memory(HEADER._replace(ring_bytes=ring_bytes), 4096)
    holder: list[Ring] = []
    holder.append(Ring(journal, room or (lambda size: holder[0].extend(size))))  # noqa: PLW0108
    return holder[0]


def slow_decode(data: bytes) -> list[Record]:
    """One record after the other, one field after the other."""
    found = []
    at = 0
    while at + 48 <= len(data):
        size, kind, count, mark, track, extra, types, index, time = struct.unpack_from("<IBBHIIQQq", data, at)
        if mark != 0x5350 or at + size > len(data):
            break
        if kind == 1:
            values = tuple(_value(data, at + 40 + 8 * place, (types >> (4 * place)) & 15) for place in range(count))
            found.append(Record(kind, track, extra, index, time, values))
        else:
            found.append(Record(kind, track, 0, index, time, (data[at + 40 : at + 40 + extra],)))
        at += size
    return found


def _value(data: bytes, at: int, code: int) -> Any:
    if code == 4:
        return None
    (value,) = struct.unpack_from({1: "<d", 2: "<q", 3: "<Q"}[code], data, at)
    return bool(value) if code == 3 else value


def drained(ring: Ring, most: int = 1 << 20) -> bytes:
    """Everything in the ring, released as it is taken."""
    found = b""
    position, head = ring.window()
    while position != head:
        start, data = ring.copy(position, head, most)
        found += data
        position = (start[0], start[1] + len(data))
        ring.release(position)
    return found
