"""Both cores side by side in one process: a session's engine down to its ring, made with either of them.

``Desk`` stands in for a session and its engine: real tracks, lanes, intake and ring (in memory), but no writer; the
test drains it. ``masked`` takes from the ring's bytes what may differ: times, and with them checksums, which are
checked first. ``record`` and ``payload_record`` make records by docs/format/journal.md, with nothing of the library.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from penstock._engine.intake import LOG, Intake
from penstock._journal.file import JournalFile
from penstock._journal.lane import Lane
from penstock._journal.native import native
from penstock._journal.ring import Ring
from penstock.track import Track
from tests.unit.journal.rings import HEADER

CORES = ("c", "python")
NEEDS_C = pytest.mark.skipif(
    native is None, reason="the C core is not there: not built, or PENSTOCK_CORE=python; the Python reference serves"
)
CODES = {float: (1, "<d"), int: (2, "<q"), bool: (3, "<Q"), type(None): (4, "<Q")}
_PLACES = ("penstock._journal.ring", "penstock._journal.lane", "penstock._engine.writer", "penstock.track")


@contextmanager
def core(name: str) -> Iterator[None]:
    """Make rings, lanes, writers and tracks of this core inside the block. What was made keeps its core."""
    with pytest.MonkeyPatch.context() as patch:
        for place in _PLACES:
            patch.setattr(f"{place}.native", native if name == "c" else None)
        yield


class Desk:
    """Everything that an append passes through, made with one core; each call has to be in its ``use`` block."""

    def __init__(self, name: str, ring_bytes: int = 8192, on_full: str = "drop") -> None:
        self.core = name
        with core(name):
            self.journal = JournalFile.in_memory(HEADER._replace(ring_bytes=ring_bytes), 4096)
            self.intake = Intake(lambda room: Ring(self.journal, room), self.journal, on_full, self)
        self.tracks: dict[str, Track] = {}

    @property
    def ring(self) -> Ring:
        return self.intake.ring

    def append(self, name: str, *values: Any, **fields: Any) -> None:
        with core(self.core):
            self.track(name).append(*values, **fields)

    def track(self, name: str) -> Track:
        return self.tracks.setdefault(name, Track(self, name))  # type: ignore[arg-type]

    def log(self, message: str, metadata: dict[str, Any] | None = None) -> None:
        with core(self.core):
            self.intake.put_log(self.lane(LOG), "info", message, metadata)

    def books(self) -> tuple[int, dict[str, int]]:
        return self.intake.accepted, self.intake.drops

    # -- what a track asks of its session, and an intake of its engine

    def _engine_for(self, _track: Track) -> Desk:
        return self

    def lane(self, name: str) -> Lane:
        return self.intake.lane(name, lambda: 0)

    def wake(self) -> None:
        pass

    def stalled(self) -> bool:
        return False

    def drain_here(self) -> bool:
        raise AssertionError("a full ring must drop")

    def in_writer(self) -> bool:
        return False

    def revive(self) -> None:
        raise AssertionError("nobody forked")

    def degrade(self, error: OSError) -> None:
        raise error


def starts(data: bytes) -> list[int]:
    """Where the records begin."""
    found = []
    at = 0
    while at < len(data):
        found.append(at)
        (size,) = struct.unpack_from("<I", data, at)
        assert size % 8 == 0, f"no record at {at}"
        assert 48 <= size <= len(data) - at, f"no record at {at}"
        at += size
    return found


def masked(data: bytes) -> tuple[bytes, list[int]]:
    """Records with their times and checksums zeroed, and the times; every checksum is right."""
    found = bytearray(data)
    times = []
    for at in starts(data):
        end = at + struct.unpack_from("<I", found, at)[0]
        check, done = struct.unpack_from("<II", found, end - 8)
        assert done == 0x454E4F44
        assert check == zlib.crc32(found[at : end - 8])
        times.append(struct.unpack_from("<q", found, at + 32)[0])
        struct.pack_into("<q", found, at + 32, 0)
        struct.pack_into("<I", found, end - 8, 0)
    return bytes(found), times


def facts(desk: Desk, data: bytes) -> list[tuple[Any, ...]]:
    """What the records state, whatever the order of their fields: kind, track, index, and the fields bit by bit."""
    data = masked(data)[0]
    found: list[tuple[Any, ...]] = []
    for at in starts(data):
        _size, kind, count, _mark, track, extra, types, index = struct.unpack_from("<IBBHIIQQ", data, at)
        fields: Any
        if kind == 1:
            names = desk.intake.names_by_id[extra]
            words = struct.unpack_from(f"<{count}Q", data, at + 40)
            fields = {name: (types >> 4 * n & 15, words[n]) for n, name in enumerate(names)}
            assert len(names) == len(fields) == count
        else:
            fields = json.loads(data[at + 40 : at + 40 + extra])
        found.append((kind, desk.intake.tracks[track], index, fields))
    return found


def bits(pattern: int) -> float:
    """The float with these 64 bits."""
    number: float = struct.unpack("<d", struct.pack("<Q", pattern))[0]
    return number


def record(values: list[Any], names: int = 1, index: int = 0, time_ns: int = 0, track: int = 1) -> bytes:
    """A point of numbers."""
    types = sum(CODES[type(value)][0] << 4 * place for place, value in enumerate(values))
    body = struct.pack("<BBHIIQQq", 1, len(values), 0x5350, track, names, types, index, time_ns)
    body += b"".join(struct.pack(CODES[type(value)][1], 0 if value is None else value) for value in values)
    return sealed(struct.pack("<I", len(body) + 12) + body)


def payload_record(kind: int, payload: bytes, index: int = 0, time_ns: int = 0) -> bytes:
    """A general point or a log line."""
    padded = payload.ljust(-(-len(payload) // 8) * 8, b"\0")
    head = struct.pack("<IBBHIIQQq", 48 + len(padded), kind, 0, 0x5350, 1, len(payload), 0, index, time_ns)
    return sealed(head + padded)


def sealed(body: bytes) -> bytes:
    """With checksum and commit mark."""
    return body + struct.pack("<II", zlib.crc32(body), 0x454E4F44)
