"""The C core against the Python reference, append by append (reliability.md cases 61, 62).

The same calls, of any values, names and tracks, leave the same bytes in the ring and raise the same errors. Times are
masked; checksums are checked against zlib.
"""

from __future__ import annotations

import enum
import struct
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.journal.cores import CORES, NEEDS_C, Desk, bits, core, facts, masked, starts
from tests.unit.journal.rings import drained

pytestmark = NEEDS_C


class Level(enum.IntEnum):
    LOW = 3


class Text(str):
    __slots__ = ()


class Warm(float):
    """A float that gives another number to whoever asks it; the reference takes the float that it is."""

    def __float__(self) -> float:
        return 99.0


class Whole(int):
    def __index__(self) -> int:
        return 99


class Numpyish:
    """Says that it is numpy's, and is not."""

    def __float__(self) -> float:
        raise ArithmeticError("no number of numpy's")


Numpyish.__name__, Numpyish.__module__ = "float64", "numpy"


class Grown(np.float64):
    pass


class Raising:
    def __float__(self) -> float:
        raise ArithmeticError("no number today")


ODD = [
    *(2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 10**400, True, None, -0.0, 5e-324, float("nan"), float("inf")),
    *(bits(0x7FF0000000000001), bits(0xFFF8000000000123), Level.LOW, Warm(1.5), Whole(5), Text("t"), Numpyish()),
    *(Grown(2.5), Decimal("0.1"), Fraction(1, 3), Raising(), object(), b"bytes", {1, 2}, 1j, "NaN", "x\ud800", ""),
    *("é\0\n", [1, [2.5]], {"a": None}, {"a": {"b": "c"}}, (1, 2), np.array(3.5), np.array([1.0]), np.array(7)),
    *(np.str_("np"), np.longdouble("1.5"), np.datetime64("2026-01-01"), np.complex64(1), np.float64("nan")),
    *(np.float32(0.1), np.float16("-inf"), np.bool_(False), np.uint64(2**64 - 1), np.uint64(2**63 - 1)),
    *(np.int64(-(2**63)), np.longlong(4), np.bytes_(b"x"), np.float64(-0.0), np.int8(-5), np.uint8(200)),
    *(np.int16(-300), np.uint16(65535), np.int32(-1), np.uint32(2**32 - 1)),
]  # fmt: skip
VALUES = st.one_of(
    st.integers(0, 2**64 - 1).map(bits), st.integers(-(2**63), 2**63 - 1), st.sampled_from(ODD), st.booleans(),
    st.none(), st.integers(0, 2**64 - 1).map(bits).map(np.float64), st.text(max_size=20),
)  # fmt: skip
NAMES = st.one_of(
    st.sampled_from("value step class _p_room self 1 \ufb01 é \0 \udfff".split(" ")),
    st.sampled_from(["", "a b", "x" * 1024, "x" * 1025]),
    st.text(max_size=3),
)
FIELDS = st.dictionaries(NAMES, VALUES, max_size=4)
CALLS = st.tuples(st.sampled_from(["loss", "val/acc", "é"]), st.lists(VALUES, max_size=1), FIELDS)
STEPS = st.lists(st.one_of(CALLS, st.sampled_from(["again", "log", "drain"])), max_size=40)


def outcome(desk: Desk, track: str, values: list[Any], fields: dict[str, Any]) -> tuple[type[Exception], str] | None:
    try:
        desk.append(track, *values, **fields)
    except Exception as error:
        return type(error), "twice" if "value" in fields and values else str(error)
    return None


@given(STEPS)
@settings(max_examples=300)
def test_the_same_calls_store_the_same_facts_and_raise_the_same_errors(steps: list[Any]) -> None:
    desks = [Desk(core) for core in CORES]
    last: Any = ("loss", [], {"value": 1.0, "step": 2})
    for step in [*steps, "drain"]:
        if step == "drain":
            mine, theirs = [facts(desk, drained(desk.ring)) for desk in desks]
            assert mine == theirs
        elif step == "log":
            for desk in desks:
                desk.log("text", {"at": 0.5})
        else:
            last = step if step != "again" else last
            mine_error, their_error = [outcome(desk, *last) for desk in desks]
            assert mine_error == their_error
        assert desks[0].books() == desks[1].books()
        assert desks[0].ring.window() == desks[1].ring.window()


@given(st.lists(st.one_of(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from(["log", "drain"])), max_size=60))
@settings(max_examples=150)
def test_the_same_calls_with_fields_in_one_order_leave_the_same_bytes(steps: list[Any]) -> None:
    """The order of a point's fields is the caller's in the C core; the reference may store that of an earlier call."""
    desks = [Desk(core) for core in CORES]
    for step in [*steps, "drain"]:
        for desk in desks:
            if step == "log":
                desk.log("text")
            elif step != "drain":
                outcome(desk, "loss", [], dict(zip(("value", "step", "class", "a b"), step, strict=False)))
        if step == "drain":
            mine, theirs = [masked(drained(desk.ring))[0] for desk in desks]
            assert mine == theirs
    assert desks[0].journal.export() == desks[1].journal.export(), "the same names got the same numbers"


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_every_odd_value_is_stored_or_refused_alike_once_the_append_is_compiled(value: object) -> None:
    desks = [Desk(name) for name in CORES]
    found = []
    for desk in desks:
        calls: list[Any] = [([0.5], {}), ([value], {}), ([0.5], {"a": value})]
        outcomes = [outcome(desk, "t", *call) for call in calls]
        found.append((outcomes, facts(desk, drained(desk.ring))))
    assert found[0] == found[1]


@given(st.lists(st.sampled_from([1, 2, 5, 16]), max_size=300), st.integers(0, 7))
@settings(max_examples=60)
def test_rings_wrap_and_fill_at_the_same_places(widths: list[int], drain_each: int) -> None:
    desks = [Desk(core) for core in CORES]
    for place, width in enumerate(widths):
        for desk in desks:
            desk.append(f"t{place % 2}", **{f"f{number}": place + number for number in range(width)})
        assert desks[0].ring.window() == desks[1].ring.window()
        if place % 32 < drain_each:
            assert masked(drained(desks[0].ring))[0] == masked(drained(desks[1].ring))[0]
            mapped = [desk.journal.ring[:] for desk in desks]
            assert mapped[0][desks[0].ring.start :] == mapped[1][desks[1].ring.start :] == bytes(8192)
    assert desks[0].books() == desks[1].books()


@pytest.mark.parametrize("width", [15, 16, 17, 64, 65])
@pytest.mark.parametrize("positional", [False, True])
def test_any_number_of_fields_is_stored(width: int, positional: bool) -> None:
    desks = [Desk(core) for core in CORES]
    fields = {f"f{place}": float(place) for place in range(width - positional)}
    for desk in desks:
        for _ in range(3):
            desk.append("t", *[0.5] * positional, **fields)
    mine, theirs = [masked(drained(desk.ring))[0] for desk in desks]
    assert mine == theirs
    assert mine[4] == (1 if width <= 16 else 2), "up to 16 fields are a point of numbers"


def test_one_call_site_may_give_its_value_by_position_or_not() -> None:
    """Calls of one function with equal keywords share one tuple of them, by whose identity the core finds the names."""
    desks = [Desk(name) for name in CORES]
    for desk in desks:
        desk.append("t", 0.0)
        drained(desk.ring)
        with core(desk.core):
            for _ in range(3):
                desk.track("t").append(0.5, step=1)
                desk.track("t").append(step=1)
                desk.track("t").append(0.25)
    mine, theirs = [facts(desk, drained(desk.ring)) for desk in desks]
    assert mine == theirs
    assert [set(fact[3]) for fact in mine] == [{"value", "step"}, {"step"}, {"value"}] * 3


@pytest.mark.parametrize("core", CORES)
def test_what_cannot_be_stored_raises_at_the_call_and_leaves_nothing(core: str) -> None:
    desk = Desk(core)
    desk.append("t", 1.0)
    before, accepted = desk.ring.window(), desk.books()[0]
    calls: list[tuple[type[Exception], list[Any], dict[str, Any]]] = [
        (TypeError, [], {}), (TypeError, [1.0, 2.0], {}), (TypeError, [1.0], {"value": 2.0}),
        (ArithmeticError, [Raising()], {}), (ValueError, [2**63], {}), (ValueError, [-(2**63) - 1], {"a": 1}),
        (ValueError, [np.uint64(2**63)], {}),
        (TypeError, [object()], {}), (ValueError, [1.0], {"\udc80": 2.0}), (ValueError, [1.0], {"x" * 1025: 2.0}),
        (TypeError, [], {f"f{place}": object() if place == 40 else 1 for place in range(65)}),
    ]  # fmt: skip
    for kind, values, fields in calls:
        with pytest.raises(kind):
            desk.append("t", *values, **fields)
    assert (desk.ring.window(), desk.books()[0]) == (before, accepted)
    desk.append("t", 2.0, **{"x" * 1024: 1})
    assert desk.books()[0] == accepted + 1


@pytest.mark.parametrize("core", CORES)
def test_a_value_that_appends_while_it_is_converted_is_stored_behind_what_it_appended(core: str) -> None:
    desk = Desk(core)

    class Reentrant:
        def __float__(self) -> float:
            desk.append("t", value=1.0, step=1)
            desk.append("t", other=True)
            return 2.0

    for _ in range(3):
        desk.append("t", value=0.0, step=0)
        desk.append("t", value=Reentrant(), step=2)
    data = masked(drained(desk.ring))[0]
    sizes = [struct.unpack_from("<d", data, at + 40)[0] for at in starts(data) if data[at + 5] == 2]
    assert sizes == [0.0, 1.0, 2.0] * 3
    assert [struct.unpack_from("<Q", data, at + 24)[0] for at in starts(data)] == list(range(12))


def test_a_record_that_waited_for_room_beside_other_records_of_its_track_is_whole() -> None:
    """While an append waits, appends of other names to the same track go first: the checksum is of its own names."""
    desk = Desk("c", on_full="block")
    desk.append("t", 1.0)
    room = desk.intake.room
    inside = []

    def interrupted(size: int) -> bool:
        if not inside:
            inside.append(size)
            desk.append("t", other=True, more=1)
        return room(size)

    lane = desk.intake.lanes["t"]
    lane.ring.room = interrupted  # a Lane of the core takes it when it is made
    del desk.track("t").__dict__["append"]
    desk.track("t")._compiled = None
    desk.append("t", 2.0)
    desk.ring.state[1] = desk.ring.state[0]  # no room: the next append passes through room()
    desk.append("t", 3.0)
    assert inside
    data, _times = masked(drained(desk.ring))  # checks every checksum
    assert [data[at + 5] for at in starts(data)] == [1, 1, 2, 1]


def test_appends_carry_the_time_of_the_system_clock() -> None:
    desk = Desk("c")
    for _ in range(20):
        before = time.time_ns()
        desk.append("t", 1.0)
        after = time.time_ns()
        ((moment,),) = [masked(drained(desk.ring))[1]]
        assert before - 1_000_000 <= moment <= after + 1_000_000
