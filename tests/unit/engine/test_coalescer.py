"""The coalescer's books, and that a write which the disk takes only in part goes on exactly where it stopped
(reliability case 33).
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock._engine.coalescer import Chunk, Coalescer

LINES = [b"0\n", b"1111\n", b"22\n", b"333333\n"]


def fresh(chunk_bytes: int = 20, pending_bytes: int = 100) -> Coalescer:
    return Coalescer(chunk_bytes=chunk_bytes, pending_bytes=pending_bytes, interval_s=1.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 40)), max_size=60))
def test_what_goes_in_comes_out_once_and_in_order_whatever_the_disk_takes(steps: list[tuple[str, int, int]]) -> None:
    waits = fresh()
    put: dict[str, bytes] = {}
    disk: dict[str, bytes] = {}
    added = written = 0
    for name, number, takes in steps:
        put[name] = put.get(name, b"") + LINES[number]
        waits.add(name, LINES[number], 1, 0.0)
        added += 1
        piece = waits.chunks[name].take()
        took = min(takes, len(piece))
        disk[name] = disk.get(name, b"") + piece[:took]
        written += waits.written(name, took) if took else 0
        assert waits.bytes == sum(len(put[key]) - len(disk[key]) for key in put)
        assert waits.points == added - written
        assert written == sum(raw.count(b"\n") for raw in disk.values())
    for name, chunk in waits.waiting():
        disk[name] += chunk.take()
        written += waits.written(name, chunk.size)
    assert disk == put
    assert (waits.bytes, waits.points, written, waits.chunks) == (0, 0, added, {})
    assert not waits.due(1e9)


def test_a_chunk_counts_a_point_only_when_its_newline_is_written() -> None:
    chunk = Chunk()
    chunk.parts, chunk.points, chunk.size = [b"one\n", b"two\n"], 2, 8
    assert chunk.written(3) == 0
    assert chunk.written(1) == 1
    assert chunk.take() == b"two\n"
    assert chunk.written(4) == 1
    assert chunk.take() == b""


def test_lines_are_due_by_age_and_a_track_is_full_by_size() -> None:
    waits = fresh()
    assert not waits.add("a", b"x\n", 1, 5.0)
    assert not waits.due(5.9)
    assert waits.due(6.0)
    assert waits.add("a", b"y" * 18 + b"\n", 1, 5.5)
    waits.written("a", 21)
    assert not waits.due(100.0)
    assert not waits.add("a", b"z\n", 1, 50.0)
    assert not waits.due(50.5), "the age counts from the oldest line that waits"
