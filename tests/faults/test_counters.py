"""Reliability case 60: indices and sequence numbers near 2**53 (where floats lose the last bit) and 2**63 are exact,
through the line file, the journal, recovery and reading. The line file is prepared by hand.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import penstock
from penstock import Session
from tests.faults import diskbooks

STARTS = [2**31 - 5, 2**32 - 5, 2**53 - 5, 2**53 + 1, 2**63 - 12]


def prepared(run: Path, last: int) -> None:
    (run / "tracks/t").mkdir(parents=True)
    (run / "logs").mkdir()
    point = {"index": last, "data": {"value": -1.0}, "createdAt": "2026-01-01T00:00:00.000000Z"}
    line = {"sequenceNumber": last, "timestamp": "2026-01-01T00:00:00.000000Z", "level": "info", "message": "first"}
    (run / "tracks/t/data.jsonl").write_text(json.dumps(point) + "\n")
    (run / "logs/logs.jsonl").write_text(json.dumps(line) + "\n")


@pytest.mark.parametrize("last", STARTS)
def test_counting_is_exact_from_there_on(tmp_path: Path, last: int) -> None:
    run = tmp_path / "w/run"
    prepared(run, last)
    with Session("run", "w", local_path=tmp_path) as session:
        track = session.track("t")
        for place in range(10):
            track.append(value=float(place))
        track.append(value=10.0, note="general")
        session.log("second")
        diskbooks.crashed(run, tmp_path / "crashed")
        page = track.read(start_index=last + 1, limit=5)
        assert [point["index"] for point in page["data"]] == list(range(last + 1, last + 6))
    penstock.recover(tmp_path / "crashed")
    for folder in (run, tmp_path / "crashed"):
        points = diskbooks.points(folder, "t")
        assert [point["index"] for point in points] == list(range(last, last + 12))
        assert [point["data"]["value"] for point in points] == [-1.0, *map(float, range(11))]
        assert [line["sequenceNumber"] for line in diskbooks.log_lines(folder)] == [last, last + 1]
    with Session("run", "w", local_path=tmp_path) as session:
        session.track("t").append(value=99.0)
    assert diskbooks.points(run, "t")[-1]["index"] == last + 12
