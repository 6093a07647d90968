"""The C core's JSON lines (reliability.md case 61): byte for byte what msgspec encodes for the same record, for every
float, int, name and time. Records are made with ``struct``, so that nothing of the library is on both sides.
"""

from __future__ import annotations

import random
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock._codec.lines import LineEncoder
from penstock._journal import drain
from penstock._journal.native import native
from tests.unit.journal.cores import NEEDS_C, Desk, bits, payload_record, record

pytestmark = NEEDS_C
TEXTS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def line(data: bytes, names: tuple[str, ...] = ("value",)) -> bytes:
    """The lines of these records, all of one track."""
    drainer = native.Drainer()
    drainer.define(1, tuple(msgspec.json.encode(name) for name in names))
    at, damaged, missing, rows = drainer.drain(data, 0, len(data))
    assert (at, damaged, missing) == (len(data), False, 0)
    ((_track, written, written_bytes, _points, lines, error),) = rows
    assert (written, written_bytes, error) == (0, 0, 0)
    assert isinstance(lines, bytes)
    return lines


def clock_text(time_ns: int) -> str:
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_ns // 1000)
    except OverflowError:
        return "0001-01-01T00:00:00.000000Z" if time_ns < 0 else "9999-12-31T23:59:59.999999Z"
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def wanted(fields: dict[str, Any], index: int = 0, time_ns: int = 0) -> bytes:
    data = {name: TEXTS.get(str(value), value) if type(value) is float else value for name, value in fields.items()}
    return msgspec.json.encode({"index": index, "data": data, "createdAt": clock_text(time_ns)}) + b"\n"


FLOATS = st.one_of(
    st.integers(0, 2**64 - 1).map(bits),
    st.floats(),
    st.decimals(allow_nan=False, allow_infinity=False, places=4).map(float),
    st.integers(-(10**17), 10**17).map(float),
    st.tuples(st.integers(1, 10**17), st.integers(-25, 25)).map(lambda pair: float(f"{pair[0]}e{pair[1]}")),
)


@given(st.lists(FLOATS, min_size=1, max_size=16))
@settings(max_examples=1500)
@example([-0.0, 0.0, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308])
def test_floats_are_written_as_msgspec_writes_them(values: list[float]) -> None:
    names = tuple(f"f{place}" for place in range(len(values)))
    assert line(record(values), names) == wanted(dict(zip(names, values, strict=True)))


def test_floats_around_every_border_of_the_layout_are_written_as_msgspec_writes_them() -> None:
    """All powers of ten and two with their neighbours, 1e-5 and 1e16 among them, where exponents begin."""
    borders = [10.0**power for power in range(-323, 309)] + [2.0**power for power in range(-1074, 1024)]
    borders += [float(f"{digits}e{power}") for digits in (1.5, 9.999, 123456789, 0.1) for power in range(-20, 20)]
    near = [struct.unpack("<Q", struct.pack("<d", border))[0] for border in borders]
    values = [sign * bits(pattern + step) for pattern in near for step in (-2, -1, 0, 1, 2) if pattern + step >= 0
              for sign in (1, -1)]  # fmt: skip
    data = b"".join(record([value], index=place) for place, value in enumerate(values))
    assert line(data) == b"".join(wanted({"value": value}, place) for place, value in enumerate(values))


@pytest.mark.long
def test_a_million_random_floats_are_written_as_msgspec_writes_them() -> None:
    rng = random.Random(3)
    for _ in range(100):
        values = [bits(rng.getrandbits(64)) for _ in range(5000)]
        values += [round(rng.uniform(-1e3, 1e3), rng.randrange(12)) * 10.0 ** rng.randrange(-12, 22) for _ in values]
        data = b"".join(record([value], index=place) for place, value in enumerate(values))
        assert line(data) == b"".join(wanted({"value": value}, place) for place, value in enumerate(values))


@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none()), min_size=1, max_size=16),
       st.integers(0, 2**64 - 1))  # fmt: skip
@settings(max_examples=300)
@example([-(2**63), 2**63 - 1, 0, -1, True, False, None], 2**64 - 1)
def test_ints_bools_and_none_are_written_as_msgspec_writes_them(values: list[Any], index: int) -> None:
    names = tuple(f"f{place}" for place in range(len(values)))
    assert line(record(values, index=index), names) == wanted(dict(zip(names, values, strict=True)), index)


@given(st.lists(st.text(), min_size=1, max_size=16, unique=True))
@settings(max_examples=300)
@example(['"', "\\", "\0", "\n\t\r\b\f", "\x7f\x80\x1f", "é", "\U0001f600", "</script>", "\u2028", ""])
def test_names_are_written_as_msgspec_writes_them(names: list[str]) -> None:
    assert line(record([1] * len(names)), tuple(names)) == wanted(dict.fromkeys(names, 1))


@given(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-(10**10), 10**10).map(lambda second: second * 10**9)),
       st.integers(-2, 2))  # fmt: skip
@settings(max_examples=1000)
@example(-(2**63), 0)
@example(2**63 - 1, 0)
@example(951_782_400 * 10**9, -1)
@example(0, -1)
def test_times_are_written_as_the_calendar_has_them(time_ns: int, step: int) -> None:
    time_ns = max(-(2**63), min(2**63 - 1, time_ns + step))
    assert line(record([1], time_ns=time_ns)) == wanted({"value": 1}, time_ns=time_ns)


def test_every_day_of_four_centuries_is_written_as_the_calendar_has_it() -> None:
    times = [day * 86_400 * 10**9 - 1 for day in range(-80_000, 80_000, 7)]
    data = b"".join(record([1], time_ns=time_ns) for time_ns in times)
    assert line(data) == b"".join(wanted({"value": 1}, time_ns=time_ns) for time_ns in times)


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.text(), st.floats(allow_nan=False, allow_infinity=False),
                                                      st.lists(st.integers(-5, 5))), max_size=3))  # fmt: skip
@settings(max_examples=100)
def test_general_points_and_log_lines_are_their_payload_in_a_frame(fields: dict[str, Any]) -> None:
    assert line(payload_record(2, msgspec.json.encode(fields), 7, 5000)) == wanted(fields, 7, 5000)
    log = {"level": "info", "message": "text", "metadata": fields}
    encoded = LineEncoder().logs([7], [5000], [msgspec.json.encode(log)])
    assert line(payload_record(3, msgspec.json.encode(log), 7, 5000)) == encoded


VALUES = st.sampled_from([0.5, float("nan"), float("inf"), 1e16, -1, True, None, "text", [1.5], {"a": float("-inf")}])
FIELDS = st.dictionaries(st.sampled_from(["value", "step", 'q"', "é"]), VALUES, min_size=1)


@pytest.mark.parametrize("filled_by", ["c", "python"])
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "log"]), FIELDS), max_size=40), st.integers(1, 3))
@settings(max_examples=60)
def test_a_ring_filled_by_either_core_is_the_same_lines_in_both_drains(
    filled_by: str, points: list[tuple[str, dict[str, Any]]], times: int
) -> None:
    desk = Desk(filled_by, 1 << 16)
    for track, fields in points * times:
        if track == "log":
            desk.log("message", fields)
        else:
            desk.append(track, **fields)
    (_, start), (_, stop) = desk.ring.window()
    data = bytes(desk.journal.ring[:])
    drainer, mine = native.Drainer(), dict[int, bytes]()
    while start < stop:
        start, damaged, missing, rows = drainer.drain(data, start, stop)
        assert not damaged
        for track_id, _written, _bytes, _points, lines, _error in rows:
            mine[track_id] = mine.get(track_id, b"") + lines
        if missing:
            names = desk.intake.names_by_id[missing]
            drainer.define(missing, tuple(msgspec.json.encode(name) for name in names))
    assert mine == reference_lines(desk, data[desk.ring.start : stop])


def reference_lines(desk: Desk, data: bytes) -> dict[int, bytes]:
    encoder, found = LineEncoder(), dict[int, bytes]()
    for block in drain.decode(data)[1]:
        if block.kind == 1:
            lines = encoder.points(desk.intake.names_by_id[block.names], block.indices, block.times, block.columns)
        else:
            lines = (encoder.general if block.kind == 2 else encoder.logs)(block.indices, block.times, block.columns[0])
        found[block.track] = found.get(block.track, b"") + lines
    return found
