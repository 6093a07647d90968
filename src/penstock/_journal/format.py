"""The journal's bytes: docs/format/journal.md, version 1, in code.

Pure functions over bytes; no file, no clock, no shared state. Whatever reads or writes a journal goes through here, so
that the page, the Python reference and the C core cannot drift apart. Parsing never raises on damaged
records: they are simply not valid.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from penstock.errors import JournalError

MAGIC: Final = b"PENSTOCK"
VERSION: Final = 1
HEADER_BYTES: Final = 4096
PAGE: Final = 4096
OWNER_FLAG: Final = 1

MARK: Final = 0x5350
DONE: Final = 0x454E4F44
KIND_POINT: Final = 1
KIND_GENERAL: Final = 2
KIND_LOG: Final = 3
KIND_IDENTITY: Final = 16
KIND_TRACK: Final = 17
KIND_NAMES: Final = 18

FLOAT: Final = 1
INT: Final = 2
BOOL: Final = 3
NONE: Final = 4
TYPE_CODES: Final = {float: FLOAT, int: INT, bool: BOOL, type(None): NONE}
STRUCT_CODES: Final = {FLOAT: "d", INT: "q", BOOL: "Q", NONE: "Q"}

PREFIX_BYTES: Final = 24  # size, kind, n, mark, track, names or payload bytes, types: constant for one layout and track
FIXED_BYTES: Final = 40  # prefix, index, time
COMMIT_BYTES: Final = 8
POINT_MIN_BYTES: Final = FIXED_BYTES + 8 + COMMIT_BYTES

PREFIX: Final = struct.Struct("<IBBHIIQ")
RECORD_HEAD: Final = struct.Struct("<IBBHIIQQq")
COMMIT: Final = struct.Struct("<II")
DEFINITION: Final = struct.Struct("<IB3xII")
STATIC_HEADER: Final = struct.Struct("<8sII16sQQQq16sI64s")
U32: Final = struct.Struct("<I")
U64: Final = struct.Struct("<Q")
I64: Final = struct.Struct("<q")

OFFSET_HEADER_CRC: Final = STATIC_HEADER.size
OFFSET_HEAD: Final = 256
OFFSET_TAIL: Final = 320
OFFSET_HEARTBEAT: Final = 384
OFFSET_DROPPED: Final = 448
MEMORY_PATH: Final = Path("<memory>")


class Header(NamedTuple):
    """What a journal says about its writer. ``start_ticks`` and ``boot`` are 0 and zeros where unknown."""

    writer: bytes
    ring_bytes: int
    pid: int
    start_ticks: int
    created_ns: int
    boot: bytes
    owner: bool
    host: str
    head: int = 0
    tail: int = 0
    heartbeat_ns: int = 0
    dropped: int = 0


def pack_header(header: Header) -> bytes:
    """The static part of a header with its checksum; the hints behind it start as zeros."""
    host = header.host.encode("utf-8", "replace")[:64]
    flags = OWNER_FLAG if header.owner else 0
    static = STATIC_HEADER.pack(
        MAGIC, VERSION, HEADER_BYTES, header.writer, header.ring_bytes, header.pid, header.start_ticks,
        header.created_ns, header.boot, flags, host,
    )  # fmt: skip
    return static + U32.pack(crc32(static))


def parse_header(data: bytes, path: Path) -> Header:
    """Parse the first 4,096 bytes of a journal. Raises JournalError when it is none, of another version, or damaged."""
    if len(data) < HEADER_BYTES:
        raise JournalError(path, f"it has {len(data)} bytes; a journal has at least {HEADER_BYTES}")
    magic, version = data[:8], U32.unpack_from(data, 8)[0]
    if magic != MAGIC:
        raise JournalError(path, f"it starts with {magic!r}; a journal starts with {MAGIC!r}")
    if version != VERSION:
        raise JournalError(
            path, f"it is of version {version}; this penstock reads version {VERSION}. Use the penstock that wrote it"
        )
    header = parse_identity(data[: OFFSET_HEADER_CRC + U32.size])
    if header is None:
        raise JournalError(path, "its header is damaged (the checksum is wrong)")
    return header._replace(
        head=U64.unpack_from(data, OFFSET_HEAD)[0], tail=U64.unpack_from(data, OFFSET_TAIL)[0],
        heartbeat_ns=I64.unpack_from(data, OFFSET_HEARTBEAT)[0], dropped=U64.unpack_from(data, OFFSET_DROPPED)[0],
    )  # fmt: skip


def parse_identity(static: bytes) -> Header | None:
    """The static part of a header with its checksum, or None when it is damaged. The hints are left at 0."""
    if len(static) != OFFSET_HEADER_CRC + U32.size or U32.unpack_from(static, OFFSET_HEADER_CRC)[0] != crc32(
        static[:OFFSET_HEADER_CRC]
    ):
        return None
    magic, version, _size, writer, ring_bytes, pid, ticks, created, boot, flags, host = STATIC_HEADER.unpack_from(
        static
    )
    if magic != MAGIC or version != VERSION:
        return None
    name = host.rstrip(b"\0").decode("utf-8", "replace")
    return Header(writer, ring_bytes, pid, ticks, created, boot, bool(flags & OWNER_FLAG), name)


class Layout(NamedTuple):
    """How points with these field names and types lie in the ring; shared by all tracks."""

    names: int
    types: int
    width: int  # how many values
    size: int
    body: struct.Struct  # index, time, values
    store: struct.Struct  # prefix, body, checksum, commit mark

    def prefix(self, track: int) -> bytes:
        return PREFIX.pack(self.size, KIND_POINT, self.width, MARK, track, self.names, self.types)


def layout_of(names: int, codes: tuple[int, ...]) -> Layout:
    """The layout of points whose field names have the id ``names`` and whose values have these type codes."""
    types = 0
    for place, code in enumerate(codes):
        types |= code << (4 * place)
    body = struct.Struct("<Qq" + "".join(STRUCT_CODES[code] for code in codes))
    size = PREFIX_BYTES + body.size + COMMIT_BYTES
    return Layout(names, types, len(codes), size, body, struct.Struct(f"<{PREFIX_BYTES}s{body.size}sII"))


def pack_payload_record(kind: int, track: int, index: int, time_ns: int, payload: bytes) -> bytes:
    """A whole general point or log line, checksum and commit mark included."""
    padded = -(-len(payload) // 8) * 8
    size = FIXED_BYTES + padded + COMMIT_BYTES
    record = RECORD_HEAD.pack(size, kind, 0, MARK, track, len(payload), 0, index, time_ns)
    record += payload.ljust(padded, b"\0")
    return record + COMMIT.pack(crc32(record), DONE)


def payload_record_bytes(payload: bytes) -> int:
    return FIXED_BYTES + -(-len(payload) // 8) * 8 + COMMIT_BYTES


@lru_cache(maxsize=1024)
def store_of(size: int) -> Callable[[mmap.mmap, int, bytes], None]:
    """A function that stores ``size`` bytes by one call. Storing to a slice would make a slice object first, and
    CPython 3.11 may collect garbage then, that is, run a ``__del__`` in the middle of an indivisible step."""
    store: Callable[[mmap.mmap, int, bytes], None] = struct.Struct(f"<{size}s").pack_into
    return store


def valid_size(data: bytes | memoryview, at: int, end: int) -> int:
    """Size of the valid record that starts at ``at`` and ends at or before ``end``, or 0 when there is none."""
    if end - at < FIXED_BYTES + COMMIT_BYTES:
        return 0
    size, kind, count, mark, _track, extra, _types, _index, _time = RECORD_HEAD.unpack_from(data, at)
    if mark != MARK or size % 8 or size > end - at or size < FIXED_BYTES + COMMIT_BYTES:
        return 0
    if kind == KIND_POINT:
        if not count or size != FIXED_BYTES + 8 * count + COMMIT_BYTES:
            return 0
    elif kind not in {KIND_GENERAL, KIND_LOG} or size != FIXED_BYTES + -(-extra // 8) * 8 + COMMIT_BYTES:
        return 0
    check, done = COMMIT.unpack_from(data, at + size - COMMIT_BYTES)
    if done != DONE or check != crc32(data[at : at + size - COMMIT_BYTES]):
        return 0
    return int(size)


def pack_definition(kind: int, number: int, payload: bytes) -> bytes:
    """A whole definition (track or field names)."""
    padded = -(-len(payload) // 8) * 8
    size = DEFINITION.size + padded + COMMIT_BYTES
    record = DEFINITION.pack(size, kind, number, len(payload)) + payload.ljust(padded, b"\0")
    return record + COMMIT.pack(crc32(record), DONE)


class Definitions(NamedTuple):
    """The names that a journal's records refer to by number, and the copy of the header's static part."""

    tracks: dict[int, str]
    names: dict[int, tuple[str, ...]]
    identity: Header | None = None


_SOMETHING: Final = re.compile(rb"[^\0]")


def skip_zeros(data: bytes, at: int) -> int:
    """The first multiple of 8 at or after ``at`` whose 8 bytes are not all zero; ``len(data)`` when there is none."""
    found = _SOMETHING.search(data, at)
    return found.start() & ~7 if found else len(data)


def parse_definitions(region: bytes) -> Definitions:
    """Read a definitions region; damaged entries are skipped, so their records count as lost, never as wrong."""
    found = Definitions({}, {})
    least = DEFINITION.size + COMMIT_BYTES
    at = skip_zeros(region, 0)
    while at + least <= len(region):
        size, kind, number, length = DEFINITION.unpack_from(region, at)
        if size < least or size % 8 or at + size > len(region) or length > size - least:
            at = skip_zeros(region, at + 8)
            continue
        check, done = COMMIT.unpack_from(region, at + size - COMMIT_BYTES)
        if done != DONE or check != crc32(region[at : at + size - COMMIT_BYTES]):
            at += 8
            continue
        payload = region[at + DEFINITION.size : at + DEFINITION.size + length]
        if kind == KIND_TRACK:
            found.tracks[number] = payload.decode()
        elif kind == KIND_NAMES:
            found.names[number] = tuple(msgspec.json.decode(payload, type=list[str]))
        elif kind == KIND_IDENTITY:
            found = found._replace(identity=parse_identity(payload))
        at += size
    return found


def names_payload(names: tuple[str, ...]) -> bytes:
    return msgspec.json.encode(names)


def track_payload(name: str) -> bytes:
    return name.encode()
