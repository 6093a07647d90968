"""The host's thread: one per process however many producers start at once, one driver per writer at a time, and
logging goes on when no thread can be had (reliability cases 15, 23, 35, 63). Races are forced by holding a thread
where the race would begin.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import Session
from penstock._engine import host as hosts
from penstock._engine.host import Host
from penstock._engine.writer import Turn
from tests.faults import diskbooks

WAIT_S = 20.0


@pytest.fixture
def _no_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process whose host was not made yet."""
    fresh: dict[int, Host] = {}
    monkeypatch.setattr(hosts, "_hosts", fresh)
    yield
    for made in fresh.values():
        if not made.alive:
            made.abandon()


def together(*works: Any) -> None:
    errors: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert errors == []


@pytest.mark.usefixtures("_no_host")
def test_producers_that_come_together_share_one_host(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    both = threading.Barrier(2, timeout=WAIT_S)
    pair = socket.socketpair

    def held(*args: Any) -> Any:
        both.wait()
        return pair(*args)

    monkeypatch.setattr("socket.socketpair", held)
    found: list[Host] = []
    together(lambda: found.append(hosts.host()), lambda: found.append(hosts.host()))
    assert found[0] is found[1] is hosts.host()


@pytest.mark.usefixtures("_no_host")
def test_sessions_that_start_together_share_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    inside, go_on = threading.Event(), threading.Event()
    start = threading.Thread.start

    def held(thread: threading.Thread) -> None:
        if thread.name == "penstock-writer":
            started.append(thread)
            inside.set()
            assert go_on.wait(WAIT_S)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", held)

    class Guest:
        interval_s = 60.0
        writer = type("Writer", (), {"failed": RuntimeError(), "tickets": []})()

    host = hosts.host()
    first = threading.Thread(target=host.add, args=(Guest(),))
    first.start()
    assert inside.wait(WAIT_S)
    host.add(Guest())
    go_on.set()
    first.join(WAIT_S)
    assert len(started) == 1
    assert host.alive


def test_only_one_thread_at_a_time_has_the_turn() -> None:
    turn = Turn()
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(300):
            assert turn.take()
            inside += 1
            most = max(most, inside)
            time.sleep(0)
            inside -= 1
            turn.give()

    together(work, work, work)
    assert most == 1


def test_a_handler_that_hits_a_thread_right_after_it_took_the_turn_does_not_wait_for_it() -> None:
    turn = Turn()
    seen: list[bool] = []

    class Lock:
        def acquire(self, timeout: float) -> bool:
            seen.append(turn.mine())  # as a signal handler that runs before ``take`` goes on
            return timeout > 0

    turn._lock = Lock()  # type: ignore[assignment]
    assert turn.take()
    assert seen == [True]


def test_code_inside_a_turn_does_not_wait_for_itself() -> None:
    turn = Turn()
    assert turn.take()
    started = time.monotonic()
    assert not turn.take()
    assert time.monotonic() - started < 5
    turn.give()
    assert turn.take()
    turn.give()


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), OSError(24, "Too many open files")])
def test_without_a_thread_producers_drain_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(_host: Host, _guest: object) -> None:
        raise error

    monkeypatch.setattr(Host, "add", refuse)
    session = Session("run", "w", local_path=tmp_path, ring_bytes=1 << 16).open()
    track = session.track("t")

    def work(number: int) -> None:
        for place in range(4000):
            track.append(value=float(place), thread=number)

    together(*[lambda number=number: work(number) for number in range(4)], lambda: [session.flush() for _ in range(20)])
    receipt = session.flush()
    assert receipt.reached
    assert receipt.written == receipt.appended == 16_000
    session.close()
    found = diskbooks.data(tmp_path / "w/run", "t")
    for number in range(4):
        assert [point["value"] for point in found if point["thread"] == number] == [float(n) for n in range(4000)]


def test_an_idle_session_wakes_at_most_four_times_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = []
    clear = Host._clear

    def counting(host: Host) -> None:
        rounds.append(time.monotonic())
        clear(host)

    monkeypatch.setattr(Host, "_clear", counting)
    with Session("run", "w", local_path=tmp_path) as session:
        session.track("t").append(1.0)
        session.flush()
        rounds.clear()
        time.sleep(1.5)  # what is measured is that nothing happens
        seen = len(rounds)
    assert seen <= 4 * 1.5 + 1


def test_an_unexpected_error_of_one_writer_leaves_the_others_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from penstock._store import notices

    notices._process.reset()
    broken = Session("broken", "w", local_path=tmp_path).open()
    whole = Session("whole", "w", local_path=tmp_path).open()
    engine = broken._engine
    assert engine is not None

    def fail(*_args: object) -> bool:
        raise ZeroDivisionError("made by the test")

    engine.writer._take = fail  # type: ignore[method-assign]
    broken.track("t").append(1.0)
    whole.track("t").append(1.0)
    assert whole.flush(timeout=WAIT_S).reached
    receipt = broken.flush(timeout=WAIT_S)
    assert not receipt.reached
    diskbooks.balance(receipt)
    assert receipt.waiting == 1
    assert "ZeroDivisionError" in str(broken.stats().error) or "made by the test" in str(broken.stats().error)
    assert [record.levelname for record in caplog.records if "made by the test" in record.getMessage()] == ["ERROR"]
    broken.close()
    whole.close()
    # The journal was kept, and taken up at once when the session closed: the error was the writer's, not the point's.
    assert len(diskbooks.points(tmp_path / "w/broken", "t")) == 1
