"""``drain.decode`` against a decoder that is slow and obvious, over generated records (reliability case 37, 38: what
is read back is what was put, in each track's order), and ``valid_spans`` over damaged bytes.
"""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock._journal import drain
from penstock._journal import format as fmt
from penstock._journal.lane import DROPPED, Lane
from tests.unit.journal.rings import Record, drained, slow_decode, small_ring

VALUES = {
    1: st.floats(allow_nan=False, width=64),
    2: st.integers(-(2**63), 2**63 - 1),
    3: st.booleans(),
    4: st.none(),
}
CODES = st.lists(st.integers(1, 4), min_size=1, max_size=16).map(tuple)
SHAPES = st.one_of(st.sampled_from([(1,), (1, 2), (2, 1), (1, 1)]), CODES)  # few shapes, so that runs are long


@st.composite
def shaped(draw: st.DrawFn) -> tuple[int, tuple[int, ...], tuple[Any, ...], int]:
    codes = draw(SHAPES)
    values = tuple(draw(VALUES[code]) for code in codes)
    return draw(st.integers(1, 3)), codes, values, draw(st.integers(1, 2))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("point"), shaped(), st.integers(1, 12)),
        st.tuples(st.sampled_from(["general", "log"]), st.binary(max_size=60), st.integers(1, 3)),
        st.tuples(st.just("drain"), st.integers(64, 4096), st.just(1)),
    ),
    max_size=60,
)


def records_of(blocks: list[drain.Block]) -> list[Record]:
    found = []
    for block in blocks:
        rows = zip(*block.columns, strict=True)
        for index, time, values in zip(block.indices, block.times, rows, strict=True):
            found.append(Record(block.kind, block.track, block.names, index, time, values))
    return found


def per_track(records: list[Record]) -> dict[tuple[int, int], list[Record]]:
    tracks: dict[tuple[int, int], list[Record]] = {}
    for record in records:
        tracks.setdefault((record.track, record.kind == fmt.KIND_LOG), []).append(record)
    return tracks


def exactly(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((type(value), struct.pack("<d", value) if type(value) is float else value) for value in values)


@given(STEPS)
@settings(max_examples=150)
def test_what_was_put_is_read_back_over_any_number_of_laps(steps: list[tuple[str, Any, int]]) -> None:
    ring = small_ring()
    lanes = {track: Lane(ring, track, str(track), 0) for track in range(4)}
    put: list[Record] = []
    data = b""
    time = 0
    for what, detail, repeat in steps:
        if what == "drain":
            data += drained(ring, detail)
            continue
        for _ in range(repeat):
            time += 1
            if what == "point":
                track, codes, values, names = detail
                index = lanes[track].put_numbers(fmt.layout_of(names, codes), values, time)
                record = Record(1, track, names, index, time, values)
            else:
                kind, track = (2, 1) if what == "general" else (3, 0)
                index = lanes[track].put_payload(kind, detail, time)
                record = Record(kind, track, 0, index, time, (detail,))
            if index == DROPPED:
                data += drained(ring)
            else:
                put.append(record)
    data += drained(ring)
    assert [record._replace(values=exactly(record.values)) for record in slow_decode(data)] == [
        record._replace(values=exactly(record.values)) for record in put
    ]
    used, blocks = drain.decode(data)
    assert used == len(data)
    fast = {
        key: [r._replace(values=exactly(r.values)) for r in rs] for key, rs in per_track(records_of(blocks)).items()
    }
    slow = {key: [r._replace(values=exactly(r.values)) for r in rs] for key, rs in per_track(slow_decode(data)).items()}
    assert fast == slow


@given(STEPS, st.integers(0, 4096))
@settings(max_examples=60)
def test_bytes_that_end_in_the_middle_of_a_record_give_the_whole_ones(
    steps: list[tuple[str, Any, int]], cut: int
) -> None:
    data = _raw(steps)
    used, blocks = drain.decode(data[:cut])
    whole = slow_decode(data[:cut])
    assert used == sum(_size(record) for record in whole)
    assert len(records_of(blocks)) == len(whole)


def _raw(steps: list[tuple[str, Any, int]]) -> bytes:
    ring = small_ring(65536)
    lanes = {track: Lane(ring, track, str(track), 0) for track in range(4)}
    for what, detail, _repeat in steps:
        if what == "point":
            track, codes, values, names = detail
            lanes[track].put_numbers(fmt.layout_of(names, codes), values, 1)
        elif what != "drain":
            lanes[1].put_payload(2, detail, 1)
    return drained(ring)


def _size(record: Record) -> int:
    if record.kind == 1:
        return 48 + 8 * len(record.values)
    return 48 + -(-len(record.values[0]) // 8) * 8


def test_a_track_whose_field_names_change_keeps_its_order() -> None:
    ring = small_ring()
    one, two = Lane(ring, 1, "one", 0), Lane(ring, 2, "two", 0)
    layouts = [fmt.layout_of(number, (1,)) for number in (1, 2, 3)]
    for place in range(20):  # equal sizes and types throughout: one run for the decoder
        one.put_numbers(layouts[place % 2], (float(place),), place)
        two.put_numbers(layouts[2], (float(-place),), place)
    _used, blocks = drain.decode(drained(ring))
    for track, sign in ((1, 1), (2, -1)):
        mine = [block for block in blocks if block.track == track]
        assert [index for block in mine for index in block.indices] == list(range(20))
        assert [value for block in mine for value in block.columns[0]] == [float(sign * place) for place in range(20)]


@given(STEPS, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 7)), max_size=8), st.integers(0, 64))
@settings(max_examples=150)
def test_of_damaged_bytes_only_whole_records_are_taken_and_only_hit_ones_are_lost(
    steps: list[tuple[str, Any, int]], flips: list[tuple[int, int]], zeros: int
) -> None:
    data = _raw(steps)
    start = 8 * zeros
    raw = bytearray(bytes(start) + data + bytes(256))
    end = len(raw)
    hit = set()
    for place, bit in flips:
        raw[place % end] ^= 1 << bit
        hit.add(place % end)
    damaged = bytes(raw)
    pristine = bytes(start) + data + bytes(256)
    hit = {place for place in hit if damaged[place] != pristine[place]}
    expected = []
    at = start
    for record in slow_decode(data):
        if not any(at <= place < at + _size(record) for place in hit):
            expected.append(record)
        at += _size(record)
    found = [record for span in drain.valid_spans(damaged, 0, end) for record in slow_decode(span)]
    assert [exactly(record.values) for record in found] == [exactly(record.values) for record in expected]
    assert [record[:5] for record in found] == [record[:5] for record in expected]
    for span in drain.valid_spans(damaged, 0, end):
        assert drain.decode(span)[0] == len(span)
