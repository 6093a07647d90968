"""Sessions on asyncio and trio: the async styles, that a full ring does not block the event loop, and that points of
a program that only awaits are written in the background (reliability cases 15, 63).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from penstock import ClosedError, Session, Status, with_session
from tests.faults import diskbooks

pytestmark = pytest.mark.anyio


def make(tmp_path: Path, **more: Any) -> Session:
    return Session("run", "w", local_path=tmp_path, **more)


async def test_every_async_twin_does_what_its_sync_call_does(tmp_path: Path) -> None:
    async with make(tmp_path) as session:
        track = session.track("t")
        await track.aappend(0.5, step=0)
        await track.aappend(value=1.5, step=1)
        assert await track.aextend([{"value": 2.5, "step": 2}]) == 1
        await session.alog("a line", level="warn", epoch=1)
        await session.alog({"acc": 0.9}, step=3)
        await session.parameters().aset(lr=0.1)
        await session.alog("saved", wait="disk")
        on_disk = diskbooks.log_lines(session.folder_path)
        receipt = await session.aflush("disk")
        assert receipt.reached
        diskbooks.balance(receipt)
    assert [line["message"] for line in on_disk] == ["a line", "saved"]
    run = tmp_path / "w/run"
    assert diskbooks.data(run, "t") == [{"value": n + 0.5, "step": n} for n in range(3)]
    assert diskbooks.data(run, "acc") == [{"value": 0.9, "step": 3}]
    assert session.status is Status.DONE
    with pytest.raises(ClosedError):
        await track.aappend(1.0)


async def test_open_and_close_can_be_awaited(tmp_path: Path) -> None:
    session = make(tmp_path)
    assert await session.aopen() is session
    await session.track("t").aappend(1.0)
    await session.aclose()
    await session.aclose()
    assert len(diskbooks.points(tmp_path / "w/run", "t")) == 1


async def test_a_decorated_coroutine_gets_an_open_session(tmp_path: Path) -> None:
    @with_session("run", "w", local_path=tmp_path)
    async def train(value: float, session: Session) -> float:
        await session.track("t").aappend(value)
        return value

    @with_session("other", "w", local_path=tmp_path)
    async def without() -> int:
        return 3

    assert await train(0.5) == 0.5
    assert await without() == 3
    assert diskbooks.data(tmp_path / "w/run", "t") == [{"value": 0.5}]


async def test_a_cancelled_task_still_closes_its_books(tmp_path: Path) -> None:
    session = make(tmp_path)
    with anyio.move_on_after(0.05):
        async with session:
            session.track("t").append(1.0)
            await anyio.sleep_forever()
    assert len(diskbooks.points(tmp_path / "w/run", "t")) == 1
    assert session.status is Status.ERROR
    assert diskbooks.journals(tmp_path / "w/run") == []


async def test_points_of_a_program_that_only_awaits_are_written_in_the_background(tmp_path: Path) -> None:
    async with make(tmp_path, flush_interval_s=0.02) as session:
        await session.track("t").aappend(1.0)
        with anyio.fail_after(20):
            while session.stats().written == 0:  # noqa: ASYNC110
                await anyio.sleep(0.005)
    assert len(diskbooks.points(tmp_path / "w/run", "t")) == 1


async def test_a_full_ring_lets_the_event_loop_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make(tmp_path, ring_bytes=1 << 16)
    await session.aopen()
    engine = session._engine
    assert engine is not None
    held = engine.writer.turn.take()
    assert held
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat)
        with anyio.move_on_after(0.5) as scope:
            for place in range(5000):
                await session.track("t").aappend(float(place))
        assert scope.cancelled_caught, "the ring holds 1,170 points: the rest waits"
        appended = session.stats().appended
        assert beats > 20
        engine.writer.turn.give()
        await session.track("t").aappend(-1.0)
        tasks.cancel_scope.cancel()
    await session.aclose()
    found = [data["value"] for data in diskbooks.data(tmp_path / "w/run", "t")]
    assert found == [*map(float, range(appended)), -1.0]


async def test_many_tasks_log_into_one_track(tmp_path: Path) -> None:
    async def work(session: Session, number: int) -> None:
        for place in range(100):
            await session.track("t").aappend(value=float(place), task=number)

    async with make(tmp_path) as session, anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(partial(work, session, number))
    found = diskbooks.data(tmp_path / "w/run", "t")
    for number in range(20):
        assert [point["value"] for point in found if point["task"] == number] == [float(place) for place in range(100)]
