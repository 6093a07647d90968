"""Reliability cases 30, 31, 32, 33: the n-th write fails, half a write is taken, a write is interrupted, an fsync
fails once. Nothing raises in ``append``, nothing is lost or doubled, the books balance, and one warning is given.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from penstock import Session
from penstock._store import notices
from tests.faults import diskbooks
from tests.faults.diskfaults import FailingSyncs, FailingWrites

POINTS = 120


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    notices._process.reset()
    monkeypatch.setattr("penstock.limits.STALL_RETRY_S", 0.01)
    # The faults are planted in os.write, which the C core's drain passes by; its own are in test_fastdrain.py, and
    # test_small_disk.py has the real ones for both.
    monkeypatch.setattr("penstock._engine.writer.native", None)


def scenario(root: Path, name: str) -> Session:
    """Points of three tracks and log lines, flushed every few points so that there are many writes; not closed."""
    session = Session(name, "w", local_path=root, ring_bytes=1 << 16, flush_interval_s=0.01).open()
    for place in range(POINTS):
        session.track(f"t{place % 3}").append(value=place / 7, step=place)
        if place % 5 == 0:
            session.log(f"line {place}", epoch=place)
        if place % 6 == 5:
            session.flush("disk", timeout=20)
    return session


def check(session: Session, run: Path) -> None:
    receipt = session.flush("disk", timeout=20)
    diskbooks.balance(receipt)
    assert receipt.reached
    assert (receipt.waiting, receipt.dropped) == (0, 0)
    assert receipt.synced == receipt.written == receipt.appended == POINTS + POINTS // 5
    assert session.stats().error is None
    session.close()
    for track in range(3):
        assert diskbooks.data(run, f"t{track}") == [
            {"value": place / 7, "step": place} for place in range(track, POINTS, 3)
        ]
    assert [line["message"] for line in diskbooks.log_lines(run)] == [f"line {n}" for n in range(0, POINTS, 5)]
    assert [line["sequenceNumber"] for line in diskbooks.log_lines(run)] == list(range(POINTS // 5))
    assert diskbooks.journals(run) == []


def test_there_are_enough_writes_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = FailingWrites(monkeypatch, errno.EIO, first=10**9)
    check(scenario(tmp_path, "run"), tmp_path / "w/run")
    assert writes.calls >= 50


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("nth", range(1, 51))
def test_a_write_that_fails_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, nth: int, number: int
) -> None:
    writes = FailingWrites(monkeypatch, number, first=nth, times=1 + nth % 3, torn=nth % 2 == 0)
    session = scenario(tmp_path, "run")
    check(session, tmp_path / "w/run")
    assert writes.failed == 1 + nth % 3
    assert len(diskbooks.said(caplog, "the disk refuses")) == 1
    assert len(diskbooks.said(caplog, "takes writes again")) == 1


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EINTR, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_other_errors_of_a_write_are_made_good_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    FailingWrites(monkeypatch, number, first=7, times=5, torn=True)
    check(scenario(tmp_path, "run"), tmp_path / "w/run")


def test_short_writes_are_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    write = os.write
    monkeypatch.setattr("os.write", lambda fd, data: write(fd, data[:5]))
    check(scenario(tmp_path, "run"), tmp_path / "w/run")


def test_a_disk_that_refuses_for_long_fills_the_ring_then_drops_and_counts_then_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writes = FailingWrites(monkeypatch, errno.ENOSPC, first=1, times=10**9)
    session = Session("run", "w", local_path=tmp_path, ring_bytes=1 << 16, flush_interval_s=0.01).open()
    track = session.track("t")
    for place in range(5000):
        track.append(value=float(place))
    stalled = session.stats()
    diskbooks.balance(stalled)
    assert stalled.appended == 5000
    assert stalled.written == 0
    assert stalled.dropped > 3000
    assert stalled.reasons == {"disk refuses writes": stalled.dropped}
    assert stalled.error is not None
    assert not session.flush("disk", timeout=0.1).reached
    writes.armed = False
    assert session.flush("disk", timeout=20).reached
    for place in range(5000, 5100):
        track.append(value=float(place))
    receipt = session.flush("disk", timeout=20)
    diskbooks.balance(receipt)
    assert receipt.reached
    assert (receipt.dropped, receipt.waiting) == (stalled.dropped, 0)
    session.close()
    found = [point["value"] for point in diskbooks.data(tmp_path / "w/run", "t")]
    assert len(found) == receipt.written == 5100 - stalled.dropped
    assert found == sorted(set(found)), "in order, none twice"
    assert found[-100:] == [float(place) for place in range(5000, 5100)]
    assert len(diskbooks.said(caplog, "the disk refuses")) == 1


def test_a_run_closed_on_a_full_disk_is_completed_when_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "w/run"
    with monkeypatch.context() as patch:
        FailingWrites(patch, errno.ENOSPC, first=3, times=10**9, torn=True)
        session = Session("run", "w", local_path=tmp_path, flush_timeout_s=5).open()
        for place in range(50):
            session.track("t").append(value=float(place))
            if place == 10:
                session.flush(timeout=5)
        session.close()
    assert len(diskbooks.journals(run)) == 1
    assert diskbooks.said(caplog, "safe in")
    with Session("run", "w", local_path=tmp_path) as session:
        session.track("t").append(value=50.0)
    assert [point["value"] for point in diskbooks.data(run, "t")] == [float(place) for place in range(51)]
    assert diskbooks.journals(run) == []


def test_a_flush_that_gave_up_does_not_keep_the_close_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    with monkeypatch.context() as patch:
        FailingWrites(patch, errno.ENOSPC, first=1, times=10**9)
        session = Session("run", "w", local_path=tmp_path, flush_timeout_s=60).open()
        session.track("t").append(value=1.0)
        assert not session.flush("disk", timeout=0.3).reached
        started = time.monotonic()
        session.close()
        assert time.monotonic() - started < 30, "the disk refuses: there is nothing to wait 60 s for"
    with Session("run", "w", local_path=tmp_path) as session:  # nothing of the first one is held any more
        session.track("t").append(value=2.0)
    assert [path.name for path in (tmp_path / "w/run/tracks/t").glob("data*")] == ["data.jsonl"]
    assert diskbooks.data(tmp_path / "w/run", "t") == [{"value": 1.0}, {"value": 2.0}]


@pytest.mark.parametrize("nth", range(1, 7))
def test_bytes_whose_fsync_failed_are_never_called_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    session = Session("run", "w", local_path=tmp_path, sync_interval_s=3600).open()  # only flush syncs
    syncs = FailingSyncs(monkeypatch, errno.EIO, first=nth)
    told = []
    for place in range(6):
        session.track("t").append(value=float(place))
        before = syncs.calls
        receipt = session.flush("disk", timeout=20)
        diskbooks.balance(receipt)
        failed = before < nth <= syncs.calls
        assert receipt.reached == (not failed)
        assert receipt.synced == (place if failed else place + 1)
        told.append(receipt.reached)
    assert told.count(False) == 1
    assert session.flush("disk", timeout=20).reached
    session.close()
    assert len(diskbooks.points(tmp_path / "w/run", "t")) == 6


def test_a_background_fsync_that_failed_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    done = threading.Event()
    calls: list[int] = []

    def once(_fd: int) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")
        done.set()

    monkeypatch.setattr("os.fdatasync", once)
    with Session("run", "w", local_path=tmp_path, flush_interval_s=0.02, sync_interval_s=0.05) as session:
        session.track("t").append(1.0)
        assert done.wait(20)
        books = session.flush("disk", timeout=20)
        assert books.reached
        assert books.synced == 1
