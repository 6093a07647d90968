"""Reliability case 37: a line file cut off at every byte offset gives its longest whole part, never raises, and is
mended so that the next line stands by itself. The expectation is computed with the stdlib json module.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock._codec.lines import LOG_KEY, POINT_KEY, parse_point
from penstock._store import linefile

LINES = [
    {"index": 0, "data": {"value": 0.5}, "createdAt": "2026-03-01T12:00:00.000000Z"},
    {"index": 1, "data": {"text": 'ä\n"}{', "none": None}, "createdAt": "2026-03-01T12:00:00.000001Z"},
    {
        "index": 2,
        "data": {"value": "NaN", "deep": {"a": [1, {"index": 99}]}},
        "createdAt": "2026-03-01T12:00:00.000002Z",
    },
    {"index": 3, "data": {"value": -1e-320}, "createdAt": "2026-03-01T12:00:00.000003Z"},
]
RAW = [json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() for line in LINES]
WHOLE = b"".join(line + b"\n" for line in RAW)


def longest(cut: bytes) -> tuple[int, bytes]:
    """Index of the last line that is whole (its newline may be missing), and the bytes up to and with it."""
    last, kept, at = -1, b"", 0
    for number, line in enumerate(RAW):
        at += len(line)
        if len(cut) >= at:
            last, kept = number, WHOLE[: at + 1]
        at += 1
    return last, kept


@pytest.mark.parametrize("block", [7, 64, 1 << 16])
def test_a_file_cut_at_every_byte_keeps_its_longest_whole_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr("penstock.limits.TAIL_BYTES", block)
    path = tmp_path / "data.jsonl"
    for size in range(len(WHOLE) + 1):
        path.write_bytes(WHOLE[:size])
        last, kept = longest(WHOLE[:size])
        read = [parse_point(line) for line in linefile.read_lines(path)]
        assert [point.index for point in read if point] == list(range(last + 1)), size
        assert path.read_bytes() == WHOLE[:size], "reading changes nothing"
        assert linefile.repair(path, POINT_KEY) == last, size
        assert path.read_bytes() == kept, size
        assert linefile.repair(path, POINT_KEY) == last, "mending twice changes nothing"
        assert path.read_bytes() == kept, size
        assert linefile.count_lines(path, len(kept)) == last + 1


def test_a_long_file_cut_in_its_last_lines_is_mended_without_reading_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.jsonl"
    lines = b"".join(b'{"index":%d,"data":{"v":%d},"createdAt":""}\n' % (n, n) for n in range(50_000))
    path.write_bytes(lines + b'{"index":50000,"da')
    read = 0
    pread = __import__("os").pread

    def counting(fd: int, size: int, at: int) -> bytes:
        nonlocal read
        read += size
        return bytes(pread(fd, size, at))

    monkeypatch.setattr("os.pread", counting)
    assert linefile.repair(path, POINT_KEY) == 49_999
    assert path.read_bytes() == lines
    assert read <= 2 * (64 << 10)


def test_lines_longer_than_every_block_are_found(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    big = json.dumps({"index": 7, "data": {"text": "x" * 1_000_000}, "createdAt": ""}).encode()
    path.write_bytes(RAW[0] + b"\n" + big + b"\n")
    assert linefile.tail(path, POINT_KEY).last == 7
    path.write_bytes(RAW[0] + b"\n" + big + b"\n" + big[:-1])
    assert linefile.repair(path, POINT_KEY) == 7
    assert path.read_bytes() == RAW[0] + b"\n" + big + b"\n"
    path.write_bytes(big[:-1])
    assert linefile.repair(path, POINT_KEY) == -1
    assert path.read_bytes() == b""


def test_whole_lines_that_do_not_parse_are_passed_over_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    raw = RAW[0] + b"\n" + b"garbage\n\xff\xfe\n\n[1,2]\n"
    path.write_bytes(raw)
    assert linefile.repair(path, POINT_KEY) == 0
    assert path.read_bytes() == raw


@pytest.mark.parametrize("index", ["-1", "-9223372036854775808", str(2**64 - 1), str(2**80), "1.5", '"3"', "null"])
def test_a_foreign_index_that_no_counter_holds_is_none(tmp_path: Path, index: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(RAW[0] + b"\n" + b'{"index":%s,"data":{},"createdAt":""}\n' % index.encode())
    assert linefile.tail(path, POINT_KEY).last == 0


def test_log_lines_are_mended_by_their_own_key(tmp_path: Path) -> None:
    path = tmp_path / "logs.jsonl"
    line = b'{"sequenceNumber":41,"timestamp":"","level":"info","message":"m"}'
    path.write_bytes(line + b"\n" + line[:-5])
    assert linefile.repair(path, LOG_KEY) == 41
    assert path.read_bytes() == line + b"\n"


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "none" / "data.jsonl"
    assert linefile.repair(path, POINT_KEY) == -1
    assert list(linefile.read_lines(path)) == []
    assert linefile.last_lines(path) == []
    assert linefile.count_lines(path, 100) == 0
    assert not path.parent.exists()


def test_a_missing_file_is_empty_also_without_a_free_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there.jsonl").touch()

    def fail(*_args: object, **_more: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("os.open", fail)
    assert linefile.tail(tmp_path / "data.jsonl", POINT_KEY).last == -1
    with pytest.raises(OSError, match="Too many"):
        linefile.tail(tmp_path / "there.jsonl", POINT_KEY)
