"""The books of a session, its modes and its policies for a full ring (reliability cases 26 in part, 35, 62, 63)."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from penstock import (
    ClosedError,
    NotStoredError,
    RingFullError,
    Session,
)
from penstock._engine.host import Host
from tests.faults import diskbooks


def make(tmp_path: Path, name: str = "run", **more: Any) -> Session:
    return Session(name, "w", local_path=tmp_path, **more)


def document(tmp_path: Path, name: str = "run") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "w" / name / "session.json").read_text())
    return found


def test_a_disabled_session_accepts_every_call_and_stores_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text("x")
    root = tmp_path / "root"
    with Session("run", "w", local_path=root, mode="disabled") as session:
        track = session.track("t", description="d")
        track.append(1.0)
        track.append(value=object())
        assert track.extend([{"a": 1}]) == 0
        assert track.append_batch([]) == 0
        assert track.append_columns(a=[1]) == 0
        assert track.read()["data"] == []
        assert track.stats()["totalDataPoints"] == 0
        assert session.tracks() == session.track().list_all() == []
        session.log("x")
        session.log({"t": 1.0}, step=1)
        session.log(metadata={"a": 1}).info("y")  # type: ignore[union-attr]
        session.parameters().set(a=1)
        assert session.parameters().get() == {}
        session.files().upload(str(file))
        session.files().list()
        session.update(tags=["x"])
        session.flush("disk")
        assert session.stats().durability == session.durability == "disabled"
    assert not root.exists()
    with pytest.raises(ClosedError):
        session.track("t")


@pytest.mark.parametrize("level", ["server", "host", "", None, 1])
def test_an_unknown_durability_level_is_refused(tmp_path: Path, level: Any) -> None:
    with make(tmp_path) as session, pytest.raises(ValueError, match=r"level|local disk"):
        session.flush(level)


def test_the_stats_are_the_books_and_the_state(tmp_path: Path) -> None:
    with make(tmp_path, flush_interval_s=60) as session:
        empty = session.stats()
        diskbooks.balance(empty)
        assert (empty.appended, empty.tracks, empty.ring_used_bytes, empty.error) == (0, 0, 0, None)
        for place in range(10):
            session.track(f"t{place % 2}").append(value=1.0, step=place)
        session.log("x")
        diskbooks.balance(session.stats())
        assert session.stats().appended == 11
        receipt = session.flush("journal")
        assert receipt.reached
        assert receipt.appended == 11
        receipt = session.flush("disk")
        diskbooks.balance(receipt)
        assert (receipt.level, receipt.reached) == ("disk", True)
        assert (receipt.appended, receipt.written, receipt.synced, receipt.waiting) == (11, 11, 11, 0)
        stats = session.stats()
        assert (stats.tracks, stats.durability, stats.ring_bytes) == (2, "journal", 8 << 20)
        assert 1 <= stats.open_files <= 128
        assert [path.stem for path in diskbooks.journals(session.folder_path)] == [stats.writer]


def _no_thread(_host: Host, _guest: object) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("on_full", ["drop", "raise"])
def test_a_ring_that_is_full_drops_or_raises_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_full: str
) -> None:
    monkeypatch.setattr(Host, "add", _no_thread)  # a writer that does not run
    session = make(tmp_path, on_full=on_full, ring_bytes=1 << 16).open()
    track = session.track("t")
    refused = 0
    for place in range(2000):
        try:
            track.append(value=float(place))
        except RingFullError:
            refused += 1
    stats = session.stats()
    diskbooks.balance(stats)
    assert stats.appended == 2000
    assert stats.dropped == 2000 - (1 << 16) // 56
    assert stats.reasons == {"ring full": stats.dropped}
    assert refused == (stats.dropped if on_full == "raise" else 0)
    session.flush("disk")
    track.append(value=-1.0)
    session.close()
    found = [data["value"] for data in diskbooks.data(tmp_path / "w/run", "t")]
    assert found == [*map(float, range((1 << 16) // 56)), -1.0]


def test_a_blocked_append_waits_without_using_the_processor_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr("penstock._engine.engine.Engine.drain_here", lambda _engine: False)  # a writer that is stuck
    monkeypatch.setattr(Host, "add", _no_thread)
    session = make(tmp_path, ring_bytes=1 << 16).open()
    track = session.track("t")
    for place in range((1 << 16) // 56):
        track.append(value=float(place))
    blocked = threading.Thread(target=track.append, kwargs={"value": -1.0})
    blocked.start()
    used, started = time.process_time(), time.monotonic()
    blocked.join(1.0)
    assert blocked.is_alive()
    share = (time.process_time() - used) / (time.monotonic() - started)
    assert share < 0.05, f"{share:.1%} of a processor while blocked"
    engine = session._engine
    assert engine is not None
    assert engine.writer.finish()
    blocked.join(20)
    assert not blocked.is_alive()
    assert session.stats().dropped == 0
    session.close()
    assert diskbooks.data(tmp_path / "w/run", "t")[-1] == {"value": -1.0}


def test_ten_thousand_tracks_share_few_files(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with make(tmp_path) as session:
        most = 0
        for number in range(10_000):
            session.track(f"t{number}").append(value=float(number))
            if number % 500 == 0:
                most = max(most, len(os.listdir("/proc/self/fd")))
        assert session.flush("disk").reached
        most = max(most, len(os.listdir("/proc/self/fd")))
        assert session.stats().tracks == 10_000
        assert session.stats().open_files <= 128
    assert most <= before + 160
    run = tmp_path / "w/run"
    for number in range(0, 10_000, 97):
        assert diskbooks.data(run, f"t{number}") == [{"value": float(number)}]
    assert sum(1 for _ in run.glob("tracks/*/data.jsonl")) == 10_000


def test_two_sessions_of_one_run_write_files_of_their_own_and_read_both(tmp_path: Path) -> None:
    with make(tmp_path) as first, make(tmp_path) as second:
        for place in range(10):
            first.track("t").append(value=place, who=1)
            second.track("t").append(value=place, who=2)
        second.log("second")
        page = first.track("t").read()
        assert sorted((p["data"]["who"], p["data"]["value"]) for p in page["data"]) == sorted(
            (who, place) for who in (1, 2) for place in range(10)
        )
        assert [point["index"] for point in page["data"]] == list(range(20))
        assert second.track("t").stats()["totalDataPoints"] == 20
    run = tmp_path / "w/run"
    assert len(list((run / "tracks/t").glob("data*.jsonl"))) == 2
    assert len(diskbooks.points(run, "t")) == 20
    assert document(tmp_path)["status"] == "done"


def test_a_track_that_is_not_there_is_an_empty_page_and_has_no_stats(tmp_path: Path) -> None:
    with make(tmp_path) as session:
        assert session.track("none").read() == {
            "data": [],
            "startIndex": 0,
            "endIndex": -1,
            "total": 0,
            "hasMore": False,
        }
        with pytest.raises(NotStoredError, match="Track none not found"):
            session.track("none").stats()
        with pytest.raises(TypeError, match="can only list_all"):
            session.track().append(1.0)
