"""The ring's arithmetic: wrap, exact fill, full, the largest record, and going on in another journal (reliability
cases 62, 63).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock._journal import format as fmt
from penstock._journal.file import JournalFile
from penstock._journal.lane import DROPPED, Lane
from penstock._journal.ring import Ring
from tests.unit.journal.rings import HEADER, drained, slow_decode, small_ring

LAYOUT = fmt.layout_of(1, (1, 2))  # 64 bytes


def values_of(data: bytes) -> list[Any]:
    return [record.values for record in slow_decode(data)]


def filled(ring: Ring, lane: Lane) -> int:
    count = 0
    while lane.put_numbers(LAYOUT, (float(count), count), 1) != DROPPED:
        count += 1
    return count


def test_the_ring_takes_records_to_its_last_byte() -> None:
    ring = small_ring(8192)
    lane = Lane(ring, 1, "t", 0)
    assert filled(ring, lane) == 8192 // 64
    assert ring.used() == ring.capacity
    assert ring.state[0] == ring.end
    assert values_of(drained(ring)) == [(float(place), place) for place in range(128)]
    assert ring.used() == 0
    assert filled(ring, lane) == 128, "the same after a wrap at the very end"


def test_a_full_ring_that_wrapped_in_the_middle_is_drained_in_order() -> None:
    ring = small_ring(8192)
    lane = Lane(ring, 1, "t", 0)
    for place in range(40):
        lane.put_numbers(LAYOUT, (float(place), place), 1)
    drained(ring)
    assert filled(ring, lane) == 128, "exactly full, its tail and head at the same offset in neighbouring laps"
    window = ring.window()
    assert window.tail[1] == window.head[1]
    assert window.tail[0] + 1 == window.head[0]
    assert len(values_of(drained(ring, most=1000 // 8 * 8))) == 128


@pytest.mark.parametrize("released", range(0, 130, 13))
def test_released_bytes_are_zero_and_the_rest_is_untouched(released: int) -> None:
    ring = small_ring(8192)
    lane = Lane(ring, 1, "t", 0)
    for place in range(100):
        lane.put_numbers(LAYOUT, (float(place), place), 1)
    drained(ring)
    filled(ring, lane)
    position, data = ring.copy(ring.window().tail, ring.window().head, min(released, 28) * 64)
    ring.release((position[0], position[1] + len(data)))
    mapped = ring.state[2]
    records = slow_decode(mapped[ring.window().tail[1] : ring.end])
    assert len(records) == 28 - min(released, 28)
    assert mapped[position[1] : position[1] + len(data)] == bytes(len(data))


def test_the_largest_record_fits_an_empty_ring_wherever_its_head_is() -> None:
    for at in range(0, 8192, 64):
        ring = small_ring(8192)
        lane = Lane(ring, 1, "t", 0)
        for _ in range(at // 64):
            lane.put_numbers(LAYOUT, (0.0, 0), 1)
        drained(ring)
        payload = bytes(ring.record_max - 48)
        assert fmt.payload_record_bytes(payload) == ring.record_max
        index = lane.put_payload(2, payload, 1)
        assert index == at // 64
        assert values_of(drained(ring)) == [(payload,)]


def test_the_limit_moves_on_by_quarters_so_that_the_writer_is_woken() -> None:
    asked: list[int] = []

    def room(size: int) -> bool:
        asked.append(ring.state[0] - ring.start)
        return ring.extend(size)

    ring = small_ring(8192, room)
    filled(ring, Lane(ring, 1, "t", 0))
    assert asked == [0, 2048, 4096, 6144, 8192]


def test_a_stopped_ring_sends_every_append_to_room_and_keeps_what_it_has() -> None:
    asked: list[int] = []
    ring = small_ring(8192, lambda size: (asked.append(size), ring.extend(size))[1] if not ring.stopped else False)
    lane = Lane(ring, 1, "t", 0)
    lane.put_numbers(LAYOUT, (1.0, 1), 1)
    ring.stop()
    assert lane.put_numbers(LAYOUT, (2.0, 2), 1) == DROPPED
    assert not ring.extend(64)
    ring.resume()
    assert lane.put_numbers(LAYOUT, (3.0, 3), 1) == 1
    assert values_of(drained(ring)) == [(1.0, 1), (3.0, 3)]


def test_a_ring_goes_on_in_another_journal_with_everything_it_held() -> None:
    ring = small_ring(8192)
    lane = Lane(ring, 1, "t", 0)
    layout = LAYOUT
    append = lane.compiled(layout, ("value", "step"), (1, 2), lambda _fields: None)
    assert append is not None
    append(value=0.0, step=0)
    old = ring.state[2]
    other = JournalFile.in_memory(HEADER, 4096)
    ring.rebase(other)
    append(value=1.0, step=1)
    assert ring.state[2] is other.ring
    assert values_of(drained(ring)) == [(0.0, 0), (1.0, 1)]
    assert len(slow_decode(old[ring.start : ring.end])) == 1, "nothing is written to the old one any more"


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3000), st.booleans()), max_size=200))
@settings(max_examples=150)
def test_whatever_goes_in_comes_out_once_and_in_order(steps: list[tuple[int, int, bool]]) -> None:
    ring = small_ring(8192)
    lane = Lane(ring, 1, "t", 0)
    inside: list[bytes] = []
    for size, take, drain in steps:
        payload = bytes([size % 251]) * size
        if lane.put_payload(2, payload, 1) != DROPPED:
            inside.append(payload)
        else:
            assert inside, "an empty ring has room for every record"
        assert 0 <= ring.used() <= ring.capacity
        if drain:
            position, head = ring.window()
            start, data = ring.copy(position, head, take)
            whole = slow_decode(data)
            used = sum(-(-len(record.values[0]) // 8) * 8 + 48 for record in whole)
            for record in whole:
                assert record.values[0] == inside.pop(0)
            ring.release((start[0], start[1] + used))
    assert [record.values[0] for record in slow_decode(drained(ring))] == inside


def test_a_record_wraps_only_when_it_ends_before_the_tail() -> None:
    ring = small_ring(8192)
    lane = Lane(ring, 1, "t", 0)
    narrow = fmt.layout_of(2, (1,))  # 56 bytes
    lane.put_numbers(narrow, (0.5,), 1)
    count = filled(ring, lane)
    tail, head = ring.window()
    assert head == (0, ring.start + 56 + 64 * count)
    ring.release((0, tail[1] + 56))
    assert lane.put_numbers(LAYOUT, (1.0, 1), 1) == DROPPED, "64 bytes do not fit where 56 were"
    assert lane.put_numbers(narrow, (1.5,), 1) == count + 1
    assert ring.window().head == (1, ring.start + 56)
    assert values_of(drained(ring)) == [*((float(place), place) for place in range(count)), (1.5,)]
