"""docs/format/journal.md against the code, byte by byte: what the page says is built here by hand and read by the
library, and the other way round. Also: what a header must be (part of reliability case 68).
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from pathlib import Path

import pytest

from penstock._journal import drain
from penstock._journal import format as fmt
from penstock.errors import JournalError

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "format" / "journal.md").read_text(encoding="utf-8")
DONE = 0x454E4F44
WRITER = bytes(range(16))
BOOT = bytes(range(100, 116))


def header(**changes: object) -> fmt.Header:
    known = fmt.Header(WRITER, 65536, 4711, 99, 1_700_000_000_000_000_000, BOOT, True, "host")
    return known._replace(**changes)


def by_hand_header() -> bytes:
    """The static part as the page's table has it."""
    raw = bytearray(148)
    raw[0:8] = b"PENSTOCK"
    raw[8:12] = (1).to_bytes(4, "little")
    raw[12:16] = (4096).to_bytes(4, "little")
    raw[16:32] = WRITER
    raw[32:40] = (65536).to_bytes(8, "little")
    raw[40:48] = (4711).to_bytes(8, "little")
    raw[48:56] = (99).to_bytes(8, "little")
    raw[56:64] = (1_700_000_000_000_000_000).to_bytes(8, "little", signed=True)
    raw[64:80] = BOOT
    raw[80:84] = (1).to_bytes(4, "little")
    raw[84:88] = b"host"
    return bytes(raw) + zlib.crc32(raw).to_bytes(4, "little")


def by_hand_point(track: int, names: int, index: int, at_ns: int, fields: list[tuple[int, bytes]]) -> bytes:
    """A point of numbers as the page's table has it; a field is a type code and 8 bytes."""
    size = 40 + 8 * len(fields) + 8
    types = sum(code << (4 * place) for place, (code, _raw) in enumerate(fields))
    raw = size.to_bytes(4, "little") + bytes([1, len(fields)]) + (0x5350).to_bytes(2, "little")
    raw += track.to_bytes(4, "little") + names.to_bytes(4, "little") + types.to_bytes(8, "little")
    raw += index.to_bytes(8, "little") + at_ns.to_bytes(8, "little", signed=True)
    raw += b"".join(value for _code, value in fields)
    return raw + zlib.crc32(raw).to_bytes(4, "little") + DONE.to_bytes(4, "little")


def by_hand_payload(kind: int, track: int, index: int, at_ns: int, payload: bytes) -> bytes:
    padded = payload + bytes(-len(payload) % 8)
    raw = (48 + len(padded)).to_bytes(4, "little") + bytes([kind, 0]) + (0x5350).to_bytes(2, "little")
    raw += track.to_bytes(4, "little") + len(payload).to_bytes(4, "little") + bytes(8)
    raw += index.to_bytes(8, "little") + at_ns.to_bytes(8, "little", signed=True) + padded
    return raw + zlib.crc32(raw).to_bytes(4, "little") + DONE.to_bytes(4, "little")


def by_hand_definition(kind: int, number: int, payload: bytes) -> bytes:
    padded = payload + bytes(-len(payload) % 8)
    raw = (24 + len(padded)).to_bytes(4, "little") + bytes([kind, 0, 0, 0])
    raw += number.to_bytes(4, "little") + len(payload).to_bytes(4, "little") + padded
    return raw + zlib.crc32(raw).to_bytes(4, "little") + DONE.to_bytes(4, "little")


POINT = [
    (1, struct.pack("<d", -0.0)), (2, struct.pack("<q", -(2**63))), (3, struct.pack("<Q", 1)), (4, bytes(8)),
]  # fmt: skip


def test_a_header_is_what_the_page_says() -> None:
    assert fmt.pack_header(header()) == by_hand_header()
    hints = bytearray(by_hand_header().ljust(4096, b"\0"))
    struct.pack_into("<Q", hints, 256, 7)
    struct.pack_into("<Q", hints, 320, 6)
    struct.pack_into("<q", hints, 384, -5)
    struct.pack_into("<Q", hints, 448, 4)
    read = fmt.parse_header(bytes(hints), Path("x"))
    assert read == header(head=7, tail=6, heartbeat_ns=-5, dropped=4)


def test_a_long_host_name_is_cut_to_64_bytes() -> None:
    packed = fmt.pack_header(header(host="ä" * 100))
    read = fmt.parse_header(packed.ljust(4096, b"\0"), Path("x"))
    assert read.host == "ä" * 32


def test_the_offsets_of_the_pages_tables_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| [^|]* \| (\w+)", PAGE, re.MULTILINE))
    assert fmt.HEADER_BYTES == 4096
    assert rows[str(fmt.OFFSET_HEADER_CRC)] == "CRC"
    assert rows[str(fmt.OFFSET_HEAD)] == "head"
    assert rows[str(fmt.OFFSET_TAIL)] == "tail"
    assert rows[str(fmt.OFFSET_HEARTBEAT)] == "heartbeat"
    assert rows[str(fmt.OFFSET_DROPPED)] == "points"
    for number, name in ((fmt.MARK, "0x5350"), (fmt.DONE, "0x454E4F44")):
        assert number == int(name, 16)
        assert name in PAGE
    assert struct.pack("<H", fmt.MARK) == b"PS"
    assert struct.pack("<I", fmt.DONE) == b"DONE"
    assert f"version: {fmt.VERSION}" in PAGE


def test_a_point_built_by_hand_is_the_point_that_the_code_packs() -> None:
    layout = fmt.layout_of(9, tuple(code for code, _raw in POINT))
    body = layout.body.pack(2**64 - 1, -1, -0.0, -(2**63), True, 0)
    packed = bytearray(layout.size)
    prefix = layout.prefix(3)
    layout.store.pack_into(packed, 0, prefix, body, zlib.crc32(prefix + body), fmt.DONE)
    assert bytes(packed) == by_hand_point(3, 9, 2**64 - 1, -1, POINT)


def test_a_point_built_by_hand_is_read_as_it_was_built() -> None:
    raw = by_hand_point(3, 9, 5, 12345, POINT)
    assert len(raw) == 80
    assert fmt.valid_size(raw, 0, len(raw)) == 80
    used, (block,) = drain.decode(raw)
    assert used == 80
    assert (block.kind, block.track, block.names, block.indices, block.times) == (1, 3, 9, [5], [12345])
    (zero,), (low,), (true,), (none,) = block.columns
    assert str(zero) == "-0.0"
    assert (low, true, none) == (-(2**63), True, None)
    assert type(true) is bool


def test_a_two_field_point_is_one_cache_line() -> None:
    assert fmt.layout_of(1, (1, 2)).size == 64 == len(by_hand_point(1, 1, 0, 0, POINT[:2]))


@pytest.mark.parametrize("payload", [b"", b"1234567", b"12345678", b'{"a":"\xc3\xa4"}'])
@pytest.mark.parametrize("kind", [2, 3])
def test_a_payload_record_built_by_hand_is_the_record_that_the_code_packs(kind: int, payload: bytes) -> None:
    raw = by_hand_payload(kind, 0 if kind == 3 else 8, 4, 77, payload)
    assert fmt.pack_payload_record(kind, 0 if kind == 3 else 8, 4, 77, payload) == raw
    assert fmt.payload_record_bytes(payload) == len(raw)
    assert fmt.valid_size(raw, 0, len(raw)) == len(raw)
    _used, (block,) = drain.decode(raw)
    assert (block.kind, block.indices, block.times, block.columns) == (kind, [4], [77], [[payload]])


def test_definitions_built_by_hand_are_the_definitions_that_the_code_packs() -> None:
    names = json.dumps(["value", 'épo"ch'], ensure_ascii=False, separators=(",", ":")).encode()
    region = by_hand_definition(16, 1, by_hand_header())
    region += by_hand_definition(17, 1, "train/löss".encode()) + by_hand_definition(18, 1, names)
    built = fmt.pack_definition(fmt.KIND_IDENTITY, 1, fmt.pack_header(header()))
    built += fmt.pack_definition(fmt.KIND_TRACK, 1, fmt.track_payload("train/löss"))
    built += fmt.pack_definition(fmt.KIND_NAMES, 1, fmt.names_payload(("value", 'épo"ch')))
    assert built == region
    read = fmt.parse_definitions(region.ljust(4096, b"\0"))
    assert read == ({1: "train/löss"}, {1: ("value", 'épo"ch')}, header())


@pytest.mark.parametrize("at", range(80))
def test_a_record_with_any_byte_changed_is_not_valid(at: int) -> None:
    raw = bytearray(by_hand_point(3, 9, 5, 12345, POINT))
    raw[at] ^= 0x10
    assert fmt.valid_size(raw, 0, len(raw)) == 0


def test_a_record_that_would_reach_over_the_end_is_not_valid() -> None:
    raw = by_hand_point(3, 9, 5, 12345, POINT)
    assert fmt.valid_size(raw + raw, 0, len(raw) - 8) == 0
    assert fmt.valid_size(raw, 8, len(raw)) == 0


def test_what_is_no_journal_says_what_it_is() -> None:
    with pytest.raises(JournalError, match="at least 4096"):
        fmt.parse_header(by_hand_header(), Path("short"))
    with pytest.raises(JournalError, match=r"starts with b'NOTHING!'"):
        fmt.parse_header(b"NOTHING!".ljust(4096), Path("other"))
    other = bytearray(by_hand_header().ljust(4096, b"\0"))
    other[8] = 2
    with pytest.raises(JournalError, match=r"of version 2; this penstock reads version 1") as caught:
        fmt.parse_header(bytes(other), Path("newer"))
    assert caught.value.path == Path("newer")


def test_an_identity_of_another_version_is_none_of_ours() -> None:
    other = bytearray(by_hand_header()[:148])
    other[8] = 2
    assert fmt.parse_identity(bytes(other) + struct.pack("<I", zlib.crc32(other))) is None
    assert fmt.parse_identity(by_hand_header()) == header()
