"""Reliability case 59: the wall clock jumps by hours, back to 1970 and beyond all bounds. The order by index stays,
nothing is lost or doubled, also after a crash. The clock is replaced where the append takes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import penstock
from penstock import Session
from tests.faults import diskbooks

HOUR = 3_600_000_000_000
NOW = 1_772_366_400_000_000_000


def jumping() -> Iterator[int]:
    number = 0
    while True:
        for base in (NOW, NOW + HOUR, NOW - HOUR, 0, NOW, -HOUR, 2**62, NOW, -(2**62)):
            for _ in range(7):
                number += 1
                yield base + number * 1000


@pytest.fixture
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    if penstock.core != "python":
        pytest.skip("the C core asks the system for the time: the reference is tested here, the bytes are the same")
    times = jumping()
    monkeypatch.setattr("penstock._journal.lane.time_ns", lambda: next(times))
    monkeypatch.setattr("penstock._engine.intake.now_ns", lambda: next(times))


@pytest.mark.usefixtures("_clock")
def test_a_jumping_clock_changes_times_but_neither_order_nor_number(tmp_path: Path) -> None:
    run = tmp_path / "w/run"
    with Session("run", "w", local_path=tmp_path) as session:
        track = session.track("t")
        for place in range(500):
            track.append(value=float(place))
            if place % 10 == 0:
                session.log(f"line {place}")
                track.append(value=float(place), note="general")
        diskbooks.crashed(run, tmp_path / "crashed")
        session.flush("disk", timeout=20)
        assert [point["index"] for point in track.read(limit=1000)["data"]] == list(range(550))
    penstock.recover(tmp_path / "crashed")
    for folder in (run, tmp_path / "crashed"):
        points = diskbooks.points(folder, "t")
        values = [point["data"]["value"] for point in points if "note" not in point["data"]]
        assert [point["index"] for point in points] == list(range(550))
        assert values == [float(place) for place in range(500)]
        lines = diskbooks.log_lines(folder)
        assert [line["message"] for line in lines] == [f"line {place}" for place in range(0, 500, 10)]
        assert [line["sequenceNumber"] for line in lines] == list(range(50))
    times = {point["createdAt"][:4] for point in diskbooks.points(run, "t")}
    assert {"1970", "1969", "2026"} <= times, "the clock did jump"
    assert diskbooks.points(run, "t") == diskbooks.points(tmp_path / "crashed", "t")


@pytest.mark.usefixtures("_clock")
def test_a_run_is_continued_by_index_when_the_clock_went_back(tmp_path: Path) -> None:
    for lap in range(4):
        with Session("run", "w", local_path=tmp_path) as session:
            for place in range(10):
                session.track("t").append(value=float(10 * lap + place))
    assert [data["value"] for data in diskbooks.data(tmp_path / "w/run", "t")] == [float(place) for place in range(40)]
