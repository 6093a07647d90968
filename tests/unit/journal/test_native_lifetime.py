"""Objects of the C core live and die like any others (reliability.md cases 17, 25, 62, 65): no reference is lost or
kept, cycles are collected, what is used after its end raises, and the clock keeps time.
"""

from __future__ import annotations

import copy
import gc
import inspect
import json
import pickle
import resource
import sys
import threading
import time
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock import ClosedError, Session
from penstock._journal.native import native
from tests.unit.journal.cores import NEEDS_C, Desk
from tests.unit.journal.rings import drained

pytestmark = NEEDS_C
TURNS = 100_000


def counts(*things: object) -> list[int]:
    return [sys.getrefcount(thing) for thing in things]


def test_100_000_appends_keep_no_reference_to_anything() -> None:
    desk = Desk("c", 1 << 16)
    append = (desk.append("t", 0.5), desk.track("t").append)[1]
    name, value, other = f"st{'e'}p", 1234.5, np.float64(2.5)
    fields = {"value": value, name: other}
    kinds = [np.float64, np.float32, float, int, type(None), np.bool_]
    values = [kind() for kind in kinds]
    append(**fields)
    for each in values:
        append(each)
    drained(desk.ring)
    gc.collect()
    tracemalloc.start()
    before, memory = counts(value, other, None, append, *kinds, *values), tracemalloc.get_traced_memory()[0]
    for place in range(TURNS // 4):
        append(value=value, other=other)
        append(value, step=None)
        append(**fields)
        append(values[place % len(values)])
        if place % 100 == 99:
            drained(desk.ring)
    drained(desk.ring)
    gc.collect()
    after, grown = counts(value, other, None, append, *kinds, *values), tracemalloc.get_traced_memory()[0] - memory
    tracemalloc.stop()
    for count, was in zip(after, before, strict=True):
        assert abs(count - was) < 50, "a handful may lie in caches; a leak of one per append is thousands"
    assert sys.getrefcount(name) < 20, "a lane keeps the last few tuples of names, no more"
    assert grown < 100_000


def test_errors_on_the_way_keep_no_reference_either() -> None:
    desk = Desk("c", 1 << 16)
    desk.append("t", 0.5)
    append = desk.track("t").append
    bad: list[Any] = [object(), 2**70, "x\ud800", b"no"]
    before = counts(*bad)
    for place in range(TURNS // 10):
        with pytest.raises((TypeError, ValueError)):
            append(step=1, value=bad[place % 4])
        with pytest.raises(TypeError):
            append(bad[place % 4], value=1)
        with pytest.raises(TypeError):
            append(bad[0], bad[1])
    assert counts(*bad) == before


def test_rings_and_drainers_by_the_thousand_leave_nothing() -> None:
    def some(count: int) -> None:
        for _ in range(count):
            buffer = bytearray(4096)
            state, counter = native.State(0, 4096, buffer), native.Counter(5)
            lane = native.Lane(state, counter, 1, len, lambda _names: 1, print)
            lane.append(0.5, step=2)
            drainer = native.Drainer()
            drainer.define(1, (b'"value"', b'"step"'))
            assert drainer.drain(buffer, 0, state[0])[3][0][3] == 1
            lookup = native.Lookup({"a": lane}, len)
            assert lookup.get("a") is lane
            assert lookup.get("four") == 4
            state[2] = None
            buffer.clear()  # nobody holds its bytes any more

    some(2000)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    some(TURNS // 5)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4000, "KiB; 20,000 rings are 80 MB"


@pytest.mark.parametrize("arguments", [(), (1,), (1, 2, 3, 4, 5, 6), (None,) * 6])
def test_wrong_arguments_are_type_errors(arguments: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        native.Lane(*arguments)
    with pytest.raises((TypeError, ValueError)):
        native.State(*arguments)
    if len(arguments) != 1:
        for kind in (native.Counter, native.Lookup):
            with pytest.raises(TypeError):
                kind(*arguments)


def test_an_open_session_that_is_forgotten_after_its_close_is_collected(tmp_path: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        session = Session("run", "w", local_path=tmp_path)
        session.open()
        session.track("t").append(value=1.0)
        session.track("t").append(value=2.0)
        gone, lane = weakref.ref(session), weakref.ref(session.track("t"))
        session.close()
        del session
        gc.enable()
        gc.collect()
        assert (gone(), lane()) == (None, None)
    finally:
        gc.enable()


def test_names_with_attributes_do_not_keep_their_session_alive() -> None:
    class Name(str):
        __slots__ = ("desk",)

    desk = Desk("c")
    desk.append("t", 1.0)
    name = Name("note")
    name.desk = desk  # type: ignore[attr-defined]
    for _ in range(3):
        desk.append("t", **{name: 1})
    assert all(type(each) is str for names in desk.intake.names_by_id.values() for each in names)
    gone = weakref.ref(desk.intake)
    desk.intake._layouts.clear()
    desk.intake.names.clear()
    del desk, name
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", ["State", "Counter", "Lane", "Drainer", "Lookup"])
def test_objects_of_the_core_are_neither_copied_nor_pickled(kind: str) -> None:
    state, counter = native.State(0, 0, None), native.Counter(0)
    made = {"State": state, "Counter": counter, "Lane": native.Lane(state, counter, 1, len, len, len),
            "Drainer": native.Drainer(), "Lookup": native.Lookup({}, len)}[kind]  # fmt: skip
    for call in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=kind):
            call(made)


def test_sessions_and_tracks_answer_as_with_the_reference(tmp_path: Path) -> None:
    class Own(Session):
        def track(self, *arguments: Any, **keywords: Any) -> Any:
            asked.append(arguments)
            return super().track(*arguments, **keywords)

    asked: list[Any] = []
    with Own("own", "w", local_path=tmp_path) as own:
        own.track("t").append(value=1.0)
        assert asked == [("t",)], "a subclass that has its own track() keeps it"
    session = Session("run", "w", local_path=tmp_path)
    session.open()
    look_up = session.track
    track = look_up("t")
    assert look_up("t") is session.track("t") is session.track(name="t") is track
    assert look_up("t", description="what it is") is track
    assert look_up("t", tags=["a"]) is track
    assert list(inspect.signature(look_up).parameters) == ["name", "description", "tags", "metadata"]
    for _ in range(3):
        track.append(1.0)
    for thing in (session, track):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(thing)
    append = track.append
    session.close()
    stored = json.loads((session.folder_path / "tracks/t/metadata.json").read_bytes())
    assert (stored["description"], stored["tags"]) == ("what it is", ["a"])
    for call in (lambda: append(2.0), lambda: append(new=2.0), lambda: append("text"), lambda: look_up("t"),
                 lambda: session.track("t"), lambda: track.append(2.0)):  # fmt: skip
        with pytest.raises(ClosedError):
            call()
    with session.open():
        assert look_up("t") is session.track("t") is not track
        with pytest.raises(ClosedError):
            append(2.0)
        look_up("t").append(4.0)
        assert [point["data"] for point in look_up("t").read()["data"]] == [{"value": 1.0}] * 3 + [{"value": 4.0}]
    with pytest.raises(ClosedError):
        look_up("t")


def test_a_drainer_at_work_refuses_a_second_driver() -> None:
    desk = Desk("c", 1 << 23)
    for place in range(100_000):
        desk.append("t", value=0.1 * place, step=place)
    drainer = native.Drainer()
    drainer.define(1, (b'"value"', b'"step"'))
    data, refused, done = bytes(desk.journal.ring[desk.ring.start : desk.ring.state[0]]), [], []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def drive() -> None:
        for _ in range(20):
            try:
                at = 0
                while at < len(data):
                    at, *_ = drainer.drain(data, at, len(data))
                done.append(at)
            except RuntimeError as error:
                refused.append(str(error))

    try:
        threads = [threading.Thread(target=drive) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert set(done) == {len(data)}
    assert set(refused) <= {"this drainer is at work on another thread"}


def test_the_clock_keeps_within_a_millisecond_of_the_system_and_never_goes_back() -> None:
    last = native.clock_ns()
    off = []
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        before, mine, after = time.time_ns(), native.clock_ns(), time.time_ns()
        assert mine >= last
        last = mine
        off.append(max(before - mine, mine - after, 0))
        if len(off) % 1000 == 0:
            time.sleep(0.003)  # a pause of the program is no pause of the clock
    assert max(off) < 1_000_000
    assert sorted(off)[len(off) // 2] < 20_000, "the rate is right, not only corrected in time"


def test_none_is_not_used_up() -> None:
    """Before CPython 3.12 None is counted like any object; the headers of later versions forget that."""
    state, counter = native.State(0, 4096, bytearray(4096)), native.Counter(0)
    lane = native.Lane(state, counter, 1, lambda _size: not state.__setitem__(0, 0), lambda _names: 1, len)
    before = sys.getrefcount(None)
    for _ in range(10_000):
        lane.append(value=1.0)
        native.zero(bytearray(8), 0, 8)
    assert abs(sys.getrefcount(None) - before) < 1000
