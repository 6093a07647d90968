"""Reading one run: line files and journals merged, live and after a crash, torn last lines passed over, never a point
twice (P10).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock import Session
from penstock._store.layout import RunFolder
from penstock.errors import NotStoredError
from penstock.query import points
from tests.faults import diskbooks


def line(index: int, value: Any, at: str = "2026-01-01T00:00:00.000000Z") -> bytes:
    return json.dumps({"index": index, "data": {"value": value}, "createdAt": at}).encode() + b"\n"


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}.000000Z"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.track("t").mkdir(parents=True)
    return folder


def read(run: RunFolder, **more: Any) -> list[Any]:
    page = points.page(run, "t", run.journal, **{"start_index": 0, "limit": 1000, **more})
    return [(point["index"], point["data"]["value"]) for point in page["data"]]


def test_one_writers_points_keep_their_own_index(run: RunFolder) -> None:
    run.points("t", "").write_bytes(b"".join(line(index, index * 2) for index in range(5, 15)))
    assert read(run) == [(index, index * 2) for index in range(5, 15)]
    assert read(run, start_index=10, limit=2) == [(10, 20), (11, 22)]


def test_several_writers_points_are_ordered_by_time_and_counted_together(run: RunFolder) -> None:
    run.points("t", "").write_bytes(line(0, "a", at(1)) + line(1, "c", at(3)) + line(2, "e", at(5)))
    run.points("t", "ff").write_bytes(line(0, "b", at(2)) + line(1, "d", at(4)))
    assert read(run) == list(enumerate("abcde"))
    assert read(run, start_index=2, limit=2) == [(2, "c"), (3, "d")]
    assert points.summary(run, "t", run.journal)["totalDataPoints"] == 5


@pytest.mark.parametrize(
    "torn", [b"{", b'{"index":2,"data":{"value":', b"\xff", b'{"index":2,"data":{"value":1},"createdAt":"']
)
def test_a_torn_last_line_is_no_point_and_no_error(run: RunFolder, torn: bytes) -> None:
    run.points("t", "").write_bytes(line(0, 0) + line(1, 1) + torn)
    assert read(run) == [(0, 0), (1, 1)]
    assert points.summary(run, "t", run.journal)["totalDataPoints"] == 2
    assert run.points("t", "").read_bytes().endswith(torn), "readers change nothing"


def test_a_last_line_that_lacks_only_its_newline_is_a_point(run: RunFolder) -> None:
    run.points("t", "").write_bytes((line(0, 0) + line(1, 1)).rstrip(b"\n"))
    assert read(run) == [(0, 0), (1, 1)]
    assert points.summary(run, "t", run.journal)["totalDataPoints"] == 2


def test_foreign_files_beside_the_line_files_are_passed_over(run: RunFolder) -> None:
    run.points("t", "").write_bytes(line(0, 0))
    for name in ("data.jsonl.bak", "data.a.b.jsonl", "notes.jsonl", ".data.jsonl.tmp"):
        (run.track("t") / name).write_bytes(line(9, 9))
    (run.journal).mkdir()
    (run.journal / "x.ring").write_bytes(b"no journal")
    (run.journal / ".y.new").write_bytes(b"")
    assert read(run) == [(0, 0)]
    assert points.names(run, []) == ["t"]


def test_missing_tracks_and_names(run: RunFolder) -> None:
    with pytest.raises(NotStoredError):
        points.summary(run, "none", run.journal)
    assert points.summaries(RunFolder(run.path / "nowhere"), run.journal) == []


def test_a_reader_sees_every_point_of_a_live_writer_once(tmp_path: Path) -> None:
    with Session("run", "w", local_path=tmp_path, flush_interval_s=60) as session:
        run = RunFolder(session.folder_path)
        expected: list[Any] = []
        for place in range(300):
            session.track("t").append(value=place if place % 3 else f"text {place}")
            expected.append((place, place if place % 3 else f"text {place}"))
            if place in (100, 200):
                session.flush("disk", timeout=20)
            if place % 50 == 0:
                assert read(run) == expected
                summary = points.summary(run, "t", run.journal)
                assert summary["totalDataPoints"] == place + 1
        assert read(run) == expected
        copy = RunFolder(tmp_path / "copy")
        diskbooks.crashed(run.path, copy.path)
    assert read(copy) == expected, "the same after a crash, without recovering anything"
    assert points.names(copy, points.salvages(copy.journal)) == ["t"]
    assert len(list(copy.journal.glob("*.ring"))) == 1, "readers leave journals alone"
